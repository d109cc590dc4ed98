//! Claims about certificates, checked by the code that will meet them.

use std::sync::Arc;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{GeneralName, X509Certificate};

use super::*;

fn now() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn authority() -> Authority {
    Authority::from_pem(&Authority::generate(now())).unwrap()
}

fn csr(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::new(vec!["attacker.example.com".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "postern:device:somebodyelse");
    params.serialize_request(&key).unwrap().der().to_vec()
}

fn requested() -> Requested {
    Requested::from_der(&csr(&PKCS_ECDSA_P256_SHA256)).unwrap()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::URI(name) | GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => panic!("nobody is named so: {name:?}"),
    };
    names.value.general_names.iter().map(text).collect()
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_slice(authority.der())).unwrap();
    Arc::new(roots)
}

fn ring() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn at(time: DateTime<Utc>) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.timestamp().unsigned_abs()))
}

#[test]
fn an_authority_survives_its_file() {
    let file = Authority::generate(now());
    let (first, second) = (Authority::from_pem(&file).unwrap(), Authority::from_pem(&file).unwrap());
    assert_eq!(first.fingerprint(), second.fingerprint());
    let (_, parsed) = X509Certificate::from_der(first.der()).unwrap();
    let constraints = parsed.basic_constraints().unwrap().unwrap().value;
    assert!(constraints.ca && constraints.path_len_constraint == Some(0));
    assert!(Authority::from_pem(b"nothing").is_err());
}

#[test]
fn a_boxs_certificate_names_the_box_and_nothing_it_asked_for() {
    let (authority, device) = (authority(), DeviceId::from_entropy([7; 10]));
    let issued = authority.certify_device(&requested(), device, now());
    let (_, parsed) = X509Certificate::from_der(&issued.der).unwrap();
    assert_eq!(names(&parsed), [format!("postern:device:{device}")]);
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert_eq!(parsed.validity().not_after.timestamp(), (now() + TimeDelta::days(30)).timestamp());
}

#[test]
fn rustls_accepts_boxes_as_clients_and_relays_as_servers() {
    let authority = authority();
    let device = authority.certify_device(&requested(), DeviceId::from_entropy([7; 10]), now());
    let relay = authority.certify_relay(&requested(), RelayId::from_entropy([8; 10]), now());
    let (device, relay) = (CertificateDer::from(device.der), CertificateDer::from(relay.der));
    let clients = WebPkiClientVerifier::builder_with_provider(roots(&authority), ring()).build().unwrap();
    let servers = rustls::client::WebPkiServerVerifier::builder_with_provider(roots(&authority), ring())
        .build()
        .unwrap();
    let name = ServerName::try_from(RELAY_NAME).unwrap();
    assert!(clients.verify_client_cert(&device, &[], at(now())).is_ok());
    assert!(servers.verify_server_cert(&relay, &[], &name, &[], at(now())).is_ok());
    assert!(servers.verify_server_cert(&device, &[], &name, &[], at(now())).is_err(), "a box is no relay");
    let late = at(now() + TimeDelta::days(31));
    assert!(clients.verify_client_cert(&device, &[], late).is_err(), "thirty days and no more");
}

#[test]
fn the_hash_of_a_request_is_that_of_the_certificates_key() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let requested = Requested::from_der(&csr(algorithm)).unwrap();
        let issued = authority().certify_device(&requested, DeviceId::from_entropy([7; 10]), now());
        let (_, parsed) = X509Certificate::from_der(&issued.der).unwrap();
        assert_eq!(HEXLOWER.encode(&sha256(parsed.public_key().raw)), requested.hash());
    }
}

#[test]
fn two_certificates_for_one_key_have_two_serial_numbers() {
    let (authority, requested) = (authority(), requested());
    let device = DeviceId::from_entropy([7; 10]);
    let serials = [0, 1].map(|_| {
        let issued = authority.certify_device(&requested, device, now());
        X509Certificate::from_der(&issued.der).unwrap().1.raw_serial().to_vec()
    });
    assert_ne!(serials[0], serials[1]);
}

#[test]
fn requests_that_prove_nothing_get_nothing() {
    let good = csr(&PKCS_ECDSA_P256_SHA256);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(Requested::from_der(&forged).err(), Some(BadRequest::NotProved));
    assert_eq!(Requested::from_der(&csr(&PKCS_ECDSA_P384_SHA384)).err(), Some(BadRequest::OtherKey));
    let longer = [good.as_slice(), b"more"].concat();
    for bytes in [&good[..good.len() - 1], b"", &longer, &[0x30; MAX_CSR + 1]] {
        assert_eq!(Requested::from_der(bytes).err(), Some(BadRequest::Unreadable));
    }
    assert_eq!(Requested::from_pem("-----BEGIN NONSENSE-----").err(), Some(BadRequest::Unreadable));
}

#[test]
fn a_request_is_read_in_pem_too() {
    let der = csr(&PKCS_ED25519);
    let text = pem("CERTIFICATE REQUEST", &der);
    assert_eq!(Requested::from_pem(&text).unwrap().hash(), Requested::from_der(&der).unwrap().hash());
}

#[test]
fn the_authoritys_pem_is_read_by_others() {
    let authority = authority();
    let parsed = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    assert_eq!(&*parsed, authority.der());
}
