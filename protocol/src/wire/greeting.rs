//! First messages, and which version speaks in them.
//!
//! A peer of another version may write everything else otherwise, so its version is read before
//! anything else, and it is answered with a sentence. For that, some things stay as they are in every
//! version: a version stands first in [`JoinRequest`], and after the variant in `Hello` and `Welcome`,
//! which stay the first of theirs; `JoinAnswer::Refused` and `Goodbye::Version` keep their places.

use serde::de::DeserializeOwned;

use super::frame::{self, Malformed};
use super::{JoinRequest, ToAgent, ToRelay, VERSION};

/// A first message, understood as far as it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting<T> {
    /// The peer speaks the version that is spoken here.
    Same(T),
    /// The peer speaks another, and the rest of its message may mean anything.
    Foreign {
        /// The version it speaks.
        version: u16,
    },
}

/// A message that can be a peer's first.
pub trait First: DeserializeOwned {
    /// The version that a body announces, if it is a first message at all.
    fn announced(body: &[u8]) -> Option<u16>;
}

impl First for JoinRequest {
    fn announced(body: &[u8]) -> Option<u16> {
        postcard::take_from_bytes(body).ok().map(|(version, _)| version)
    }
}

impl First for ToRelay {
    fn announced(body: &[u8]) -> Option<u16> {
        announced_by_first_variant(body)
    }
}

/// A relay's first word may be a goodbye, which is the same in every version.
impl First for ToAgent {
    fn announced(body: &[u8]) -> Option<u16> {
        match body.first() {
            Some(&GOODBYE) => Some(VERSION),
            _ => announced_by_first_variant(body),
        }
    }
}

/// How `ToAgent::Goodbye` begins.
const GOODBYE: u8 = 3;

fn announced_by_first_variant(body: &[u8]) -> Option<u16> {
    let fields = body.strip_prefix(&[0])?;
    postcard::take_from_bytes(fields).ok().map(|(version, _)| version)
}

/// The first message of a whole body.
pub fn decode_first<T: First>(body: &[u8]) -> Result<Greeting<T>, Malformed> {
    match T::announced(body).ok_or(Malformed::Unreadable)? {
        VERSION => frame::decode(body).map(Greeting::Same),
        version => Ok(Greeting::Foreign { version }),
    }
}

/// What to tell both sides whose versions differ: which of them needs an update.
pub fn update_sentence(agent: u16, relay: u16) -> String {
    let older = if agent < relay { "agent" } else { "relay" };
    format!(
        "the agent speaks version {agent} of the protocol and the relay version {relay}: update the {older}"
    )
}
