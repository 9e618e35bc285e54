//! The only home of key bytes: algorithms, keyrings, envelopes, seals.
