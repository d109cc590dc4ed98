//! Text that must not be seen: tokens on their way between programs.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Bytes of entropy in a secret.
pub const SECRET_ENTROPY: usize = 32;

/// A secret. It can be compared by its hash and sent; it cannot be printed by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A new secret of this kind, such as `pst`; the caller brings the entropy.
    pub fn from_entropy(kind: &str, entropy: [u8; SECRET_ENTROPY]) -> Self {
        Self(format!("{kind}_{}", Base64UrlUnpadded::encode_string(&entropy)))
    }

    /// A secret that arrived from elsewhere.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that must send or show it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored instead of it. A plain hash is enough, because a secret is random.
    pub fn hash(&self) -> [u8; 32] {
        let hash = digest(&SHA256, self.0.as_bytes());
        hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Secret {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::from_entropy("pst", [7; SECRET_ENTROPY]);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(secret.reveal().starts_with("pst_"));
    }
}
