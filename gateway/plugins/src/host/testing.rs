//! For tests alone (feature `testing`): what is in the memories of guests, read the way anyone with
//! access to the process would read it, from `/proc`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// A readable part of the address space that wasmtime reserves for linear memories.
#[derive(Clone, Debug)]
pub struct Region {
    /// Where it begins.
    pub start: u64,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Region {
    /// Whether these bytes are in it.
    #[must_use]
    pub fn holds(&self, wanted: &[u8]) -> bool {
        self.bytes.windows(wanted.len().max(1)).any(|window| window == wanted)
    }
}

/// No single mapping of a program's own is that large.
const RESERVED: u64 = 4 << 30;

/// Every page that guests of this process can reach: linear memories lie in reservations of
/// gibibytes, one after the other, most of each without access.
#[must_use]
pub fn linear_memories() -> Vec<Region> {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return Vec::new() };
    let Ok(memory) = File::open("/proc/self/mem") else { return Vec::new() };
    let mut found = Vec::new();
    let mut run: Vec<(u64, u64, bool)> = Vec::new();
    for mapping in maps.lines().filter_map(mapping) {
        if run.last().is_some_and(|(_, end, _)| *end != mapping.0) {
            found.extend(readable(&run, &memory));
            run.clear();
        }
        run.push(mapping);
    }
    found.extend(readable(&run, &memory));
    found
}

/// Start, end, and whether it can be read and written.
fn mapping(line: &str) -> Option<(u64, u64, bool)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?, access.starts_with("rw")))
}

fn readable(run: &[(u64, u64, bool)], memory: &File) -> Vec<Region> {
    let span: u64 =
        run.iter().filter(|(_, _, open)| !open).map(|(start, end, _)| end - start).sum();
    if span < RESERVED {
        return Vec::new();
    }
    let mut regions = Vec::new();
    for (start, end, _) in run.iter().filter(|(_, _, open)| *open) {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        if memory.read_exact_at(&mut bytes, *start).is_ok() {
            regions.push(Region { start: *start, bytes });
        }
    }
    regions
}
