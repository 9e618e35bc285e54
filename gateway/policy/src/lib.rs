//! May this caller do that: Cedar, sliced and memoized.
