//! `cipher-hub audit export`: entries as a folder of files that prove themselves.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cipher_hub_client::{AuditExport, ByteStream};
use clap::{Args, ValueEnum};
use hub_audit::export::{MANIFEST, ROTATIONS, Unpacked, Unpacker};
use hub_model::Timestamp;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::AsyncReadExt as _;

use super::super::super::failure::{Code, Failure};
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::rotations;

/// Bytes read at once.
const STEP: usize = 64 * 1024;
/// Between two lines of progress where there is no terminal.
const WORD: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit export 2026-11
  cipher-hub audit export october --from 2026-10-01T00:00:00Z --to 2026-11-01T00:00:00Z
  cipher-hub audit export shop --registration shop
  cipher-hub audit export for-the-siem --format cef --after 120000

The folder holds the entries, the checkpoint they stand under, what is needed to hold them against
it, and a signed manifest; `audit verify FOLDER` needs no network. JSON Lines alone can be held
against the log itself; the other forms are what the hub has signed. docs/audit.md goes through it.")]
pub(crate) struct ExportArgs {
    /// Folder to make; it must not exist yet
    folder: PathBuf,
    /// Form of the entries
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: Form,
    /// From this entry on (0 is the first)
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// Up to before this entry
    #[arg(long, value_name = "N")]
    before: Option<u64>,
    /// From the first entry of this time or later on, such as 2026-10-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Up to the last entry before this time
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Only what concerns this registration: for its owners and auditors, too
    #[arg(long, value_name = "REGISTRATION")]
    registration: Option<String>,
}

/// Form of exported entries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The stored bytes, one entry a line.
    #[default]
    Jsonl,
    /// Comma-separated values.
    Csv,
    /// ArcSight Common Event Format.
    Cef,
    /// Open Cybersecurity Schema Framework.
    Ocsf,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Cef => "cef",
            Self::Ocsf => "ocsf",
        }
    }
}

pub(crate) async fn run(args: ExportArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    if args.folder.symlink_metadata().is_ok() {
        return Err(Failure::usage(
            format!("`{}` is there already", args.folder.display()),
            "name a folder that does not exist yet",
        ));
    }
    let wanted = AuditExport {
        format: Some(args.format.name().to_owned()),
        after: args.after,
        before: args.before,
        from: args.from,
        to: args.to,
        registration: args.registration.clone(),
    };
    let client = session.connect()?;
    let stream = match &args.registration {
        None => client.audit_export(&wanted).await?,
        // Its owners and auditors may read this much. One that is gone is found by its uid, by
        // those who may read the whole log.
        Some(registration) => {
            let found = client.registration_audit_export(registration, &wanted).await;
            match found.map_err(Failure::from) {
                Err(failure)
                    if failure.code == Code::NotFound && registration.starts_with("reg_") =>
                {
                    client.audit_export(&wanted).await?
                }
                found => found?,
            }
        }
    };
    let mut folder = Folder::begin(&args.folder)?;
    receive(session, stream, &mut folder).await?;
    // Rotations are followed through the stored bytes, from the first on.
    let begins = args.after.unwrap_or(0) == 0 && args.from.is_none();
    let whole = args.registration.is_none() && begins;
    if whole && args.format == Form::Jsonl {
        match rotations::notes(&client).await {
            Ok((notes, _)) => folder.add(ROTATIONS, &notes)?,
            Err(failure) => session.console.note(&clean(&format!(
                "no checkpoints over rotations of the signing key: {}; --follow-rotations will \
                 not work on the folder",
                failure.message
            ))),
        }
    }
    let entries = folder.entries();
    folder.keep()?;
    let shown = args.folder.display();
    session.console.line(&clean(&format!("{entries} entries in {shown}")))?;
    session
        .console
        .note(&format!("to verify: cipher-hub audit verify {shown} --verifier-key VKEY"));
    Ok(())
}

async fn receive(
    session: &mut Session<'_>,
    mut stream: ByteStream,
    folder: &mut Folder,
) -> Result<(), Failure> {
    let mut unpacker = Unpacker::default();
    let (mut piece, mut done, mut said) = (vec![0; STEP], 0u64, Instant::now());
    let visible = session.console.err_terminal && !session.global.quiet;
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes}  {bytes_per_sec}") {
        bar.set_style(style);
    }
    loop {
        let read = stream.read(&mut piece).await.map_err(|error| cut_off(&error))?;
        if read == 0 {
            break;
        }
        let bytes = piece.get(..read).unwrap_or_default();
        unpacker.push(bytes, |piece| folder.take(piece)).map_err(Failure::from)?;
        done = done.saturating_add(read as u64);
        bar.set_position(done);
        if !session.console.err_terminal && said.elapsed() >= WORD {
            session.console.note(&format!("{done} bytes"));
            said = Instant::now();
        }
    }
    bar.finish_and_clear();
    if unpacker.ended() { Ok(()) } else { Err(cut_off(&io::ErrorKind::UnexpectedEof.into())) }
}

fn cut_off(error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::TimedOut => "the hub sends nothing any more",
        _ => "the export was cut off before its end",
    };
    let hint = "no folder was made; may you still read the log, and is the hub well?";
    Failure::new(Code::Failed, message, hint)
}

/// What goes wrong with a piece.
enum Broken {
    Stream(&'static str),
    File(PathBuf, io::Error),
}

impl From<&'static str> for Broken {
    fn from(what: &'static str) -> Self {
        Self::Stream(what)
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Stream(what) => {
                Self::new(Code::Failed, what, "does the address belong to a hub's API?")
            }
            Broken::File(path, error) => Self::file(&path, &error),
        }
    }
}

/// A folder that others may not read. It gets the name wanted when it is whole; else it is removed.
struct Folder {
    path: PathBuf,
    beside: PathBuf,
    files: BTreeMap<&'static str, File>,
    manifest: Vec<u8>,
    kept: bool,
}

impl Folder {
    fn begin(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::file(path, &error);
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut name = name.to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let beside = path.with_file_name(name);
        DirBuilder::new().mode(0o700).create(&beside).map_err(failed)?;
        let (files, manifest) = (BTreeMap::new(), Vec::new());
        Ok(Self { path: path.to_owned(), beside, files, manifest, kept: false })
    }

    fn take(&mut self, piece: Unpacked<'_>) -> Result<(), Broken> {
        if piece.file == "end" {
            return Ok(());
        }
        let path = self.beside.join(piece.file);
        if !self.files.contains_key(piece.file) {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(|error| Broken::File(path.clone(), error))?;
            self.files.insert(piece.file, file);
        }
        if piece.file == MANIFEST {
            self.manifest.extend_from_slice(piece.bytes);
        }
        let Some(file) = self.files.get_mut(piece.file) else { return Ok(()) };
        file.write_all(piece.bytes).map_err(|error| Broken::File(path, error))
    }

    /// Puts a file beside those that came, unless it would be empty.
    fn add(&mut self, name: &'static str, texts: &[String]) -> Result<(), Failure> {
        for text in texts {
            self.take(Unpacked { file: name, bytes: text.as_bytes() })?;
        }
        Ok(())
    }

    /// How many entries the manifest speaks of.
    fn entries(&self) -> String {
        let manifest = String::from_utf8_lossy(&self.manifest);
        let line = manifest.lines().find_map(|line| line.strip_prefix("entries "));
        line.and_then(|rest| rest.split(' ').next()).unwrap_or("?").to_owned()
    }

    fn keep(mut self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::file(&self.path, &error);
        for file in self.files.values() {
            file.sync_all().map_err(failed)?;
        }
        std::fs::rename(&self.beside, &self.path).map_err(failed)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.beside);
        }
    }
}
