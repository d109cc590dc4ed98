//! The join string: everything a new box needs to find its relay and to know it.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use crate::grant::GrantVerifier;
use crate::secret::Secret;

/// What every join string begins with; the number is its version.
const PREFIX: &str = "postern-join-2-";

/// The longest join string that is looked at.
const MAX_LENGTH: usize = 2048;

/// The one line that an operator hands to a box: single use, valid for a day.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinString {
    /// Where agents dial, `host:port`, in order of preference.
    pub relays: Vec<String>,
    /// SHA-256 of the certificate authority's certificate (DER), so that nobody else can answer.
    pub authority: [u8; 32],
    /// By which the box knows its rules: the relay through which it joins could name another.
    pub grants: GrantVerifier,
    /// The one-time token.
    pub token: Secret,
}

/// A text that is not a join string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJoinString {
    /// It begins otherwise.
    #[error("a join string begins with '{PREFIX}'; copy the whole line that 'postern device add' printed")]
    NotOne,
    /// It begins well and ends too soon, or was changed on the way.
    #[error("the join string is damaged; copy the whole line that 'postern device add' printed")]
    Damaged,
}

impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", Base64UrlUnpadded::encode_string(&body))
    }
}

/// Hides the token.
impl fmt::Debug for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinString").field("relays", &self.relays).finish_non_exhaustive()
    }
}

impl FromStr for JoinString {
    type Err = InvalidJoinString;

    fn from_str(text: &str) -> Result<Self, InvalidJoinString> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(InvalidJoinString::NotOne)?;
        if body.len() > MAX_LENGTH {
            return Err(InvalidJoinString::Damaged);
        }
        let body = Base64UrlUnpadded::decode_vec(body).map_err(|_| InvalidJoinString::Damaged)?;
        match postcard::take_from_bytes(&body) {
            Ok((join, [])) => Ok(join),
            _ => Err(InvalidJoinString::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> JoinString {
        JoinString {
            relays: vec!["relay.example.com:4443".into(), "192.0.2.1:4443".into()],
            authority: [9; 32],
            grants: crate::grant::GrantSigner::from_seed(&[1; 32]).verifier(),
            token: Secret::from_entropy("pj", [3; 32]),
        }
    }

    #[test]
    fn it_survives_printing_and_a_careless_copy() {
        assert_eq!(format!(" {}\r\n", example()).parse(), Ok(example()));
    }

    #[test]
    fn half_a_line_is_named_as_such() {
        let text = example().to_string();
        for end in PREFIX.len()..text.len() {
            assert_eq!(text[..end].parse::<JoinString>(), Err(InvalidJoinString::Damaged), "{end}");
        }
        assert_eq!("hello".parse::<JoinString>(), Err(InvalidJoinString::NotOne));
    }

    #[test]
    fn its_token_does_not_print_by_accident() {
        assert!(!format!("{:?}", example()).contains(example().token.reveal()));
    }
}
