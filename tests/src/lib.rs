//! A whole Postern in one value, for tests that use real ssh, real sshd and real networks.
