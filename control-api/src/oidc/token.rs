//! An ID token: who somebody is, signed by their provider (OpenID Connect Core 1.0, 3.1.3.7). Pure but
//! for the clock, which the library asks.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

/// Signatures that are taken: none that a shared secret could make, and not none at all.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What a token says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    pub(super) nonce: Option<String>,
    pub(super) email: Option<String>,
    /// True, or for some providers the word.
    email_verified: Option<Value>,
    aud: Value,
    azp: Option<String>,
}

impl Claims {
    /// Whether the provider vouches for the address.
    pub(super) fn email_is_verified(&self) -> bool {
        match &self.email_verified {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(word)) => word == "true",
            _ => false,
        }
    }
}

/// A token that proves nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Invalid {
    /// No key of the provider's could have signed it.
    #[error("the token is signed with a key that the provider does not publish")]
    UnknownKey,
    /// It is signed in a way that is not taken.
    #[error("the token is signed with {0:?}")]
    Algorithm(Algorithm),
    /// It was issued to another program, and ours is only among its readers.
    #[error("the token was issued to another client")]
    OtherClient,
    /// It has another form, another issuer, another audience or another time.
    #[error("the token does not hold")]
    Token(#[from] jsonwebtoken::errors::Error),
}

/// What a token says, if one of these keys signed it for this client and its time is not over.
pub(super) fn verify(token: &str, keys: &[Jwk], issuer: &str, client: &str) -> Result<Claims, Invalid> {
    let header = decode_header(token)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(Invalid::Algorithm(header.alg));
    }
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[client]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    let could_have = |key: &&Jwk| {
        let of_kind = !matches!(key.algorithm, AlgorithmParameters::OctetKey(_));
        of_kind && (header.kid.is_none() || key.common.key_id == header.kid)
    };
    let mut last = Invalid::UnknownKey;
    for key in keys.iter().filter(could_have) {
        match decode::<Claims>(token, &DecodingKey::from_jwk(key)?, &validation) {
            Ok(decoded) => return of_client(decoded.claims, client),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn of_client(claims: Claims, client: &str) -> Result<Claims, Invalid> {
    let several = claims.aud.as_array().is_some_and(|audiences| audiences.len() > 1);
    match &claims.azp {
        Some(party) if party != client => Err(Invalid::OtherClient),
        None if several => Err(Invalid::OtherClient),
        Some(_) | None => Ok(claims),
    }
}

#[cfg(test)]
mod tests;
