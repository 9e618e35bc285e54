//! A strict reader of canonical entries, fast enough that hashing is what verification costs: one
//! pass, no allocation. It takes exactly what [`crate::encode`] can write (keys in byte order, no
//! white space, one spelling of every escape and number) and refuses everything else, so that two
//! readers never understand one entry differently.

use crate::merkle::Hash;

/// How deeply values may lie in each other: an encryption context in an entry is the deepest.
const DEEPEST: u32 = 4;

/// What verification and filters look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links<'a> {
    /// The version of the entry's form.
    pub v: u64,
    /// The position in the log.
    pub seq: u64,
    /// The leaf hash of the entry before.
    pub prev: Hash,
    /// Whose log.
    pub writer: &'a str,
    /// When, as written.
    pub time: Option<&'a str>,
    /// The registration acted on.
    pub registration: Option<&'a str>,
}

/// Bytes that are no canonical entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct NotCanonical {
    /// Where in the entry.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Reads an entry.
///
/// # Errors
/// [`NotCanonical`].
pub fn scan(entry: &[u8]) -> Result<Links<'_>, NotCanonical> {
    let text = std::str::from_utf8(entry)
        .map_err(|error| NotCanonical { at: error.valid_up_to(), what: "not UTF-8" })?;
    let mut reader = Reader { text, bytes: entry, at: 0 };
    let mut found = Found::default();
    reader.expect(b'{')?;
    let mut before = Name::default();
    loop {
        let name = reader.key(&before)?;
        let start = reader.at;
        // By bytes: a comparison of slices is a call, and there are two dozen names.
        match name.bytes {
            [b'v'] => found.v = Some(reader.number()?),
            [b's', b'e', b'q'] => found.seq = Some(reader.number()?),
            [b'p', b'r', b'e', b'v'] => {
                let hex = reader.plain()?;
                found.prev = Some(hash(hex).ok_or(NotCanonical {
                    at: start,
                    what: "`prev` is not 64 lower-case hex digits",
                })?);
            }
            [b'w', b'r', b'i', b't', b'e', b'r'] => found.writer = Some(reader.plain()?),
            [b't', b'i', b'm', b'e'] => found.time = Some(reader.plain()?),
            b"registration" => found.registration = Some(reader.plain()?),
            _ => reader.value(0)?,
        }
        before = name;
        match reader.next() {
            Some(b',') => {}
            Some(b'}') => break,
            _ => return Err(reader.wrong_before("no `,` or `}` after a value")),
        }
    }
    if reader.at != entry.len() {
        return Err(reader.wrong("something follows the entry"));
    }
    let missing = |what| NotCanonical { at: entry.len(), what };
    Ok(Links {
        v: found.v.ok_or_else(|| missing("`v` is missing"))?,
        seq: found.seq.ok_or_else(|| missing("`seq` is missing"))?,
        prev: found.prev.ok_or_else(|| missing("`prev` is missing"))?,
        writer: found.writer.ok_or_else(|| missing("`writer` is missing"))?,
        time: found.time,
        registration: found.registration,
    })
}

#[derive(Default)]
struct Found<'a> {
    v: Option<u64>,
    seq: Option<u64>,
    prev: Option<Hash>,
    writer: Option<&'a str>,
    time: Option<&'a str>,
    registration: Option<&'a str>,
}

/// The name of a member.
#[derive(Clone, Copy, Default)]
struct Name<'a> {
    bytes: &'a [u8],
    escaped: bool,
    /// Whether it is one: nothing comes before the first.
    given: bool,
}

impl Name<'_> {
    /// Whether it stands behind another one in byte order.
    #[inline(always)]
    fn is_behind(&self, before: &Self) -> bool {
        if !before.given {
            return true;
        }
        if self.escaped || before.escaped {
            return self.meant() > before.meant();
        }
        match (self.bytes.first(), before.bytes.first()) {
            (Some(one), Some(other)) if one > other => true,
            _ => self.bytes > before.bytes,
        }
    }

    /// What an escaped name stands for.
    #[cold]
    fn meant(&self) -> String {
        serde_json::from_slice(&[b"\"", self.bytes, b"\""].concat()).unwrap_or_default()
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &'static str) -> NotCanonical {
        NotCanonical { at: self.at, what }
    }

    fn wrong_before(&self, what: &'static str) -> NotCanonical {
        NotCanonical { at: self.at.saturating_sub(1), what }
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8) -> Result<(), NotCanonical> {
        match self.next() {
            Some(found) if found == byte => Ok(()),
            _ => Err(self.wrong_before("not the form of an entry")),
        }
    }

    /// A name of a member, behind the one before in byte order, and its colon.
    #[inline(always)]
    fn key(&mut self, before: &Name<'_>) -> Result<Name<'a>, NotCanonical> {
        let start = self.at;
        let (bytes, escaped) = self.string()?;
        let name = Name { bytes, escaped, given: true };
        if !name.is_behind(before) {
            return Err(NotCanonical { at: start, what: "keys are doubled or out of order" });
        }
        self.expect(b':')?;
        Ok(name)
    }

    /// A string without escapes.
    #[inline(always)]
    fn plain(&mut self) -> Result<&'a str, NotCanonical> {
        let start = self.at;
        match self.string()? {
            (bytes, false) => {
                Ok(self.text.get(start + 1..start + 1 + bytes.len()).unwrap_or_default())
            }
            _ => Err(NotCanonical { at: start, what: "an escape where none can be needed" }),
        }
    }

    /// A string: what is between its quotes, and whether escapes are in it.
    #[inline(always)]
    fn string(&mut self) -> Result<(&'a [u8], bool), NotCanonical> {
        if self.next() != Some(b'"') {
            return Err(self.wrong_before("no string where one is needed"));
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = special(self.bytes, self.at);
            match self.next() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.wrong_before("a control character, or no end of a string")),
            }
        }
        Ok((self.bytes.get(start..self.at - 1).unwrap_or_default(), escaped))
    }

    /// The rest of an escape, in the spelling of `serde_json`: the short one where there is one.
    fn escape(&mut self) -> Result<(), NotCanonical> {
        const WHAT: &str = "an escape that is not the canonical one";
        match self.next() {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => {
                let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
                let long = match digits {
                    [b'0', b'0', b'0', low] => {
                        matches!(low, b'0'..=b'7' | b'b' | b'e' | b'f')
                    }
                    [b'0', b'0', b'1', low] => matches!(low, b'0'..=b'9' | b'a'..=b'f'),
                    _ => false,
                };
                self.at += 4;
                if long { Ok(()) } else { Err(self.wrong_before(WHAT)) }
            }
            _ => Err(self.wrong_before(WHAT)),
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Result<u64, NotCanonical> {
        const WHAT: &str = "not a number in its one spelling";
        let start = self.at;
        let mut number: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(u64::from(digit - b'0')))
                .ok_or(NotCanonical { at: start, what: WHAT })?;
            self.at += 1;
        }
        let digits = self.at - start;
        if digits == 0 || (digits > 1 && self.bytes.get(start) == Some(&b'0')) {
            return Err(NotCanonical { at: start, what: WHAT });
        }
        Ok(number)
    }

    fn word(&mut self, word: &[u8]) -> Result<(), NotCanonical> {
        if !self.bytes.get(self.at..).unwrap_or_default().starts_with(word) {
            return Err(self.wrong("not a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn value(&mut self, depth: u32) -> Result<(), NotCanonical> {
        if depth > DEEPEST {
            return Err(self.wrong("values lie too deeply in each other"));
        }
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'0'..=b'9') => self.number().map(drop),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.object(depth),
            _ => Err(self.wrong("not a value")),
        }
    }

    fn list(&mut self, depth: u32) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Ok(()),
                _ => return Err(self.wrong_before("no `,` or `]` after a value")),
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut before = Name::default();
        loop {
            before = self.key(&before)?;
            self.value(depth + 1)?;
            match self.next() {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                _ => return Err(self.wrong_before("no `,` or `}` after a value")),
            }
        }
    }
}

/// The place of the next byte that is `"`, `\` or a control character; the end when there is none.
/// Eight bytes at a time: entries are mostly text between quotes.
#[inline(always)]
fn special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The lowest bit set is exact; those above may be borrowed.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let quote = zero(word ^ (ONES * 0x22));
        let backslash = zero(word ^ (ONES * 0x5c));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = quote | backslash | control;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

/// The hash of 64 lower-case hex digits.
pub(crate) fn hash(hex: &str) -> Option<Hash> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let (mut out, mut all) = ([0; 32], 0);
    for (slot, [high, low]) in out.iter_mut().zip(pairs) {
        let (high, low) = (digit(*high), digit(*low));
        all |= high | low;
        *slot = high << 4 | (low & 15);
    }
    (all < 16).then_some(out)
}

/// The value of a lower-case hex digit; 255 for any other byte.
const fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => 255,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(members: &str) -> String {
        let prev = "0a".repeat(32);
        format!(r#"{{"action":"x",{members}"prev":"{prev}","seq":7,"v":1,"writer":"main"}}"#)
    }

    #[test]
    fn canonical_entries_are_read() {
        let text = entry(
            r#""context":{"a":"\u0001\n","b\"":"é"},"count":3,"entities":[1,0,20],"policies":[],"#,
        );
        let links = scan(text.as_bytes()).unwrap();
        assert_eq!((links.v, links.seq, links.prev, links.writer), (1, 7, [10; 32], "main"));
        // What serde_json writes is what is taken.
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for members in [
            r#""context": {},"#,
            r#""action":"y","#,
            r#""aaa":1,"#,
            r#""context":{"b":"1","a":"1"},"#,
            r#""context":{"a":"1","a":"1"},"#,
            r#""context":{"b\n":"1","a":"1"},"#,
            r#""context":{"a\n":"1","a\n":"1"},"#,
            r#""count":03,"#,
            r#""count":-3,"#,
            r#""count":1e3,"#,
            r#""count":1.5,"#,
            r#""count":null,"#,
            r#""count":tru,"#,
            r#""detail":"\u000a","#,
            r#""detail":"\u001F","#,
            r#""detail":"\u0041","#,
            r#""detail":"\/","#,
            "\"detail\":\"\n\",",
            r#""detail":"x,"#,
            r#""entities":[1,],"#,
            r#""entities":[[[[[[1]]]]]],"#,
            r#""count":99999999999999999999999,"#,
        ] {
            assert!(scan(entry(members).as_bytes()).is_err(), "{members}");
        }
        let good = entry("");
        for bad in [
            good.replace("\"v\":1,", ""),
            good.replace("\"v\":1", "\"v\":\"1\""),
            good.replace("\"seq\":7", "\"seq\":07"),
            good.replace("0a0a", "0A0A"),
            good.replacen("0a", "0", 1),
            good.replace("\"main\"", "\"\\u006dain\""),
            format!("{good} "),
            format!(" {good}"),
            format!("[{good}]"),
            String::new(),
            "{}".to_owned(),
        ] {
            assert!(scan(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(scan(&[b'{', b'"', 0xff, b'"']).is_err());
        for cut in 0..good.len() {
            assert!(scan(&good.as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn the_end_of_a_string_is_found_wherever_it_lies() {
        for length in 0..40 {
            for ending in [b'"', b'\\', 0, 0x1f] {
                let mut bytes = vec![0xc3; length];
                bytes.push(ending);
                bytes.extend_from_slice(b"\"\\rest of it all\"");
                assert_eq!(special(&bytes, 0), length);
            }
            assert_eq!(special(&vec![b' '; length], 0), length);
        }
    }
}
