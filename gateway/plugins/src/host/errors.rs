//! From what wasmtime says to the kind of failure that the hub counts.

use hub_model::extend::{FailureKind, PluginFailure};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::bindings::types::PluginError;
use super::limits::{Budget, Denied};

/// The host ends a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("its time was over")]
    Deadline,
    #[error("the plugin is of another world")]
    WrongWorld,
    #[error("{0}")]
    HostCalls(&'static str),
}

/// What a call ended with.
pub(super) fn failure(error: &wasmtime::Error, budget: &Budget) -> PluginFailure {
    let (kind, text) = kind_of(error, budget);
    PluginFailure::new(kind, &text)
}

fn kind_of(error: &wasmtime::Error, budget: &Budget) -> (FailureKind, String) {
    let text = format!("{}", error.root_cause());
    if let Some(stop) = error.downcast_ref::<Stop>() {
        let kind = match stop {
            Stop::Deadline => FailureKind::Deadline,
            Stop::WrongWorld => FailureKind::Unavailable,
            Stop::HostCalls(_) => FailureKind::HostCalls,
        };
        return (kind, stop.to_string());
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return (FailureKind::Busy, "too many instances at once".to_owned());
    }
    let in_guest = error.downcast_ref::<WasmBacktrace>();
    let trap = error.downcast_ref::<Trap>().copied();
    match trap {
        Some(Trap::Interrupt) => return (FailureKind::Deadline, Stop::Deadline.to_string()),
        Some(Trap::OutOfFuel) => {
            return (FailureKind::Fuel, "its fuel was used up".to_owned());
        }
        _ => {}
    }
    // A guest that was denied memory mostly ends itself: the cause is the limit.
    match budget.denied {
        Some(Denied::Memory) => {
            let text = format!("it wanted more memory than it may have ({text})");
            return (FailureKind::Memory, text);
        }
        Some(Denied::Tables) => {
            let text = format!("it wanted more table elements than it may have ({text})");
            return (FailureKind::Tables, text);
        }
        None => {}
    }
    if trap.is_none() {
        if text.contains("hostcalls has been exhausted") {
            let kind =
                if in_guest.is_some() { FailureKind::HostCalls } else { FailureKind::Nonsense };
            return (kind, "too many bytes at once".to_owned());
        }
        if text.contains("handle") && text.contains("limit") {
            return (FailureKind::Tables, text);
        }
        if text.contains("resource limit exceeded") {
            let memory = text.contains("memory count");
            return (if memory { FailureKind::Memory } else { FailureKind::Tables }, text);
        }
    }
    // Segments that do not fit are found by the host, before the guest's own code runs.
    let segments = matches!(trap, Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds));
    match in_guest {
        None if segments => (FailureKind::Trap, text),
        Some(trace) => (FailureKind::Trap, format!("{text}{}", place(trace))),
        // No guest code was running: its answer cannot be read.
        None => (FailureKind::Nonsense, format!("its answer cannot be read: {text}")),
    }
}

/// A call that was denied growth and answered all the same, where that is not allowed.
pub(super) fn denied(what: Denied) -> PluginFailure {
    let (kind, what) = match what {
        Denied::Memory => (FailureKind::Memory, "memory"),
        Denied::Tables => (FailureKind::Tables, "table elements"),
    };
    let text = format!("it wanted more {what} than it may have, and answered without");
    PluginFailure::new(kind, &text)
}

/// Where it happened, in the guest's own words.
fn place(trace: &WasmBacktrace) -> String {
    let name = trace.frames().iter().find_map(|frame| frame.func_name());
    name.map(|name| format!(" in {name}")).unwrap_or_default()
}

/// An error that the plugin itself reports.
pub(super) fn reported(error: PluginError) -> PluginFailure {
    match error {
        PluginError::InvalidConfig(text) | PluginError::Unsupported(text) => {
            PluginFailure::new(FailureKind::Refused, &text)
        }
        PluginError::Internal(text) => PluginFailure::new(FailureKind::Internal, &text),
    }
}

/// An answer that makes no sense.
pub(super) fn nonsense(text: impl AsRef<str>) -> PluginFailure {
    PluginFailure::new(FailureKind::Nonsense, text.as_ref())
}
