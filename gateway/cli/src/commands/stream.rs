//! Streams of `cipher-hub encrypt` and `decrypt`: inputs of any size, in constant memory.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use cipher_hub_client::ByteStream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use zeroize::Zeroizing;

use super::super::failure::{Code, Failure};
use super::super::files::{self, Draft};
use super::super::output::Input;
use super::super::run::Session;

/// Bytes moved at once.
const STEP: usize = 64 * 1024;
/// How often something is said where there is no terminal.
const WORD: Duration = Duration::from_secs(10);

/// An input: what has been read of it to see what it is, and the rest.
pub(super) struct Opened {
    /// Its beginning: all of it when it is shorter than what was asked for.
    pub(super) start: Zeroizing<Vec<u8>>,
    rest: Box<dyn Read + Send>,
    /// Its length, of a file.
    len: Option<u64>,
}

/// Opens a file, or stdin without one, and reads up to `most` bytes of it.
pub(super) async fn open(
    session: &Session<'_>,
    path: Option<&Path>,
    most: usize,
) -> Result<Opened, Failure> {
    let shown = path.unwrap_or(Path::new("stdin")).to_owned();
    let (path, input) = (path.map(Path::to_owned), session.console.input.clone());
    files::blocking(move || {
        let mut len = None;
        let mut rest: Box<dyn Read + Send> = match (path, input) {
            (Some(path), _) => {
                let file = File::open(path)?;
                len = file.metadata().ok().filter(|facts| facts.is_file()).map(|facts| facts.len());
                Box::new(file)
            }
            (None, Input::Process) => Box::new(io::stdin()),
            #[cfg(test)]
            (None, Input::Bytes(bytes)) => Box::new(io::Cursor::new(bytes)),
        };
        let start = files::up_to(&mut rest, most)?;
        Ok(Opened { start, rest, len })
    })
    .await
    .map_err(|error| Failure::file(&shown, &error))
}

impl Opened {
    /// The whole input, as a body.
    pub(super) fn body(self) -> (Body, Option<u64>) {
        // Few: a slow hub is waited for, not read ahead of.
        let (sender, pieces) = tokio::sync::mpsc::channel(2);
        let Self { start, mut rest, len } = self;
        // Off this thread, which would else stand still while a pipe is silent.
        drop(tokio::task::spawn_blocking(move || {
            if sender.blocking_send(Ok(start)).is_err() {
                return;
            }
            loop {
                let mut piece = Zeroizing::new(vec![0; STEP]);
                let read = match rest.read(&mut piece) {
                    Ok(0) => return,
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        let _ = sender.blocking_send(Err(error));
                        return;
                    }
                };
                piece.truncate(read);
                if sender.blocking_send(Ok(piece)).is_err() {
                    return;
                }
            }
        }));
        (Body { pieces, piece: Zeroizing::default(), at: 0 }, len)
    }
}

/// An input on its way to the hub.
pub(super) struct Body {
    pieces: tokio::sync::mpsc::Receiver<io::Result<Zeroizing<Vec<u8>>>>,
    piece: Zeroizing<Vec<u8>>,
    at: usize,
}

impl AsyncRead for Body {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.at >= this.piece.len() {
            match ready!(this.pieces.poll_recv(cx)) {
                Some(piece) => (this.piece, this.at) = (piece?, 0),
                None => return Poll::Ready(Ok(())),
            }
        }
        let rest = this.piece.get(this.at..).unwrap_or_default();
        let some = rest.get(..rest.len().min(buffer.remaining())).unwrap_or_default();
        buffer.put_slice(some);
        this.at += some.len();
        Poll::Ready(Ok(()))
    }
}

/// Writes a stream to a file, which gets its name only when it is whole, or to stdout.
pub(super) async fn write(
    session: &mut Session<'_>,
    mut stream: ByteStream,
    out: Option<&Path>,
    len: Option<u64>,
) -> Result<u64, Failure> {
    let draft = |path: &Path| Draft::begin(path).map_err(|error| Failure::file(path, &error));
    let mut draft = out.map(draft).transpose()?;
    let path: PathBuf = out.unwrap_or(Path::new("stdout")).to_owned();
    let mut progress = Progress::new(session, len);
    let mut piece = Zeroizing::new(vec![0; STEP]);
    let mut done = 0_u64;
    loop {
        let read = stream.read(&mut piece).await.map_err(|error| cut_off(&error, out))?;
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        match &mut draft {
            Some(draft) => {
                draft.file().write_all(bytes).map_err(|error| Failure::file(&path, &error))?
            }
            None => session.console.data(bytes)?,
        }
        done = done.saturating_add(u64::try_from(read).unwrap_or(0));
        progress.at(session, done);
    }
    progress.end();
    if let Some(draft) = draft {
        draft.keep().map_err(|error| Failure::file(&path, &error))?;
    }
    Ok(done)
}

fn cut_off(error: &io::Error, out: Option<&Path>) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::TimedOut => "the hub sends nothing any more",
        _ => "the stream was cut off before its end",
    };
    let hint = match out {
        Some(_) => "no file was written; is it the right key and context, and is it whole?",
        None => "do not use what was written; is it the right key and context, and is it whole?",
    };
    Failure::new(Code::Failed, message, hint)
}

/// A bar on a terminal, else a line now and then.
struct Progress {
    bar: ProgressBar,
    len: Option<u64>,
    said: Instant,
}

impl Progress {
    fn new(session: &Session<'_>, len: Option<u64>) -> Self {
        // On one terminal, data and bar would paint over each other.
        let visible =
            session.console.err_terminal && !session.console.out_terminal && !session.global.quiet;
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(len, target);
        let form = match len {
            Some(_) => "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
            None => "{bytes}  {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        Self { bar, len, said: Instant::now() }
    }

    fn at(&mut self, session: &mut Session<'_>, done: u64) {
        self.bar.set_position(done);
        if !session.console.err_terminal && self.said.elapsed() >= WORD {
            let of = self.len.map_or_else(String::new, |len| format!(" of {len}"));
            session.console.note(&format!("{done}{of} bytes"));
            self.said = Instant::now();
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
