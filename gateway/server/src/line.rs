//! Short header values, put together without an allocation before the last.

use http::HeaderValue;

/// More than any value put together here has.
const ROOM: usize = 160;

/// A value in the making. What does not fit makes it void.
#[derive(Debug)]
pub(crate) struct Line {
    bytes: [u8; ROOM],
    len: usize,
    void: bool,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; ROOM], len: 0, void: false }
    }

    pub(crate) fn text(&mut self, text: &[u8]) -> &mut Self {
        match self.bytes.get_mut(self.len..).and_then(|free| free.get_mut(..text.len())) {
            Some(slot) => {
                slot.copy_from_slice(text);
                self.len += text.len();
            }
            None => self.void = true,
        }
        self
    }

    pub(crate) fn number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut used = 0;
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            used += 1;
            if number == 0 {
                break;
            }
        }
        let digits = digits.get(digits.len() - used..).unwrap_or_default();
        self.text(digits)
    }

    /// The value, unless it did not fit or holds what no header may hold.
    pub(crate) fn finish(&self) -> Option<HeaderValue> {
        let bytes = self.bytes.get(..self.len).filter(|_| !self.void)?;
        HeaderValue::from_bytes(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_displayed_and_too_much_is_void() {
        for number in [0, 7, 10, 1_000_000, u64::MAX] {
            let mut line = Line::new();
            let value = line.text(b"n=").number(number).finish().unwrap();
            assert_eq!(value, format!("n={number}"));
        }
        let mut line = Line::new();
        assert_eq!(line.text(&[b'x'; ROOM]).finish().unwrap().len(), ROOM);
        assert!(line.text(b"y").finish().is_none());
        assert!(Line::new().text(b"\r\n").finish().is_none());
    }
}
