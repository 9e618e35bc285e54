//! What an author does with a folder of policies before any hub sees it: check, format, test,
//! compare. Nothing here is on a request's path, and nothing here needs a hub.

pub mod cases;
pub mod check;
pub mod diff;
mod draw;
pub mod format;
#[cfg(feature = "prove")]
pub mod prove;
mod replica;
pub mod run;

pub use cases::{Case, Library};
pub use check::{Checked, Finding, Level, check};
pub use run::{CaseReport, Coverage, Report, Verdict, run};
