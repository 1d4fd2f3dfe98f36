//! The process that reads the network.
