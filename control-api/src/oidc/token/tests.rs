//! Tokens that hold, and each way in which one does not.

use jsonwebtoken::{EncodingKey, Header, encode};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;

const ISSUER: &str = "https://login.example.com";

/// A provider's key: the published half, and what signs.
fn key(id: &str) -> (Jwk, EncodingKey) {
    let pair = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let public = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
    let x = data_encoding::BASE64URL_NOPAD.encode(public.public_key().as_ref());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x });
    (serde_json::from_value(jwk).unwrap(), EncodingKey::from_ed_der(pair.as_ref()))
}

fn token(signer: &EncodingKey, kid: &str, claims: &Value) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    encode(&header, claims, signer).unwrap()
}

fn claims(change: Value) -> Value {
    let later = jsonwebtoken::get_current_timestamp() + 300;
    let mut claims = json!({
        "iss": ISSUER, "aud": "postern", "sub": "1234", "exp": later, "nonce": "n",
        "email": "ann@example.com", "email_verified": true,
    });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    claims
}

#[test]
fn a_token_holds_for_its_client_by_its_key_until_its_time_is_over() {
    let ((jwk, signer), (other, stranger)) = (key("a"), key("b"));
    let check = |change: Value| {
        verify(&token(&signer, "a", &claims(change)), &[other.clone(), jwk.clone()], ISSUER, "postern")
    };
    let said = check(json!({})).unwrap();
    assert_eq!((said.sub.as_str(), said.email_is_verified()), ("1234", true));
    assert!(check(json!({ "aud": ["postern", "b"], "azp": "postern" })).is_ok());
    for wrong in [
        json!({ "iss": "https://evil.example.com" }),
        json!({ "aud": "another" }),
        json!({ "aud": ["postern", "another"] }),
        json!({ "azp": "another" }),
        json!({ "exp": 1_000 }),
        json!({ "exp": null }),
        json!({ "nbf": jsonwebtoken::get_current_timestamp() + 3_600 }),
        json!({ "sub": null }),
    ] {
        assert!(check(wrong.clone()).is_err(), "{wrong}");
    }
    let forged = token(&stranger, "a", &claims(json!({})));
    assert!(matches!(verify(&forged, std::slice::from_ref(&jwk), ISSUER, "postern"), Err(Invalid::Token(_))));
    let newer = token(&stranger, "c", &claims(json!({})));
    assert!(matches!(
        verify(&newer, std::slice::from_ref(&jwk), ISSUER, "postern"),
        Err(Invalid::UnknownKey)
    ));
}

#[test]
fn what_a_shared_secret_signed_is_not_taken() {
    let (jwk, _) = key("a");
    let header = Header { kid: Some("a".to_owned()), ..Header::new(Algorithm::HS256) };
    let token = encode(&header, &claims(json!({})), &EncodingKey::from_secret(b"x")).unwrap();
    assert!(matches!(verify(&token, &[jwk], ISSUER, "postern"), Err(Invalid::Algorithm(Algorithm::HS256))));
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.";
    assert!(verify(unsigned, &[], ISSUER, "postern").is_err());
}

#[test]
fn an_address_counts_only_if_the_provider_vouches_for_it() {
    let (jwk, signer) = key("a");
    for (said, counts) in [
        (json!(true), true),
        (json!("true"), true),
        (json!(false), false),
        (json!(null), false),
        (json!(1), false),
    ] {
        let token = token(&signer, "a", &claims(json!({ "email_verified": said })));
        let claims = verify(&token, std::slice::from_ref(&jwk), ISSUER, "postern").unwrap();
        assert_eq!(claims.email_is_verified(), counts, "{said}");
    }
}
