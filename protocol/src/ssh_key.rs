//! Every public-key format people paste, and the refusals by name.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg};

#[cfg(test)]
mod tests;

/// The longest text that is looked at: RSA with 16,384 bits takes less than 3 KiB.
pub const MAX_PASTED: usize = 16 * 1024;

/// RSA keys below this many bits can be broken by those who can afford it.
pub const MIN_RSA_BITS: u32 = 2048;

/// The most characters of a key's comment that are kept.
const MAX_COMMENT: usize = 128;

const RFC4716_BEGIN: &str = "---- BEGIN SSH2 PUBLIC KEY ----";
const RFC4716_END: &str = "---- END SSH2 PUBLIC KEY ----";

/// An SSH public key that may open an access.
///
/// Two keys are the same when their wire forms are; a comment is not part of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    blob: Vec<u8>,
}

/// What somebody pasted, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pasted {
    /// The key.
    pub key: PublicKey,
    /// The comment that stood beside it, shortened, for people only.
    pub comment: String,
    /// A sentence worth showing although the key is accepted.
    pub warning: Option<&'static str>,
}

/// Why a pasted text is not a key that may open an access. Never repeats the text: it may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// Nothing was pasted.
    #[error("no key was given: paste the line from a file such as ~/.ssh/id_ed25519.pub")]
    Empty,
    /// Longer than any key.
    #[error("this is too long to be a public key")]
    TooLong,
    /// A private key. It was neither stored nor logged.
    #[error(
        "this is a private key ({format}); it was not kept, but it has left your hands: give the public half, {instead}"
    )]
    Private {
        /// The file format it was in.
        format: &'static str,
        /// Where its public half is found.
        instead: &'static str,
    },
    /// A certificate where a key is meant.
    #[error("this is an SSH certificate; give the plain public key")]
    Certificate,
    /// DSA.
    #[error("DSA keys are no longer secure; make one with: ssh-keygen -t ed25519")]
    Dsa,
    /// RSA that is too short.
    #[error("this RSA key has {bits} bits; at least {MIN_RSA_BITS} are needed")]
    ShortRsa {
        /// Its size.
        bits: u32,
    },
    /// Ed448.
    #[error("Ed448 keys are not supported by SSH servers; make one with: ssh-keygen -t ed25519")]
    Ed448,
    /// Another type of key.
    #[error("keys of the type '{0}' are not supported; make one with: ssh-keygen -t ed25519")]
    UnknownType(String),
    /// More than one key.
    #[error("there is more than one key here; an access takes one")]
    Several,
    /// Nothing that resembles a key.
    #[error("this is not a public key; it should look like: ssh-ed25519 AAAAC3Nz… name")]
    NotAKey,
}

impl PublicKey {
    /// Reads a key in any of the forms that people paste.
    pub fn parse(text: &str) -> Result<Pasted, Unusable> {
        let text = text.trim_start_matches('\u{feff}').trim();
        match text.len() {
            0 => return Err(Unusable::Empty),
            1..=MAX_PASTED => {}
            _ => return Err(Unusable::TooLong),
        }
        refuse_private(text)?;
        match text.contains(RFC4716_BEGIN) {
            true => parse_rfc4716(text),
            false => parse_openssh(text),
        }
    }

    /// Reads a key in its wire form (RFC 4253, section 6.6).
    pub fn from_wire(blob: &[u8]) -> Result<Self, Unusable> {
        if blob.len() > MAX_PASTED {
            return Err(Unusable::TooLong);
        }
        accept_type(type_name(blob).ok_or(Unusable::NotAKey)?)?;
        let parsed = ssh_key::PublicKey::from_bytes(blob).map_err(|_| Unusable::NotAKey)?;
        accept_strength(parsed.key_data())?;
        let blob = parsed.to_bytes().map_err(|_| Unusable::NotAKey)?;
        Ok(Self { blob })
    }

    /// The wire form.
    pub fn as_wire(&self) -> &[u8] {
        &self.blob
    }

    /// The type, such as `ssh-ed25519`.
    pub fn type_name(&self) -> &str {
        type_name(&self.blob).expect("a key's wire form begins with its type")
    }

    /// The line for a keys file, without a comment.
    pub fn to_openssh(&self) -> String {
        format!("{} {}", self.type_name(), BASE64.encode(&self.blob))
    }

    /// The fingerprint as `ssh-keygen -l` shows it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.parsed().fingerprint(HashAlg::Sha256).to_string()
    }

    /// The size in bits, as `ssh-keygen -l` shows it.
    pub fn bits(&self) -> u32 {
        match self.parsed().key_data() {
            KeyData::Rsa(rsa) => rsa.key_size(),
            KeyData::Ecdsa(key) => match key.curve() {
                EcdsaCurve::NistP256 => 256,
                EcdsaCurve::NistP384 => 384,
                EcdsaCurve::NistP521 => 521,
            },
            _ => 256,
        }
    }

    fn parsed(&self) -> ssh_key::PublicKey {
        ssh_key::PublicKey::from_bytes(&self.blob).expect("the wire form was checked when it was read")
    }

    fn warning(&self) -> Option<&'static str> {
        let p521 = self.type_name() == "ecdsa-sha2-nistp521";
        p521.then_some(
            "PuTTY before 0.81 gave away P-521 private keys through their signatures \
             (CVE-2024-31497): if this key was ever used with it, make a new one",
        )
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_openssh())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.type_name(), self.fingerprint())
    }
}

/// The OpenSSH line where people may read it, the wire form where only programs do.
impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match to.is_human_readable() {
            true => to.serialize_str(&self.to_openssh()),
            false => to.serialize_bytes(&self.blob),
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match from.is_human_readable() {
            true => Self::parse(&String::deserialize(from)?).map(|pasted| pasted.key).map_err(Error::custom),
            false => Self::from_wire(<&[u8]>::deserialize(from)?).map_err(Error::custom),
        }
    }
}

fn parse_openssh(text: &str) -> Result<Pasted, Unusable> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().ok_or(Unusable::NotAKey)?;
    if lines.next().is_some() {
        return Err(Unusable::Several);
    }
    let mut words = line.splitn(3, char::is_whitespace);
    let (name, base64) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    accept_type(name)?;
    let blob = BASE64.decode(base64.as_bytes()).map_err(|_| Unusable::NotAKey)?;
    if type_name(&blob) != Some(name) {
        return Err(Unusable::NotAKey);
    }
    finish(&blob, words.next().unwrap_or_default())
}

/// RFC 4716: a header block, continued by backslashes, then base64 wrapped at any width.
fn parse_rfc4716(text: &str) -> Result<Pasted, Unusable> {
    let body = text.trim_start().strip_prefix(RFC4716_BEGIN).ok_or(Unusable::NotAKey)?;
    let (body, after) = body.split_once(RFC4716_END).ok_or(Unusable::NotAKey)?;
    if !after.trim().is_empty() {
        return Err(Unusable::Several);
    }
    let (mut comment, mut base64) = (String::new(), String::new());
    let mut lines = body.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some((tag, value)) = line.split_once(':') else {
            base64.push_str(line);
            continue;
        };
        let mut value = value.trim().to_owned();
        while value.ends_with('\\') {
            value.pop();
            value.push_str(lines.next().unwrap_or_default());
        }
        if tag.eq_ignore_ascii_case("comment") {
            comment = value.trim_matches('"').to_owned();
        }
    }
    let blob = BASE64.decode(base64.as_bytes()).map_err(|_| Unusable::NotAKey)?;
    finish(&blob, &comment)
}

fn finish(blob: &[u8], comment: &str) -> Result<Pasted, Unusable> {
    let key = PublicKey::from_wire(blob)?;
    let comment = comment.trim().chars().filter(|c| !c.is_control()).take(MAX_COMMENT).collect();
    let warning = key.warning();
    Ok(Pasted { key, comment, warning })
}

/// Private keys are recognised by their outer marks alone, before anything else looks at them.
fn refuse_private(text: &str) -> Result<(), Unusable> {
    const PUB_FILE: &str = "which is in the file of the same name that ends in .pub";
    const PUTTYGEN: &str = "which PuTTYgen shows under \"Public key for pasting\"";
    let private = |format, instead| Err(Unusable::Private { format, instead });
    if text.contains("BEGIN OPENSSH PRIVATE KEY") || text.contains("b3BlbnNzaC1rZXktdjE") {
        private("OpenSSH", PUB_FILE)
    } else if text.contains("PuTTY-User-Key-File-") {
        private("PuTTY .ppk", PUTTYGEN)
    } else if text.contains("SSH2 ENCRYPTED PRIVATE KEY") {
        private("ssh.com", PUTTYGEN)
    } else if text.contains("PRIVATE KEY-----") {
        private("PEM", PUB_FILE)
    } else {
        Ok(())
    }
}

fn accept_type(name: &str) -> Result<(), Unusable> {
    if name.contains("-cert-v0") {
        return Err(Unusable::Certificate);
    }
    match name {
        "ssh-dss" => Err(Unusable::Dsa),
        "ssh-ed448" => Err(Unusable::Ed448),
        _ => match Algorithm::new(name) {
            Ok(Algorithm::Other(_)) if looks_like_a_type(name) => Err(Unusable::UnknownType(name.to_owned())),
            Ok(Algorithm::Other(_)) | Err(_) => Err(Unusable::NotAKey),
            Ok(_) => Ok(()),
        },
    }
}

fn looks_like_a_type(name: &str) -> bool {
    let marks = |byte: u8| byte.is_ascii_alphanumeric() || b"-.@_".contains(&byte);
    name.len() <= 64 && name.contains('-') && name.bytes().all(marks)
}

fn accept_strength(key: &KeyData) -> Result<(), Unusable> {
    match key {
        KeyData::Rsa(rsa) if rsa.key_size() < MIN_RSA_BITS => {
            Err(Unusable::ShortRsa { bits: rsa.key_size() })
        }
        _ => Ok(()),
    }
}

/// The first string of a wire form (RFC 4251, section 5).
fn type_name(blob: &[u8]) -> Option<&str> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    std::str::from_utf8(rest.get(..length)?).ok()
}
