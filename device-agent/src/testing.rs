//! What tests need: an installation with its authority, and a relay of it on loopback that says
//! whatever the test wants.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use postern_protocol::access::Networks;
use postern_protocol::grant::{Grant, GrantSigner, Grants, SignedGrants};
use postern_protocol::id::{AccessId, DeviceId, RelayId};
use postern_protocol::join::JoinString;
use postern_protocol::secret::Secret;
use postern_protocol::ssh_key::PublicKey;
use postern_protocol::wire::{Certificate, DEVICE_URI, Membership, RELAY_NAME, RELAY_URI};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::identity::{BoxKey, Member};
use crate::trust;

mod relay;
mod sshd;
pub(crate) use relay::{Relay, Tunnel, Visit};
pub(crate) use sshd::{Sshd, host_key, public};

/// The time as the certificate library wants it.
macro_rules! x509_time {
    ($time:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs($time.timestamp() as u64)
    };
}

/// Where the visitor of [`grant`] comes from.
pub(crate) const VISITOR: &str = "203.0.113.9:4711";

/// How long the access of [`grant`] lasts.
pub(crate) const EXPIRES_IN: TimeDelta = TimeDelta::hours(1);

/// How long a signature lasts.
pub(crate) const LEASE: TimeDelta = TimeDelta::hours(12);

/// One moment for all of a test, as whole seconds.
pub(crate) fn now() -> DateTime<Utc> {
    static NOW: LazyLock<DateTime<Utc>> = LazyLock::new(|| Utc::now().trunc_subsecs(0));
    *NOW
}

/// A visitor's key.
pub(crate) fn key() -> PublicKey {
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5ZxZSvDqBQ1qJsm0VJeH2Q3DVNSrkEHYJkm0MYeVIV";
    PublicKey::parse(line).unwrap().key
}

/// An access to a port for [`VISITOR`].
pub(crate) fn grant(port: u16) -> Grant {
    let [high, low] = port.to_be_bytes();
    Grant {
        access: AccessId::from_entropy([high >> 5, high, low >> 5, low, 1, 2, 3, 4, 5, 6]),
        port,
        login: "root".parse().unwrap(),
        key: Some(key()),
        allowed: Networks::parse(&["203.0.113.9"]).unwrap(),
        leased: None,
        expires_at: now() + EXPIRES_IN,
        revoked: false,
    }
}

/// An installation: an authority, a signer of grants, one relay's key, one box.
pub(crate) struct Installation {
    pub(crate) device: DeviceId,
    pub(crate) relay: RelayId,
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    signer: GrantSigner,
    relay_key: KeyPair,
}

impl Installation {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = params.self_signed(&key).unwrap().der().clone();
        Self {
            device: DeviceId::from_entropy(rand::random()),
            relay: RelayId::from_entropy(rand::random()),
            issuer: Issuer::new(params, key),
            authority,
            signer: GrantSigner::from_seed(&rand::random()),
            relay_key: KeyPair::generate().unwrap(),
        }
    }

    pub(crate) fn authority(&self) -> CertificateDer<'static> {
        self.authority.clone()
    }

    pub(crate) fn pin(&self) -> [u8; 32] {
        trust::fingerprint(&self.authority)
    }

    /// What an operator hands to a new box.
    pub(crate) fn join_string(&self, relays: Vec<String>) -> JoinString {
        let token = Secret::from_text("psj_x");
        JoinString { relays, authority: self.pin(), grants: self.signer.verifier(), token }
    }

    /// The box as a member that dials this relay.
    pub(crate) fn member(&self, relay: &str) -> Member {
        let key = BoxKey::make().unwrap();
        let membership = self.membership(&key, relay);
        Member {
            device: membership.device,
            name: membership.name,
            relays: membership.relays,
            grant_key: membership.grant_key,
            authority: membership.certificate.authority,
            certificate: membership.certificate.own,
            key,
        }
    }

    /// What a box that joins with this key is told.
    pub(crate) fn membership(&self, key: &BoxKey, relay: &str) -> Membership {
        Membership {
            device: self.device,
            name: "box42".parse().unwrap(),
            certificate: self.certify(key, self.device),
            grant_key: self.signer.verifier(),
            relays: vec![relay.to_owned()],
        }
    }

    /// A certificate that has just been issued for 30 days.
    pub(crate) fn certify(&self, key: &BoxKey, device: DeviceId) -> Certificate {
        self.certify_from(now() - TimeDelta::minutes(5), key, device)
    }

    /// A certificate for 30 days from then on.
    pub(crate) fn certify_from(&self, from: DateTime<Utc>, key: &BoxKey, device: DeviceId) -> Certificate {
        let spki = SubjectPublicKeyInfo::from_der(&key.public().unwrap()).unwrap();
        let own = self.sign_certificate(&spki, &format!("{DEVICE_URI}{device}"), None, from);
        Certificate { own, authority: self.authority.to_vec() }
    }

    /// A certificate for whoever signed this request.
    pub(crate) fn certify_request(&self, csr: &[u8], device: DeviceId) -> Certificate {
        let request = CertificateSigningRequestParams::from_der(&csr.to_vec().into()).unwrap();
        let uri = format!("{DEVICE_URI}{device}");
        let own = self.sign_certificate(&request.public_key, &uri, None, now() - TimeDelta::minutes(5));
        Certificate { own, authority: self.authority.to_vec() }
    }

    pub(crate) fn relay_chain(&self) -> Vec<CertificateDer<'static>> {
        self.relay_chain_naming(&format!("{RELAY_URI}{}", self.relay))
    }

    pub(crate) fn relay_chain_naming(&self, uri: &str) -> Vec<CertificateDer<'static>> {
        let own =
            self.sign_certificate(&self.relay_key, uri, Some(RELAY_NAME), now() - TimeDelta::minutes(5));
        vec![own.into(), self.authority()]
    }

    pub(crate) fn relay_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.relay_key.serialize_der()).into()
    }

    fn sign_certificate(
        &self,
        key: &impl rcgen::PublicKeyData,
        uri: &str,
        name: Option<&str>,
        from: DateTime<Utc>,
    ) -> Vec<u8> {
        let mut params =
            CertificateParams::new(name.map(str::to_owned).into_iter().collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let server = name.map(|_| ExtendedKeyUsagePurpose::ServerAuth);
        params.extended_key_usages =
            [ExtendedKeyUsagePurpose::ClientAuth].into_iter().chain(server).collect();
        params.not_before = x509_time!(from);
        params.not_after = x509_time!((from + TimeDelta::days(30)));
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// The box's grants, signed now.
    pub(crate) fn grants(&self, revision: u64, grants: Vec<Grant>) -> Grants {
        Grants {
            device: self.device,
            name: "box42".parse().unwrap(),
            label: "box42".parse().unwrap(),
            revision,
            signed_at: now(),
            lease_until: now() + LEASE,
            grants,
        }
    }

    pub(crate) fn sign(&self, grants: &Grants) -> SignedGrants {
        self.signer.sign(grants)
    }

    pub(crate) fn signed(&self, revision: u64, grants: Vec<Grant>) -> SignedGrants {
        self.sign(&self.grants(revision, grants))
    }
}
