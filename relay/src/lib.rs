//! The relay: boxes dial in over QUIC, visitors over SSH; a visit is decide, open, splice.
