//! End to end, as root with throwaway users.
