//! Whether files have changed, without reading them. Looked at by path, through links: that is how
//! Kubernetes swaps a mounted Secret or ConfigMap.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::crl;
use crate::config::TlsConfig;

/// What the system says about each file; none for one that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look(Vec<(PathBuf, Option<Facts>)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// Looks at every file of `config`.
    pub(super) fn at(config: &TlsConfig) -> Self {
        let named = [&config.cert_file, &config.key_file, &config.client_ca_file];
        let mut paths: Vec<PathBuf> = named.into_iter().flatten().cloned().collect();
        paths.extend(config.client_crl_files.iter().cloned());
        if let Some(folder) = &config.client_crl_dir {
            paths.push(folder.clone());
            paths.extend(crl::files_in(folder).unwrap_or_default());
        }
        Self(paths.into_iter().map(|path| (path.clone(), facts(&path))).collect())
    }
}

fn facts(path: &Path) -> Option<Facts> {
    let facts = std::fs::metadata(path).ok()?;
    Some(Facts {
        device: facts.dev(),
        inode: facts.ino(),
        size: facts.size(),
        modified: (facts.mtime(), facts.mtime_nsec()),
        changed: (facts.ctime(), facts.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_link_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, text) in [("one", "same"), ("two", "same")] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("tls.crt"), text).unwrap();
        }
        std::os::unix::fs::symlink("one", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/tls.crt", at("tls.crt")).unwrap();
        let config = TlsConfig { cert_file: Some(at("tls.crt")), ..TlsConfig::default() };
        let before = Look::at(&config);
        assert_eq!(before, Look::at(&config));
        std::os::unix::fs::symlink("two", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        assert_ne!(before, Look::at(&config));
        std::fs::remove_file(at("..data")).unwrap();
        assert_ne!(Look::at(&config), before);
    }
}
