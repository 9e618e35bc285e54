//! May this caller do that: Cedar, sliced and memoized.
//!
//! A [`Bundle`] is a checked policy set: the schema and baseline in this crate, and the author's
//! files. [`Policies`] holds the active one and turns a caller, an action, a target and the facts
//! of a request into a [`Permit`] or a [`Denial`], which nothing else can make. What must stay
//! true:
//!
//! - a policy that errs denies, a forbid as well as a permit (Cedar alone skips it);
//! - the baseline is part of every bundle, so its guards bind everyone;
//! - grants permit by linked templates and are policies like any other: forbids beat them;
//! - slices and memo change what a decision costs, never what it is (`worlds.rs` tests it).

mod access;
pub mod analysis;
mod asking;
pub mod authoring;
mod bundle;
mod clauses;
mod context;
mod decide;
mod entities;
mod error;
pub mod folder;
mod grants;
mod index;
mod lockout;
mod memo;
mod permit;
#[cfg(test)]
mod plain;
mod problem;
mod rule;
pub mod schema;
pub mod shadow;
mod source;
mod suppose;
mod validation;
#[cfg(test)]
mod worlds;

pub use access::{Certainty, Named, Prospect, Survey};
pub use analysis::{Analysis, Question, QuestionError};
pub use asking::Circumstances;
pub use bundle::Bundle;
pub use decide::{Policies, RegistrationFacts, RequestFacts, Target};
pub use error::Error;
pub use grants::template;
pub use permit::{DecisionTrace, Denial, Permit};
pub use problem::Problem;
pub use source::{Effect, PolicyInfo};
pub use suppose::Supposition;

/// Reads the schema, and checks policies and templates that are shipped. Everything else does so at
/// first use; whoever has something else to do meanwhile calls this on another thread before.
pub fn prepare() {
    // What is wrong with them is told to whoever uses them.
    std::thread::scope(|scope| {
        let beside = std::thread::Builder::new().name("policies".to_owned());
        let _ = beside.spawn_scoped(scope, || drop(validation::shipped()));
        let _ = grants::Templates::load();
    });
}
