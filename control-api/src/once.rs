//! Doing a thing once although it is asked for twice: what an `Idempotency-Key` stands for.
//!
//! The answer to a creation is kept for a day, so that the same request gets the same answer. It may
//! hold a join string, which is a secret like a password; so it is sealed with a key derived from the
//! API token, or the session's secret, that came with the request. The API keeps only its hash: neither
//! the database nor the state directory gives the answer away, and whoever repeats the request brings
//! the secret along.

use postern_protocol::secret::Secret;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use crate::entropy::entropy;

/// How long an answer is kept.
pub(crate) const KEPT: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// Keeps these keys apart from any other use of a token's hash.
const PURPOSE: &[u8] = b"postern idempotency 1\0";

/// Bytes of a nonce (RFC 8439).
const NONCE: usize = 12;

/// What a token's holder, and nobody else, can seal and open with.
#[derive(Clone)]
pub(crate) struct SealingKey(hmac::Key);

/// A creation that is to happen once.
pub(crate) struct Once {
    /// Whose key it is: the id of a token or of a user.
    pub(crate) holder: String,
    /// The `Idempotency-Key`.
    pub(crate) key: String,
    /// A hash of what was asked for.
    pub(crate) request: [u8; 32],
    sealing: SealingKey,
}

impl SealingKey {
    /// The key of whoever holds this token, or this session's secret.
    pub(crate) fn of(token: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, token.reveal().as_bytes()))
    }

    fn cipher(&self) -> LessSafeKey {
        let key = hmac::sign(&self.0, PURPOSE);
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).expect("HMAC-SHA256 is as long as the key");
        LessSafeKey::new(key)
    }
}

impl Once {
    /// A creation with this key, by the holder of this token.
    pub(crate) fn new(holder: String, key: String, request: [u8; 32], sealing: SealingKey) -> Self {
        Self { holder, key, request, sealing }
    }

    /// An answer, as it is kept.
    pub(crate) fn seal(&self, answer: &str) -> Vec<u8> {
        let nonce: [u8; NONCE] = entropy();
        let mut sealed = answer.as_bytes().to_vec();
        self.sealing
            .cipher()
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.bound(), &mut sealed)
            .expect("an answer is far shorter than the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    /// A kept answer, if it is one of ours.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<String> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let answer = self.sealing.cipher().open_in_place(nonce, self.bound(), &mut sealed).ok()?;
        String::from_utf8(answer.to_vec()).ok()
    }

    /// An answer moved to another key or another request does not open.
    fn bound(&self) -> Aad<Vec<u8>> {
        Aad::from([self.request.as_slice(), self.key.as_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(token: &Secret, key: &str, request: u8) -> Once {
        Once::new("a".to_owned(), key.to_owned(), [request; 32], SealingKey::of(token))
    }

    #[test]
    fn an_answer_opens_for_the_same_request_of_the_same_holder_only() {
        let token = Secret::from_entropy("pst", [7; 32]);
        let sealed = once(&token, "a", 1).seal("the join string");
        assert_eq!(once(&token, "a", 1).open(&sealed).as_deref(), Some("the join string"));
        assert_eq!(once(&Secret::from_entropy("pst", [8; 32]), "a", 1).open(&sealed), None);
        assert_eq!(once(&token, "b", 1).open(&sealed), None);
        assert_eq!(once(&token, "a", 2).open(&sealed), None);
        assert_eq!(once(&token, "a", 1).open(&sealed[1..]), None);
        assert!(!sealed.windows(4).any(|four| four == b"join"));
    }
}
