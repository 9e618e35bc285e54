//! For tests on the machine of the author: requests to begin with, a scripted world outside, and an
//! executor of plans.
//!
//! ```
//! use cipher_hub_plugin::rotation::{Decision, Request};
//! use cipher_hub_plugin::testing::{at, rotation_request};
//!
//! let request = Request { now: at("2026-11-26T09:00:00Z"), ..rotation_request() };
//! assert_eq!(request.calendar.zone, "UTC");
//! ```
//!
//! `cipher-hub plugin test` runs the component itself, in the host that it will run in.
#![expect(clippy::panic, reason = "for tests only")]

mod execute;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::result::Result;
use std::time::Duration;

pub use execute::execute;

use crate::Fields;
use crate::http::{Outbound, Request as HttpRequest, Response, SendError};
use crate::kdf::Context;
use crate::log::Level;
use crate::rotation::{Key, Policy, Request, State, Version};
use crate::sink::{Batch, Entry, Outcome};
use crate::time::{Calendar, DAY, Timestamp, Transition};

/// A time in RFC 3339.
///
/// # Panics
/// The text is not one.
#[must_use]
pub fn at(text: &str) -> Timestamp {
    match Timestamp::parse(text) {
        Some(time) => time,
        None => panic!("`{text}` is not a time such as 2026-12-01T02:00:00Z"),
    }
}

/// A question about a key of 1 January 2026, asked then, with intervals of 1 to 366 days.
#[must_use]
pub fn rotation_request() -> Request {
    let start = at("2026-01-01T00:00:00Z");
    Request {
        key: Key {
            id: "key_01jd8r0000000000000000000a".to_owned(),
            name: "example".to_owned(),
            registration: "reg_01jd8r0000000000000000000a".to_owned(),
            algorithm: "AES_256_GCM".to_owned(),
            purpose: "encrypt".to_owned(),
            tags: Fields::default(),
            primary: 1,
            versions: vec![Version {
                number: 1,
                state: State::Active,
                created_at: start,
                primary_since: Some(start),
                protect_operations: 0,
                protect_bytes: 0,
                process_operations: 0,
            }],
        },
        policy: Policy {
            min_interval: DAY,
            max_interval: DAY * 366,
            parameters: Fields::default(),
        },
        calendar: Calendar::utc(),
        last_rotation: start,
        now: start,
    }
}

/// The clock of a zone: its distance from UTC at first, and when it changes, in seconds.
///
/// # Panics
/// A time is not one.
#[must_use]
pub fn calendar(zone: &str, offset_seconds: i32, transitions: &[(&str, i32)]) -> Calendar {
    let transition = |&(time, offset_seconds)| Transition { at: at(time), offset_seconds };
    let transitions = transitions.iter().map(transition).collect();
    Calendar { zone: zone.to_owned(), offset_seconds, transitions }
}

/// Berlin's clock in 2026 and 2027.
#[must_use]
pub fn berlin() -> Calendar {
    calendar(
        "Europe/Berlin",
        3600,
        &[
            ("2026-03-29T01:00:00Z", 7200),
            ("2026-10-25T01:00:00Z", 3600),
            ("2027-03-28T01:00:00Z", 7200),
            ("2027-10-31T01:00:00Z", 3600),
        ],
    )
}

/// A question for 32 bytes, with nothing said beside.
#[must_use]
pub fn kdf_context() -> Context {
    Context {
        registration: "reg_01jd8r0000000000000000000a".to_owned(),
        key: "key_01jd8r0000000000000000000a".to_owned(),
        version: 1,
        algorithm: None,
        name: None,
        salt: Vec::new(),
        info: Vec::new(),
        encryption_context: Fields::default(),
        length: 32,
        parameters: Fields::default(),
    }
}

/// So many entries, from sequence 1, a second apart, at the first attempt.
#[must_use]
pub fn batch(entries: u32) -> Batch {
    let entry = |n: u32| Entry {
        sequence: u64::from(n),
        at: at("2026-11-26T09:00:00Z") + Duration::from_secs(u64::from(n)),
        action: "keys.encrypt".to_owned(),
        actor: Some("apikey:ptc_01jd8r0000000000000000000a".to_owned()),
        registration: Some("reg_01jd8r0000000000000000000a".to_owned()),
        outcome: Outcome::Success,
        json: format!("{{\"seq\":{n}}}"),
        leaf_hash: vec![0xab; 32],
    };
    Batch {
        cursor: 1,
        next: u64::from(entries) + 1,
        attempt: 1,
        entries: (1..=entries).map(entry).collect(),
    }
}

/// The world outside: answers in order, and what was sent.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    answers: VecDeque<Result<Response, SendError>>,
    /// What was sent, and to which endpoint.
    pub sent: Vec<(String, HttpRequest)>,
}

impl Outside {
    /// Gives these answers, then [`SendError::Connection`].
    #[must_use]
    pub fn new(answers: impl IntoIterator<Item = Result<Response, SendError>>) -> Self {
        Self { answers: answers.into_iter().collect(), sent: Vec::new() }
    }
}

impl Outbound for Outside {
    fn send(&mut self, endpoint: &str, request: &HttpRequest) -> Result<Response, SendError> {
        self.sent.push((endpoint.to_owned(), request.clone()));
        let over = || Err(SendError::Connection("the script is over".to_owned()));
        self.answers.pop_front().unwrap_or_else(over)
    }
}

/// A response of this status, without a body.
#[must_use]
pub fn status(status: u16) -> Response {
    Response { status, ..Response::default() }
}

thread_local! {
    static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn keep(level: Level, message: &str) {
    LOG.with_borrow_mut(|log| log.push((level, message.to_owned())));
}

/// Takes the lines that this thread has logged since it was last asked.
#[must_use]
pub fn logged() -> Vec<(Level, String)> {
    LOG.take()
}
