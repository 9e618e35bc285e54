//! What `wit/` says, as Rust: generated, one module a world. What the worlds share is generated
//! once, with the first.

#[allow(clippy::all, clippy::unwrap_used, clippy::expect_used, unreachable_pub, missing_docs)]
pub(super) mod rotation {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "rotation-schedule",
        imports: { default: trappable },
        exports: { default: async },
    });
}

#[allow(clippy::all, clippy::unwrap_used, clippy::expect_used, unreachable_pub, missing_docs)]
pub(super) mod kdf {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "kdf-profile",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "cipher-hub:plugin/types@0.1.0": super::rotation::cipher_hub::plugin::types,
            "cipher-hub:plugin/log@0.1.0": super::rotation::cipher_hub::plugin::log,
            "cipher-hub:plugin/config@0.1.0": super::rotation::cipher_hub::plugin::config,
        },
    });
}

#[allow(clippy::all, clippy::unwrap_used, clippy::expect_used, unreachable_pub, missing_docs)]
pub(super) mod sink {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "audit-sink",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "cipher-hub:plugin/types@0.1.0": super::rotation::cipher_hub::plugin::types,
            "cipher-hub:plugin/log@0.1.0": super::rotation::cipher_hub::plugin::log,
            "cipher-hub:plugin/config@0.1.0": super::rotation::cipher_hub::plugin::config,
        },
    });
}

pub(super) use rotation::cipher_hub::plugin::{config, log, types};
pub(super) use sink::cipher_hub::plugin::outbound;
