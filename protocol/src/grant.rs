//! The rules of one box, signed by the control API.
//!
//! One document a box: every access it has, under one Ed25519 signature, with a rising revision. The
//! relay enforces the rules in it, and the box verifies the same bytes with the key that it pinned
//! when it enrolled. So a relay can invent nothing, and cannot keep one access while it renews
//! another: a revocation is a newer document, and the box never goes back to an older one. What a
//! hostile relay could still do is hold newer documents back, and so each is a lease: past
//! `lease_until` it opens nothing.

use base64ct::{Base64, Encoding};
use chrono::{DateTime, Utc};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::access::{Networks, PublicPort, Rule};
use crate::id::{AccessId, DeviceId, DeviceName, Login};
use crate::ssh_key::PublicKey;

#[cfg(test)]
mod tests;

/// What is signed begins with this, so that no other signature of the same key can be taken for it.
const DOMAIN: &[u8] = b"postern grants 1\0";

/// The most accesses one box's document may hold.
pub const MAX_GRANTS: usize = 128;

/// The largest document: [`MAX_GRANTS`] accesses with RSA keys of 8,192 bits and full lists of networks.
pub const MAX_BODY: usize = 240 * 1024;

/// One access, as signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The access.
    pub access: AccessId,
    /// The port of the box it exposes.
    pub port: u16,
    /// Who the visitor is on the box.
    pub login: Login,
    /// The key that the visitor must prove.
    pub key: Option<PublicKey>,
    /// Where visitors may come from.
    pub allowed: Networks,
    /// The public port of its own, if it has one.
    pub leased: Option<PublicPort>,
    /// The first moment at which it is over.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub expires_at: DateTime<Utc>,
    /// Whether it was deleted; kept for a while so that its holder can be told.
    pub revoked: bool,
}

/// All accesses of one box at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// The box.
    pub device: DeviceId,
    /// The box's name, by which visitors ask for it.
    pub name: DeviceName,
    /// The first label of its host name at every relay's TLS front; one in the installation, while
    /// names are one in their account.
    pub label: DeviceName,
    /// The store's revision at which this became true; it only rises.
    pub revision: u64,
    /// When it was signed.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub signed_at: DateTime<Utc>,
    /// The first moment at which it opens nothing any more.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub lease_until: DateTime<Utc>,
    /// The accesses.
    pub grants: Vec<Grant>,
}

impl Grants {
    /// The rules that the decision reads.
    pub fn rules(&self) -> Vec<Rule> {
        self.grants.iter().map(|grant| self.rule(grant)).collect()
    }

    fn rule(&self, grant: &Grant) -> Rule {
        Rule {
            access: grant.access,
            device: self.device,
            port: grant.port,
            allowed: grant.allowed.clone(),
            key: grant.key.clone(),
            login: grant.login.clone(),
            leased: grant.leased,
            expires_at: grant.expires_at,
            lease_until: self.lease_until,
            revoked: grant.revoked,
        }
    }

    /// Whether this document takes the other's place: a later revision, or the same one renewed.
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.revision, self.signed_at) > (other.revision, other.signed_at)
    }
}

/// A [`Grants`] document as it travels: the exact bytes that were signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedGrants {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    body: Bytes,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    signature: Bytes,
}

/// Why a document is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is larger than any real one.
    #[error("the grants are larger than {MAX_BODY} bytes")]
    TooLarge,
    /// Its signature is not the control API's.
    #[error("the grants are not signed by the control API")]
    BadSignature,
    /// It is signed, but by a version that says it otherwise.
    #[error("the grants are signed but cannot be read; one side needs an update")]
    Unreadable,
}

impl SignedGrants {
    /// The document, if the control API signed it.
    pub fn verify(&self, by: &GrantVerifier) -> Result<Grants, Untrusted> {
        if self.body.0.len() > MAX_BODY {
            return Err(Untrusted::TooLarge);
        }
        UnparsedPublicKey::new(&ED25519, &by.public)
            .verify(&signed_bytes(&self.body.0), &self.signature.0)
            .map_err(|_| Untrusted::BadSignature)?;
        match postcard::take_from_bytes::<Grants>(&self.body.0) {
            Ok((grants, [])) if grants.grants.len() <= MAX_GRANTS => Ok(grants),
            _ => Err(Untrusted::Unreadable),
        }
    }
}

/// The control API's half: signs documents.
pub struct GrantSigner {
    pair: Ed25519KeyPair,
}

impl GrantSigner {
    /// The signer that this seed stands for.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are an Ed25519 seed");
        Self { pair }
    }

    /// Signs a document.
    pub fn sign(&self, grants: &Grants) -> SignedGrants {
        let body = postcard::to_stdvec(grants).expect("grants have no shape that cannot be encoded");
        let signature = self.pair.sign(&signed_bytes(&body)).as_ref().to_vec();
        SignedGrants { body: Bytes(body), signature: Bytes(signature) }
    }

    /// What boxes and relays pin.
    pub fn verifier(&self) -> GrantVerifier {
        let public = self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        GrantVerifier { public }
    }
}

/// The control API's public half, pinned by boxes and relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantVerifier {
    public: [u8; 32],
}

fn signed_bytes(body: &[u8]) -> Vec<u8> {
    [DOMAIN, body].concat()
}

/// Bytes that are base64 where people may read them.
#[derive(Clone, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match to.is_human_readable() {
            true => to.serialize_str(&Base64::encode_string(&self.0)),
            false => to.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match from.is_human_readable() {
            true => {
                let text = String::deserialize(from)?;
                Base64::decode_vec(&text).map(Self).map_err(Error::custom)
            }
            false => Ok(Self(<&[u8]>::deserialize(from)?.to_vec())),
        }
    }
}
