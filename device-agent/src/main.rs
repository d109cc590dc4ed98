//! The agent: runs on the box, dials out, serves each visit by connecting to a local service.
fn main() {}
