//! The gateway: HTTP edge, configuration, telemetry, process life.

pub mod admin;
pub mod body;
pub mod config;
pub mod inbound;
pub mod listen;
pub mod metrics;
pub mod process;
pub mod tasks;
pub mod telemetry;
pub mod throttle;
pub mod tls;
