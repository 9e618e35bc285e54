//! Where pages come from. The only place with `unsafe`; what it hands out is an ordinary
//! `&'static mut [u8]`, so everything above is checked by the compiler.
//!
//! Pages are never unmapped. Children of `fork` do not have them at all (`MADV_DONTFORK`): a
//! child that touches a secret dies, where wiped pages would have it work with all-zero keys.

use std::fmt;

use crate::Error;

/// How well pages are kept, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `memfd_secret(2)`: locked, and unmapped from the kernel's own address space.
    MemfdSecret,
    /// Anonymous memory under `mlock(2)` and `MADV_DONTDUMP`.
    Locked,
    /// Ordinary memory: may be swapped out.
    Plain,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemfdSecret => "memfd_secret",
            Self::Locked => "locked",
            Self::Plain => "plain",
        })
    }
}

/// A run of fresh pages, all zeros.
pub(crate) struct Chunk {
    pub(crate) bytes: &'static mut [u8],
    pub(crate) kind: Kind,
    /// What kept the kind from being a better one.
    pub(crate) reason: Option<String>,
}

/// Maps `len` bytes (a multiple of the page size) of the best kind to be had.
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) fn map(len: usize) -> Result<Chunk, Error> {
    let secret = match linux::map_secret(len) {
        Ok(bytes) => return Ok(Chunk { bytes, kind: Kind::MemfdSecret, reason: None }),
        Err(errno) => format!("memfd_secret: {errno}"),
    };
    let bytes = linux::map_anonymous(len).map_err(|errno| Error::NoMemory(errno.to_string()))?;
    match linux::lock(bytes) {
        Ok(()) => Ok(Chunk { bytes, kind: Kind::Locked, reason: Some(secret) }),
        Err(errno) => {
            let reason = format!("{secret}; mlock: {errno} (is RLIMIT_MEMLOCK too low?)");
            Ok(Chunk { bytes, kind: Kind::Plain, reason: Some(reason) })
        }
    }
}

/// Miri and other systems: ordinary memory.
#[cfg(any(not(target_os = "linux"), miri))]
pub(crate) fn map(len: usize) -> Result<Chunk, Error> {
    let bytes = Box::leak(vec![0; len].into_boxed_slice());
    let reason = Some("this platform has no locked pages".to_owned());
    Ok(Chunk { bytes, kind: Kind::Plain, reason })
}

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};
    use std::ptr;

    use rustix::io::{Errno, Result};
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, munmap};

    /// Pages of memfd_secret(2), Linux 5.14. They count against RLIMIT_MEMLOCK, which is the
    /// usual reason for failing besides `secretmem.enable=0` and seccomp profiles.
    #[expect(unsafe_code, reason = "maps memory")]
    pub(super) fn map_secret(len: usize) -> Result<&'static mut [u8]> {
        let fd = memfd_secret()?;
        rustix::fs::ftruncate(&fd, u64::try_from(len).map_err(|_| Errno::INVAL)?)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so nothing existing is replaced.
        let start = unsafe { mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, &fd, 0) }?;
        // SAFETY: exactly the mapping made above, which nobody else knows and which is only
        // unmapped here, on the way out with an error.
        unsafe {
            if let Err(errno) = madvise(start, len, Advice::LinuxDontFork) {
                munmap(start, len)?;
                return Err(errno);
            }
        }
        // SAFETY: `len` readable, writable, zeroed bytes (a fresh memfd reads as zeros) that no
        // other pointer reaches (the descriptor is closed on return) and that stay mapped.
        Ok(unsafe { std::slice::from_raw_parts_mut(start.cast(), len) })
    }

    #[expect(unsafe_code, reason = "rustix does not wrap memfd_secret(2)")]
    fn memfd_secret() -> Result<OwnedFd> {
        // SAFETY: the call takes flags only, all of them integers.
        let outcome = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        if outcome < 0 {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOSYS);
            return Err(Errno::from_raw_os_error(errno));
        }
        let fd = RawFd::try_from(outcome).map_err(|_| Errno::BADF)?;
        // SAFETY: a descriptor the kernel has just made for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Private anonymous pages, left out of core files and of children.
    #[expect(unsafe_code, reason = "maps memory")]
    pub(super) fn map_anonymous(len: usize) -> Result<&'static mut [u8]> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so nothing existing is replaced.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), len, protection, MapFlags::PRIVATE) }?;
        // SAFETY: exactly the mapping made above. The advice changes what forks and dumps see,
        // not the bytes; a kernel that refuses it leaves the pages usable.
        unsafe {
            let _ = madvise(start, len, Advice::LinuxDontDump);
            let _ = madvise(start, len, Advice::LinuxDontFork);
        }
        // SAFETY: `len` readable, writable, zeroed bytes that no other pointer reaches and that
        // stay mapped as long as the process.
        Ok(unsafe { std::slice::from_raw_parts_mut(start.cast(), len) })
    }

    /// mlock(2): faults every page in and keeps it off the swap.
    #[expect(unsafe_code, reason = "locks memory")]
    pub(super) fn lock(bytes: &mut [u8]) -> Result<()> {
        // SAFETY: a mapping of our own; locking does not change its bytes.
        unsafe { mlock(bytes.as_mut_ptr().cast(), bytes.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_page_is_zeroed_and_writable() {
        let mut chunks = vec![map(4096).unwrap().bytes];
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let bytes = linux::map_anonymous(4096).unwrap();
            // Under an exhausted RLIMIT_MEMLOCK locking may fail; the pages are good all the same.
            let _ = linux::lock(bytes);
            chunks.push(bytes);
        }
        for bytes in chunks {
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(1);
            assert!(bytes.iter().all(|byte| *byte == 1));
        }
    }

    #[test]
    fn kinds_are_ordered_best_first() {
        assert!(Kind::MemfdSecret < Kind::Locked && Kind::Locked < Kind::Plain);
    }
}
