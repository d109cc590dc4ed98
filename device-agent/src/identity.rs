//! Who this box is: a key made on it that never leaves it, and the certificate that names it.
//!
//! Key, certificate and everything else learned at enrolment stand in one file, so that no crash
//! can leave a key beside a certificate for another one.

use std::fmt;

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use postern_protocol::grant::GrantVerifier;
use postern_protocol::id::{DeviceId, DeviceName};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use x509_cert::der::Decode;
use zeroize::Zeroizing;

use crate::state::State;

/// The file in the state directory.
const FILE: &str = "member.json";

/// What makes this box a member of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its id.
    pub(crate) device: DeviceId,
    /// Its name when it joined; the grants carry the present one.
    pub(crate) name: DeviceName,
    /// Where to dial, in order of preference.
    pub(crate) relays: Vec<String>,
    /// The key that signs grants.
    pub(crate) grant_key: GrantVerifier,
    /// The authority's certificate (DER).
    #[serde(with = "base64")]
    pub(crate) authority: Vec<u8>,
    /// The box's certificate (DER).
    #[serde(with = "base64")]
    pub(crate) certificate: Vec<u8>,
    /// The box's key.
    pub(crate) key: BoxKey,
}

impl Member {
    /// The membership, if the box has joined.
    pub(crate) fn load(state: &State) -> anyhow::Result<Option<Self>> {
        let path = state.path(FILE);
        let Some(text) = state.read(FILE).with_context(|| format!("reading {}", path.display()))? else {
            return Ok(None);
        };
        let text = Zeroizing::new(text);
        let member = serde_json::from_slice(&text);
        member.map(Some).with_context(|| format!("{} is damaged: join again with --force", path.display()))
    }

    /// Keeps the membership.
    pub(crate) fn save(&self, state: &State) -> anyhow::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec_pretty(self)?);
        state.write(FILE, &text).with_context(|| format!("writing {}", state.path(FILE).display()))
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> CertificateDer<'static> {
        self.authority.clone().into()
    }

    /// Since when the certificate is valid, and until when.
    pub(crate) fn validity(&self) -> anyhow::Result<Validity> {
        Validity::of(&self.certificate)
    }
}

/// How long a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    /// Its first moment.
    pub(crate) from: DateTime<Utc>,
    /// Its last moment.
    pub(crate) until: DateTime<Utc>,
}

impl Validity {
    /// How long this one (DER) is.
    pub(crate) fn of(certificate: &[u8]) -> anyhow::Result<Self> {
        let certificate = x509_cert::Certificate::from_der(certificate).context("reading a certificate")?;
        Ok(Self::in_certificate(&certificate))
    }

    /// The same, of one that has been read.
    pub(crate) fn in_certificate(certificate: &x509_cert::Certificate) -> Self {
        let validity = certificate.tbs_certificate().validity();
        let moment = |time: x509_cert::time::Time| DateTime::UNIX_EPOCH + time.to_unix_duration();
        Self { from: moment(validity.not_before), until: moment(validity.not_after) }
    }

    /// When it should be renewed: at two thirds, so that a third is left for trying.
    pub(crate) fn renewal(&self) -> DateTime<Utc> {
        self.from + (self.until - self.from) * 2 / 3
    }
}

/// The box's private key (PKCS #8, P-256). It is wiped from memory when it goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BoxKey(Zeroizing<Vec<u8>>);

impl BoxKey {
    /// A new key.
    pub(crate) fn make() -> anyhow::Result<Self> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).context("making a key")?;
        Ok(Self(Zeroizing::new(pair.serialize_der())))
    }

    /// A certificate signing request (DER). It says nothing but the key: who a box is, the
    /// authority decides.
    pub(crate) fn signing_request(&self) -> anyhow::Result<Vec<u8>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair()?);
        Ok(request.context("making a certificate signing request")?.der().to_vec())
    }

    /// The public half (SubjectPublicKeyInfo, DER).
    pub(crate) fn public(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.pair()?.subject_public_key_info())
    }

    /// The private half, for the TLS library.
    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.to_vec()).into()
    }

    fn pair(&self) -> anyhow::Result<KeyPair> {
        let key = PrivatePkcs8KeyDer::from(&self.0[..]);
        KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|_| anyhow!("the box's key is damaged: join again with --force"))
    }
}

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxKey(…)")
    }
}

impl Serialize for BoxKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        base64::serialize(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for BoxKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        base64::deserialize(from).map(|key| Self(Zeroizing::new(key)))
    }
}

/// Bytes as base64 text.
mod base64 {
    use base64ct::{Base64, Encoding};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Base64::encode_string(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Base64::decode_vec(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Installation;

    #[test]
    fn a_membership_survives_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        assert_eq!(Member::load(&state).unwrap(), None);
        let member = Installation::new().member("192.0.2.1:4433");
        member.save(&state).unwrap();
        assert_eq!(Member::load(&state).unwrap(), Some(member));
    }

    #[test]
    fn a_damaged_membership_says_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        state.write(FILE, b"{").unwrap();
        let complaint = Member::load(&state).unwrap_err().to_string();
        assert!(complaint.contains("join again with --force"), "{complaint}");
    }

    #[test]
    fn a_key_does_not_print() {
        let key = BoxKey::make().unwrap();
        assert_eq!(format!("{key:?}"), "BoxKey(…)");
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        let moment = |day: i64| DateTime::from_timestamp(day * 86_400, 0).unwrap();
        let validity = Validity { from: moment(0), until: moment(30) };
        assert_eq!(validity.renewal(), moment(20));
    }
}
