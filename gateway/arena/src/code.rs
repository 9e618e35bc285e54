//! Pages of the program's own file. A start reads far more code than serving does: compilers of
//! plugins and policies, the command line, the checks of the store. What was read stays resident
//! until the machine runs short; this gives it back at once.

#[cfg(all(target_os = "linux", not(miri)))]
pub use linux::let_go_of_code;

/// Other systems: nothing.
///
/// # Errors
/// None.
#[cfg(any(not(target_os = "linux"), miri))]
pub fn let_go_of_code() -> std::io::Result<usize> {
    Ok(0)
}

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use std::io;
    use std::os::unix::ffi::OsStrExt as _;
    use std::ptr;

    use rustix::mm::{Advice, madvise};

    /// Unmaps the pages of the program's file that nobody has written to (code and constants), and
    /// gives their size in bytes. They are in the page cache still: whoever needs one has it back
    /// by a minor fault, a dozen others around it with it.
    ///
    /// # Errors
    /// Those of reading `/proc/self`.
    pub fn let_go_of_code() -> io::Result<usize> {
        // Where the file was replaced meanwhile, both say so by the same name.
        let program = std::fs::read_link("/proc/self/exe")?;
        let maps = std::fs::read_to_string("/proc/self/smaps")?;
        let mut bytes = 0_usize;
        for range in clean(&maps, program.as_os_str().as_bytes()) {
            unmap(range.start, range.size)?;
            bytes = bytes.saturating_add(range.resident);
        }
        Ok(bytes)
    }

    /// A mapping of the program's file of which no page was copied or locked.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Range {
        pub(super) start: usize,
        pub(super) size: usize,
        pub(super) resident: usize,
    }

    /// Reads `/proc/self/smaps`. What is not understood is left out.
    pub(super) fn clean(maps: &str, program: &[u8]) -> Vec<Range> {
        let mut found = Vec::new();
        let mut current: Option<Range> = None;
        for line in maps.lines() {
            if let Some(range) = header(line) {
                let (range, path) = range;
                found.extend(current.take());
                current = (path.as_bytes() == program).then_some(range);
                continue;
            }
            let Some(range) = current.as_mut() else { continue };
            let Some((name, value)) = line.split_once(':') else { continue };
            let size = value.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<usize>().ok());
            match (name, size) {
                ("Rss", Some(kib)) => range.resident = kib.saturating_mul(1024),
                // Copies of our own, which would be lost; and pages that are to stay.
                ("Anonymous" | "Private_Dirty" | "Swap" | "Locked", Some(0)) => {}
                ("Anonymous" | "Private_Dirty" | "Swap" | "Locked", _) => current = None,
                _ => {}
            }
        }
        found.extend(current);
        found
    }

    /// `55d0c0a00000-55d0c3000000 r-xp 00200000 fe:00 123  /usr/bin/cipher-hub`, readable and
    /// not writable.
    fn header(line: &str) -> Option<(Range, &str)> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let size = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
        let path = match fields.next()? {
            "r-xp" | "r--p" => fields.nth(3).unwrap_or_default().trim_start(),
            _ => "",
        };
        Some((Range { start, size, resident: 0 }, path))
    }

    #[expect(unsafe_code, reason = "gives pages back")]
    fn unmap(start: usize, size: usize) -> rustix::io::Result<()> {
        let start = ptr::with_exposed_provenance_mut(start);
        // SAFETY: a private mapping of the program's file that may not be written, and of which the
        // kernel holds no copy: every page reads as that part of the file, before and after. The
        // loader is done with it before `main`, and nothing here makes its own code writable.
        unsafe { madvise(start, size, Advice::LinuxDontNeed) }
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::linux::{Range, clean};
    use super::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0200000 r--p 00000000 fe:00 123                        /usr/bin/cipher hub
Size:               2048 kB
Rss:                1024 kB
Anonymous:             0 kB
Locked:                0 kB
VmFlags: rd mr mw me
55d0c0200000-55d0c0300000 r-xp 00200000 fe:00 123                        /usr/bin/cipher hub
Rss:                 512 kB
Private_Dirty:         0 kB
55d0c0300000-55d0c0400000 r--p 00300000 fe:00 123                        /usr/bin/cipher hub
Rss:                 256 kB
Anonymous:             4 kB
55d0c0400000-55d0c0500000 rw-p 00400000 fe:00 123                        /usr/bin/cipher hub
Rss:                 256 kB
Anonymous:             0 kB
55d0c0500000-55d0c0600000 r-xp 00000000 fe:00 99                         /usr/lib/libc.so.6
Rss:                 256 kB
7ffd0000-7ffe0000 rw-p 00000000 00:00 0                                  [stack]
Rss:                 256 kB
";

    #[test]
    fn only_what_nobody_has_written_to_is_let_go() {
        let range = |start, size, resident| Range { start, size, resident };
        assert_eq!(
            clean(MAPS, b"/usr/bin/cipher hub"),
            [
                range(0x55d0_c000_0000, 0x20_0000, 1 << 20),
                range(0x55d0_c020_0000, 0x10_0000, 1 << 19)
            ]
        );
        assert_eq!(clean(MAPS, b"/usr/bin/cipher hub (deleted)"), []);
        assert_eq!(clean("", b""), []);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let work = || (0..1000_u32).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let before = work();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(work)).collect();
        for _ in 0..20 {
            assert!(let_go_of_code().unwrap() > 0);
            assert_eq!(work(), before);
        }
        for thread in threads {
            assert_eq!(thread.join().unwrap(), before);
        }
    }
}
