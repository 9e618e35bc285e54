//! `policies.propose`, `policies.validate`.

use hub_model::Action;
use hub_model::api::policy::{
    MAX_BYTES, MAX_FILES, MAX_NOTE, MAX_REVISIONS, PolicyCheck, PolicyFile,
    ProposeRevision as Body, RevisionView, ValidatePolicies as Check,
};
use hub_policy::{Bundle, Permit};
use hub_store::layout;

use super::read::view;
use super::{InUse, Record, Which, shown};
use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Keeps, Lost, Operation, Scene};
use crate::plan::Plan;

/// Keeps a policy set as a revision.
#[derive(Debug)]
pub struct ProposeRevision {
    /// Its files.
    pub body: Body,
}

impl Operation for ProposeRevision {
    const ACTION: Action = Action::PoliciesPropose;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtHub;
    type Reply = RevisionView;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<RevisionView>, Error> {
        let Scene { hub, caller, now, .. } = scene;
        let Body { files, note } = &self.body;
        let bytes = check_files(files)?;
        let note = note.as_deref().map(str::trim).filter(|note| !note.is_empty());
        if note.is_some_and(|note| note.chars().count() > MAX_NOTE) {
            let detail = format!("a note has at most {MAX_NOTE} characters");
            return Err(Error::Invalid { pointer: "/note", detail });
        }
        let bundle = hub.compile(files.clone()).await?;
        let id: Box<str> = (&**bundle.revision()).into();
        let (in_use, _) = InUse::to_change(hub.store()).await?;
        // What is kept already stays as it is, whoever proposes it again.
        if let Some(which) = hub.kept(&id).await? {
            let shown = view(hub, &which, &in_use)?;
            let plan = Plan::new(permit, shown).generation(in_use.generation);
            return Ok(plan.detail(format!("{id} (kept already)")));
        }
        let prefix = layout::POLICY_REVISIONS;
        let kept = hub.store().scan::<Record>(prefix, None, MAX_REVISIONS).await?;
        if kept.records.len() >= MAX_REVISIONS {
            return Err(Error::TooMany("100 revisions are kept; delete some that are not in use"));
        }
        let record = Record {
            note: note.map(str::to_owned),
            proposer: caller.participant().id,
            created: now,
            policies: u64::try_from(bundle.policies().len()).unwrap_or(u64::MAX),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        };
        let mut changes = hub_store::Changes::new();
        let path = layout::policy_revision(&id);
        changes.check_absent(&path).put(&path, &record)?.put(&layout::policy_files(&id), files)?;
        hub.revisions().remember(&id, &bundle);
        let revision = hub_store::Revision(0);
        let record = hub_store::Versioned { value: record, revision };
        let shown = view(hub, &Which::Kept(id.clone(), Box::new(record)), &in_use)?;
        let plan = Plan::new(permit, shown).generation(in_use.generation).changing(changes);
        Ok(plan.detail(id))
    }
}

/// Checks a policy set and keeps nothing.
#[derive(Debug)]
pub struct ValidatePolicies {
    /// Its files.
    pub body: Check,
}

impl Operation for ValidatePolicies {
    const ACTION: Action = Action::PoliciesValidate;
    type Place = AtHub;
    type Reply = PolicyCheck;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<PolicyCheck>, Error> {
        let hub = scene.hub;
        check_files(&self.body.files)?;
        let (files, policies) = (self.body.files.clone(), hub.shared_policies());
        let work = move || {
            let named = files.into_iter().map(|file| (file.name, file.text));
            let checked = Bundle::parse(named).and_then(|bundle| {
                policies.check(&bundle)?;
                Ok(bundle)
            });
            outcome(checked)
        };
        let check = hub.heavy().run(hub.registration(), work).await??;
        let detail = if check.valid { "valid" } else { "not valid" };
        Ok(Plan::new(permit, check).detail(detail))
    }
}

fn outcome(checked: Result<Bundle, hub_policy::Error>) -> Result<PolicyCheck, Error> {
    let mut check = PolicyCheck {
        valid: false,
        revision: None,
        policies: 0,
        problems: Vec::new(),
        warnings: Vec::new(),
        lock_out: None,
    };
    match checked {
        Ok(bundle) => {
            check.valid = true;
            check.revision = Some(bundle.revision().to_string());
            check.policies = u64::try_from(bundle.policies().len()).unwrap_or(u64::MAX);
            check.warnings = bundle.warnings().iter().map(shown).collect();
        }
        Err(hub_policy::Error::Refused(problems)) => {
            check.problems = problems.iter().map(shown).collect();
        }
        Err(error @ hub_policy::Error::LockOut { .. }) => check.lock_out = Some(error.to_string()),
        Err(error) => return Err(Error::Integrity(Box::new(error))),
    }
    Ok(check)
}

/// Refuses what is no set of policy files; gives their bytes.
pub(super) fn check_files(files: &[PolicyFile]) -> Result<usize, Error> {
    let invalid = |detail: String| Err(Error::Invalid { pointer: "/files", detail });
    if files.is_empty() {
        return invalid("at least one file is needed; the baseline is there without".to_owned());
    }
    if files.len() > MAX_FILES {
        return invalid(format!("at most {MAX_FILES} files"));
    }
    let bytes: usize = files.iter().map(|file| file.name.len() + file.text.len()).sum();
    if bytes > MAX_BYTES {
        return invalid(format!("at most {} KiB of names and texts in all", MAX_BYTES / 1024));
    }
    for (at, file) in files.iter().enumerate() {
        if !is_file_name(&file.name) {
            return invalid(format!(
                "the name of file {at} is no path of a policy file: letters, digits, `.`, `_`, \
                 `-` between slashes, ending in `.cedar`, not below `baseline/`"
            ));
        }
    }
    Ok(bytes)
}

fn is_file_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    name.len() <= 200
        && name.ends_with(".cedar")
        && !name.starts_with("baseline/")
        && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_paths_inside_one_folder() {
        for good in ["a.cedar", "local/10-a_b.cedar", "A.cedar"] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in [
            "",
            "a",
            ".cedar",
            "../a.cedar",
            "/a.cedar",
            "a//b.cedar",
            "a b.cedar",
            "é.cedar",
            "baseline/x.cedar",
        ] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }

    #[test]
    fn sizes_are_bound() {
        let file = |n: usize| PolicyFile { name: format!("f{n}.cedar"), text: String::new() };
        assert!(check_files(&[]).is_err());
        assert!(check_files(&(0..=MAX_FILES).map(file).collect::<Vec<_>>()).is_err());
        assert_eq!(check_files(&[file(1)]).unwrap(), 8);
        let large = PolicyFile { text: " ".repeat(MAX_BYTES), ..file(1) };
        assert!(check_files(&[large]).is_err());
    }
}
