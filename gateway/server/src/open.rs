//! From files to an open hub: seal, store, keys, log, policies. The first start makes them; it is
//! one transaction behind an atomic rename, so a crash in it leaves nothing unopenable.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hub_audit::checkpoint_history::History;
use hub_audit::log::OnRollback;
use hub_audit::{Keyed, Log};
use hub_auth::{LastUses, Rules};
use hub_crypto::seal::{KeyFileSeal, Seal, SealFile};
use hub_crypto::{RootKey, SystemKeys};
use hub_model::secret::SecretText;
use hub_model::{Clock, HubId};
use hub_operations::policy::PolicySource;
use hub_operations::{ArchiveSettings, CacheSizes, Hub, Parts, bootstrap};
use hub_policy::{Bundle, Policies};
use hub_store::durable_file::{FolderError, make_private};
use hub_store::{Backend, Changes, FjallBackend, MemoryBackend, Store, Writer, layout};

use crate::config::{Config, PoliciesSource, StoreEngine};
use crate::witnesses::Witnesses;

/// The name of this process's writer.
const WRITER: &str = "main";
/// The epoch of the first root key.
const FIRST_EPOCH: u32 = 1;

/// Why the hub cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder cannot be made or read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The rules of identities cannot be meant.
    #[error(transparent)]
    Rules(#[from] crate::config::ConfigError),
    /// The store is there, its seal is not.
    #[error(
        "the store `{}` is there, but the seal `{}` is not: without it nothing can be read",
        store.display(), seal.display()
    )]
    SealMissing {
        /// Where the store lies.
        store: PathBuf,
        /// Where the seal should lie.
        seal: PathBuf,
    },
    /// The seal and a checkpoint are there, the store is not.
    #[error(
        "store_behind_checkpoint: `{}` says that there was a store, but `{}` is empty",
        checkpoint.display(), store.display()
    )]
    StoreMissing {
        /// Where the checkpoint lies.
        checkpoint: PathBuf,
        /// Where the store should lie.
        store: PathBuf,
    },
    /// No slot of the seal file is of a kind this program opens.
    #[error("no slot of the seal file `{}` can be opened with a key file", .0.display())]
    NoSlot(PathBuf),
    /// The store belongs to another hub than the seal.
    #[error("the store belongs to the hub `{store}`, the seal to `{seal}`")]
    Mismatch {
        /// By its record.
        store: HubId,
        /// By the seal file.
        seal: HubId,
    },
    /// The store has keys but no record of its hub.
    #[error("the store holds keys but no hub: it is damaged")]
    NoHub,
    /// There is nothing to recover.
    #[error("there is no hub in `{}` yet; start it once first", .0.display())]
    NoData(PathBuf),
    /// Seal or keys.
    #[error(transparent)]
    Crypto(#[from] hub_crypto::Error),
    /// The engine.
    #[error(transparent)]
    Store(#[from] hub_store::Error),
    /// The log.
    #[error(transparent)]
    Audit(#[from] hub_audit::Error),
    /// Policies.
    #[error(transparent)]
    Policy(#[from] hub_policy::Error),
    /// The revision that was activated last.
    #[error(
        "the active policy revision does not check under this program:\n{0}\nto start without \
         it, and propose another, set `policies.source = \"baseline\"`"
    )]
    StoredPolicies(String),
    /// The hub's own records.
    #[error(transparent)]
    Operations(#[from] hub_operations::Error),
}

/// An open hub.
#[derive(Debug)]
pub struct Opened {
    /// The hub.
    pub hub: Arc<Hub>,
    /// Its own keys, for the authenticator.
    pub keys: Arc<SystemKeys>,
    /// The first administrator's key, if this was the first start.
    pub first_key: Option<SecretText>,
    /// Kind of the seal slot in use.
    pub seal_kind: &'static str,
    /// What an operator should know.
    pub notices: Vec<String>,
    /// Whether the last process stopped as it should.
    pub stopped_cleanly: bool,
    /// What the configuration says of identities from outside.
    pub rules: Arc<Rules>,
    /// When credentials were last used.
    pub uses: Arc<LastUses>,
    /// Witnesses of the log.
    pub(crate) witnesses: Arc<Witnesses>,
}

/// What the caller of [`open`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Open, or make if there is nothing.
    OpenOrMake,
    /// Open what is there.
    Open,
}

/// Opens the hub of this configuration.
///
/// # Errors
/// [`OpenError`]; nothing is half made.
pub async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    on_rollback: OnRollback,
    intent: Intent,
) -> Result<Opened, OpenError> {
    // Takes longer than all of the rest, and needs nothing of it. Without a thread: where it is needed.
    let _ = std::thread::Builder::new().name("policies".to_owned()).spawn(hub_policy::prepare);
    let mut notices = Vec::new();
    let unsealed = match config.store.engine {
        StoreEngine::Memory => Unsealed {
            root: RootKey::generate(FIRST_EPOCH)?,
            hub: HubId::generate(),
            kind: "none (in memory)",
        },
        StoreEngine::Fjall => unseal(config, intent)?,
    };
    let backend: Arc<dyn Backend> = match config.store.engine {
        StoreEngine::Memory => Arc::new(MemoryBackend::new()),
        StoreEngine::Fjall => Arc::new(FjallBackend::open_or_create(&config.store.path)?),
    };
    let stopped_cleanly = backend.stopped_cleanly();
    let keyring_path = layout::keyring();
    let wrapped = backend.get(&keyring_path).await?;
    let fresh = wrapped.is_none();
    let keys = Arc::new(match &wrapped {
        Some(entry) => SystemKeys::unwrap(&unsealed.root, unsealed.hub, &entry.value)?,
        None => SystemKeys::generate()?,
    });
    let store = Store::new(backend, Arc::clone(&keys));
    let checkpoint_file = match config.store.engine {
        StoreEngine::Memory => None,
        StoreEngine::Fjall => Some(config.audit.checkpoint_file.clone()),
    };
    if let Some(file) = &checkpoint_file {
        let seen = hub_audit::checkpoint::read_file(file)?.filter(|_| fresh);
        match seen {
            None => {}
            // A first start that ended before its commit: nothing was ever here.
            Some(note) if note.lines().nth(1) == Some("0") => {
                let removed = std::fs::remove_file(file);
                let (action, path) = ("remove the checkpoint", file.clone());
                removed.map_err(|source| FolderError { action, path, source })?;
            }
            Some(_) if on_rollback == OnRollback::Accept => {}
            Some(_) => {
                return Err(OpenError::StoreMissing {
                    checkpoint: file.clone(),
                    store: config.store.path.clone(),
                });
            }
        }
        make_private(parent(file))?;
    }
    let writer = Writer::open(store.clone(), WRITER).await?;
    let archives = checkpoint_file.is_some().then(|| config.audit.archive_dir.clone());
    let log = Log::open_archived(
        store.clone(),
        writer,
        WRITER,
        Arc::clone(&keys),
        unsealed.hub,
        checkpoint_file,
        on_rollback,
        archives,
    )
    .await?
    .with_key_overlap(config.audit.key_overlap);
    let (log, witnesses) = witnessed(config, log)?;
    if !config.audit.keyed.is_empty() {
        log.appender().set_keyed(Keyed::new(Arc::clone(&keys), config.audit.keyed.clone()));
    }
    let now = clock.now();
    let mut disputed = None;
    let head = log.appender().position().audit.size;
    let accepted = log.accepted().is_some();
    if accepted && !fresh {
        // Before the file is written: it is what tells of the rollback until the log does.
        accept(&log, &witnesses, head, now, log.accepted().as_slice()).await?;
    }
    if !witnesses.is_empty() {
        if !fresh {
            // What is submitted where a witness serves no checkpoint of its own.
            log.checkpoint(now)?;
        }
        match (witnesses.hold_against(&log, fresh).await, on_rollback) {
            (Ok(more), _) => {
                more.iter().for_each(|notice| tracing::warn!("{notice}"));
                notices.extend(more);
            }
            (Err(error), OnRollback::Accept) => {
                tracing::warn!(%error, "going on with the store as it is, as told to");
                disputed = Some(error.to_string());
            }
            (Err(error), OnRollback::Refuse) => return Err(error.into()),
        }
    }
    let (record, first_key) = if fresh {
        let first = bootstrap::first_start(unsealed.hub, &keys, &unsealed.root, now)?;
        let mut changes = first.changes;
        changes.put_wrapped(&keyring_path, keys.wrap(&unsealed.root, unsealed.hub));
        let entry = bootstrap::first_entry(now);
        // Before the commit: a store with entries and no checkpoint would not open again, and a key
        // nobody has seen would leave the hub without an administrator. Not over a file that tells
        // of a store that was here: it stays until the log says that this was accepted.
        if !accepted {
            log.checkpoint(now)?;
        }
        if config.store.engine == StoreEngine::Fjall {
            keep_first_key(&config.data_dir, &first.api_key)?;
        }
        let _receipt = log.appender().append(&entry, changes).await?;
        (first.record, Some(first.api_key))
    } else {
        (bootstrap::read(&store).await?.ok_or(OpenError::NoHub)?, None)
    };
    if record.id != unsealed.hub {
        return Err(OpenError::Mismatch { store: record.id, seal: unsealed.hub });
    }
    let reasons: Vec<&str> =
        log.accepted().filter(|_| fresh).into_iter().chain(disputed.as_deref()).collect();
    // What is above the head after one entry of that kind is this log's.
    let aside = if accepted && !fresh { u64::MAX } else { head };
    accept(&log, &witnesses, aside, now, &reasons).await?;
    log.checkpoint(now)?;
    if config.store.engine == StoreEngine::Fjall
        && same_mount(&config.seal.key_file, &config.store.path)
    {
        notices.push(
            "the seal key lies on the same disk as the data: whoever copies the disk can read \
             everything. For a quick start only; put `seal.key_file` on another volume or a \
             mounted secret"
                .to_owned(),
        );
    }
    let source = policies_source(config);
    let bundle = match source {
        PolicySource::Api => stored_policies(&store).await?,
        PolicySource::Files | PolicySource::Baseline => bundle(config)?,
    };
    let rules = Arc::new(config.auth.rules()?);
    let uses = Arc::new(LastUses::default());
    let policies = Arc::new(Policies::new(bundle, record.id, record.registration)?);
    let hub = Hub::new(Parts {
        id: record.id,
        store,
        keys: Arc::clone(&keys),
        root: Arc::new(unsealed.root),
        log,
        policies,
        registration: record.registration,
        clock,
        profile: config.crypto.profile.into(),
        rules: Arc::clone(&rules),
        uses: Arc::clone(&uses),
        caches: CacheSizes { keys: config.cache.keys, ..CacheSizes::default() },
    });
    let hub = hub.with_archives(ArchiveSettings {
        retention: config.audit.retention,
        entries: config.audit.archive_entries.get().into(),
    });
    let hub = Arc::new(hub.with_policies_from(source));
    hub.resume_policies().await?;
    let seal_kind = unsealed.kind;
    Ok(Opened { hub, keys, first_key, seal_kind, notices, stopped_cleanly, rules, uses, witnesses })
}

/// Says in the log why it goes on all the same, then puts what is known of more entries aside.
async fn accept(
    log: &Log,
    witnesses: &Witnesses,
    head: u64,
    now: hub_model::Timestamp,
    reasons: &[&str],
) -> Result<(), OpenError> {
    if reasons.is_empty() {
        return Ok(());
    }
    for reason in reasons {
        let entry = bootstrap::accepted_rollback_entry(now, reason);
        let _receipt = log.appender().append(&entry, Changes::new()).await?;
    }
    log.set_aside_above(head)?;
    witnesses.set_aside_above(head)?;
    Ok(())
}

/// The log with the folder of its older checkpoints, and its witnesses with theirs.
fn witnessed(config: &Config, log: Log) -> Result<(Log, Arc<Witnesses>), OpenError> {
    let fault = |message| crate::config::ConfigError::Invalid { key: "audit.witnesses", message };
    let kept = config.store.engine == StoreEngine::Fjall;
    let folder = |name: &str| kept.then(|| config.data_dir.join("audit").join(name));
    let (checkpoints, seen) = (folder("checkpoints"), folder("witnesses"));
    let witnesses = Witnesses::new(&config.audit, seen.clone(), log.origin()).map_err(fault)?;
    if let Some(dir) = seen.filter(|_| !witnesses.is_empty()) {
        make_private(&dir)?;
    }
    let log = match checkpoints {
        None => log,
        Some(dir) => {
            make_private(&dir)?;
            log.with_history(History::open(&dir)?)
        }
    };
    Ok((log, Arc::new(witnesses)))
}

/// Where the policies of this configuration come from.
fn policies_source(config: &Config) -> PolicySource {
    match (config.policies.source, &config.policies.dir) {
        (PoliciesSource::Baseline, _) => PolicySource::Baseline,
        (PoliciesSource::Files, _) | (PoliciesSource::Auto, Some(_)) => PolicySource::Files,
        (PoliciesSource::Api, _) | (PoliciesSource::Auto, None) => PolicySource::Api,
    }
}

/// The folder of the policies, where they come from files.
#[must_use]
pub fn policies_dir(config: &Config) -> Option<PathBuf> {
    let files = policies_source(config) == PolicySource::Files;
    config.policies.dir.clone().filter(|_| files)
}

/// The policies of this configuration, where they do not come from the store: the baseline, and the
/// local ones.
///
/// # Errors
/// Diagnostics of the policies that do not load.
pub fn bundle(config: &Config) -> Result<Bundle, hub_policy::Error> {
    match policies_dir(config) {
        Some(dir) => Bundle::read(&dir),
        None => Bundle::baseline(),
    }
}

/// The policies that were activated last.
async fn stored_policies(store: &Store) -> Result<Bundle, OpenError> {
    hub_operations::policy::stored_bundle(store).await.map_err(|error| match error {
        hub_operations::Error::Policies(problems) => {
            let lines: Vec<String> = problems.into_iter().map(|(_, detail)| detail).collect();
            OpenError::StoredPolicies(lines.join("\n"))
        }
        hub_operations::Error::LockOut(why) => OpenError::StoredPolicies(why),
        error => OpenError::Operations(error),
    })
}

struct Unsealed {
    root: RootKey,
    hub: HubId,
    kind: &'static str,
}

/// Opens the root key, or makes seal and root key when there is nothing at all yet.
fn unseal(config: &Config, intent: Intent) -> Result<Unsealed, OpenError> {
    let (file, key_file, store) = (&config.seal.file, &config.seal.key_file, &config.store.path);
    if file.exists() {
        let seal_file = SealFile::read(file)?;
        let seal = KeyFileSeal::open(key_file)?;
        let slot = seal_file
            .slots
            .iter()
            .find(|slot| slot.kind == seal.kind() && slot.check == seal.check())
            .or_else(|| seal_file.slots.iter().find(|slot| slot.kind == seal.kind()))
            .ok_or_else(|| OpenError::NoSlot(file.clone()))?;
        let root = seal_file.unseal(slot, &seal)?;
        return Ok(Unsealed { root, hub: seal_file.hub, kind: seal.kind() });
    }
    if store.exists() {
        return Err(OpenError::SealMissing { store: store.clone(), seal: file.clone() });
    }
    if intent == Intent::Open {
        return Err(OpenError::NoData(config.data_dir.clone()));
    }
    make_private(&config.data_dir)?;
    make_private(parent(file))?;
    make_private(parent(key_file))?;
    make_private(parent(store))?;
    let seal = if key_file.exists() {
        KeyFileSeal::open(key_file)?
    } else {
        KeyFileSeal::create(key_file)?
    };
    let root = RootKey::generate(FIRST_EPOCH)?;
    let hub = HubId::generate();
    let mut seal_file = SealFile::new(hub, FIRST_EPOCH);
    seal_file.add(&seal, &root, "first start", &key_file.display().to_string())?;
    seal_file.write(file)?;
    Ok(Unsealed { root, hub, kind: seal.kind() })
}

/// Where the first administrator's key lies until it is shown or taken.
#[must_use]
pub fn first_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.key")
}

fn keep_first_key(data_dir: &Path, key: &SecretText) -> Result<(), OpenError> {
    make_private(data_dir)?;
    let mut text = zeroize::Zeroizing::new(String::with_capacity(key.expose_secret().len() + 1));
    text.push_str(key.expose_secret());
    text.push('\n');
    let file = first_key_file(data_dir);
    Ok(hub_store::durable_file::write_atomic(&file, text.as_bytes(), 0o600)?)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn same_mount(a: &Path, b: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|facts| facts.dev()).ok();
    device(a).is_some() && device(a) == device(b)
}
