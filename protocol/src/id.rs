//! Names of things: parse, print, nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The letters of an id: 32 of them, so five bits each, and none that a voice could confuse with
/// another over a telephone in the same id.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Letters in an id: 50 bits, enough that guessing is hopeless and typing is not.
pub const ID_LENGTH: usize = 10;

/// A text that is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct InvalidName {
    what: &'static str,
    problem: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LENGTH]);

        impl $name {
            /// The least of all, for searching in order.
            pub const FIRST: Self = Self([b'2'; ID_LENGTH]);

            /// The id that these random bytes stand for; the caller brings the entropy.
            pub fn from_entropy(entropy: [u8; ID_LENGTH]) -> Self {
                Self(entropy.map(|byte| ALPHABET[usize::from(byte & 31)]))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("an id holds only letters of its alphabet")
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let problem = "is ten characters of a-z and 2-7";
                let invalid = InvalidName { what: $what, problem };
                let letters: [u8; ID_LENGTH] = text.as_bytes().try_into().map_err(|_| invalid.clone())?;
                match letters.iter().all(|letter| ALPHABET.contains(letter)) {
                    true => Ok(Self(letters)),
                    false => Err(invalid),
                }
            }
        }

        text_form!($name);
    };
}

macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                String::schema()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

id! {
    /// An account: whoever owns boxes, accesses and tokens.
    AccountId, "an account's id"
}
id! {
    /// A box.
    DeviceId, "a box's id"
}
id! {
    /// An access, which is also the user name at the relay's SSH gate.
    AccessId, "an access's id"
}
id! {
    /// A relay.
    RelayId, "a relay's id"
}
id! {
    /// One visit, allowed or refused: the key of its audit record.
    VisitId, "a visit's id"
}
id! {
    /// An API token, by which it is listed and removed; never the secret itself.
    TokenId, "a token's id"
}

id! {
    /// Something that happened in an account.
    EventId, "an event's id"
}

id! {
    /// A webhook.
    WebhookId, "a webhook's id"
}

id! {
    /// A call of a webhook, the same at every attempt.
    DeliveryId, "a delivery's id"
}

id! {
    /// A record of the audit.
    AuditId, "an audit record's id"
}

id! {
    /// A user: somebody of an account, who signs in.
    UserId, "a user's id"
}

/// A box's name: one DNS label, because it stands in host names, in `ssh` commands and in files.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

impl DeviceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=63).contains(&text.len())
            && text.bytes().all(label)
            && !text.starts_with('-')
            && !text.ends_with('-');
        match fits {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidName {
                what: "a box's name",
                problem: "is 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end",
            }),
        }
    }
}

text_form!(DeviceName);

/// A user name on a box, in the portable form that no shell and no file can misread.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Login(String);

impl Login {
    /// The login as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Login {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let fits = (1..=32).contains(&text.len())
            && text.bytes().next().is_some_and(first)
            && text.bytes().all(rest);
        match fits {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidName {
                what: "a login",
                problem: "is 1 to 32 letters, digits, '_', '-' and '.', and begins with a letter or '_'",
            }),
        }
    }
}

text_form!(Login);

/// What a user signs in with, such as an e-mail address; capitals make no difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// The name as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let letter =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'@');
        let fits = (1..=254).contains(&text.len())
            && text.bytes().all(letter)
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        match fits {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(InvalidName {
                what: "a user's name",
                problem: "is 1 to 254 letters, digits, '.', '_', '-', '+' and '@', and begins with a letter or a digit",
            }),
        }
    }
}

text_form!(UserName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_printing() {
        let id = AccessId::from_entropy([0, 31, 32, 63, 64, 95, 255, 7, 8, 9]);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn ids_of_other_shapes_are_refused() {
        for text in ["", "abcdefghi", "abcdefghijk", "ABCDEFGHIJ", "abcdefghi1", "abcdefghi\u{e9}"] {
            assert!(text.parse::<AccessId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_that_could_break_a_shell_or_a_file_are_refused() {
        for text in ["", "-box", "box-", "Box", "a b", "a/b", "$(x)", "a\n", "a.b", "é", &"a".repeat(64)] {
            assert!(text.parse::<DeviceName>().is_err(), "{text:?}");
        }
        for text in ["", "-l", "a b", "a;b", "%u", "a/b", "1a", &"a".repeat(33)] {
            assert!(text.parse::<Login>().is_err(), "{text:?}");
        }
        assert!("box42".parse::<DeviceName>().is_ok());
        assert!("_apt.user-1".parse::<Login>().is_ok());
        for text in ["", "-a", "a b", "a\"b", "é@example.com", "<b>", &"a".repeat(255)] {
            assert!(text.parse::<UserName>().is_err(), "{text:?}");
        }
        assert_eq!("Ann.Lee+x@Example.COM".parse::<UserName>().unwrap().as_str(), "ann.lee+x@example.com");
    }
}
