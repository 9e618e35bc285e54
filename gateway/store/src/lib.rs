//! Sealed records on an untrusted engine.
