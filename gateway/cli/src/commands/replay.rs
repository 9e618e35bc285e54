//! `cipher-hub policy replay`: what a candidate would have decided otherwise.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use hub_model::api::policy::{Flip, ReplayPolicies, Replayed, Undecidable};
use hub_model::clock::SystemClock;
use hub_model::{Clock as _, Timestamp};

use super::super::failure::Failure;
use super::super::output::{Row, clean};
use super::super::run::Session;
use super::super::values;
use super::revision::files_of;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy replay --candidate ./policies --since 7d
  cipher-hub policy replay --candidate 3f9a41c2 --last 100000
  cipher-hub policy replay --candidate baseline --since 12h --output json

Flips are listed with allow -> deny first: those are requests that would have failed. `present` in
the column FACTS says that participant, key or registration have changed since, so that the decisions
of today are compared, by the active policies and by the candidate. What cannot be known is counted
below, with its reason.")]
pub(crate) struct ReplayArgs {
    /// A folder of policies, or a revision: a digest or its beginning, or `baseline`
    #[arg(long, value_name = "DIR|REV")]
    candidate: String,
    /// Requests of this long ago and later, as 7d or 12h
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    since: Option<Duration>,
    /// Requests before this long ago
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    until: Option<Duration>,
    /// The last so many entries of the audit log
    #[arg(long, value_name = "N")]
    last: Option<u64>,
}

pub(crate) async fn replay(args: ReplayArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let now = SystemClock.now();
    let ago = |long: Duration| {
        let micros = i64::try_from(long.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.as_micros().saturating_sub(micros))
    };
    let folder = Path::new(&args.candidate);
    let (revision, files) = if folder.is_dir() {
        (None, Some(files_of(folder)?))
    } else {
        (Some(args.candidate.clone()), None)
    };
    let mut body = ReplayPolicies {
        revision,
        files,
        since: args.since.map(ago),
        until: args.until.map(ago),
        last: args.last,
        after: None,
    };
    let client = session.connect()?;
    let mut all = client.replay_policies(&body).await?;
    while let Some(next) = all.next {
        session.console.note(&format!("{} entries read, going on", all.entries));
        body.after = Some(next);
        let more = client.replay_policies(&body).await?;
        // A place that does not move would never end.
        let stuck = more.next == Some(next);
        join(&mut all, more);
        if stuck {
            break;
        }
    }
    if !session.console.for_people() {
        return session.console.item(&all, &[]);
    }
    session.console.line(&format!(
        "{} decisions made again under {}: {} the same, {} otherwise",
        all.decided,
        clean(&all.revision),
        all.same,
        all.decided.saturating_sub(all.same)
    ))?;
    if !all.flips.is_empty() {
        session.console.list(&all.flips)?;
    }
    if all.more_flips > 0 {
        session.console.line(&format!("and {} more of other kinds", all.more_flips))?;
    }
    for one in &all.undecidable {
        let line = format!("{} not decided: {} ({})", one.count, one.reason, one.decision_id);
        session.console.line(&clean(&line))?;
    }
    Ok(())
}

/// Adds the next part of a range.
fn join(all: &mut Replayed, more: Replayed) {
    all.entries += more.entries;
    all.decided += more.decided;
    all.same += more.same;
    all.more_flips += more.more_flips;
    all.next = more.next;
    let kind = |flip: &Flip| {
        (
            flip.from.clone(),
            flip.facts.clone(),
            flip.caller.clone(),
            flip.action.clone(),
            flip.resource.clone(),
        )
    };
    for flip in more.flips {
        match all.flips.iter_mut().find(|known| kind(known) == kind(&flip)) {
            Some(known) => known.count += flip.count,
            None => all.flips.push(flip),
        }
    }
    all.flips.sort_by_key(|flip| (flip.from != "allow", std::cmp::Reverse(flip.count)));
    for one in more.undecidable {
        let same = |known: &&mut Undecidable| known.reason == one.reason;
        match all.undecidable.iter_mut().find(same) {
            Some(known) => known.count += one.count,
            None => all.undecidable.push(one),
        }
    }
}

impl Row for Flip {
    const HEAD: &'static [&'static str] =
        &["CHANGE", "TIMES", "CALLER", "ACTION", "ON", "FACTS", "BY", "FIRST"];

    fn cells(&self) -> Vec<String> {
        let by = if self.policies.is_empty() {
            "no policy".to_owned()
        } else {
            self.policies.join(", ")
        };
        vec![
            format!("{} -> {}", self.from, self.to),
            self.count.to_string(),
            self.caller_name.clone(),
            self.action.clone(),
            self.resource_name.clone(),
            self.facts.clone(),
            by,
            self.decision_ids.first().cloned().unwrap_or_default(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(from: &str, count: u64, next: Option<u64>) -> Replayed {
        let flip = Flip {
            from: from.to_owned(),
            to: "x".to_owned(),
            facts: "recorded".to_owned(),
            caller: "apikey:ptc_1".to_owned(),
            caller_name: "shop/checkout".to_owned(),
            action: "keys.encrypt".to_owned(),
            resource: "key_1".to_owned(),
            resource_name: "shop/orders".to_owned(),
            count,
            policies: Vec::new(),
            decision_ids: Vec::new(),
        };
        let undecidable =
            vec![Undecidable { reason: "gone".into(), count: 1, decision_id: String::new() }];
        Replayed {
            revision: String::new(),
            entries: 10,
            decided: 5,
            same: 5 - count,
            flips: vec![flip],
            more_flips: 0,
            undecidable,
            next,
        }
    }

    #[test]
    fn parts_of_a_range_are_joined() {
        let mut all = part("deny", 3, Some(7));
        join(&mut all, part("deny", 1, Some(9)));
        join(&mut all, part("allow", 1, None));
        assert_eq!((all.entries, all.decided, all.same, all.next), (30, 15, 10, None));
        let flips: Vec<_> = all.flips.iter().map(|f| (f.from.as_str(), f.count)).collect();
        assert_eq!(flips, [("allow", 1), ("deny", 4)]);
        assert_eq!(all.undecidable.first().map(|one| one.count), Some(3));
    }
}
