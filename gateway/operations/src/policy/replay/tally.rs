//! What a replay has found so far, in bounded memory.

use std::collections::{BTreeMap, HashMap};

use hub_model::api::policy::{Flip, Replayed, Undecidable};

use super::question::{Question, Verdict};

/// Kinds of flips told apart.
const MOST_GROUPS: usize = 1000;
/// Decisions named of each kind.
const EXAMPLES: usize = 3;

type Kind = (bool, bool, String, &'static str, String);

#[derive(Debug)]
struct Group {
    flip: Flip,
    seqs: Vec<u64>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) entries: u64,
    decided: u64,
    same: u64,
    groups: HashMap<Kind, Group>,
    more: u64,
    unknown: BTreeMap<&'static str, (u64, u64)>,
    pub(super) next: Option<u64>,
}

impl Tally {
    pub(super) fn undecidable(&mut self, reason: &'static str, seq: u64) {
        self.unknown.entry(reason).or_insert((0, seq)).0 += 1;
    }

    pub(super) fn add(&mut self, question: &Question, verdict: Verdict) {
        let (from, present, policies) = match verdict {
            Verdict::Unknown(reason) => return self.undecidable(reason, question.seq),
            Verdict::Same => {
                self.decided += 1;
                self.same += 1;
                return;
            }
            Verdict::Flip { from, present, policies } => (from, present, policies),
        };
        self.decided += 1;
        let (resource, resource_name) = question.resource();
        let action = question.action.name();
        let kind = (!from, present, question.caller.clone(), action, resource.clone());
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&kind) {
            self.more += 1;
            return;
        }
        let word = |permitted: bool| if permitted { "allow" } else { "deny" }.to_owned();
        let group = self.groups.entry(kind).or_insert_with(|| Group {
            flip: Flip {
                from: word(from),
                to: word(!from),
                facts: if present { "present" } else { "recorded" }.to_owned(),
                caller: question.caller.clone(),
                caller_name: question.caller_name.clone(),
                action: action.to_owned(),
                resource,
                resource_name,
                count: 0,
                policies,
                decision_ids: Vec::new(),
            },
            seqs: Vec::new(),
        });
        group.flip.count += 1;
        if group.seqs.len() < EXAMPLES {
            group.seqs.push(question.seq);
        }
    }

    pub(super) fn finish(self, revision: String, id: impl Fn(u64) -> String) -> Replayed {
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        groups.sort_by(|a, b| {
            let rank = |group: &Group| (group.flip.from != "allow", u64::MAX - group.flip.count);
            rank(a).cmp(&rank(b)).then_with(|| a.seqs.cmp(&b.seqs))
        });
        let name = |group: Group| {
            let decision_ids = group.seqs.into_iter().map(&id).collect();
            Flip { decision_ids, ..group.flip }
        };
        let reason = |(reason, (count, seq)): (&str, (u64, u64))| Undecidable {
            reason: reason.to_owned(),
            count,
            decision_id: id(seq),
        };
        Replayed {
            revision,
            entries: self.entries,
            decided: self.decided,
            same: self.same,
            flips: groups.into_iter().map(name).collect(),
            more_flips: self.more,
            undecidable: self.unknown.into_iter().map(reason).collect(),
            next: self.next,
        }
    }
}
