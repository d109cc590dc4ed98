//! The control API: boxes, accesses, audit, the certificate authority, and the feed that relays follow.
