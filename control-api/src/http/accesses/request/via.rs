//! The way in that a request asks for, or else the one that suits it.

use postern_protocol::api::Via;

use super::SSH;
use crate::http::error::{ApiError, Code};
use crate::record::RelayRecord;

/// What the relays have besides their gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http::accesses) struct Doors {
    /// Whether one of them has a TLS front.
    pub(in crate::http::accesses) front: bool,
    /// Whether one of them has public ports.
    pub(in crate::http::accesses) ports: bool,
}

impl Doors {
    /// Those of these relays.
    pub(in crate::http::accesses) fn of(relays: &[RelayRecord]) -> Self {
        Self {
            front: relays.iter().any(|relay| relay.web.is_some()),
            ports: relays.iter().any(|relay| relay.ports.is_some()),
        }
    }
}

/// How visitors come to this port, with or without a key.
pub(super) fn via(asked: Option<Via>, port: u16, has_key: bool, doors: Doors) -> Result<Via, ApiError> {
    let via = match asked {
        Some(via) => via,
        None if has_key => Via::Gate,
        None if doors.front => Via::Name,
        None if doors.ports => Via::Port,
        None => return Err(no_way_in()),
    };
    match via {
        Via::Gate if !has_key => {
            impossible("the SSH gate asks for a key; give public_key, or take another way in")
        }
        Via::Name if port == SSH => {
            impossible("ssh does not come in by a name; take the gate, or a public port")
        }
        Via::Name | Via::Port if has_key && port != SSH => impossible(
            "nobody would ask for the key there; leave public_key out, or go through the gate, which does",
        ),
        Via::Name if !doors.front => Err(no_front()),
        Via::Port if !doors.ports => Err(no_ports()),
        Via::Gate | Via::Name | Via::Port => Ok(via),
    }
}

fn impossible(detail: &'static str) -> Result<Via, ApiError> {
    Err(ApiError::new(Code::ImpossibleVia, detail).field("via"))
}

fn no_front() -> ApiError {
    ApiError::new(
        Code::NoFront,
        "no relay has a TLS front; set one up in relay.toml, or ask for a public port",
    )
    .field("via")
}

/// Why there is no public port to be had.
pub(in crate::http::accesses) fn no_ports() -> ApiError {
    ApiError::new(Code::NoPorts, "no relay has public ports; set ports = \"40000-40999\" in relay.toml")
        .field("via")
}

fn no_way_in() -> ApiError {
    let detail = "without a key visitors come in by a name or by a public port, and no relay has a TLS front \
                  or public ports; set one up in relay.toml, or give public_key to go through the SSH gate";
    ApiError::new(Code::NoFront, detail).field("via")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Doors = Doors { front: false, ports: false };
    const FRONT: Doors = Doors { front: true, ports: false };
    const PORTS: Doors = Doors { front: false, ports: true };
    const BOTH: Doors = Doors { front: true, ports: true };

    fn outcome(asked: Option<Via>, port: u16, has_key: bool, doors: Doors) -> Result<Via, Code> {
        via(asked, port, has_key, doors).map_err(|problem| problem.told().0)
    }

    #[test]
    fn what_is_left_out_is_what_suits() {
        for doors in [NOTHING, BOTH] {
            assert_eq!(outcome(None, 22, true, doors), Ok(Via::Gate));
            assert_eq!(outcome(None, 443, true, doors), Ok(Via::Gate));
        }
        assert_eq!(outcome(None, 443, false, BOTH), Ok(Via::Name));
        assert_eq!(outcome(None, 443, false, FRONT), Ok(Via::Name));
        assert_eq!(outcome(None, 443, false, PORTS), Ok(Via::Port));
        assert_eq!(outcome(None, 443, false, NOTHING), Err(Code::NoFront));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (asked, port, has_key, doors, expected) in [
            (Via::Gate, 443, false, BOTH, Err(Code::ImpossibleVia)),
            (Via::Name, 22, true, BOTH, Err(Code::ImpossibleVia)),
            (Via::Name, 443, true, BOTH, Err(Code::ImpossibleVia)),
            (Via::Port, 443, true, BOTH, Err(Code::ImpossibleVia)),
            (Via::Name, 443, false, PORTS, Err(Code::NoFront)),
            (Via::Port, 22, true, FRONT, Err(Code::NoPorts)),
            (Via::Port, 22, true, PORTS, Ok(Via::Port)),
            (Via::Port, 443, false, PORTS, Ok(Via::Port)),
            (Via::Name, 443, false, FRONT, Ok(Via::Name)),
            (Via::Gate, 443, true, NOTHING, Ok(Via::Gate)),
        ] {
            assert_eq!(outcome(Some(asked), port, has_key, doors), expected, "{asked:?} {port} {has_key}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_setting_that_brings_it() {
        assert!(no_ports().told().2.contains("ports = "));
        assert!(no_way_in().told().2.contains("relay.toml"));
    }
}
