//! Compiled plugins on disk, so that a start does not compile them again. A file is used only where
//! its MAC holds under the key that the hub handed in; every other file is thrown away and made
//! again. Without a key nothing is kept.
//!
//! ```text
//! file = magic(16) ‖ HMAC-SHA-256(key, label ‖ plugin digest ‖ engine ‖ code)(32) ‖ code
//! ```

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use hub_model::extend::PluginDigest;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::code::Sealed;

const MAGIC: &[u8; 16] = b"cipher-hub cwasm";
const LABEL: &[u8] = b"cipher-hub/v1/plugin-code\0";
const HEAD: usize = MAGIC.len() + 32;
/// No code is larger: it is read whole.
const MAX_FILE: u64 = 1 << 30;

pub(super) struct Cache {
    folder: PathBuf,
    mac: Hmac<Sha256>,
    engine: [u8; 32],
    files: AtomicU64,
}

impl Cache {
    /// Makes the folder where it is missing. One of somebody else, or that others may write to, is
    /// refused: the seal keeps their files out, but not their hands off ours.
    pub(super) fn open(folder: PathBuf, key: &[u8; 32], engine: &Engine) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let facts = fs::metadata(&folder)?;
        let own = rustix::process::geteuid().as_raw();
        if facts.uid() != own && facts.uid() != 0 {
            return Err(io::Error::other("it belongs to another user"));
        }
        if facts.mode() & 0o002 != 0 {
            return Err(io::Error::other("others may write to it; chmod o-w"));
        }
        let mac = Hmac::new_from_slice(key).map_err(io::Error::other)?;
        Ok(Self { folder, mac, engine: fingerprint(engine), files: AtomicU64::new(0) })
    }

    /// The compiled plugin, where there is a file whose MAC holds. What does not hold is removed.
    pub(super) fn load(&self, digest: &PluginDigest, engine: &Engine) -> Option<Component> {
        let path = self.path(digest);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.throw_away(&path, &error.to_string());
                return None;
            }
        };
        match self.open_sealed(digest, &bytes) {
            Some(sealed) => match sealed.component(engine) {
                Ok(component) => Some(component),
                Err(error) => {
                    self.throw_away(&path, &error.to_string());
                    None
                }
            },
            None => {
                self.throw_away(&path, "its seal does not hold");
                None
            }
        }
    }

    /// Keeps a compiled plugin. A cache that cannot be written costs time, nothing else.
    pub(super) fn keep(&self, digest: &PluginDigest, component: &Component) {
        if let Err(error) = self.write(digest, component) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "a compiled plugin cannot be kept");
        }
    }

    /// Removes what is kept of a plugin, by this engine and earlier ones.
    pub(super) fn forget(&self, digest: &PluginDigest) {
        self.remove_where(|name| name.starts_with(&digest.to_string()));
    }

    /// Removes what is kept of plugins that nothing needs, and what another process left half
    /// written.
    pub(super) fn retain(&self, needed: impl Fn(&PluginDigest) -> bool) {
        let own = format!(".{}.", std::process::id());
        self.remove_where(|name| {
            let half = name.starts_with('.') && name.ends_with(".tmp") && !name.starts_with(&own);
            let digest = name.strip_suffix(".cwasm").and_then(|name| name.split_once('-'));
            let digest = digest.and_then(|(digest, _)| digest.parse().ok());
            half || digest.is_some_and(|digest| !needed(&digest))
        });
    }

    fn write(&self, digest: &PluginDigest, component: &Component) -> io::Result<()> {
        let code = component.serialize().map_err(|e| io::Error::other(e.to_string()))?;
        let path = self.path(digest);
        let own = path.file_name().map(|name| name.to_string_lossy().into_owned());
        // Those of earlier engines are of no use any more.
        let prefix = digest.to_string();
        self.remove_where(|name| name.starts_with(&prefix) && Some(name) != own.as_deref());
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let draft = self.folder.join(format!(".{}.{number}.tmp", std::process::id()));
        // One of an earlier process with the same number, which may be anything by now.
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = file
            .write_all(MAGIC)
            .and_then(|()| file.write_all(&self.seal(digest, &code)))
            .and_then(|()| file.write_all(&code))
            .and_then(|()| fs::rename(&draft, &path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    fn mac_of(&self, digest: &PluginDigest, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(LABEL);
        mac.update(&digest.0);
        mac.update(&self.engine);
        mac.update(code);
        mac
    }

    fn seal(&self, digest: &PluginDigest, code: &[u8]) -> [u8; 32] {
        self.mac_of(digest, code).finalize().into_bytes().into()
    }

    fn open_sealed<'a>(&self, digest: &PluginDigest, bytes: &'a [u8]) -> Option<Sealed<'a>> {
        let (head, code) = bytes.split_at_checked(HEAD)?;
        let (magic, tag) = head.split_at_checked(MAGIC.len())?;
        if magic != MAGIC {
            return None;
        }
        self.mac_of(digest, code).verify_slice(tag).ok()?;
        Some(Sealed::after_mac_check(code))
    }

    fn path(&self, digest: &PluginDigest) -> PathBuf {
        let engine: String = self.engine.iter().take(8).map(|b| format!("{b:02x}")).collect();
        self.folder.join(format!("{digest}-{engine}.cwasm"))
    }

    fn throw_away(&self, path: &Path, why: &str) {
        let path_shown = path.display();
        tracing::warn!(path = %path_shown, why, "a compiled plugin is thrown away and made again");
        let _ = fs::remove_file(path);
    }

    fn remove_where(&self, which: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(&which) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A link would lead elsewhere; its MAC would not hold, but nothing else need be opened either.
    // And a pipe would keep who opens it waiting for ever.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let size = facts.len();
    if size > MAX_FILE {
        return Err(io::Error::other("it is too large"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Everything that decides whether compiled code fits: version of wasmtime, target, features of the
/// processor, and settings.
fn fingerprint(engine: &Engine) -> [u8; 32] {
    struct Into(Sha256);
    impl Hasher for Into {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut into = Into(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut into);
    into.0.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub_model::Thumbprint;
    use std::os::unix::fs::PermissionsExt;

    const A: PluginDigest = Thumbprint([1; 32]);
    const B: PluginDigest = Thumbprint([2; 32]);

    fn component(engine: &Engine) -> Component {
        let text = "(component (core module $m (memory 1)) (core instance (instantiate $m)))";
        Component::from_binary(engine, &wat::parse_str(text).unwrap()).unwrap()
    }

    fn cache(folder: &Path, key: u8, engine: &Engine) -> Cache {
        Cache::open(folder.to_owned(), &[key; 32], engine).unwrap()
    }

    #[test]
    fn what_was_kept_comes_back() {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        let cache = cache(folder.path(), 7, &engine);
        assert!(cache.load(&A, &engine).is_none());
        cache.keep(&A, &component(&engine));
        assert!(cache.load(&A, &engine).is_some());
        let mode = fs::metadata(cache.path(&A)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        cache.forget(&A);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_of_others_are_thrown_away() {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        let ours = cache(folder.path(), 7, &engine);
        ours.keep(&A, &component(&engine));
        // Another plugin's file under our name.
        fs::copy(ours.path(&A), ours.path(&B)).unwrap();
        assert!(ours.load(&B, &engine).is_none());
        assert!(!ours.path(&B).exists());
        // Another hub's key.
        let theirs = cache(folder.path(), 8, &engine);
        assert!(theirs.load(&A, &engine).is_none());
        assert!(!ours.path(&A).exists());
    }

    #[test]
    fn what_nothing_needs_is_removed() {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        let cache = cache(folder.path(), 7, &engine);
        cache.keep(&A, &component(&engine));
        cache.keep(&B, &component(&engine));
        fs::write(folder.path().join(".1.0.tmp"), "x").unwrap();
        let ours = folder.path().join(format!(".{}.9.tmp", std::process::id()));
        fs::write(&ours, "x").unwrap();
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        cache.retain(|digest| *digest == A);
        assert!(cache.path(&A).exists() && !cache.path(&B).exists());
        assert!(ours.exists() && folder.path().join("notes.txt").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn pipes_and_drafts_of_others_do_no_harm() {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        let cache = cache(folder.path(), 7, &engine);
        let made = std::process::Command::new("mkfifo").arg(cache.path(&A)).status().unwrap();
        assert!(made.success());
        assert!(cache.load(&A, &engine).is_none(), "and does not wait");
        assert!(!cache.path(&A).exists());
        // A link where the draft goes is not written through.
        let target = folder.path().join("precious");
        fs::write(&target, "as it was").unwrap();
        let draft = folder.path().join(format!(".{}.0.tmp", std::process::id()));
        std::os::unix::fs::symlink(&target, draft).unwrap();
        cache.keep(&A, &component(&engine));
        assert_eq!(fs::read(&target).unwrap(), b"as it was");
        assert!(cache.load(&A, &engine).is_some());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(folder.path().to_owned(), &[7; 32], &engine).err().unwrap();
        assert!(error.to_string().contains("chmod o-w"), "{error}");
    }

    #[test]
    fn another_engine_has_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let other = Engine::new(wasmtime::Config::new().consume_fuel(true)).unwrap();
        cache(folder.path(), 7, &engine).keep(&A, &component(&engine));
        let second = cache(folder.path(), 7, &other);
        assert!(second.load(&A, &other).is_none());
        second.keep(&A, &component(&other));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the old one is gone");
    }

    #[test]
    fn no_changed_bit_gets_through() {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        let cache = cache(folder.path(), 7, &engine);
        cache.keep(&A, &component(&engine));
        let good = fs::read(cache.path(&A)).unwrap();
        let step = (good.len() / 97).max(1);
        for at in (0..good.len()).step_by(step).chain(0..HEAD) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(cache.path(&A), &bad).unwrap();
            assert!(cache.load(&A, &engine).is_none(), "byte {at}");
            assert!(!cache.path(&A).exists());
        }
        for cut in [0, 1, HEAD - 1, HEAD, good.len() - 1] {
            fs::write(cache.path(&A), &good[..cut]).unwrap();
            assert!(cache.load(&A, &engine).is_none(), "{cut} bytes");
        }
        let longer = [good.as_slice(), b"x"].concat();
        fs::write(cache.path(&A), longer).unwrap();
        assert!(cache.load(&A, &engine).is_none());
        std::os::unix::fs::symlink("/etc/passwd", cache.path(&A)).unwrap();
        assert!(cache.load(&A, &engine).is_none());
        assert!(fs::symlink_metadata(cache.path(&A)).is_err(), "the link is gone");
        assert!(Path::new("/etc/passwd").exists());
    }
}
