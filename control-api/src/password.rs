//! Passwords: Argon2id, a bounded number at once, and as long for a name that nobody has.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use postern_protocol::secret::Secret;
use tokio::sync::Semaphore;

use crate::entropy::entropy;

/// The fewest and the most characters of a password: enough against guessing, and no work for nothing.
pub(crate) const LENGTH: std::ops::RangeInclusive<usize> = 10..=256;

/// Hashes at once: each takes 19 MiB and some ten milliseconds of a core.
const AT_ONCE: usize = 2;

/// Hashes under way and waiting; whoever comes then is told to come again.
const WAITING: usize = 32;

/// What a password is checked against when nobody has the name. No password has this hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$bm9ib2R5IGhhcyB0aGlzIHBhc3N3b3JkLCBldmVyISE";

/// Too many passwords are being checked already.
#[derive(Debug, thiserror::Error)]
#[error("too many sign-ins at once")]
pub(crate) struct Busy;

/// Where passwords are hashed.
#[derive(Debug)]
pub(crate) struct Passwords {
    at_once: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { at_once: Arc::new(Semaphore::new(AT_ONCE)), waiting: Semaphore::new(WAITING) }
    }
}

impl Passwords {
    /// The hash of a password, in PHC form.
    pub(crate) async fn hash(&self, password: &Secret) -> Result<String, Busy> {
        let password = password.clone();
        self.apart(move || {
            let salt: [u8; 16] = entropy();
            let hash = Argon2::default().hash_password_with_salt(password.reveal().as_bytes(), &salt);
            hash.expect("the parameters are the crate's own, and the password is bounded").to_string()
        })
        .await
    }

    /// Whether a password is the one of this hash. Without one it takes as long, and is not.
    pub(crate) async fn matches(&self, password: &Secret, hash: Option<&str>) -> Result<bool, Busy> {
        let (password, hash) = (password.clone(), hash.unwrap_or(NOBODY).to_owned());
        self.apart(move || {
            let known = PasswordHash::new(&hash);
            known.is_ok_and(|known| {
                Argon2::default().verify_password(password.reveal().as_bytes(), &known).is_ok()
            })
        })
        .await
    }

    /// Works off the runtime's threads. What has begun holds its place until it is over, even if nobody
    /// waits for it any more.
    async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let place = self.at_once.clone().acquire_owned().await.map_err(|_| Busy)?;
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        work.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from_text(text)
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.matches(&secret("correct horse"), Some(&hash)).await.unwrap());
        assert!(!passwords.matches(&secret("Correct horse"), Some(&hash)).await.unwrap());
        assert!(!passwords.matches(&secret("correct horse"), Some("rubbish")).await.unwrap());
        assert_ne!(passwords.hash(&secret("correct horse")).await.unwrap(), hash, "salted");
    }

    #[tokio::test]
    async fn for_nobody_the_same_work_is_done() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let hash = Passwords::default().hash(&secret("x")).await.unwrap();
        let somebody = PasswordHash::new(&hash).unwrap();
        assert_eq!(
            (nobody.algorithm, nobody.version, nobody.params),
            (somebody.algorithm, somebody.version, somebody.params)
        );
        assert_eq!(nobody.hash.unwrap().len(), somebody.hash.unwrap().len());
        assert!(!Passwords::default().matches(&secret("x"), None).await.unwrap());
    }

    #[tokio::test]
    async fn whoever_is_too_many_is_told_at_once() {
        let passwords = Passwords::default();
        let _held = passwords.waiting.try_acquire_many(WAITING as u32).unwrap();
        assert!(matches!(passwords.hash(&secret("x")).await, Err(Busy)));
    }
}
