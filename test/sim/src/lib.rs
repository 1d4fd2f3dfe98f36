//! A simulated pair of connections under a fake clock.
