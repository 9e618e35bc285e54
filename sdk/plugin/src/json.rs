//! Just enough JSON for bodies of requests: texts in quotes.

use std::fmt::Write as _;

/// The text as a JSON string (RFC 8259 §7), with its quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Appends the text as a JSON string.
pub fn push_quoted(out: &mut String, text: &str) {
    out.reserve(text.len() + text.len() / 4 + 2);
    out.push('"');
    push_replaced(
        out,
        text,
        |c| c == b'"' || c == b'\\' || c < 0x20,
        |out, c| match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        },
    );
    out.push('"');
}

/// Appends the text, where `replace` writes what stands for each character that `special` tells by
/// its first byte in UTF-8. What lies between is copied as it is, which costs guests a fraction of
/// taking character by character.
pub fn push_replaced(
    out: &mut String,
    text: &str,
    special: impl Fn(u8) -> bool,
    replace: impl Fn(&mut String, char),
) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(&special) {
        // A byte that continues a character begins none: what is told by it is left to the next.
        let Some((plain, after)) = rest.split_at_checked(at) else { break };
        out.push_str(plain);
        let mut chars = after.chars();
        if let Some(c) = chars.next() {
            replace(out, c);
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// The bytes in lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |n: u8| DIGITS.get(usize::from(n & 15)).copied().unwrap_or('0');
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(*byte));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_has_to_be() {
        assert_eq!(quote("a\"b\\c\n\u{1}é\u{7f}"), "\"a\\\"b\\\\c\\n\\u0001é\u{7f}\"");
        assert_eq!(hex(&[0, 0xab, 0x9f]), "00ab9f");
    }

    #[test]
    fn replaces_characters_and_copies_the_rest() {
        let replaced = |text| {
            let mut out = String::new();
            push_replaced(
                &mut out,
                text,
                |b| b == b'a' || b == 0xc2,
                |out, c| {
                    out.push(if c.is_control() { '_' } else { c.to_ascii_uppercase() });
                },
            );
            out
        };
        assert_eq!(replaced(""), "");
        assert_eq!(replaced("aéxa"), "AéxA");
        assert_eq!(replaced("\u{85}£z\u{9f}a"), "_£z_A");
    }
}
