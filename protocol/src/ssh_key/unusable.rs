//! The refusals, by name.

use super::{MAX_RSA_BITS, MIN_RSA_BITS};

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
    /// RSA that is longer than helps anyone.
    #[error("this RSA key has {bits} bits; at most {MAX_RSA_BITS} are taken")]
    LongRsa {
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
    /// A key with something before it, as in an authorized_keys or a known_hosts file.
    #[error("there are options or names before the key; give only the part that begins with '{starts_at}'")]
    Preceded {
        /// The type of the key, where the part that is wanted begins.
        starts_at: &'static str,
    },
    /// One key over several lines, as a terminal or a mail breaks it.
    #[error("the key is broken over several lines; paste it as one line")]
    Wrapped,
    /// A public key in a format that SSH programs cannot use as it is.
    #[error("this public key is in PEM format; turn it round with: ssh-keygen -i -m {convert_from} -f FILE")]
    Pem {
        /// What `ssh-keygen` calls the format.
        convert_from: &'static str,
    },
    /// It begins like a key, and what follows cannot be one.
    #[error("the key is damaged or cut off; copy the whole of it again")]
    Damaged,
    /// Nothing that resembles a key.
    #[error("this is not a public key; it should look like: ssh-ed25519 AAAAC3Nz… name")]
    NotAKey,
}
