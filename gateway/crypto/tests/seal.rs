//! The key file and the seal file: made safely under any umask, read strictly, and clear about
//! what is wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use hub_crypto::{Binding, Kek};
use hub_crypto::{Error, KeyFileSeal, RootKey, Seal as _, SealFile};
use hub_model::{HubId, RegistrationId};
use tempfile::tempdir;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Whether two root keys are the same, seen from outside.
fn same(a: &RootKey, b: &RootKey) -> bool {
    let place =
        Binding::kek(HubId::from_bytes([0; 16]), b"", RegistrationId::from_bytes([0; 16]), 1);
    let wrapped = a.kek().wrap_kek(&place, &Kek::generate(1).unwrap());
    b.kek().unwrap_kek(&place, &wrapped).is_ok()
}

#[test]
fn a_key_file_seals_and_unseals() {
    let (dir, hub) = (tempdir().unwrap(), HubId::generate());
    let path = dir.path().join("seal.key");
    let seal = KeyFileSeal::create(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let root = RootKey::generate(3).unwrap();
    let wrapped = seal.wrap(&root, hub).unwrap();

    let again = KeyFileSeal::open(&path).unwrap();
    assert_eq!((again.kind(), again.check()), ("key-file", seal.check()));
    let back = again.unwrap(&wrapped, hub).unwrap();
    assert!(same(&root, &back) && back.epoch() == 3);
    assert!(matches!(again.unwrap(&wrapped, HubId::generate()), Err(Error::Open)));
    let other = KeyFileSeal::create(dir.path().join("other.key")).unwrap();
    assert!(matches!(other.unwrap(&wrapped, hub), Err(Error::Open)));
    assert!(!same(&root, &RootKey::generate(3).unwrap()));
    let line = fs::read_to_string(&path).unwrap();
    assert!(!format!("{seal:?}").contains(line.split(' ').nth(1).unwrap()));
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("seal.key");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(KeyFileSeal::create(&path), Err(Error::File { action: "create", .. })));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let link = dir.path().join("link.key");
    symlink(dir.path().join("target.key"), &link).unwrap();
    assert!(KeyFileSeal::create(&link).is_err());
    assert!(!dir.path().join("target.key").exists());
}

#[test]
fn unsafe_files_are_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("seal.key");
    KeyFileSeal::create(&path).unwrap();
    for bits in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
        let refused = KeyFileSeal::open(&path).unwrap_err();
        assert!(refused.to_string().ends_with("give it mode 0600"), "{refused}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    assert!(KeyFileSeal::open(&path).is_ok());
    let link = dir.path().join("link.key");
    symlink(&path, &link).unwrap();
    let refused = KeyFileSeal::open(&link).unwrap_err();
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
    assert!(matches!(KeyFileSeal::open(dir.path()), Err(Error::Unfit { .. })));
    assert!(matches!(KeyFileSeal::open(dir.path().join("none")), Err(Error::File { .. })));
}

#[test]
fn a_damaged_key_file_is_told_from_another_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("seal.key");
    KeyFileSeal::create(&path).unwrap();
    let line = fs::read(&path).unwrap();
    for at in 0..line.len() {
        for mask in [1, 0x20] {
            let mut changed = line.clone();
            changed[at] ^= mask;
            fs::write(&path, &changed).unwrap();
            let text = KeyFileSeal::open(&path).unwrap_err().to_string();
            let word = if at < 22 { "not a cipher hub seal key" } else { "damaged" };
            assert!(text.contains(word), "{at}: {text}");
        }
        fs::write(&path, &line[..at]).unwrap();
        assert!(matches!(KeyFileSeal::open(&path), Err(Error::Unfit { .. })), "{at}");
    }
    fs::write(&path, [line.as_slice(), b"\n"].concat()).unwrap();
    assert!(matches!(KeyFileSeal::open(&path), Err(Error::Unfit { .. })));
}

#[test]
fn a_seal_file_leads_to_the_root_key() {
    let (dir, hub) = (tempdir().unwrap(), HubId::generate());
    let path = dir.path().join("seal.json");
    let seal = KeyFileSeal::create(dir.path().join("a.key")).unwrap();
    let spare = KeyFileSeal::create(dir.path().join("b.key")).unwrap();
    let root = RootKey::generate(1).unwrap();
    let mut file = SealFile::new(hub, root.epoch());
    assert_eq!(file.add(&seal, &root, "first", "a.key").unwrap(), 1);
    file.write(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(file.add(&spare, &root, "spare", "b.key").unwrap(), 2);
    file.write(&path).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "no temporary file is left");

    let read = SealFile::read(&path).unwrap();
    assert_eq!(read, file);
    for (slot, seal) in read.slots.iter().zip([&seal, &spare]) {
        assert!(same(&root, &read.unseal(slot, seal).unwrap()));
    }
    assert!(matches!(read.unseal(&read.slots[0], &spare), Err(Error::WrongSeal { .. })));
    let mut moved = read.clone();
    moved.hub = HubId::generate();
    assert!(matches!(moved.unseal(&moved.slots[0], &seal), Err(Error::Open)));
    let mut aged = read.clone();
    aged.epoch = 2;
    assert!(matches!(aged.unseal(&aged.slots[0], &seal), Err(Error::Open)));
}

#[test]
fn a_seal_file_is_read_strictly() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("seal.json");
    let seal = KeyFileSeal::create(dir.path().join("a.key")).unwrap();
    let root = RootKey::generate(1).unwrap();
    let mut file = SealFile::new(HubId::generate(), 1);
    file.write(&path).unwrap();
    assert!(SealFile::read(&path).is_err(), "no slots");
    file.add(&seal, &root, "first", "a.key").unwrap();
    file.write(&path).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("seal-1", "seal-2"),
        ("\"epoch\": 1", "\"epoch\": -1"),
        ("\"epoch\"", "\"epoc\""),
        ("\"epoch\": 1,", "\"epoch\": 1, \"more\": 1,"),
        ("\"label\"", "\"labels\""),
        ("hub_", "key_"),
        ("}", ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        fs::write(&path, bad).unwrap();
        assert!(matches!(SealFile::read(&path), Err(Error::Unfit { .. })), "{from}");
    }
    file.slots = vec![file.slots[0].clone(), file.slots[0].clone()];
    file.write(&path).unwrap();
    assert!(SealFile::read(&path).unwrap_err().to_string().contains("one number"));
    fs::write(&path, &good).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert!(SealFile::read(&path).unwrap_err().to_string().contains("written by other users"));
}
