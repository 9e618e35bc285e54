//! `cipher-hub key who-can` and `cipher-hub participant access`: who may do what.

use cipher_hub_client::{Client, PageRequest};
use clap::Args;
use hub_model::Action;
use hub_model::api::access::{ActionAccess, ParticipantAccess, Prospect, WhoCan, WhoCanItem};
use serde::Serialize;

use super::super::failure::Failure;
use super::super::output::Row;
use super::super::run::Session;
use super::super::values::Place;

/// Participants, and keys, on one page: as many as the hub answers.
const PARTICIPANTS: u32 = 200;
const KEYS: u32 = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub key who-can shop/orders --action keys.decrypt
  cipher-hub key who-can shop/orders --action keys.export --output json

`always`: whatever the request. `conditional`: it depends on the request; CONDITIONS names the
policies and grants it hangs on, and HERE whether it would be permitted from here, now, with an
empty encryption context. `never`: BY names the forbids, if any.")]
pub(crate) struct WhoCanArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// The action
    #[arg(long, default_value = "keys.decrypt")]
    action: Action,
    /// Show only who may, always or under conditions
    #[arg(long)]
    may: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub participant access shop/checkout
  cipher-hub participant access shop/ptc_01jd8r0000000000000000000a   (someone of `hub`)

Shown is what is not out of the question: `always` whatever the request, `conditional` where it
depends on the request.")]
pub(crate) struct AccessArgs {
    /// Registration and participant; participants of `hub` by uid
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
}

pub(super) async fn who_can(
    session: &mut Session<'_>,
    client: &Client,
    args: WhoCanArgs,
) -> Result<(), Failure> {
    let WhoCanArgs { key: at, action, may } = args;
    let mut items: Vec<WhoCanItem> = Vec::new();
    let mut page = PageRequest { size: Some(PARTICIPANTS), token: None };
    let last: WhoCan = loop {
        let mut found = client.who_can(&at.registration, &at.name, action, &page).await?;
        items.append(&mut found.items);
        // A token that leads back to itself would never end.
        if found.next_page_token.is_none() || found.next_page_token == page.token {
            break found;
        }
        page.token = found.next_page_token;
    };
    if may {
        items.retain(|item| item.prospect.decision.name() != "never");
    }
    session.console.list(&items)?;
    if let Some(others) = &last.others {
        let by = others.policies.iter().chain(&others.conditions);
        let by = by.map(String::as_str).collect::<Vec<_>>().join(" ");
        let decision = others.decision.name();
        session.console.note(&format!("participants of every registration: {decision} ({by})"));
    }
    if !last.elsewhere.is_empty() {
        let named = last.elsewhere.join(" ");
        session.console.note(&format!("others are named by {named}"));
    }
    Ok(())
}

/// One line of what a participant may do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    /// The key's name; absent for the registration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(flatten)]
    access: ActionAccess,
}

pub(super) async fn of_participant(
    session: &mut Session<'_>,
    client: &Client,
    args: AccessArgs,
) -> Result<(), Failure> {
    let at = args.participant;
    let mut lines = Vec::new();
    let mut page = PageRequest { size: Some(KEYS), token: None };
    let last: ParticipantAccess = loop {
        let mut found = client.participant_access(&at.registration, &at.name, &page).await?;
        lines.extend(found.registration.drain(..).map(|access| Line { key: None, access }));
        for key in found.items.drain(..) {
            let name = key.name.to_string();
            let actions = key.actions.into_iter();
            lines.extend(actions.map(|access| Line { key: Some(name.clone()), access }));
        }
        if found.next_page_token.is_none() || found.next_page_token == page.token {
            break found;
        }
        page.token = found.next_page_token;
    };
    session.console.list(&lines)?;
    if last.suspended {
        session.console.note("the participant is suspended");
    }
    Ok(())
}

fn cells_of(prospect: &Prospect) -> [String; 4] {
    let here = match prospect.from_here {
        Some(true) => "permitted",
        Some(false) => "refused",
        None => "",
    };
    [
        prospect.decision.name().to_owned(),
        prospect.policies.join(" "),
        prospect.conditions.join(" "),
        here.to_owned(),
    ]
}

impl Row for WhoCanItem {
    const HEAD: &'static [&'static str] = &["PARTICIPANT", "DECISION", "BY", "CONDITIONS", "HERE"];

    fn cells(&self) -> Vec<String> {
        let member = &self.participant;
        let mut cells = vec![format!("{}/{}", member.registration, member.name)];
        cells.extend(cells_of(&self.prospect));
        cells
    }
}

impl Row for Line {
    const HEAD: &'static [&'static str] =
        &["KEY", "ACTION", "DECISION", "BY", "CONDITIONS", "HERE"];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.key.clone().unwrap_or_default(), self.access.action.clone()];
        cells.extend(cells_of(&self.access.prospect));
        cells
    }
}
