//! Where a credential may be used from: networks, and the Unix socket.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::principal::PeerAddress;

/// A network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3), or the Unix socket.
///
/// ```
/// use hub_model::SourceRange;
/// let range: SourceRange = "10.1.0.0/16".parse()?;
/// assert!(range.contains(hub_model::principal::PeerAddress::Ip("10.1.2.3".parse().unwrap())));
/// assert!("10.1.2.3/16".parse::<SourceRange>().is_err(), "bits beyond the prefix");
/// # Ok::<(), hub_model::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRange {
    /// Addresses that start with the same bits.
    Network {
        /// The first address.
        address: IpAddr,
        /// How many bits count.
        prefix: u8,
    },
    /// The Unix socket.
    Unix,
}

impl SourceRange {
    /// Whether a request from `peer` comes from here. IPv4 addresses written as IPv6 are IPv4.
    #[must_use]
    pub fn contains(&self, peer: PeerAddress) -> bool {
        match (self, peer) {
            (Self::Unix, PeerAddress::Unix) => true,
            (Self::Network { address, prefix }, PeerAddress::Ip(peer)) => {
                match (address, peer.to_canonical()) {
                    (IpAddr::V4(network), IpAddr::V4(peer)) => {
                        let other = network.to_bits() ^ peer.to_bits();
                        other.checked_shr(32 - u32::from(*prefix)).unwrap_or(0) == 0
                    }
                    (IpAddr::V6(network), IpAddr::V6(peer)) => {
                        let other = network.to_bits() ^ peer.to_bits();
                        other.checked_shr(128 - u32::from(*prefix)).unwrap_or(0) == 0
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl FromStr for SourceRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let refuse = || Error::SourceRange(text.chars().take(64).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        if address != address.to_canonical() {
            return Err(refuse());
        }
        let (bits, host): (u8, u128) = match address {
            IpAddr::V4(address) => (32, u128::from(address.to_bits())),
            IpAddr::V6(address) => (128, address.to_bits()),
        };
        let prefix = match prefix {
            None => bits,
            Some(text) => {
                let value: u8 = text.parse().map_err(|_| refuse())?;
                if value > bits || value.to_string() != text {
                    return Err(refuse());
                }
                value
            }
        };
        let free = u32::from(bits - prefix);
        let mask = 1_u128.checked_shl(free).map_or(u128::MAX, |end| end - 1);
        if host & mask != 0 {
            return Err(refuse());
        }
        Ok(Self::Network { address, prefix })
    }
}

impl fmt::Display for SourceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { address, prefix } => write!(f, "{address}/{prefix}"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Serialize for SourceRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SourceRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for SourceRange {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("A network such as `10.1.0.0/16` or `2001:db8::/32`, or `unix`"))
            .into()
    }
}

impl utoipa::ToSchema for SourceRange {}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> PeerAddress {
        PeerAddress::Ip(text.parse().unwrap())
    }

    #[test]
    fn ranges_hold_their_addresses_and_no_others() {
        for (range, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.0.0/16", "::ffff:10.1.0.1", "::10.1.0.1"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let range: SourceRange = range.parse().unwrap();
            assert!(range.contains(peer(inside)), "{range} {inside}");
            assert!(!range.contains(peer(outside)), "{range} {outside}");
            assert!(!range.contains(PeerAddress::Unix));
            assert_eq!(range.to_string().parse::<SourceRange>().unwrap(), range);
        }
        let unix: SourceRange = "unix".parse().unwrap();
        assert!(unix.contains(PeerAddress::Unix) && !unix.contains(peer("127.0.0.1")));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "10.1.2.3/16", "10.0.0.0/33", "10.0.0.0/08", "::ffff:10.0.0.0/104", "UNIX"]
        {
            assert!(text.parse::<SourceRange>().is_err(), "{text}");
        }
    }
}
