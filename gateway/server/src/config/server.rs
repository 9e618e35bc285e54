//! `server`: the edge.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FileMode, TlsConfig, at_least_one, units};

/// `server`: sockets, TLS, sizes and times of the edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// TCP addresses of the API.
    #[serde(deserialize_with = "units::one_or_many")]
    pub listen: Vec<SocketAddr>,
    /// The Unix socket of the API; `None` is off.
    #[serde(deserialize_with = "units::maybe_path")]
    pub unix_socket: Option<PathBuf>,
    /// Who may connect to it.
    pub unix_socket_mode: FileMode,
    /// Health and metrics, plain HTTP; `None` is off.
    #[serde(deserialize_with = "units::maybe_address")]
    pub management_listen: Option<SocketAddr>,
    /// Certificate of the TCP listeners.
    pub tls: TlsConfig,
    /// Serve plain HTTP beyond loopback: credentials and plaintext cross the network readable.
    pub danger_listen_without_tls: bool,
    /// Largest body of an ordinary request.
    #[serde(with = "units::size")]
    pub max_body_bytes: usize,
    /// Largest body of a batch request.
    #[serde(with = "units::size")]
    pub max_batch_body_bytes: usize,
    /// Time to send a request head.
    #[serde(with = "units::duration")]
    pub read_head_timeout: Duration,
    /// Time to send a request body.
    #[serde(with = "units::duration")]
    pub read_body_timeout: Duration,
    /// Time for a TLS handshake.
    #[serde(with = "units::duration")]
    pub tls_handshake_timeout: Duration,
    /// Time for a whole request; installations of plugins have five minutes.
    #[serde(with = "units::duration")]
    pub request_timeout: Duration,
    /// How long a connection may stay without a request.
    #[serde(with = "units::duration")]
    pub idle_timeout: Duration,
    /// How long requests in flight may take to finish after a stop.
    #[serde(with = "units::duration")]
    pub drain_timeout: Duration,
    /// Connections in all.
    pub max_connections: NonZeroU32,
    /// Connections per address (IPv6: per /64).
    pub max_connections_per_address: NonZeroU32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8420))],
            unix_socket: None,
            unix_socket_mode: FileMode(0o600),
            management_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            tls: TlsConfig::default(),
            danger_listen_without_tls: false,
            max_body_bytes: 96 * 1024,
            max_batch_body_bytes: 8 * 1024 * 1024,
            read_head_timeout: Duration::from_secs(10),
            read_body_timeout: Duration::from_secs(10),
            tls_handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            max_connections: at_least_one(10_000),
            max_connections_per_address: at_least_one(256),
        }
    }
}
