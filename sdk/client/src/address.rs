//! Where a hub listens.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

use crate::Error;

/// A hub's address: `http://host:port`, `https://host:port` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Plain HTTP; with an API key only to this machine.
    Http {
        /// Name or IP address, IPv6 in brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// HTTP over TLS.
    Https {
        /// Name or IP address, IPv6 in brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// HTTP over a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether what is sent there can be read only by this machine or by the hub.
    #[must_use]
    pub fn is_private(&self) -> bool {
        match self {
            Self::Https { .. } | Self::Unix(_) => true,
            Self::Http { host, .. } => {
                host == "localhost" || bare(host).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// What requests' URIs start with.
    pub(crate) fn base(&self) -> String {
        match self {
            Self::Unix(_) => "http://localhost".to_owned(),
            Self::Http { .. } | Self::Https { .. } => self.to_string(),
        }
    }
}

/// A host without the brackets of IPv6.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port } => write!(f, "http://{host}:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Address(text.chars().take(200).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(bad()) };
        }
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        let bare_origin = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !bare_origin || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(bad());
        }
        let host = authority.host().to_ascii_lowercase();
        // Not `port_u16`, which takes a port out of range for none.
        let port = match authority.as_str().get(host.len()..) {
            None | Some("") => None,
            Some(rest) => {
                let digits = rest.strip_prefix(':').ok_or_else(bad)?;
                Some(digits.parse::<u16>().map_err(|_| bad())?)
            }
        };
        match uri.scheme_str() {
            Some("http") => Ok(Self::Http { host, port: port.unwrap_or(80) }),
            Some("https") => Ok(Self::Https { host, port: port.unwrap_or(443) }),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_three_forms() {
        for (text, shown) in [
            ("http://127.0.0.1:8443", "http://127.0.0.1:8443"),
            ("https://Hub.Example/", "https://hub.example:443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("unix:/run/hub.sock", "unix:/run/hub.sock"),
            ("unix:///run/hub.sock", "unix:/run/hub.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "hub",
            "127.0.0.1:8443",
            "ftp://hub",
            "http://",
            "https://user:secret@hub",
            "https://hub/v1",
            "https://hub:99999",
            "https://hub:",
            "unix:relative.sock",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn plain_http_is_private_on_loopback_only() {
        for (text, private) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("http://localhost.example:1", false),
            ("http://10.0.0.1:1", false),
            ("https://10.0.0.1:1", true),
            ("unix:/x", true),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().is_private(), private, "{text}");
        }
    }
}
