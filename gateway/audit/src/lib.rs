//! What happened, provably: entries, chain, appender, verification.
