//! The command people type: a client of the API, and everything in one process for a start.
