//! Slots by size class over the pages: a free list per class, refilled a page at a time. A page
//! serves one class for ever, so slots never straddle pages and fragments cannot form.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Error, Kind, Status, pages};

/// The unit in which pages are dealt to classes, and the largest slot: two pages of the system, for
/// the longest secrets that are wrapped for export.
pub(crate) const PAGE: usize = 8192;
/// Pages mapped at once. Small, so that a tight RLIMIT_MEMLOCK still yields locked pages.
const CHUNK: usize = if cfg!(miri) { PAGE } else { 8 * PAGE };
/// Slot sizes 32, 64, … 8192.
const CLASSES: usize = 9;
const SMALLEST: usize = 32;

static ARENA: Mutex<Arena> = Mutex::new(Arena::new());

struct Arena {
    /// Slots nobody owns, by class. INVARIANT: all zeros, and each list has room for every slot
    /// of its class, so that giving one back never allocates.
    free: [Vec<&'static mut [u8]>; CLASSES],
    /// Slots that exist, by class.
    dealt: [usize; CLASSES],
    /// Pages no class has taken yet.
    pages: Vec<&'static mut [u8]>,
    weakest: Option<(Kind, Option<String>)>,
    bytes_in_use: usize,
    bytes_mapped: usize,
    secrets: usize,
}

/// Takes a slot of the smallest class that holds `len` bytes.
pub(crate) fn take(len: usize) -> Result<&'static mut [u8], Error> {
    let class = class_of(len).ok_or(Error::TooLong { len, max: PAGE })?;
    let mut arena = lock();
    let slot = arena.pop(class)?;
    arena.bytes_in_use += len;
    arena.secrets += 1;
    Ok(slot)
}

/// Takes an erased slot back.
pub(crate) fn give_back(slot: &'static mut [u8], len: usize) {
    let mut arena = lock();
    arena.bytes_in_use -= len;
    arena.secrets -= 1;
    if let Some(list) = class_of(slot.len()).and_then(|class| arena.free.get_mut(class)) {
        list.push(slot);
    }
}

pub(crate) fn status() -> Status {
    let mut arena = lock();
    if arena.weakest.is_none() {
        // Nothing to do about a failure here: `weakest` then says so below.
        drop(arena.grow());
    }
    let (kind, reason) = arena
        .weakest
        .clone()
        .unwrap_or_else(|| (Kind::Plain, Some("no page could be mapped yet".to_owned())));
    Status {
        kind,
        reason,
        bytes_in_use: arena.bytes_in_use,
        bytes_mapped: arena.bytes_mapped,
        secrets: arena.secrets,
    }
}

/// A panic inside the lock cannot leave the arena half changed: every step is a single push, pop
/// or sum.
fn lock() -> MutexGuard<'static, Arena> {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The class whose slots hold `len` bytes.
fn class_of(len: usize) -> Option<usize> {
    (0..CLASSES).find(|class| len <= SMALLEST << class)
}

impl Arena {
    const fn new() -> Self {
        Self {
            free: [const { Vec::new() }; CLASSES],
            dealt: [0; CLASSES],
            pages: Vec::new(),
            weakest: None,
            bytes_in_use: 0,
            bytes_mapped: 0,
            secrets: 0,
        }
    }

    fn pop(&mut self, class: usize) -> Result<&'static mut [u8], Error> {
        let nothing = || Error::NoMemory("no such class of slots".to_owned());
        if let Some(slot) = self.free.get_mut(class).ok_or_else(nothing)?.pop() {
            return Ok(slot);
        }
        if self.pages.is_empty() {
            self.grow()?;
        }
        let page = self.pages.pop().ok_or_else(nothing)?;
        let (Some(list), Some(dealt)) = (self.free.get_mut(class), self.dealt.get_mut(class))
        else {
            return Err(nothing());
        };
        *dealt += page.len() / (SMALLEST << class);
        list.reserve(*dealt);
        list.extend(page.chunks_exact_mut(SMALLEST << class));
        list.pop().ok_or_else(nothing)
    }

    /// Maps a chunk and cuts it into pages.
    fn grow(&mut self) -> Result<(), Error> {
        let chunk = pages::map(CHUNK)?;
        self.bytes_mapped += chunk.bytes.len();
        let weaker = self.weakest.as_ref().is_none_or(|(kind, _)| chunk.kind > *kind);
        if weaker {
            self.weakest = Some((chunk.kind, chunk.reason));
        }
        self.pages.extend(chunk.bytes.chunks_exact_mut(PAGE));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_fit() {
        assert_eq!(class_of(0), Some(0));
        assert_eq!(class_of(32), Some(0));
        assert_eq!(class_of(33), Some(1));
        assert_eq!(class_of(PAGE), Some(CLASSES - 1));
        assert_eq!(class_of(PAGE + 1), None);
    }

    #[test]
    fn free_slots_are_all_zeros() {
        let slots: Vec<_> =
            (0..40).map(|i| crate::Secret::fill(i * 7, |slot| slot.fill(0xff)).unwrap()).collect();
        drop(slots);
        let arena = lock();
        for slot in arena.free.iter().flatten().chain(&arena.pages) {
            assert!(slot.iter().all(|byte| *byte == 0));
        }
    }
}
