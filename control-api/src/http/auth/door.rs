//! Makes guessing slow, for tokens and for passwords.
//!
//! Whoever has a token that was right is not kept out by guesses from their address, nor a user by guesses of
//! their password where they have signed in since the API started. From anywhere else a user waits like the
//! stranger who guesses under their name: for a quarter of an hour after each ten guesses. Sessions go on.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postern_protocol::secret::Secret;
use tokio::time::Instant;

use crate::http::throttle::{Limit, REMEMBERED, Throttle, network};

/// Wrong tokens from one source.
const TOKENS: Limit = Limit { failures: 20, window: Duration::from_secs(60) };

/// Wrong passwords and invitations from one source.
const SIGN_INS: Limit = Limit { failures: 20, window: Duration::from_secs(5 * 60) };

/// Wrong passwords for one name, whether somebody has it or not.
const NAMES: Limit = Limit { failures: 10, window: Duration::from_secs(15 * 60) };

/// What names are remembered by: they come from strangers, and may be as long as a request.
type NameHash = [u8; 32];

/// Remembers who failed, and what was right before.
#[derive(Debug)]
pub(crate) struct Doorkeeper(Mutex<Memory>);

#[derive(Debug)]
struct Memory {
    tokens: Throttle<IpAddr>,
    sign_ins: Throttle<IpAddr>,
    names: Throttle<NameHash>,
    /// Tokens that were right: whoever has one does not suffer for a neighbour's guesses.
    proved: Few<[u8; 32]>,
    /// Who signed in, and from where: from there a stranger's guesses do not keep them out.
    at_home: Few<(NameHash, IpAddr)>,
}

impl Default for Doorkeeper {
    fn default() -> Self {
        Self(Mutex::new(Memory {
            tokens: Throttle::new(TOKENS),
            sign_ins: Throttle::new(SIGN_INS),
            names: Throttle::new(NAMES),
            proved: Few::default(),
            at_home: Few::default(),
        }))
    }
}

impl Doorkeeper {
    /// How long this source must wait before this token is looked at.
    pub(super) fn turns_away(
        &self,
        source: IpAddr,
        token: Option<&Secret>,
        now: Instant,
    ) -> Option<Duration> {
        self.with(|memory| {
            let known = token.is_some_and(|token| memory.proved.0.contains(&token.hash()));
            memory.tokens.wait(&network(source), now).filter(|_| !known)
        })
    }

    /// A token was wrong.
    pub(super) fn wrong_token(&self, source: IpAddr, now: Instant) {
        self.with(|memory| memory.tokens.failed(&network(source), now));
    }

    /// A token was right.
    pub(super) fn right_token(&self, token: &Secret) {
        self.with(|memory| memory.proved.insert(token.hash()));
    }

    /// Lets somebody try to sign in, or says how long they must wait. It counts as a failure until it is
    /// known to be none, so that many at once are no way around the limit.
    pub(crate) fn sign_in(&self, source: IpAddr, name: NameHash, now: Instant) -> Result<(), Duration> {
        let source = network(source);
        self.with(|memory| {
            let at_home = memory.at_home.0.contains(&(name, source));
            let by_name = memory.names.wait(&name, now).filter(|_| !at_home);
            match memory.sign_ins.wait(&source, now).max(by_name) {
                Some(wait) => Err(wait),
                None => {
                    memory.sign_ins.failed(&source, now);
                    memory.names.failed(&name, now);
                    Ok(())
                }
            }
        })
    }

    /// They did sign in.
    pub(crate) fn signed_in(&self, source: IpAddr, name: NameHash) {
        let source = network(source);
        self.with(|memory| {
            memory.sign_ins.forgive(&source);
            memory.names.forgive(&name);
            memory.at_home.insert((name, source));
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A set that forgets everything when it is full; what was in it proves itself again.
#[derive(Debug)]
struct Few<T>(HashSet<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Few<T> {
    fn insert(&mut self, item: T) {
        if self.0.len() >= REMEMBERED && !self.0.contains(&item) {
            self.0.clear();
        }
        self.0.insert(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn token(number: u8) -> Secret {
        Secret::from_entropy("pst", [number; 32])
    }

    const ANN: NameHash = [1; 32];

    #[test]
    fn guessing_is_slow_and_neighbours_with_a_proved_token_do_not_suffer() {
        let (door, now) = (Doorkeeper::default(), Instant::now());
        door.right_token(&token(1));
        for _ in 0..TOKENS.failures {
            assert_eq!(door.turns_away(source(1), Some(&token(2)), now), None);
            door.wrong_token(source(1), now);
        }
        assert_eq!(door.turns_away(source(1), Some(&token(2)), now), Some(TOKENS.window));
        assert_eq!(door.turns_away(source(1), None, now), Some(TOKENS.window));
        assert_eq!(door.turns_away(source(1), Some(&token(1)), now), None, "proved before");
        assert_eq!(door.turns_away(source(2), Some(&token(2)), now), None, "from elsewhere");
    }

    #[test]
    fn one_source_has_only_so_many_wrong_passwords_whatever_the_names() {
        let (door, now) = (Doorkeeper::default(), Instant::now());
        for number in 0..SIGN_INS.failures {
            assert_eq!(door.sign_in(source(1), [number as u8; 32], now), Ok(()));
        }
        assert_eq!(door.sign_in(source(1), [200; 32], now), Err(SIGN_INS.window));
        assert_eq!(door.sign_in(source(2), [200; 32], now), Ok(()));
    }

    #[test]
    fn one_name_has_only_so_many_wrong_passwords_except_from_where_it_signed_in() {
        let (door, now) = (Doorkeeper::default(), Instant::now());
        door.sign_in(source(0), ANN, now).unwrap();
        door.signed_in(source(0), ANN);
        for number in 1..=NAMES.failures {
            assert_eq!(door.sign_in(source(number), ANN, now), Ok(()), "{number}");
        }
        assert_eq!(door.sign_in(source(100), ANN, now), Err(NAMES.window));
        assert_eq!(door.sign_in(source(0), ANN, now), Ok(()), "from where she signed in");
        assert_eq!(door.sign_in(source(100), [2; 32], now), Ok(()), "another name");
    }

    #[test]
    fn the_memory_of_what_was_right_is_bounded() {
        let mut few = Few::default();
        for number in 0..REMEMBERED + 10 {
            few.insert(number);
        }
        assert!(few.0.len() <= REMEMBERED);
    }
}
