//! Sockets: TCP addresses and the file of the Unix socket.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::config::FileMode;

const BACKLOG: u32 = 1024;

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A TCP address.
    #[error("cannot listen on `{address}` (server.listen): {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The Unix socket.
    #[error("cannot listen on `{}` (server.unix_socket): {source}", path.display())]
    Unix {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process answers there.
    #[error("another process answers on `{}` (server.unix_socket)", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// The threads that connections live on.
    #[error("cannot start the threads of connections: {0}")]
    Threads(io::Error),
    /// Something that is no socket lies there.
    #[error("`{}` (server.unix_socket) is there and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
}

pub(super) fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The file of the Unix socket, removed when dropped.
#[derive(Debug)]
pub(super) struct UnixPath(pub(super) PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds in a directory of our own (0700) when there is none yet; the socket is 0600 from its first
/// moment. A file left behind by a crash is removed, a socket somebody answers on is not.
pub(super) fn unix(path: &Path, mode: FileMode) -> Result<(UnixListener, UnixPath), ListenError> {
    let failed = |source| ListenError::Unix { path: path.into(), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(parent).map_err(failed)?;
        let mode = std::fs::metadata(parent).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(
                target: "hub::listen",
                directory = %parent.display(),
                mode = format_args!("{mode:03o}"),
                "others can enter the directory of the Unix socket",
            );
        }
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.into() });
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) => return Err(ListenError::Taken { path: path.into() }),
            Err(error) => return Err(failed(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // Never more open than it shall be, not even between two calls.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777 & !mode.0));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(failed)?;
    Ok((listener, UnixPath(path.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/hub.sock");
        let (listener, file) = unix(&path, FileMode(0o600)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(matches!(unix(&path, FileMode(0o600)), Err(ListenError::Taken { .. })));
        std::mem::forget(file);
        drop(listener);
        let (_listener, file) = unix(&path, FileMode(0o600)).unwrap();
        drop(file);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(unix(&path, FileMode(0o600)), Err(ListenError::NotASocket { .. })));
        assert!(path.exists());
    }
}
