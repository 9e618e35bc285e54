//! Archives of the audit log, as somebody hands them to `audit archive verify`.

use hub_audit::archive::{Archive, examine};

/// A whole file. What is found whole is found so again.
pub(super) fn archive(data: &[u8]) {
    let id = std::process::id();
    let path = std::env::temp_dir().join(format!("cipher-hub-fuzz-{id}.audit"));
    // Where nothing can be written there is nothing to try.
    if std::fs::write(&path, data).is_err() {
        return;
    }
    let look = || {
        let found = Archive::open(&path)?;
        examine(&found, &[], &[], &mut |_| ())
    };
    let (one, other) = (look(), look());
    drop(std::fs::remove_file(&path));
    assert_eq!(one, other);
    if let Ok(examined) = one {
        assert_eq!(examined.bytes, data.len() as u64);
        assert_eq!(examined.sha256, hub_crypto::hash::sha256(data));
        assert!(examined.first < examined.end);
    }
}
