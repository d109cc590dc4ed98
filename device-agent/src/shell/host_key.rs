//! The key by which clients know the box when they speak to the built-in server.
//!
//! Not the tunnel's key: the two identify the box to different people.

use anyhow::{Context, anyhow};
use postern_protocol::ssh_key::PublicKey;
use ring::rand::{SystemRandom, generate};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;

use crate::state::State;

/// The file, in OpenSSH's own format.
const FILE: &str = "ssh_host_ed25519_key";

/// The host key, made at the first call.
pub(super) fn load_or_make(state: &State) -> anyhow::Result<PrivateKey> {
    let path = state.path(FILE);
    match state.read(FILE).with_context(|| format!("reading {}", path.display()))? {
        Some(text) => {
            PrivateKey::from_openssh(text).with_context(|| format!("{} is not a key", path.display()))
        }
        None => make(state),
    }
}

fn make(state: &State) -> anyhow::Result<PrivateKey> {
    let seed =
        generate::<[u8; 32]>(&SystemRandom::new()).map_err(|_| anyhow!("the system gives no randomness"))?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed.expose()));
    let text = key.to_openssh(LineEnding::LF)?;
    state.write(FILE, text.as_bytes()).with_context(|| format!("writing {}", state.path(FILE).display()))?;
    Ok(key)
}

/// The public half, in the form that the programs exchange.
pub(super) fn public(key: &PrivateKey) -> anyhow::Result<PublicKey> {
    Ok(PublicKey::from_wire(&key.public_key().to_bytes()?)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_host_key_persists_and_is_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let made = load_or_make(&state).unwrap();
        let loaded = load_or_make(&state).unwrap();
        assert_eq!(made.public_key(), loaded.public_key());
        let mode = std::fs::metadata(state.path(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn openssh_reads_the_host_key() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let made = public(&load_or_make(&state).unwrap()).unwrap();
        let keygen = Command::new("ssh-keygen").arg("-y").arg("-f").arg(state.path(FILE)).output().unwrap();
        assert_eq!(String::from_utf8(keygen.stdout).unwrap().trim(), made.to_openssh());
    }

    #[test]
    fn a_damaged_host_key_is_an_error_and_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        state.write(FILE, b"half").unwrap();
        assert!(load_or_make(&state).is_err());
        assert_eq!(state.read(FILE).unwrap().as_deref(), Some(&b"half"[..]));
    }
}
