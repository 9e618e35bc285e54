//! What the process gives up before it does anything else: core files, being read by debuggers of
//! the same user, and gaining privileges (docs/threat-model.md, adversary A10).
//!
//! INVARIANT: [`harden`] runs before the configuration is read and before any thread starts.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Applies what the kernel offers and returns what it did not, one sentence each, for the log and
/// for `status`.
#[must_use]
pub fn harden() -> Vec<String> {
    let steps: [(&str, Result<(), Errno>); 3] = [
        ("not dumpable", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)),
        (
            "core limit 0",
            rustix::process::setrlimit(
                Resource::Core,
                Rlimit { current: Some(0), maximum: Some(0) },
            ),
        ),
        ("no_new_privs", rustix::thread::set_no_new_privs(true)),
    ];
    steps
        .into_iter()
        .filter_map(|(what, result)| {
            let error = result.err()?;
            Some(format!("process hardening step `{what}` is not available here: {error}"))
        })
        .collect()
}

/// The resident size of this process in bytes, or `None` where `/proc` is missing.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardening_takes_effect_and_can_be_repeated() {
        let first = harden();
        assert_eq!(first, harden());
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!(limit.current, Some(0));
        assert!(rustix::thread::no_new_privs().unwrap());
    }

    #[test]
    fn resident_memory_is_plausible() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
