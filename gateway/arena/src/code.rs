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
    use std::ptr;

    use rustix::mm::{Advice, madvise};

    /// Unmaps the pages of the running program's code, and of the constants before it, that nobody has
    /// written to, and gives their size in bytes. They are in the page cache still: whoever needs one
    /// has it back by a minor fault, a dozen others around it with it.
    ///
    /// # Errors
    /// Those of reading `/proc/self`.
    pub fn let_go_of_code() -> io::Result<usize> {
        let maps = std::fs::read_to_string("/proc/self/smaps")?;
        let here = let_go_of_code as *const () as usize;
        let mut bytes = 0_usize;
        for range in clean(&maps, here).into_iter().flatten() {
            unmap(range.start, range.size)?;
            bytes = bytes.saturating_add(range.resident);
        }
        Ok(bytes)
    }

    /// A mapping of which no page was copied or locked.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Range {
        pub(super) start: usize,
        pub(super) size: usize,
        pub(super) resident: usize,
    }

    impl Range {
        const fn end(&self) -> usize {
            self.start.saturating_add(self.size)
        }
    }

    /// Reads `/proc/self/smaps`: the code that this address lies in, and the constants of the same file
    /// that end where it begins; neither where one of its pages is not the file's. What is not
    /// understood is left out.
    pub(super) fn clean(maps: &str, here: usize) -> [Option<Range>; 2] {
        let (mut before, mut current) = (None::<Mapping<'_>>, None::<Mapping<'_>>);
        for line in maps.lines() {
            if let Some(mapping) = header(line) {
                if current.as_ref().is_some_and(|found| found.holds(here)) {
                    break;
                }
                before = current.replace(mapping);
                continue;
            }
            let Some(mapping) = current.as_mut() else { continue };
            let Some((name, value)) = line.split_once(':') else { continue };
            let size = value.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<usize>().ok());
            match (name, size) {
                ("Rss", Some(kib)) => mapping.range.resident = kib.saturating_mul(1024),
                // Copies of our own, which would be lost; and pages that are to stay. Pages of the
                // file itself that wait to be written are called dirty, too, and are no copies.
                ("Anonymous" | "Swap" | "Locked", Some(0)) => {}
                ("Anonymous" | "Swap" | "Locked", _) => mapping.clean = false,
                _ => {}
            }
        }
        let Some(code) = current.filter(|found| found.holds(here) && found.mode == "r-xp") else {
            return [None, None];
        };
        let constants = before.filter(|before| {
            before.mode == "r--p"
                && before.range.end() == code.range.start
                && before.path == code.path
        });
        [constants, Some(code)].map(|found| found.filter(|m| m.clean).map(|m| m.range))
    }

    struct Mapping<'a> {
        range: Range,
        mode: &'a str,
        path: &'a str,
        clean: bool,
    }

    impl Mapping<'_> {
        const fn holds(&self, address: usize) -> bool {
            self.range.start <= address && address < self.range.end()
        }
    }

    /// `55d0c0a00000-55d0c3000000 r-xp 00200000 fe:00 123  /usr/bin/cipher-hub`
    fn header(line: &str) -> Option<Mapping<'_>> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let size = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
        let mode = fields.next()?;
        let path = fields.nth(3).unwrap_or_default().trim_start();
        Some(Mapping { range: Range { start, size, resident: 0 }, mode, path, clean: true })
    }

    #[expect(unsafe_code, reason = "gives pages back")]
    fn unmap(start: usize, size: usize) -> rustix::io::Result<()> {
        let start = ptr::with_exposed_provenance_mut(start);
        // SAFETY: the private mapping that this very code runs in, or the one beside it of the same
        // loaded file, so neither is ever unmapped and its addresses used for something else. It may not be
        // written, and the kernel holds no copies of its pages: every page reads as that part of the
        // file, before and after. The loader is done with it before `main`, and nothing here makes its
        // own code writable.
        unsafe { madvise(start, size, Advice::LinuxDontNeed) }
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::linux::{Range, clean};
    use super::*;

    const MAPS: &str = "\
55d0bff00000-55d0c0000000 r--p 00000000 fe:00 99                         /usr/lib/other.so
Rss:                 256 kB
55d0c0000000-55d0c0200000 r--p 00000000 fe:00 123                        /usr/bin/cipher hub
Size:               2048 kB
Rss:                1024 kB
Private_Dirty:      1024 kB
Anonymous:             0 kB
Locked:                0 kB
VmFlags: rd mr mw me
55d0c0200000-55d0c0300000 r-xp 00200000 fe:00 123                        /usr/bin/cipher hub
Rss:                 512 kB
Swap:                  0 kB
55d0c0300000-55d0c0400000 r--p 00300000 fe:00 123                        /usr/bin/cipher hub
Rss:                 256 kB
Anonymous:             4 kB
7ffd0000-7ffe0000 rw-p 00000000 00:00 0                                  [stack]
Rss:                 256 kB
";

    #[test]
    fn only_what_nobody_has_written_to_is_let_go() {
        let range = |start, size, resident| Some(Range { start, size, resident });
        let constants = range(0x55d0_c000_0000, 0x20_0000, 1 << 20);
        let code = range(0x55d0_c020_0000, 0x10_0000, 1 << 19);
        let here = 0x55d0_c020_1234;
        assert_eq!(clean(MAPS, here), [constants, code]);
        for elsewhere in [0, 0x55d0_c000_0000, 0x55d0_c030_0000, 0x7ffd_0000, usize::MAX] {
            assert_eq!(clean(MAPS, elsewhere), [None, None], "{elsewhere:x}");
        }
        for kept in ["Swap:                  4 kB", "Swap:  what", "Locked:                4 kB"] {
            let maps = MAPS.replace("Swap:                  0 kB", kept);
            assert_eq!(clean(&maps, here), [constants, None], "{kept}");
        }
        let maps = MAPS.replace("Anonymous:             0 kB", "Anonymous:             8 kB");
        assert_eq!(clean(&maps, here), [None, code]);
        // Of another file, or with something in between.
        let maps = MAPS.replace("55d0c0200000-55d0c0300000 r-xp", "55d0c0201000-55d0c0300000 r-xp");
        assert_eq!(clean(&maps, here).first(), Some(&None));
        assert_eq!(clean("", here), [None, None]);
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
