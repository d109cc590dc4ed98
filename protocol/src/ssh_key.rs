//! Every public-key format people paste, and the refusals by name.

use std::fmt;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ssh_key::public::{EcdsaPublicKey, KeyData, RsaPublicKey};
use ssh_key::{EcdsaCurve, HashAlg};

mod pasted;
#[cfg(test)]
mod tests;
mod unusable;

pub use pasted::{MAX_PASTED, Pasted};
pub use unusable::Unusable;

/// RSA keys below this many bits can be broken by those who can afford it.
pub const MIN_RSA_BITS: u32 = 2048;

/// RSA keys above this many bits cost every login more than they protect.
pub const MAX_RSA_BITS: u32 = 8192;

/// The largest wire form of a key: an RSA key's type, an exponent of 64 bits and a modulus of
/// [`MAX_RSA_BITS`], each behind its length and each number behind a zero that keeps it positive.
pub const MAX_WIRE: usize = (4 + 7) + (4 + 1 + 8) + (4 + 1 + MAX_RSA_BITS as usize / 8);

/// The types that an SSH server may accept today, and so an access.
const ACCEPTED: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// An SSH public key that may open an access.
///
/// Two keys are the same when their wire forms are; a comment is not part of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    blob: Vec<u8>,
}

impl PublicKey {
    /// Reads a key in any of the forms that people paste.
    pub fn parse(text: &str) -> Result<Pasted, Unusable> {
        pasted::read(text)
    }

    /// Reads a key in its wire form (RFC 4253, section 6.6), which must be the only one it has.
    pub fn from_wire(blob: &[u8]) -> Result<Self, Unusable> {
        if blob.len() > MAX_PASTED {
            return Err(Unusable::TooLong);
        }
        accept_type(type_name(blob).ok_or(Unusable::NotAKey)?)?;
        let parsed = ssh_key::PublicKey::from_bytes(blob).map_err(|_| Unusable::Damaged)?;
        accept_numbers(parsed.key_data())?;
        match parsed.to_bytes() {
            Ok(canonical) if canonical != blob => Err(Unusable::Damaged),
            Ok(canonical) if canonical.len() > MAX_WIRE => Err(Unusable::TooLong),
            Ok(blob) => Ok(Self { blob }),
            Err(_) => Err(Unusable::Damaged),
        }
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
        format!("{} {}", self.type_name(), Base64::encode_string(&self.blob))
    }

    /// The fingerprint as `ssh-keygen -l` shows it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.parsed().fingerprint(HashAlg::Sha256).to_string()
    }

    /// The size in bits, as `ssh-keygen -l` shows it.
    pub fn bits(&self) -> u32 {
        let parsed = self.parsed();
        let data = parsed.key_data();
        match (data.rsa(), data.ecdsa().map(EcdsaPublicKey::curve)) {
            (Some(rsa), _) => rsa_bits(rsa),
            (_, None | Some(EcdsaCurve::NistP256)) => 256,
            (_, Some(EcdsaCurve::NistP384)) => 384,
            (_, Some(EcdsaCurve::NistP521)) => 521,
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

fn accept_type(name: &str) -> Result<(), Unusable> {
    match name {
        _ if ACCEPTED.contains(&name) => Ok(()),
        "ssh-dss" => Err(Unusable::Dsa),
        "ssh-ed448" => Err(Unusable::Ed448),
        _ if name.contains("-cert-v0") => Err(Unusable::Certificate),
        _ if looks_like_a_type(name) => Err(Unusable::UnknownType(name.to_owned())),
        _ => Err(Unusable::NotAKey),
    }
}

fn looks_like_a_type(name: &str) -> bool {
    let marks = |byte: u8| byte.is_ascii_alphanumeric() || b"-.@_".contains(&byte);
    name.len() <= 64 && name.contains('-') && name.bytes().all(marks)
}

/// Refuses numbers that no key generator makes and no SSH server takes.
fn accept_numbers(key: &KeyData) -> Result<(), Unusable> {
    if let Some(rsa) = key.rsa() {
        accept_rsa(rsa)
    } else if let Some(key) = key.ecdsa() {
        accept_point(key.curve(), key.as_sec1_bytes())
    } else if let Some(key) = key.sk_ecdsa_p256() {
        accept_point(EcdsaCurve::NistP256, key.ec_point().as_bytes())
    } else {
        Ok(())
    }
}

fn accept_rsa(rsa: &RsaPublicKey) -> Result<(), Unusable> {
    let odd = |number: &ssh_key::Mpint| number.as_bytes().last().is_some_and(|byte| byte % 2 == 1);
    let exponent_is_one = rsa.e().as_bytes() == [1];
    match rsa_bits(rsa) {
        bits if bits < MIN_RSA_BITS => Err(Unusable::ShortRsa { bits }),
        bits if bits > MAX_RSA_BITS => Err(Unusable::LongRsa { bits }),
        _ if odd(rsa.n()) && odd(rsa.e()) && !exponent_is_one => Ok(()),
        _ => Err(Unusable::Damaged),
    }
}

/// The modulus's size to the bit; `RsaPublicKey::key_size` rounds up to bytes.
fn rsa_bits(rsa: &RsaPublicKey) -> u32 {
    let digits = rsa.n().as_positive_bytes().unwrap_or_default();
    let unused = digits.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(digits.len() * 8).unwrap_or(u32::MAX) - unused
}

/// A point on its curve, and in the uncompressed form that SSH requires (RFC 5656, section 3.1).
fn accept_point(curve: EcdsaCurve, point: &[u8]) -> Result<(), Unusable> {
    const UNCOMPRESSED: u8 = 4;
    let on_curve = match curve {
        EcdsaCurve::NistP256 => p256::PublicKey::from_sec1_bytes(point).is_ok(),
        EcdsaCurve::NistP384 => p384::PublicKey::from_sec1_bytes(point).is_ok(),
        EcdsaCurve::NistP521 => p521::PublicKey::from_sec1_bytes(point).is_ok(),
    };
    match on_curve && point.first() == Some(&UNCOMPRESSED) {
        true => Ok(()),
        false => Err(Unusable::Damaged),
    }
}

/// The first string of a wire form (RFC 4251, section 5).
fn type_name(blob: &[u8]) -> Option<&str> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    std::str::from_utf8(rest.get(..length)?).ok()
}
