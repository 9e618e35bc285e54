//! `cipher-hub policy propose | list | get | activate | rollback | shadow | delete | validate`:
//! revisions of the policies of a running hub. Replay is in `replay.rs`.

use std::path::{Path, PathBuf};

use cipher_hub_client::Client;
use clap::Args;
use hub_model::api::policy::{PolicyFile, ProposeRevision, RevisionView, ShadowReport};

use super::super::failure::{Code, Failure};
use super::super::output::{Row, clean, time};
use super::super::run::Session;
use super::super::values;
use super::every;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy propose ./policies --note 'office hours for payments'
  cipher-hub policy activate $(cipher-hub policy propose ./policies --output json | jq -r .revision)

The hub checks the set, keeps it under its digest, and goes on deciding as before. Exits with 3 and
every diagnostic when the set does not check.")]
pub(crate) struct ProposeArgs {
    /// The folder of policies
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// What it is for
    #[arg(long)]
    note: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy validate ./policies

As the hub would check it, by its own schema and baseline; nothing is kept. Exits with 3 when the set
does not check. Without a hub: cipher-hub policy check")]
pub(crate) struct ValidateArgs {
    /// The folder of policies
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy get active
  cipher-hub policy get 3f9a41c2 --to ./as-it-is
  cipher-hub policy get 3f9a41c2 --output json | jq .shadowed")]
pub(crate) struct GetArgs {
    /// A digest or its beginning, `active` or `baseline`
    #[arg(value_name = "REV")]
    revision: String,
    /// Write the files into this new folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy activate 3f9a41c2 --dry-run
  cipher-hub policy activate 3f9a41c2
  cipher-hub policy activate baseline

Fails with 7 when another was activated meanwhile: with --if-match, since you looked (`policy get
active -v` shows the ETag).")]
pub(crate) struct ActivateArgs {
    /// A digest or its beginning, or `baseline`
    #[arg(value_name = "REV")]
    revision: String,
    /// Only if this is still the ETag of the policies
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy rollback --dry-run
  cipher-hub policy rollback

Decides by the revision that was active before, and again by the one before that.")]
pub(crate) struct RollbackArgs {
    /// Only if this is still the ETag of the policies
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy shadow 3f9a41c2
  cipher-hub policy get 3f9a41c2          what it would have decided otherwise so far
  cipher-hub policy shadow --off")]
pub(crate) struct ShadowArgs {
    /// A digest or its beginning
    #[arg(value_name = "REV", required_unless_present = "off")]
    revision: Option<String>,
    /// Evaluate none any more
    #[arg(long, conflicts_with = "revision")]
    off: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy delete 3f9a41c2

Decisions that it made are then explained by the ids of their policies only.")]
pub(crate) struct DeleteArgs {
    /// A digest or its beginning
    #[arg(value_name = "REV")]
    revision: String,
}

/// The files of a folder, as a hub takes them.
pub(super) fn files_of(folder: &Path) -> Result<Vec<PolicyFile>, Failure> {
    let files = hub_policy::folder::files(folder).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let message = format!("{error}{}", cause.unwrap_or_default());
        Failure::new(Code::Failed, message, "give the folder that holds your *.cedar files")
    })?;
    if files.is_empty() {
        let message = format!("`{}` holds no *.cedar files", folder.display());
        return Err(Failure::usage(message, "give the folder that holds your *.cedar files"));
    }
    Ok(files.into_iter().map(|(name, text)| PolicyFile { name, text }).collect())
}

pub(crate) async fn propose(args: ProposeArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let body = ProposeRevision { files: files_of(&args.folder)?, note: args.note };
    let kept = session.connect()?.propose_revision(&body).await?;
    session.console.item(&kept, &facts(&kept))?;
    session.done(&format!("kept; to decide by it: cipher-hub policy activate {}", short(&kept)));
    Ok(())
}

pub(crate) async fn validate(args: ValidateArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let files = files_of(&args.folder)?;
    let check = session.connect()?.validate_policies(files).await?;
    if session.console.for_people() {
        for problem in check.problems.iter().chain(&check.warnings) {
            // Lines of the report one by one, since line ends are cleaned away.
            for line in problem.rendered.lines() {
                session.console.line(&clean(line))?;
            }
        }
        if let Some(why) = &check.lock_out {
            session.console.line(&clean(why))?;
        }
        if let Some(revision) = &check.revision {
            session.console.line(&clean(&format!("ok  {revision}")))?;
        }
    } else {
        session.console.item(&check, &[])?;
    }
    if check.valid {
        return Ok(());
    }
    let count = check.problems.len() + usize::from(check.lock_out.is_some());
    let message = format!("the policies do not check: {count} problem(s)");
    Err(Failure::new(Code::InvalidConfig, message, "mend what is listed above"))
}

pub(crate) async fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let client = &client;
    let mut all = every(|page| async move { client.revisions(&page).await }).await?;
    all.sort_by_key(|revision| revision.create_time);
    session.console.list(&all)
}

pub(crate) async fn get(args: GetArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let found = session.connect()?.revision(&args.revision).await?;
    session.console.detail(&format!("etag {}", found.etag));
    let revision = found.value;
    if let Some(folder) = &args.to {
        let files = revision.files.as_deref().unwrap_or_default();
        write(folder, files)?;
        session.console.note(&format!("{} files in {}", files.len(), folder.display()));
        return Ok(());
    }
    session.console.item(&revision, &facts(&revision))?;
    if !session.console.for_people() {
        return Ok(());
    }
    for file in revision.files.iter().flatten() {
        session.console.line("")?;
        session.console.line(&clean(&format!("// {}", file.name)))?;
        for line in file.text.lines() {
            session.console.line(&clean(line))?;
        }
    }
    if let Some(report) = &revision.shadowed {
        session.console.line("")?;
        for line in shadowed(report) {
            session.console.line(&clean(&line))?;
        }
    }
    Ok(())
}

/// Writes files into a folder that is not there yet. Their names come from a hub: only plain paths
/// below the folder are written.
fn write(folder: &Path, files: &[PolicyFile]) -> Result<(), Failure> {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\\');
    if let Some(odd) = files.iter().find(|file| !file.name.split('/').all(plain)) {
        let message = format!("the hub names a file `{}`", clean(&odd.name));
        return Err(Failure::new(Code::Failed, message, "read it with --output json"));
    }
    let failed = |path: &Path, error: std::io::Error| Failure::file(path, &error);
    std::fs::create_dir(folder).map_err(|error| failed(folder, error))?;
    for file in files {
        let path = folder.join(&file.name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        std::fs::write(&path, &file.text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The ETag given, or that of now.
async fn etag(client: &Client, given: Option<&str>) -> Result<String, Failure> {
    match given {
        Some(text) => Ok(values::etag(text)),
        None => Ok(client.revision("active").await?.etag),
    }
}

pub(crate) async fn activate(args: ActivateArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let etag = etag(&client, args.if_match.as_deref()).await?;
    let switched = client.activate_revision(&args.revision, &etag).await?;
    let facts = [("active", switched.revision.clone()), ("before", switched.previous.clone())];
    session.console.item(&switched, &facts)
}

pub(crate) async fn rollback(args: RollbackArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let etag = etag(&client, args.if_match.as_deref()).await?;
    let switched = client.roll_policies_back(&etag).await?;
    let facts = [("active", switched.revision.clone()), ("before", switched.previous.clone())];
    session.console.item(&switched, &facts)
}

pub(crate) async fn shadow(args: ShadowArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    match args.revision {
        Some(revision) => {
            client.shadow_revision(&revision).await?;
            session.done(&format!(
                "evaluated beside the active policies; to see what differs: cipher-hub policy get {revision}"
            ));
        }
        None => {
            client.end_shadow().await?;
            session.done("no revision is evaluated beside the active policies");
        }
    }
    Ok(())
}

pub(crate) async fn delete(args: DeleteArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let etag = client.revision(&args.revision).await?.etag;
    client.delete_revision(&args.revision, &etag).await?;
    session.done(&format!("{} is deleted", args.revision));
    Ok(())
}

fn short(revision: &RevisionView) -> &str {
    revision.revision.get(..12).unwrap_or(&revision.revision)
}

fn state(revision: &RevisionView) -> &'static str {
    match (revision.active, revision.shadow) {
        (true, _) => "active",
        (false, true) => "shadow",
        (false, false) => "kept",
    }
}

fn facts(revision: &RevisionView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("revision", revision.revision.clone()),
        ("state", state(revision).to_owned()),
        ("source", revision.source.clone()),
        ("policies", revision.policies.to_string()),
        ("bytes", revision.bytes.to_string()),
    ];
    facts.extend(revision.note.clone().map(|note| ("note", note)));
    facts.extend(revision.proposer.map(|proposer| ("proposer", proposer.to_string())));
    facts.extend(revision.create_time.map(|at| ("created", time(at))));
    facts
}

fn shadowed(report: &ShadowReport) -> Vec<String> {
    let mut lines = vec![format!(
        "in the shadow since {}: {} decisions compared, {} allow -> deny, {} deny -> allow, {} dropped",
        time(report.since),
        report.decisions,
        report.allow_to_deny,
        report.deny_to_allow,
        report.dropped
    )];
    lines.extend(report.examples.iter().map(|one| {
        format!(
            "  {} -> {}  {:>6} times  {} {} on {}  by {}",
            one.active,
            one.shadow,
            one.count,
            one.participant,
            one.action,
            one.resource,
            if one.policies.is_empty() { "no policy".to_owned() } else { one.policies.join(", ") }
        )
    }));
    lines
}

impl Row for RevisionView {
    const HEAD: &'static [&'static str] = &["REVISION", "STATE", "POLICIES", "CREATED", "NOTE"];

    fn cells(&self) -> Vec<String> {
        vec![
            short(self).to_owned(),
            state(self).to_owned(),
            self.policies.to_string(),
            self.create_time.map(time).unwrap_or_default(),
            self.note.clone().unwrap_or_default(),
        ]
    }
}
