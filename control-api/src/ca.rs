//! The certificate authority: it names boxes and relays, for thirty days at a time.
//!
//! Of a signing request nothing is believed but the key, and that only because the request is signed
//! with it. Names, uses and dates are the authority's own.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::HEXLOWER;
use postern_protocol::id::{DeviceId, RelayId};
use postern_protocol::wire::{self, DEVICE_URI, RELAY_NAME, RELAY_URI};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::entropy::entropy;

/// How long certificates of boxes and relays last; they are renewed at two thirds.
const LEAF_DAYS: i64 = 30;

/// How long the authority lasts: longer than boxes do.
const AUTHORITY_DAYS: i64 = 20 * 365;

/// Certificates begin before they are made, for machines whose clocks are slow.
const BACKDATED_DAYS: i64 = 1;

/// The largest signing request that is looked at.
const MAX_CSR: usize = 4096;

/// What every P-256 key begins with as a SubjectPublicKeyInfo (RFC 5480), up to its uncompressed point.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// What every Ed25519 key begins with as a SubjectPublicKeyInfo (RFC 8410).
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate, in both forms that people and programs want.
pub(crate) struct Issued {
    /// PEM.
    pub(crate) pem: String,
    /// DER.
    pub(crate) der: Vec<u8>,
}

/// The key of a signing request, whose owner has proved to have its private half.
pub(crate) struct Requested {
    key: SubjectPublicKeyInfo,
    hash: String,
}

/// A signing request that gets no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// Not a request at all.
    #[error("this is not a certificate signing request")]
    Unreadable,
    /// A request that somebody else's key, or nobody's, has signed.
    #[error("the certificate signing request is not signed with its own key")]
    NotProved,
    /// A request for a key of another kind.
    #[error(
        "the certificate signing request is for a kind of key that is not used here: P-256 or Ed25519, please"
    )]
    OtherKey,
}

/// An authority that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("the authority's file does not hold its key and its certificate")]
pub(crate) struct BadAuthority(#[from] Box<dyn std::error::Error + Send + Sync>);

impl Authority {
    /// Makes a new authority: its key and its certificate, in one file's worth of PEM, so that one
    /// can never be lost or replaced without the other.
    pub(crate) fn generate(now: DateTime<Utc>) -> Zeroizing<Vec<u8>> {
        let key = KeyPair::generate().expect("the system's generator works");
        let mut params = named("Postern authority", AUTHORITY_DAYS, now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("the parameters are complete");
        let key = Zeroizing::new(key.serialize_pem());
        Zeroizing::new([key.as_bytes(), certificate.pem().as_bytes()].concat())
    }

    /// Reads an authority back.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, BadAuthority> {
        let key = std::str::from_utf8(text).map_err(|error| BadAuthority(error.into()))?;
        let key = KeyPair::from_pem(key).map_err(|error| BadAuthority(error.into()))?;
        let certificate = CertificateDer::from_pem_slice(text).map_err(|error| BadAuthority(error.into()))?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| BadAuthority(error.into()))?;
        let pem = pem("CERTIFICATE", &certificate);
        Ok(Self { issuer, certificate, pem })
    }

    /// The authority's certificate, PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate, DER.
    pub(crate) fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// What a join string pins: SHA-256 of the certificate.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// A certificate by which relays know a box.
    pub(crate) fn certify_device(&self, key: &Requested, device: DeviceId, now: DateTime<Utc>) -> Issued {
        let mut params = leaf(device.as_str(), now);
        params.subject_alt_names = vec![uri(DEVICE_URI, device.as_str())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, key)
    }

    /// A certificate by which boxes know a relay.
    pub(crate) fn certify_relay(&self, key: &Requested, relay: RelayId, now: DateTime<Utc>) -> Issued {
        let mut params = leaf(relay.as_str(), now);
        let name = RELAY_NAME.try_into().expect("the name of relays is a DNS name");
        params.subject_alt_names = vec![SanType::DnsName(name), uri(RELAY_URI, relay.as_str())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, key)
    }

    /// A box's certificate beside the authority's, as it travels.
    pub(crate) fn chain(&self, own: Issued) -> wire::Certificate {
        wire::Certificate { own: own.der, authority: self.der().to_vec() }
    }

    fn sign(&self, params: &CertificateParams, key: &Requested) -> Issued {
        let certificate = params.signed_by(&key.key, &self.issuer).expect("the parameters are complete");
        Issued { pem: certificate.pem(), der: certificate.der().to_vec() }
    }
}

impl Requested {
    /// Reads a signing request in DER.
    pub(crate) fn from_der(csr: &[u8]) -> Result<Self, BadRequest> {
        if csr.len() > MAX_CSR {
            return Err(BadRequest::Unreadable);
        }
        let (rest, csr) = X509CertificationRequest::from_der(csr).map_err(|_| BadRequest::Unreadable)?;
        if !rest.is_empty() {
            return Err(BadRequest::Unreadable);
        }
        let spki = csr.certification_request_info.subject_pki.raw;
        if !is_used_here(spki) {
            return Err(BadRequest::OtherKey);
        }
        csr.verify_signature().map_err(|_| BadRequest::NotProved)?;
        let key = SubjectPublicKeyInfo::from_der(spki).map_err(|_| BadRequest::OtherKey)?;
        Ok(Self { key, hash: HEXLOWER.encode(&sha256(spki)) })
    }

    /// Reads a signing request in PEM.
    pub(crate) fn from_pem(csr: &str) -> Result<Self, BadRequest> {
        if csr.len() > 2 * MAX_CSR {
            return Err(BadRequest::Unreadable);
        }
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(csr.as_bytes()).map_err(|_| BadRequest::Unreadable)?;
        Self::from_der(&pem.contents)
    }

    /// SHA-256 of the key (SubjectPublicKeyInfo), hex: by this relays know a box's key.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

/// Both kinds have one encoding each, so a look at the bytes leaves no second spelling of a key.
fn is_used_here(spki: &[u8]) -> bool {
    (spki.len() == P256.len() + 64 && spki.starts_with(P256))
        || (spki.len() == ED25519.len() + 32 && spki.starts_with(ED25519))
}

fn leaf(name: &str, now: DateTime<Utc>) -> CertificateParams {
    let mut params = named(name, LEAF_DAYS, now);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn named(name: &str, days: i64, now: DateTime<Utc>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now - TimeDelta::days(BACKDATED_DAYS));
    params.not_after = epoch + since_epoch(now + TimeDelta::days(days));
    params
}

/// Positive, and never the same twice (RFC 5280, section 4.1.2.2).
fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = entropy();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn since_epoch(at: DateTime<Utc>) -> Duration {
    Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or(0))
}

fn uri(kind: &str, id: &str) -> SanType {
    SanType::URI(format!("{kind}{id}").try_into().expect("ids and their prefixes are ASCII"))
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests;
