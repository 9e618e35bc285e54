//! Rate gates: by source address before anybody is authenticated, by participant after.
//!
//! Limits never fail by a name alone: before authentication only the address prefix counts, so
//! nobody can lock another out by failing in their name. State is shed by [`Throttle::maintain`]
//! as soon as a bucket is full again, so a flood of addresses holds memory for seconds only.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderValue};
use hub_auth::Caller;
use hub_model::ParticipantId;
use hub_model::principal::PeerAddress;
use tokio_util::sync::CancellationToken;

use crate::config::LimitsConfig;
use crate::line::Line;
use crate::quotas::{RATE_LIMIT, RATE_LIMIT_POLICY, put_first};

const SHED_INTERVAL: Duration = Duration::from_secs(1);

/// What counts as one source: an IPv4 address, an IPv6 /64, or the Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An IPv4 address, mapped ones included.
    V4(u32),
    /// The first 64 bits of an IPv6 address: what one customer of a network provider has.
    V6(u64),
    /// The Unix socket, one source in all.
    Unix,
}

impl From<PeerAddress> for Source {
    fn from(address: PeerAddress) -> Self {
        match address {
            PeerAddress::Unix => Self::Unix,
            PeerAddress::Ip(ip) => match ip.to_canonical() {
                IpAddr::V4(ip) => Self::V4(ip.to_bits()),
                IpAddr::V6(ip) => Self::V6(u64::try_from(ip.to_bits() >> 64).unwrap_or_default()),
            },
        }
    }
}

/// A refusal: come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// When the next request would pass.
    pub retry_after: Duration,
    /// Which policy refused: `address` or `participant`.
    pub policy: &'static str,
}

impl Limited {
    /// Whole seconds for `Retry-After`, at least one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> u64 {
        whole_seconds(self.retry_after)
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many requests by this {}", self.policy)
    }
}

/// Leave to go on, held until the response is sent. Made by [`Throttle::admit`] only.
#[derive(Debug)]
#[must_use = "the ticket is held until the response is sent"]
pub struct Ticket {
    policy: HeaderValue,
    burst: u32,
    per_second: u32,
    remaining: u32,
    in_flight: Arc<AtomicI64>,
}

impl Ticket {
    /// Requests the participant may still send at once.
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.remaining
    }

    /// Writes `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        put_first(headers, RATE_LIMIT_POLICY, &self.policy);
        let reset = self.burst.saturating_sub(self.remaining).div_ceil(self.per_second);
        let mut value = Line::new();
        value.text(b"\"participant\";r=").number(self.remaining.into());
        value.text(b";t=").number(reset.into());
        if let Some(value) = value.finish() {
            put_first(headers, RATE_LIMIT, &value);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

type Gate<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// Both gates.
#[derive(Debug)]
pub struct Throttle {
    clock: DefaultClock,
    addresses: Gate<Source>,
    participants: Gate<ParticipantId>,
    participant_burst: u32,
    participant_per_second: u32,
    policy: HeaderValue,
    in_flight: Arc<AtomicI64>,
}

impl Throttle {
    /// Gates with these limits, all buckets full.
    #[must_use]
    pub fn new(limits: &LimitsConfig) -> Self {
        let (rate, burst) = (limits.participant_per_second, limits.participant_burst);
        let window = burst.get().div_ceil(rate.get());
        let policy = format!("\"participant\";q={burst};w={window}");
        Self {
            clock: DefaultClock::default(),
            addresses: gate(limits.address_per_second, limits.address_burst),
            participants: gate(rate, burst),
            participant_burst: burst.get(),
            participant_per_second: rate.get(),
            policy: HeaderValue::try_from(policy)
                .unwrap_or_else(|_| HeaderValue::from_static("\"participant\"")),
            in_flight: Arc::default(),
        }
    }

    /// The gate before authentication.
    ///
    /// # Errors
    /// [`Limited`] when the source's bucket is empty.
    pub fn admit_address(&self, address: PeerAddress) -> Result<(), Limited> {
        self.addresses.check_key(&Source::from(address)).map(drop).map_err(|not_until| Limited {
            retry_after: not_until.wait_time_from(self.clock.now()),
            policy: "address",
        })
    }

    /// The gate after authentication.
    ///
    /// # Errors
    /// [`Limited`] when the participant's bucket is empty.
    pub fn admit(&self, caller: &Caller) -> Result<Ticket, Limited> {
        self.admit_participant(&caller.principal().participant)
    }

    fn admit_participant(&self, participant: &ParticipantId) -> Result<Ticket, Limited> {
        let state = self.participants.check_key(participant).map_err(|not_until| Limited {
            retry_after: not_until.wait_time_from(self.clock.now()),
            policy: "participant",
        })?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Ticket {
            policy: self.policy.clone(),
            burst: self.participant_burst,
            per_second: self.participant_per_second,
            remaining: state.remaining_burst_capacity(),
            in_flight: Arc::clone(&self.in_flight),
        })
    }

    /// Takes `more` requests out of the participant's bucket at once: the items of a batch beyond
    /// the first, which its ticket stands for.
    ///
    /// # Errors
    /// [`Limited`] when the bucket does not hold that many; nothing is taken then.
    pub fn charge(&self, caller: &Caller, more: usize) -> Result<(), Limited> {
        let Some(more) = u32::try_from(more).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        let limited = |retry_after| Limited { retry_after, policy: "participant" };
        match self.participants.check_key_n(&caller.principal().participant, more) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(not_until)) => Err(limited(not_until.wait_time_from(self.clock.now()))),
            // More than a full bucket holds: no waiting helps, smaller batches do.
            Err(_) => Err(limited(Duration::from_secs(1))),
        }
    }

    /// Tickets out: authenticated requests being worked on.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Sources and participants being counted at the moment.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.addresses.len() + self.participants.len()
    }

    /// Forgets buckets that are full again.
    pub fn shed(&self) {
        if self.addresses.len() > 64 {
            self.addresses.retain_recent();
            self.addresses.shrink_to_fit();
        }
        if self.participants.len() > 64 {
            self.participants.retain_recent();
            self.participants.shrink_to_fit();
        }
    }

    /// Sheds every second until `stop`; a task for `tasks.rs`.
    pub async fn maintain(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(SHED_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.shed(),
            }
        }
    }
}

fn gate<K: Clone + Eq + std::hash::Hash>(per_second: NonZeroU32, burst: NonZeroU32) -> Gate<K> {
    RateLimiter::dashmap(Quota::per_second(per_second).allow_burst(burst))
        .with_middleware::<StateInformationMiddleware>()
}

fn whole_seconds(duration: Duration) -> u64 {
    let up = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(up).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(rate: u32, burst: u32) -> Throttle {
        let (rate, burst) = (NonZeroU32::new(rate).unwrap(), NonZeroU32::new(burst).unwrap());
        Throttle::new(&LimitsConfig {
            address_per_second: rate,
            address_burst: burst,
            participant_per_second: rate,
            participant_burst: burst,
            ..LimitsConfig::default()
        })
    }

    fn peer(text: &str) -> PeerAddress {
        PeerAddress::Ip(text.parse().unwrap())
    }

    #[test]
    fn one_ipv6_network_is_one_source_and_mapped_addresses_are_ipv4() {
        assert_eq!(Source::from(peer("2001:db8::1")), Source::from(peer("2001:db8::ffff:2")));
        assert_ne!(Source::from(peer("2001:db8::1")), Source::from(peer("2001:db8:0:1::1")));
        assert_eq!(Source::from(peer("::ffff:10.0.0.1")), Source::from(peer("10.0.0.1")));
    }

    #[test]
    fn an_empty_bucket_refuses_and_says_when_to_come_back() {
        let throttle = throttle(1, 2);
        throttle.admit_address(peer("10.0.0.1")).unwrap();
        throttle.admit_address(peer("10.0.0.1")).unwrap();
        let limited = throttle.admit_address(peer("10.0.0.1")).unwrap_err();
        assert_eq!(limited.policy, "address");
        assert_eq!(limited.retry_after_seconds(), 1);
        throttle.admit_address(peer("10.0.0.2")).unwrap();
        throttle.admit_address(PeerAddress::Unix).unwrap();
    }

    #[test]
    fn tickets_count_and_tell_what_is_left() {
        let throttle = throttle(10, 20);
        let participant = ParticipantId::generate();
        let ticket = throttle.admit_participant(&participant).unwrap();
        assert_eq!((throttle.in_flight(), ticket.remaining()), (1, 19));
        let mut headers = HeaderMap::new();
        ticket.write_headers(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"participant\";q=20;w=2");
        assert_eq!(headers["ratelimit"], "\"participant\";r=19;t=1");
        drop(ticket);
        assert_eq!(throttle.in_flight(), 0);
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten() {
        let throttle = throttle(100_000, 1);
        for n in 0..10_000_u32 {
            let _ = throttle.admit_address(PeerAddress::Ip(IpAddr::V4(n.into())));
        }
        std::thread::sleep(Duration::from_millis(2));
        throttle.shed();
        assert!(throttle.tracked() < 5_000, "{}", throttle.tracked());
    }
}
