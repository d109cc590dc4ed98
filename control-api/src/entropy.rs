//! Randomness, from the one generator of the whole program.

use postern_protocol::secret::Secret;
use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes of the operating system.
pub(crate) fn entropy<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system's generator fails only where nothing else works");
    bytes
}

/// A new secret of a kind, such as `pst`.
pub(crate) fn secret(kind: &str) -> Secret {
    Secret::from_entropy(kind, entropy())
}
