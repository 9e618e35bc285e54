//! Negative test 18 (security model §12): fresh files are 0600 under every umask. Alone in its
//! binary, because the umask belongs to the whole process.

use std::os::unix::fs::PermissionsExt as _;

use hub_crypto::{KeyFileSeal, RootKey, SealFile};
use hub_model::HubId;
use rustix::fs::Mode;

#[test]
fn files_are_private_under_every_umask() {
    let dir = tempfile::tempdir().unwrap();
    let root = RootKey::generate(1).unwrap();
    for umask in [0o000, 0o022, 0o077, 0o777] {
        let before = rustix::process::umask(Mode::from_raw_mode(umask));
        let (key, file) =
            (dir.path().join(format!("{umask:o}.key")), dir.path().join(format!("{umask:o}.json")));
        let seal = KeyFileSeal::create(&key).unwrap();
        let mut slots = SealFile::new(HubId::generate(), 1);
        slots.add(&seal, &root, "", "").unwrap();
        slots.write(&file).unwrap();
        rustix::process::umask(before);
        for path in [key, file] {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}
