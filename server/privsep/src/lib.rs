//! The typed messages between the server's processes.
