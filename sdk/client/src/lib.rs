//! Client for applications.
