//! What people are shown of a certificate, so that they can compare it with what their browser says.

use anyhow::Context;
use postern_protocol::wire::{BoxFacts, WebCertificate, WebCertificateKind};
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::name::GeneralName;

use crate::identity::Validity;
use crate::trust::{alternative_names, fingerprint};

/// What people are shown of a certificate (DER).
pub(super) fn describe(own: &CertificateDer<'_>, kind: WebCertificateKind) -> anyhow::Result<WebCertificate> {
    let parsed = Certificate::from_der(own).context("reading the certificate")?;
    Ok(WebCertificate {
        kind,
        names: alternative_names(&parsed).filter_map(host).take(BoxFacts::MAX_NAMES).collect(),
        fingerprint: base16ct::lower::encode_string(&fingerprint(own)),
        ends_at: Validity::in_certificate(&parsed).until,
    })
}

/// A host name that is fit to be shown.
fn host(name: GeneralName) -> Option<String> {
    let GeneralName::DnsName(name) = name else { return None };
    let name = name.as_str();
    let fit = name.len() <= BoxFacts::MAX_TEXT && !name.chars().any(char::is_control);
    fit.then(|| name.to_owned())
}
