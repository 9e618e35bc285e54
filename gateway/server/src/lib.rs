//! The gateway: HTTP edge, configuration, telemetry, process life.

pub mod admin;
pub mod app;
pub mod banner;
pub mod body;
mod chores;
pub mod config;
pub mod dev;
pub mod endpoint;
pub mod failures;
pub mod inbound;
pub mod listen;
pub mod metrics;
pub mod open;
pub mod openapi;
pub mod pipeline;
pub mod problem;
pub mod process;
pub mod reply;
pub mod request;
mod rewrapping;
pub mod routes;
mod streaming;
pub mod tasks;
pub mod telemetry;
pub mod throttle;
pub mod tls;
