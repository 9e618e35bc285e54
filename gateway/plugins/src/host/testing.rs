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

/// What of a slot is out of reach is larger than any gap in a program's own mappings.
const RESERVED: u64 = 1 << 30;

/// Every page that guests of this process can reach: a linear memory lies at the start of a slot of
/// some gibibytes, the rest of which nobody can access, with such a rest or a guard before it.
#[must_use]
pub fn linear_memories() -> Vec<Region> {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return Vec::new() };
    let Ok(memory) = File::open("/proc/self/mem") else { return Vec::new() };
    let mut found = Vec::new();
    // The open mappings since the last closed one, if nothing lies between them.
    let mut open: Option<Vec<(u64, u64)>> = None;
    let mut last_end = 0;
    for (start, end, access) in maps.lines().filter_map(mapping) {
        if start != last_end {
            open = None;
        }
        last_end = end;
        if !access.starts_with("---") {
            if let Some(open) = &mut open {
                open.push((start, end));
            }
            continue;
        }
        let slot = open.replace(Vec::new()).unwrap_or_default();
        if end - start >= RESERVED {
            found.extend(slot.into_iter().filter_map(|(start, end)| read(&memory, start, end)));
        }
    }
    found
}

/// Start, end and access.
fn mapping(line: &str) -> Option<(u64, u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?, words.next()?))
}

fn read(memory: &File, start: u64, end: u64) -> Option<Region> {
    let mut bytes = vec![0; usize::try_from(end - start).ok()?];
    memory.read_exact_at(&mut bytes, start).ok()?;
    Some(Region { start, bytes })
}
