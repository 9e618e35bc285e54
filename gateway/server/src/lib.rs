//! The gateway: HTTP edge, configuration, telemetry, process life.
//!
//! Futures of a program's whole life or of one of its large steps are given boxed: a future's code is
//! made where it is awaited, and the program and every test would compile the whole gateway again.

pub mod abuse;
pub mod admin;
pub mod app;
mod archiving;
pub mod banner;
pub mod body;
mod catalogue;
mod chores;
pub mod config;
pub mod dev;
pub mod endpoint;
mod exporting;
pub mod failures;
mod guard;
pub mod inbound;
pub mod jwks;
mod line;
pub mod listen;
pub mod load;
pub mod metrics;
mod metrics_audit;
mod metrics_rotation;
pub mod open;
pub mod openapi;
pub mod pipeline;
mod policy_files;
pub mod problem;
pub mod process;
mod proofs;
mod public_key;
pub mod quotas;
pub mod reply;
pub mod request;
mod rewrapping;
pub mod routes;
pub mod sinks;
mod streaming;
pub mod tasks;
pub mod telemetry;
pub mod throttle;
pub mod tls;
mod unblock;
mod watching;
pub mod witness;
mod witnesses;
