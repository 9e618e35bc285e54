//! Entries as lines on standard output, between the lines of the log.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;

use hub_audit::relay::Batch;

use super::facts::push_ascii;
use super::off_thread::Blocking;

/// What a pipe takes whole (`PIPE_BUF`, pipe(7)).
const WHOLE: usize = 4096;

/// Standard output.
#[derive(Debug)]
pub(super) struct Stdout {
    own: File,
}

impl Stdout {
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self { own: std::io::stdout().as_fd().try_clone_to_owned()?.into() })
    }
}

impl Blocking for Stdout {
    fn accept(&mut self, batch: &Batch) -> std::io::Result<u64> {
        let mut line = Vec::with_capacity(WHOLE);
        for entry in batch.entries() {
            push_line(entry.bytes, &mut line);
            if line.len() <= WHOLE {
                // Past the lock of the log lines: a reader who hangs must not hang them with it.
                self.own.write_all(&line)?;
            } else {
                // Other lines could come between its parts otherwise.
                let mut shared = std::io::stdout().lock();
                shared.write_all(&line)?;
                shared.flush()?;
            }
        }
        Ok(batch.end())
    }
}

/// A terminal may show it: characters that it would obey, or that reorder text, are escapes.
fn push_line(entry: &[u8], line: &mut Vec<u8>) {
    line.clear();
    push_ascii(entry, line);
    line.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_commands_no_terminal_and_says_the_same() {
        let entry = "{\"action\":\"x\",\"detail\":\"\u{7f}\u{9b}31m\u{202e}é\"}";
        let mut line = Vec::new();
        for _ in 0..2 {
            push_line(entry.as_bytes(), &mut line);
            let (end, text) = line.split_last().unwrap();
            assert_eq!(*end, b'\n');
            assert!(text.iter().all(|byte| (0x20..0x7f).contains(byte)), "{text:?}");
            let value: serde_json::Value = serde_json::from_slice(text).unwrap();
            assert_eq!(value, serde_json::from_str::<serde_json::Value>(entry).unwrap());
        }
    }
}
