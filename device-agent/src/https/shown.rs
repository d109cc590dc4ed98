//! What people are shown of a certificate, so that they can compare it with what their browser says.

use anyhow::Context;
use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use postern_protocol::wire::{BoxFacts, WebCertificate, WebCertificateKind};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::trust::fingerprint;

/// What people are shown of a certificate (DER).
pub(super) fn describe(own: &CertificateDer<'_>, kind: WebCertificateKind) -> anyhow::Result<WebCertificate> {
    let (_, parsed) = X509Certificate::from_der(own).context("reading the certificate")?;
    let ends_at = DateTime::<Utc>::from_timestamp(parsed.validity().not_after.timestamp(), 0);
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.into_iter().flat_map(|names| &names.value.general_names);
    Ok(WebCertificate {
        kind,
        names: names.filter_map(host).take(BoxFacts::MAX_NAMES).collect(),
        fingerprint: HEXLOWER.encode(&fingerprint(own)),
        ends_at: ends_at.context("a certificate beyond all dates")?,
    })
}

/// A host name that is fit to be shown.
fn host(name: &GeneralName<'_>) -> Option<String> {
    let GeneralName::DNSName(name) = name else { return None };
    let fit = name.len() <= BoxFacts::MAX_TEXT && !name.chars().any(char::is_control);
    fit.then(|| (*name).to_owned())
}
