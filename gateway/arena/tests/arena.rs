//! Random lives of secrets against a model, from one thread and from many, and what the kernel
//! says about the pages.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use hub_arena::{Kind, MAX_LEN, Secret, status};
use proptest::prelude::*;

/// The arena is one per process, so tests that count take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const CASES: u32 = if cfg!(miri) { 2 } else { 128 };
const STEPS: usize = if cfg!(miri) { 20 } else { 200 };

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(len).map(|i| seed.wrapping_mul(31).wrapping_add(i) | 1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each step takes a secret (checking that its slot came zeroed) or drops one; all others keep
    /// their content.
    #[test]
    fn secrets_keep_to_themselves(
        steps in proptest::collection::vec((any::<bool>(), 0..=MAX_LEN, any::<u8>()), 1..STEPS),
    ) {
        let _turn = turn();
        let before = status();
        let mut alive: Vec<(Secret, Vec<u8>)> = Vec::new();
        for (take, len, seed) in steps {
            if take || alive.is_empty() {
                // Mostly short ones, as in life.
                let len = if seed % 4 == 0 { len } else { len % 65 };
                let bytes = pattern(seed, len);
                let secret = Secret::fill(len, |slot| {
                    assert!(slot.iter().all(|byte| *byte == 0));
                    slot.copy_from_slice(&bytes);
                });
                alive.push((secret.unwrap(), bytes));
            } else {
                alive.swap_remove(usize::from(seed) % alive.len());
            }
            let now = status();
            prop_assert_eq!(now.secrets, before.secrets + alive.len());
            let bytes: usize = alive.iter().map(|(secret, _)| secret.len()).sum();
            prop_assert_eq!(now.bytes_in_use, before.bytes_in_use + bytes);
            prop_assert!(now.bytes_mapped >= now.bytes_in_use);
        }
        for (secret, bytes) in &alive {
            prop_assert_eq!(secret.expose_secret(), bytes);
        }
        drop(alive);
        prop_assert_eq!(status().secrets, before.secrets);
    }
}

#[test]
fn threads_share_the_arena() {
    let _turn = turn();
    let before = status();
    let rounds = if cfg!(miri) { 5 } else { 2_000 };
    let workers: Vec<_> = (0..8u8)
        .map(|worker| {
            thread::spawn(move || {
                let mut kept = Vec::new();
                for round in 0..rounds {
                    let len = (round * 37 + usize::from(worker)) % 200;
                    let bytes = pattern(worker, len);
                    kept.push((Secret::copy_from(&bytes).unwrap(), bytes));
                    if kept.len() > 16 {
                        let (secret, bytes) = kept.swap_remove(round % 16);
                        assert_eq!(secret.expose_secret(), bytes);
                    }
                }
                kept
            })
        })
        .collect();
    // Secrets made by one thread are read and dropped by another.
    for worker in workers {
        for (secret, bytes) in worker.join().unwrap() {
            assert_eq!(secret.expose_secret(), bytes);
        }
    }
    assert_eq!(status().secrets, before.secrets);
}

#[test]
fn a_panic_while_filling_gives_the_slot_back_erased() {
    let _turn = turn();
    let before = status().secrets;
    let outcome = std::panic::catch_unwind(|| {
        Secret::fill(32, |slot| {
            slot.fill(0xff);
            panic!("half way");
        })
    });
    assert!(outcome.is_err());
    assert_eq!(status().secrets, before);
    Secret::fill(32, |slot| assert_eq!(slot, [0; 32])).unwrap();
}

#[test]
fn a_kind_below_the_best_has_a_reason() {
    let _turn = turn();
    let status = status();
    assert_eq!(status.kind == Kind::MemfdSecret, status.reason.is_none(), "{status:?}");
    assert!(status.bytes_mapped > 0);
}

/// The kernel's own word on the pages: not in core files, not in children, locked.
#[test]
#[cfg(all(target_os = "linux", not(miri)))]
fn the_kernel_keeps_the_pages() {
    let _turn = turn();
    let secret = Secret::copy_from(b"somewhere").unwrap();
    let address = secret.expose_secret().as_ptr() as usize;
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut flags = None;
    let mut inside = false;
    for line in maps.lines() {
        let range = line.split(' ').next().and_then(|word| word.split_once('-'));
        if let Some((Ok(start), Ok(end))) =
            range.map(|(a, b)| (usize::from_str_radix(a, 16), usize::from_str_radix(b, 16)))
        {
            inside = (start..end).contains(&address);
        } else if inside && let Some(words) = line.strip_prefix("VmFlags:") {
            flags = Some(words.to_owned());
        }
    }
    let flags = flags.unwrap();
    for (flag, meaning) in [("dd", "left out of core files"), ("dc", "left out of children")] {
        assert!(flags.split_whitespace().any(|word| word == flag), "{meaning}: {flags}");
    }
    if status().kind != Kind::Plain {
        assert!(flags.split_whitespace().any(|word| word == "lo"), "locked: {flags}");
    }
}
