//! Rotation policies that callers want stored.

use hub_model::extend::{FailureKind, PluginFailure};
use hub_model::rotation::Schedule;
use hub_model::{RegistrationId, RotationPolicy, Timestamp};

use super::plan::in_time;
use crate::Error;
use crate::hub::Hub;

/// Whether a policy can be meant; where it names a plugin, whether that is there, may be used in
/// the registration, and takes the parameters.
pub(crate) async fn check_rotation(
    hub: &Hub,
    registration: RegistrationId,
    policy: &RotationPolicy,
    now: Timestamp,
) -> Result<(), Error> {
    policy
        .validate(now)
        .map_err(|error| Error::Invalid { pointer: "/rotation", detail: error.to_string() })?;
    let Some(Schedule::Plugin(schedule)) = &policy.schedule else { return Ok(()) };
    let plugin = hub
        .plugins()
        .rotation(registration, &schedule.plugin)
        .map_err(|failure| refused(&schedule.plugin, &failure))?;
    let bounds = schedule.bounds(now);
    in_time(|| plugin.check(registration, &bounds))
        .await
        .map_err(|failure| refused(&schedule.plugin, &failure))
}

/// Whether a policy names a plugin, which is to be asked soon.
pub(crate) fn asks_plugin(policy: Option<&RotationPolicy>) -> bool {
    policy.is_some_and(|policy| matches!(policy.schedule, Some(Schedule::Plugin(_))))
}

fn refused(plugin: &hub_model::Name, failure: &PluginFailure) -> Error {
    let text = &failure.text;
    let (pointer, detail) = match failure.kind {
        FailureKind::Refused => (pointer_of(text), format!("the plugin `{plugin}` says: {text}")),
        FailureKind::Unavailable => ("/rotation/schedule/plugin".into(), text.to_string()),
        // What it says of itself is for the operator.
        kind => {
            tracing::warn!(%plugin, %failure, "a rotation plugin could not check a policy");
            let detail = format!("the plugin `{plugin}` could not check this: {}", kind.name());
            ("/rotation/schedule/plugin".into(), detail)
        }
    };
    Error::InvalidMember { pointer, detail }
}

/// The parameter a refusal is about: the first that it names between backticks.
fn pointer_of(text: &str) -> Box<str> {
    let base = "/rotation/schedule/parameters";
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let named = text
        .split('`')
        .skip(1)
        .step_by(2)
        .find(|name| (1..=64).contains(&name.len()) && name.bytes().all(allowed));
    named.map_or_else(|| base.into(), |name| format!("{base}/{name}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_at_fault_is_pointed_at() {
        for (text, pointer) in [
            ("`zone`: no such zone `Mars/One`", "/rotation/schedule/parameters/zone"),
            ("`Mars/One` is no `zone`", "/rotation/schedule/parameters/zone"),
            ("no holidays are known", "/rotation/schedule/parameters"),
            ("one ` alone", "/rotation/schedule/parameters"),
            ("", "/rotation/schedule/parameters"),
        ] {
            assert_eq!(&*pointer_of(text), pointer, "{text}");
        }
    }
}
