//! Names, keys and times for the tests of this crate.

use chrono::{DateTime, TimeDelta, Utc};

use crate::Refusal;
use crate::access::Denial;
use crate::api::{Gate, HostKey};
use crate::ssh_key::PublicKey;

/// Anything that is read from text.
pub(crate) fn read<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// A time on the day on which all tests play.
pub(crate) fn at(time_of_day: &str) -> DateTime<Utc> {
    read(&format!("2030-01-02T{time_of_day}Z"))
}

/// So many seconds after noon of that day.
pub(crate) fn seconds(after_noon: i64) -> DateTime<Utc> {
    at("12:00:00") + TimeDelta::seconds(after_noon)
}

/// The Ed25519 key that consists of this byte.
pub(crate) fn key(byte: u8) -> PublicKey {
    PublicKey::from_wire(&wire(&[b"ssh-ed25519", &[byte; 32]])).expect("any 32 bytes")
}

/// The largest RSA key that is accepted.
pub(crate) fn largest_key() -> PublicKey {
    let exponent = [&[0][..], &[0xff; 8]].concat();
    let modulus = [&[0][..], &[0xff; 1024]].concat();
    PublicKey::from_wire(&wire(&[b"ssh-rsa", &exponent, &modulus])).expect("a key at the limit")
}

/// Strings as SSH writes them (RFC 4251, section 5).
pub(crate) fn wire(fields: &[&[u8]]) -> Vec<u8> {
    let prefixed = |field: &&[u8]| [&u32::try_from(field.len()).unwrap().to_be_bytes()[..], field].concat();
    fields.iter().flat_map(prefixed).collect()
}

/// A relay's gate.
pub(crate) fn gate(host: &str, port: u16) -> Gate {
    Gate { host: host.to_owned(), port, host_keys: vec![HostKey::from(&key(1))] }
}

/// Every refusal; a variant that is missing here does not compile.
pub(crate) fn refusals() -> Vec<Refusal> {
    let denials = [
        Denial::UnknownAccess,
        Denial::WrongKey,
        Denial::WrongBox,
        Denial::PortNotExposed { port: 8080 },
        Denial::AddressOutside { address: read("198.51.100.7") },
        Denial::AddressOutside { address: read("2001:db8::9") },
        Denial::Revoked,
        Denial::Expired { at: at("13:00:00") },
        Denial::LeaseOver { at: at("23:00:00") },
    ];
    let others = [
        Refusal::DeniedByBox(Denial::Revoked),
        Refusal::BoxOffline,
        Refusal::BoxPaused,
        Refusal::NotOffered { port: 8080 },
        Refusal::ServiceDown,
        Refusal::BoxSilent,
        Refusal::TooMany,
        Refusal::ShuttingDown,
        Refusal::TunnelLost,
        Refusal::RelayRestarted,
        Refusal::Stalled,
        Refusal::EndedByBox,
        Refusal::Idle,
        Refusal::Cut,
        Refusal::NotApproved { access: read("k7f2q5xw3a") },
        Refusal::DeniedByOwner,
    ];
    let refusals: Vec<Refusal> = denials.map(Refusal::Denied).into_iter().chain(others).collect();
    refusals.iter().for_each(is_listed);
    refusals
}

fn is_listed(refusal: &Refusal) {
    match refusal {
        Refusal::Denied(denial) | Refusal::DeniedByBox(denial) => match denial {
            Denial::UnknownAccess
            | Denial::WrongKey
            | Denial::WrongBox
            | Denial::PortNotExposed { .. }
            | Denial::AddressOutside { .. }
            | Denial::Revoked
            | Denial::Expired { .. }
            | Denial::LeaseOver { .. } => {}
        },
        Refusal::BoxOffline
        | Refusal::BoxPaused
        | Refusal::NotOffered { .. }
        | Refusal::ServiceDown
        | Refusal::BoxSilent
        | Refusal::TooMany
        | Refusal::ShuttingDown
        | Refusal::TunnelLost
        | Refusal::RelayRestarted
        | Refusal::Stalled
        | Refusal::EndedByBox
        | Refusal::Idle
        | Refusal::Cut
        | Refusal::NotApproved { .. }
        | Refusal::DeniedByOwner => {}
    }
}
