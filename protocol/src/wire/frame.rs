//! One message as bytes: its length in four bytes, most significant first, then its body.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::grant::MAX_BODY;

/// Bytes before a body.
pub const HEADER: usize = 4;

/// The largest body between strangers, and of messages that carry no grants.
pub const SMALL: usize = 16 * 1024;

/// The largest body on a tunnel's control stream: a box's grants and their signature.
pub const LARGE: usize = MAX_BODY + 1024;

/// Bytes that are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length that no message has; nothing was allocated for it.
    #[error("a message of {length} bytes where at most {limit} are allowed")]
    TooLong {
        /// The length it claims.
        length: usize,
        /// The limit here.
        limit: usize,
    },
    /// A body that is not the message expected here.
    #[error("a message that cannot be read")]
    Unreadable,
}

/// The bytes of a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let body = postcard::to_extend(message, vec![0; HEADER]);
    let mut bytes = body.expect("messages have no shape that cannot be encoded");
    let length = u32::try_from(bytes.len() - HEADER).expect("messages are far smaller than 4 GiB");
    bytes[..HEADER].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// The length of the body that a header announces, if it is within the limit.
pub fn body_length(header: [u8; HEADER], limit: usize) -> Result<usize, Malformed> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    match length <= limit {
        true => Ok(length),
        false => Err(Malformed::TooLong { length, limit }),
    }
}

/// The message of a whole body, which must hold nothing else.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(Malformed::Unreadable),
    }
}
