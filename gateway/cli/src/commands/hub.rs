//! `cipher-hub status` and `whoami`.

use hub_model::api::quota::BlockView;
use hub_model::api::system::SinkView;

use super::super::failure::Failure;
use super::super::output::time;
use super::super::run::Session;
use super::participant;

pub(crate) async fn status(session: &mut Session<'_>) -> Result<(), Failure> {
    let status = session.connect()?.status().await?;
    let mode = if status.dev { "DEV: in memory, never use in production" } else { "production" };
    let mut facts = vec![
        ("hub", status.hub.to_string()),
        ("version", status.version.clone()),
        ("mode", mode.to_owned()),
        ("started", time(status.start_time)),
        ("seal", format!("{} ({})", status.seal, status.seal_kind)),
        ("store", format!("{} ({} bytes)", status.store, status.store_bytes)),
        ("secrets", format!("{} held, {}", status.arena_secrets, status.arena)),
        (
            "audit",
            format!("{} entries, {} in a checkpoint", status.audit_size, status.checkpoint_size),
        ),
        (
            "index",
            format!(
                "{} entries of the audit log, {} blocks pending",
                status.audit_indexed, status.audit_index_pending
            ),
        ),
        (
            "crypto",
            format!("provider {}, algorithms {}", status.crypto_provider, status.crypto_profile),
        ),
        ("policies", status.policy_revision.clone()),
        ("integrity", status.integrity.clone()),
    ];
    facts.extend(status.notices.iter().map(|notice| ("notice", notice.clone())));
    facts.extend(status.blocks.iter().map(|block| {
        let BlockView { block, source, who, reason, until } = block;
        ("blocked", format!("{block}: {who} at {source} until {}, {reason}", time(*until)))
    }));
    facts.extend(status.sinks.iter().map(|sink| ("sink", sink_line(sink))));
    session.console.item(&status, &facts)
}

fn sink_line(sink: &SinkView) -> String {
    let SinkView { name, kind, mode, reached, waiting, .. } = sink;
    let mut line = format!("{name} ({kind}, {mode}): at {reached}, {waiting} waiting");
    if sink.dropped > 0 {
        line.push_str(&format!(", {} missed", sink.dropped));
    }
    if sink.refusing {
        line.push_str(", WORK IS REFUSED until it has caught up");
    }
    if let Some(problem) = &sink.problem {
        line.push_str(&format!("; {problem}"));
    }
    line
}

pub(crate) async fn whoami(session: &mut Session<'_>) -> Result<(), Failure> {
    let me = session.connect()?.whoami().await?;
    let roles: Vec<_> =
        me.roles.iter().map(|held| format!("{} of {}", held.role, held.registration)).collect();
    let mut by = vec![me.method.name().to_owned()];
    by.extend(me.identity.as_ref().map(ToString::to_string));
    by.extend(me.credential.map(|credential| credential.to_string()));
    let mut facts = vec![("principal", me.principal.clone())];
    facts.extend(participant::facts(&me.participant));
    // What it holds everywhere says more than what it holds at home.
    facts.retain(|(name, _)| *name != "roles");
    facts.extend([
        ("roles", roles.join(", ")),
        ("by", by.join(" ")),
        ("expires", me.expire_time.map_or_else(|| "never".to_owned(), time)),
        ("policies", me.policy_revision.clone()),
    ]);
    session.console.item(&me, &facts)
}
