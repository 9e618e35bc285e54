//! Whether a component is what its manifest says: world, imports, types, and what it needs.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower};
use wasmtime::{Result as Checked, format_err};

use super::bindings::types::PluginError;
use super::bindings::{kdf, rotation, sink};
use super::guest::Guest;
use super::inspect::Inspected;
use super::limits::{Limits, MAX_MEMORIES, MAX_TABLES};
use crate::{Capability, Manifest, World};

/// The interface that every world exports.
pub(super) const LIFECYCLE: &str = "cipher-hub:plugin/lifecycle@0.1.0";

/// The interface that makes a world what it is.
pub(super) const fn exports_of(world: World) -> &'static str {
    match world {
        World::RotationSchedule => "cipher-hub:plugin/rotation@0.1.0",
        World::KdfProfile => "cipher-hub:plugin/kdf@0.1.0",
        World::AuditSink => "cipher-hub:plugin/sink@0.1.0",
    }
}

/// A plugin cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The component is larger than the operator allows.
    #[error("the component has {size} bytes; at most {most} are allowed")]
    TooLarge {
        /// What it has.
        size: usize,
        /// What it may have.
        most: usize,
    },
    /// Compiling it would take more than the host has for any plugin.
    #[error("it is too dear to compile: {has} {what}; at most {most}")]
    Dear {
        /// What there is too much of.
        what: &'static str,
        /// How much there is, or was when counting stopped.
        has: u64,
        /// The bound.
        most: u64,
    },
    /// Not a valid component, or one that uses what this host does not run.
    #[error("not a component that this host runs: {0}")]
    Invalid(String),
    /// It imports what its manifest does not ask for.
    #[error(
        "it imports `{import}`, which its manifest does not ask for: add \"{capability}\" to \
         `capabilities` there, as in `{line}`"
    )]
    NotGranted {
        /// The import.
        import: String,
        /// What would allow it.
        capability: &'static str,
        /// The line of the manifest that would allow it.
        line: String,
    },
    /// It imports what no capability grants.
    #[error("it imports `{import}`, which no capability grants: {hint}")]
    Foreign {
        /// The import.
        import: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// It does not export what its world has to.
    #[error(
        "its manifest says `{world}`, but it does not export `{export}`{}",
        instead(*.found)
    )]
    WrongWorld {
        /// The world in the manifest.
        world: World,
        /// What is missing.
        export: String,
        /// The world it is of, if it is of another.
        found: Option<World>,
    },
    /// An export or import has another type than `wit/` says.
    #[error("its types are not those of the contract: {0}")]
    Types(String),
    /// It needs more than any plugin may have, before it runs.
    #[error("it needs more than it may have: {0}")]
    Limits(String),
}

fn instead(found: Option<World>) -> String {
    found.map(|world| format!("; it is a component of `{world}`")).unwrap_or_default()
}

/// The pool says at once what no call could give.
pub(super) fn unfit(text: String) -> LoadError {
    if text.contains("exceeds the") {
        return LoadError::Limits(text);
    }
    LoadError::Invalid(text)
}

/// The whole chain of causes, cut: parts of it are the component's own words.
pub(super) fn short(error: &wasmtime::Error) -> String {
    super::lines::clean(&format!("{error:#}"), 512)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn wrong_types(error: wasmtime::Error) -> LoadError {
    LoadError::Types(short(&error))
}

pub(super) fn check_imports(inspected: &Inspected, manifest: &Manifest) -> Result<(), LoadError> {
    for import in &inspected.imports {
        let import = super::lines::clean(import, 200);
        let Some(of_ours) = import.strip_prefix("cipher-hub:plugin/") else {
            let hint = if import.starts_with("wasi:") {
                "there is no WASI here; build without it (docs/plugins/host.md)"
            } else {
                "plugins import interfaces of `cipher-hub:plugin` alone"
            };
            return Err(LoadError::Foreign { import, hint });
        };
        let (interface, version) = of_ours.split_once('@').unwrap_or((of_ours, ""));
        let capability = match interface {
            "log" => Capability::Log,
            "config" => Capability::Config,
            "outbound" => Capability::Outbound,
            _ => {
                let hint = "the contract has no such interface to import";
                return Err(LoadError::Foreign { import, hint });
            }
        };
        if !(version == "0.1" || version.starts_with("0.1.")) {
            let hint = "this host serves version 0.1 of the contract";
            return Err(LoadError::Foreign { import, hint });
        }
        if capability == Capability::Outbound && manifest.world != World::AuditSink {
            let hint = "only plugins of the world `audit-sink` send requests";
            return Err(LoadError::Foreign { import, hint });
        }
        if !manifest.capabilities.contains(&capability) {
            let all = manifest.capabilities.iter().copied().chain([capability]);
            let all: Vec<String> = all.map(|c| format!("\"{c}\"")).collect();
            let line = format!("capabilities = [{}]", all.join(", "));
            return Err(LoadError::NotGranted { import, capability: capability.name(), line });
        }
    }
    Ok(())
}

pub(super) fn check_exports(inspected: &Inspected, world: World) -> Result<(), LoadError> {
    for export in [exports_of(world), LIFECYCLE] {
        if !inspected.exports.iter().any(|name| name == export) {
            let found = inspected.world.filter(|found| *found != world);
            return Err(LoadError::WrongWorld { world, export: export.to_owned(), found });
        }
    }
    Ok(())
}

pub(super) fn check_needs(inspected: &Inspected, ceilings: &Limits) -> Result<(), LoadError> {
    let Some(needs) = inspected.memory else {
        return Err(LoadError::Limits("what it needs is not known before it runs".to_owned()));
    };
    let too_many = |what: &str, has: u64, most: u64| {
        (has > most).then(|| LoadError::Limits(format!("{has} {what}; at most {most}")))
    };
    let most = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let wrong = too_many("linear memories", needs.memories.into(), most(MAX_MEMORIES))
        .or_else(|| too_many("tables", needs.tables.into(), most(MAX_TABLES)))
        .or_else(|| too_many("bytes of memory at the start", needs.initial, ceilings.memory))
        .or_else(|| {
            too_many("table elements at the start", needs.elements, ceilings.table_elements)
        });
    wrong.map_or(Ok(()), Err)
}

/// Whether functions take and give what the contract says. Without this it would show at the first
/// call only.
pub(super) fn check_types(pre: &InstancePre<Guest>, world: World) -> Result<(), LoadError> {
    use kdf::exports::cipher_hub::plugin::kdf as k;
    use rotation::exports::cipher_hub::plugin::rotation as r;
    use sink::exports::cipher_hub::plugin::sink as s;
    type Answer<T> = (Result<T, PluginError>,);
    let own = exports_of(world);
    let check = || -> Checked<()> {
        function::<(), Answer<()>>(pre, LIFECYCLE, "check")?;
        match world {
            World::RotationSchedule => {
                function::<(&r::Request,), Answer<r::Decision>>(pre, own, "decide")?;
                function::<(&r::Policy,), Answer<()>>(pre, own, "check-policy")
            }
            World::KdfProfile => {
                function::<(), (Vec<k::Profile>,)>(pre, own, "profiles")?;
                function::<(&str, &k::Context), Answer<Vec<k::Step>>>(pre, own, "plan")
            }
            World::AuditSink => {
                function::<(&s::Batch,), Answer<s::Delivery>>(pre, own, "deliver")?;
                function::<(), Answer<()>>(pre, own, "probe")
            }
        }
    };
    check().map_err(wrong_types)
}

fn function<P, R>(pre: &InstancePre<Guest>, interface: &str, name: &str) -> Checked<()>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let missing = || format_err!("`{interface}` has no function `{name}`");
    let component = pre.component();
    let (_, instance): (_, ComponentExportIndex) =
        component.get_export(None, interface).ok_or_else(missing)?;
    let (item, _) = component.get_export(Some(&instance), name).ok_or_else(missing)?;
    let ComponentItem::ComponentFunc(function) = item else { return Err(missing()) };
    let types = pre.instance_type();
    let context = format!("`{name}` of `{interface}`");
    function.typecheck::<P, R>(&types).map_err(|error| error.context(context))
}
