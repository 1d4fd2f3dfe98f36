//! Runs a connection on real descriptors.
