//! Reports for auditors: from facts somebody read over the API and from verified entries of the
//! audit log to one document, and from the document to HTML.
//!
//! Nothing here reads, asks or knows the time: the same input gives the same bytes. `docs/audit/
//! reports.md` says what each report holds; [`document`] is its JSON.

pub mod build;
pub mod cryptoperiod;
pub mod document;
pub mod facts;
pub mod html;
mod kinds;
mod strength;
pub mod trail;

pub use build::{Options, build};
pub use document::Report;
pub use facts::Facts;
pub use kinds::Kind;
pub use trail::Trail;
