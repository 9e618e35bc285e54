//! Reading stdin and files, writing files that others must not read, and asking people.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::output::{Console, Input};

/// Reads a file, or stdin without one, up to `limit` bytes. `Ok(None)` when there is more.
pub(crate) async fn read(
    console: &Console,
    path: Option<&Path>,
    limit: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let shown = path.unwrap_or(Path::new("stdin")).to_owned();
    let source = path.map(Path::to_owned);
    let input = console.input.clone();
    // Off this thread, so that an interrupt is heard while stdin is silent.
    let read = blocking(move || match (source, input) {
        (Some(path), _) => up_to(File::open(path)?, limit),
        (None, Input::Process) => up_to(io::stdin().lock(), limit),
        #[cfg(test)]
        (None, Input::Bytes(bytes)) => up_to(&bytes[..], limit),
    })
    .await
    .map_err(|error| Failure::file(&shown, &error))?;
    Ok((read.len() <= limit).then_some(read))
}

/// One byte more than `limit` tells that there is more.
pub(crate) fn up_to(source: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let most = limit.saturating_add(1);
    // INVARIANT: `read_to_end` looks for the end with 32 bytes of room, so it never reallocates.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most.saturating_add(64)));
    source.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Writes a file that only its owner may read: all of it or nothing. What is there and is no
/// regular file (a pipe, a device) is written to directly.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside: PathBuf = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// A file that only its owner may read, written piece by piece under a name of its own. It gets the
/// name wanted when it is kept; else it is removed. What is there and is no regular file (a pipe, a
/// device) is written to directly.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    path: PathBuf,
    beside: Option<PathBuf>,
}

impl Draft {
    /// Begins to write.
    pub(crate) fn begin(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        if std::fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(&path)?;
            return Ok(Self { file, path, beside: None });
        }
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let beside = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        Ok(Self { file, path, beside: Some(beside) })
    }

    /// Where to write.
    pub(crate) const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// It is whole: gives it its name.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        let Some(beside) = &self.beside else { return self.file.flush() };
        self.file.sync_all()?;
        std::fs::rename(beside, &self.path)?;
        self.beside = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = std::fs::remove_file(beside);
        }
    }
}

/// Wants the name typed, unless `--yes` or a dry run.
pub(crate) async fn confirm(
    console: &mut Console,
    sure: bool,
    what: &str,
    name: &str,
) -> Result<(), Failure> {
    if sure {
        return Ok(());
    }
    if matches!(console.input, Input::Process) && !io::stdin().is_terminal() {
        return Err(Failure::usage(
            format!("{what} `{name}` wants to be confirmed, and stdin is no terminal"),
            "add --yes when you are sure",
        ));
    }
    console.note(&format!("{what} `{name}` cannot be undone."));
    console.ask(&format!("Type `{name}` to go on: "));
    let typed = line(console).await?;
    if typed.trim() == name {
        return Ok(());
    }
    Err(Failure::usage("that is not the name; nothing was done", "type it exactly, or give --yes"))
}

/// A line of stdin.
async fn line(console: &Console) -> Result<Zeroizing<String>, Failure> {
    let input = console.input.clone();
    blocking(move || {
        let mut line = Zeroizing::new(String::with_capacity(4096));
        match input {
            Input::Process => io::stdin().read_line(&mut line),
            #[cfg(test)]
            Input::Bytes(bytes) => io::BufRead::read_line(&mut &bytes[..], &mut line),
        }?;
        Ok(line)
    })
    .await
    .map_err(|error| Failure::file(Path::new("stdin"), &error))
}

/// A secret: a line of stdin, asked for and not shown when that is a terminal.
pub(crate) async fn secret(
    console: &mut Console,
    question: &str,
) -> Result<Zeroizing<String>, Failure> {
    // Restored when this future ends or is dropped, by an interrupt for one.
    let hidden = matches!(console.input, Input::Process).then(Hidden::begin).flatten();
    if hidden.is_some() {
        console.ask(question);
    }
    let text = line(console).await?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A terminal that does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn written_files_are_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_that_is_not_kept_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "old").unwrap();
        let mut draft = Draft::begin(&path).unwrap();
        draft.file().write_all(b"half").unwrap();
        drop(draft);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut draft = Draft::begin(&path).unwrap();
        draft.file().write_all(b"new").unwrap();
        draft.keep().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn reading_stops_one_byte_past_the_limit() {
        assert_eq!(up_to(&b"abcdef"[..], 3).unwrap().len(), 4);
        assert_eq!(up_to(&b"abc"[..], 3).unwrap().len(), 3);
    }
}
