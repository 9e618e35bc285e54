//! A growing buffer for plaintext.

use std::fmt;

use hub_model::SecretBytes;
use zeroize::Zeroize as _;

/// Bytes that are erased when dropped and shown as `[secret]`. Growing leaves no copy behind.
///
/// INVARIANT: what lies beyond the length is free of secrets at any time, so erasing the bytes is
/// enough. (`Vec::zeroize` goes byte by byte, which took as long as decrypting.)
#[derive(Default)]
pub struct SecretBuffer(Vec<u8>);

impl SecretBuffer {
    /// A buffer without bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A buffer with room for this many bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Erases the bytes and keeps the room.
    pub fn clear(&mut self) {
        // Not all of the room, which may be larger than what was used of it since.
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }

    /// The bytes, to be kept.
    #[must_use]
    pub fn into_bytes(mut self) -> SecretBytes {
        SecretBytes::new(std::mem::take(&mut self.0))
    }

    /// Makes room for this many more bytes.
    pub(super) fn reserve(&mut self, more: usize) {
        let needed = self.0.len().saturating_add(more);
        if needed > self.0.capacity() {
            // By hand: a reallocation of `Vec` would leave the old bytes behind.
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity().saturating_mul(2)));
            larger.extend_from_slice(&self.0);
            self.0.as_mut_slice().zeroize();
            self.0 = larger;
        }
    }

    /// Appends bytes that `write` fills in, all zeros at first; none when it fails.
    pub(super) fn append<E>(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.reserve(len);
        let before = self.0.len();
        self.0.resize(before.saturating_add(len), 0);
        let outcome = write(self.0.get_mut(before..).unwrap_or_default());
        if outcome.is_err() {
            self.0.get_mut(before..).unwrap_or_default().zeroize();
            self.0.truncate(before);
        }
        outcome
    }
}

impl Drop for SecretBuffer {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl fmt::Debug for SecretBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_clears_and_forgets_what_failed() {
        let mut buffer = SecretBuffer::new();
        let append = |buffer: &mut SecretBuffer, len, byte, outcome: Result<(), ()>| {
            buffer.append(len, |slot| {
                slot.fill(byte);
                outcome
            })
        };
        for _ in 0..5 {
            append(&mut buffer, 3, 7, Ok(())).unwrap();
        }
        assert_eq!(buffer.expose_secret(), [7; 15]);
        append(&mut buffer, 4, 9, Err(())).unwrap_err();
        assert_eq!(buffer.expose_secret(), [7; 15]);
        assert_eq!(format!("{buffer:?}"), "[secret]");
        buffer.clear();
        assert!(buffer.is_empty());
        append(&mut buffer, 1, 8, Ok(())).unwrap();
        assert_eq!(buffer.into_bytes().expose_secret(), [8]);
    }
}
