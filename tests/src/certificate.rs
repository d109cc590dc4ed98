//! A certificate that nobody has signed, as boxes have it: whoever wants to be sure compares its key.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};

/// A self-signed certificate and its key, in files.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    fingerprint: String,
}

impl Certificate {
    /// Makes one for a name, in a directory.
    pub fn make(dir: &Path, name: &str) -> Self {
        let pair = KeyPair::generate().expect("a key can be made");
        let certificate = CertificateParams::new([name.to_owned()])
            .and_then(|params| params.self_signed(&pair))
            .expect("a certificate can be made");
        let (chain, key) = (dir.join("page.crt"), dir.join("page.key"));
        fs::write(&chain, certificate.pem()).expect("a certificate is written");
        fs::write(&key, pair.serialize_pem()).expect("a key is written");
        let fingerprint = BASE64.encode(digest(&SHA256, &pair.subject_public_key_info()).as_ref());
        Self { chain, key, fingerprint }
    }

    /// The file with the certificate (PEM).
    pub fn chain(&self) -> &Path {
        &self.chain
    }

    /// The file with its key (PEM).
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// The fingerprint of its public key, by which Chromium knows it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The same as curl writes it.
    pub fn pin(&self) -> String {
        format!("sha256//{}", self.fingerprint)
    }
}
