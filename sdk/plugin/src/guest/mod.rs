//! Between the bindings and the traits; for components only.
#![allow(missing_docs, reason = "for the macros of this crate")]

mod kdf;
mod rotation;
mod sink;

use std::sync::Once;

pub use self::kdf::Kdf;
pub use self::rotation::Rotation;
pub use self::sink::Sink;
use crate::log::Level;
use crate::{Config, Fields};

// Worlds share the interfaces `log` and `config`: it does not matter whose bindings are used.
use crate::bindings::kdf::cipher_hub::plugin::{config, log as bound};

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => bound::Level::Trace,
        Level::Debug => bound::Level::Debug,
        Level::Info => bound::Level::Info,
        Level::Warn => bound::Level::Warn,
        Level::Error => bound::Level::Error,
    };
    bound::write(level, message);
}

/// What every call begins with: panics go into the log, settings come in.
fn enter() -> Config {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
    });
    Fields::from_iter(config::all())
}

/// Conversions of what every world has types of its own for.
macro_rules! common {
    ($module:ident) => {
        use crate::bindings::$module::cipher_hub::plugin::types::{Field, PluginError};

        fn error(error: crate::Error) -> PluginError {
            match error {
                crate::Error::InvalidConfig(text) => PluginError::InvalidConfig(text),
                crate::Error::Unsupported(text) => PluginError::Unsupported(text),
                crate::Error::Internal(text) => PluginError::Internal(text),
            }
        }

        #[allow(dead_code)]
        fn fields(fields: Vec<Field>) -> crate::Fields {
            fields.into_iter().map(|field| (field.name, field.value)).collect()
        }
    };
}
use common;
