//! Text of others in HTML: it can neither end what it stands in nor change how the rest reads.

/// Text as content or as the value of a quoted attribute. Control characters and those that are
/// invisible or reorder text are spelt out; so is a first character that a spreadsheet would take
/// for a formula when the table is pasted there, by an apostrophe before it.
pub(crate) fn text(from: &str) -> String {
    let mut out = String::with_capacity(from.len() + 8);
    if from.starts_with(['=', '+', '-', '@', '\t', '\r']) && from.len() > 1 {
        out.push('\'');
    }
    for c in from.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Whether a character does something other than to be seen.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn nothing_of_others_is_markup() {
        assert_eq!(text("<script>alert(1)</script>"), "&lt;script&gt;alert(1)&lt;/script&gt;");
        assert_eq!(text(r#""' onload='x" &amp;"#), "&quot;&#39; onload=&#39;x&quot; &amp;amp;");
        assert_eq!(text("]]>--><!--"), "]]&gt;--&gt;&lt;!--");
    }

    #[test]
    fn nothing_of_others_reorders_or_hides() {
        assert_eq!(text("a\u{202e}b\u{200b}c\u{7}"), "a\\u{202e}b\\u{200b}c\\u{7}");
        assert_eq!(text("x\u{2066}y\u{e0041}\u{feff}"), "x\\u{2066}y\\u{e0041}\\u{feff}");
        assert_eq!(text("grün — ключ"), "grün — ключ");
    }

    #[test]
    fn nothing_of_others_is_a_formula() {
        assert_eq!(text("=HYPERLINK(1)"), "&#39;=HYPERLINK(1)".replace("&#39;", "'"));
        for bad in ["+1", "-1+1", "@SUM(A1)", "\tx"] {
            assert!(text(bad).starts_with('\''), "{bad}");
        }
        assert_eq!(text("-"), "-");
    }
}
