//! Whom this box believes to be a relay, and which certificate it takes for itself.
//!
//! All trust begins with one authority, pinned when the box joined. Names in DNS, addresses and
//! the system's list of authorities have no say.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use postern_protocol::id::{DeviceId, RelayId};
use postern_protocol::wire::{Certificate, DEVICE_URI, JOIN_ALPN, RELAY_NAME, RELAY_URI, TUNNEL_ALPN};
use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::clock::Clock;
use crate::identity::{BoxKey, Member, Validity};

/// TLS for a box that has no certificate yet: the relay's chain must end in the authority whose
/// SHA-256 stands in the join string.
pub(crate) fn joining(authority: [u8; 32], clock: Arc<Clock>) -> Result<ClientConfig, Error> {
    let verifier = RelayVerifier::new(Authority::Hash(authority), clock);
    let mut config = builder(verifier)?.with_no_client_auth();
    config.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    Ok(config)
}

/// TLS for a member: mutual, under the authority that it knows.
pub(crate) fn tunnel(member: &Member, clock: Arc<Clock>) -> Result<ClientConfig, Error> {
    let verifier = RelayVerifier::new(Authority::Known(member.authority()), clock);
    let chain = vec![CertificateDer::from(member.certificate.clone())];
    let mut config = builder(verifier)?.with_client_auth_cert(chain, member.key.private())?;
    config.alpn_protocols = vec![TUNNEL_ALPN.to_vec()];
    Ok(config)
}

/// SHA-256 of an authority's certificate, as join strings carry it.
pub(crate) fn fingerprint(authority: &[u8]) -> [u8; 32] {
    digest(&SHA256, authority).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Why a certificate is not this box's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOurs {
    /// It comes with another authority.
    #[error("the certificate comes with another authority than the pinned one")]
    Authority,
    /// It is for another key.
    #[error("the certificate is for another key")]
    Key,
    /// It names another box, or none.
    #[error("the certificate does not name this box")]
    Name,
    /// The authority did not sign it, or it is not valid now.
    #[error("the certificate is not valid")]
    Invalid(#[source] Error),
}

/// Checks a certificate that a relay brought: for this key, for this box, from the pinned authority.
pub(crate) fn check_issued(
    issued: &Certificate,
    authority: [u8; 32],
    key: &BoxKey,
    device: DeviceId,
    now: DateTime<Utc>,
) -> Result<(), NotOurs> {
    if fingerprint(&issued.authority) != authority {
        return Err(NotOurs::Authority);
    }
    let parsed = x509_cert::Certificate::from_der(&issued.own).map_err(|_| NotOurs::Name)?;
    match (key.public(), parsed.tbs_certificate().subject_public_key_info().to_der()) {
        (Ok(ours), Ok(certified)) if ours == certified => {}
        _ => return Err(NotOurs::Key),
    }
    if uri_names(&parsed, DEVICE_URI).next() != Some(device) {
        return Err(NotOurs::Name);
    }
    let now = unix(now);
    let roots = roots(&issued.authority.clone().into()).map_err(NotOurs::Invalid)?;
    WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| NotOurs::Invalid(Error::General(error.to_string())))?
        .verify_client_cert(&issued.own.clone().into(), &[], now)
        .map(drop)
        .map_err(NotOurs::Invalid)
}

fn unix(time: DateTime<Utc>) -> UnixTime {
    UnixTime::since_unix_epoch((time - DateTime::UNIX_EPOCH).to_std().unwrap_or_default())
}

/// The one provider of cryptography. The relay takes the cipher that the box likes best, because the box
/// is the weaker of the two.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| expense(suite.suite()));
    Arc::new(provider)
}

/// How a suite ranks on this processor. Where it has instructions for AES nothing is faster, and the
/// shorter key needs fewer rounds; where it has not, AES takes several times as long as ChaCha20.
fn expense(suite: CipherSuite) -> u8 {
    use CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    let ranks = match has_aes() {
        true => [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256],
        false => [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384],
    };
    // Those of TLS 1.2 come after, in the provider's own order.
    ranks.iter().zip(0..).find(|(known, _)| **known == suite).map_or(u8::MAX, |(_, rank)| rank)
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

/// Elsewhere the instructions are rare, or there is no way to ask.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

fn builder(
    verifier: RelayVerifier,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

/// The ids that a certificate's URIs of one kind give.
fn uri_names<T: std::str::FromStr>(
    certificate: &x509_cert::Certificate,
    kind: &str,
) -> impl Iterator<Item = T> {
    alternative_names(certificate).filter_map(move |name| {
        let GeneralName::UniformResourceIdentifier(uri) = name else { return None };
        uri.as_str().strip_prefix(kind)?.parse().ok()
    })
}

/// Whatever a certificate is for.
pub(crate) fn alternative_names(certificate: &x509_cert::Certificate) -> impl Iterator<Item = GeneralName> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten();
    names.into_iter().flat_map(|(_, SubjectAltName(names))| names)
}

/// Believes a relay whose certificate the authority signed, for [`RELAY_NAME`] and a relay's URI.
#[derive(Debug)]
struct RelayVerifier {
    authority: Authority,
    /// The box's own may stand anywhere.
    clock: Arc<Clock>,
    provider: Arc<CryptoProvider>,
}

/// What is known of the authority.
#[derive(Debug)]
enum Authority {
    /// The hash of its certificate, which the relay must send last in its chain.
    Hash([u8; 32]),
    /// Its certificate.
    Known(CertificateDer<'static>),
}

impl RelayVerifier {
    fn new(authority: Authority, clock: Arc<Clock>) -> Self {
        Self { authority, clock, provider: provider() }
    }

    fn authority(&self, chain: &[CertificateDer<'_>]) -> Result<CertificateDer<'static>, Error> {
        match &self.authority {
            Authority::Known(authority) => Ok(authority.clone()),
            Authority::Hash(pinned) => chain
                .last()
                .filter(|last| fingerprint(last) == *pinned)
                .map(|last| last.clone().into_owned())
                .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }
}

impl ServerCertVerifier for RelayVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let validity = Validity::of(own).map_err(|_| CertificateError::BadEncoding)?;
        let now = unix(self.clock.now_within(validity));
        let roots = roots(&self.authority(chain)?)?;
        let name = ServerName::try_from(RELAY_NAME).map_err(|_| Error::General(RELAY_NAME.into()))?;
        WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(own, chain, &name, ocsp, now)?;
        names_a_relay(own)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("QUIC has TLS 1.3 only (RFC 9001, section 4.2)".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, own, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The authority signs boxes too; only a relay's certificate names a relay.
fn names_a_relay(own: &CertificateDer<'_>) -> Result<ServerCertVerified, Error> {
    let parsed = x509_cert::Certificate::from_der(own)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    match uri_names::<RelayId>(&parsed, RELAY_URI).next() {
        Some(_) => Ok(ServerCertVerified::assertion()),
        None => Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(
            std::io::Error::other("the certificate does not name a relay"),
        ))))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Installation;

    fn clock() -> Arc<Clock> {
        Arc::new(Clock::load(&crate::state::State::at(std::path::Path::new("/nowhere"))))
    }

    fn verify(verifier: &RelayVerifier, chain: &[CertificateDer<'static>]) -> Result<(), Error> {
        let name = ServerName::try_from("anything.example").unwrap();
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn a_relay_of_the_pinned_authority_is_believed_and_of_another_is_not() {
        let (ours, other) = (Installation::new(), Installation::new());
        let pinned = RelayVerifier::new(Authority::Hash(ours.pin()), clock());
        let known = RelayVerifier::new(Authority::Known(ours.authority()), clock());
        for verifier in [&pinned, &known] {
            assert_eq!(verify(verifier, &ours.relay_chain()), Ok(()));
            assert!(verify(verifier, &other.relay_chain()).is_err());
        }
    }

    #[test]
    fn the_pinned_authority_beside_a_strangers_certificate_proves_nothing() {
        let (ours, other) = (Installation::new(), Installation::new());
        let pinned = RelayVerifier::new(Authority::Hash(ours.pin()), clock());
        let chain = [other.relay_chain()[0].clone(), ours.authority()];
        assert!(verify(&pinned, &chain).is_err());
    }

    #[test]
    fn a_box_cannot_pose_as_a_relay() {
        let ours = Installation::new();
        let member = ours.member("192.0.2.1:1");
        let pinned = RelayVerifier::new(Authority::Hash(ours.pin()), clock());
        assert!(verify(&pinned, &[member.certificate.into(), ours.authority()]).is_err());
        let nameless = ours.relay_chain_naming("postern:device:aaaaaaaaaa");
        assert!(verify(&pinned, &nameless).is_err());
    }

    #[test]
    fn a_certificate_is_taken_only_for_this_key_this_box_and_from_this_authority() {
        let (ours, other) = (Installation::new(), Installation::new());
        let key = BoxKey::make().unwrap();
        let now = Utc::now();
        let check = |issued: &Certificate| check_issued(issued, ours.pin(), &key, ours.device, now);

        assert!(check(&ours.certify(&key, ours.device)).is_ok());
        assert!(matches!(check(&other.certify(&key, ours.device)), Err(NotOurs::Authority)));
        let other_key = ours.certify(&BoxKey::make().unwrap(), ours.device);
        assert!(matches!(check(&other_key), Err(NotOurs::Key)));
        assert!(matches!(check(&ours.certify(&key, other.device)), Err(NotOurs::Name)));
        let forged =
            Certificate { own: other.certify(&key, ours.device).own, authority: ours.authority().to_vec() };
        assert!(matches!(check(&forged), Err(NotOurs::Invalid(_))));
    }
}
