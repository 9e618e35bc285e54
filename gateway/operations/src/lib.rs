//! Every operation of the hub, planned then committed.
