//! Locked, undumpable, erased pages for long-lived secrets.
