//! What somebody asks for, checked field by field: pure, so every refusal is a row in a table.

use std::net::IpAddr;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use ipnet::IpNet;
use postern_protocol::access::Networks;
use postern_protocol::api::{CreateAccess, EditAccess};
use postern_protocol::id::AccessId;
use postern_protocol::ssh_key::{PublicKey, Unusable};

use crate::MAX_KEY_BITS;
use crate::entropy::entropy;
use crate::http::error::{ApiError, Code};
use crate::http::text;
use crate::record::{AccessRecord, DeviceRecord};
use crate::span::Span;
use crate::store::Edits;

mod via;

pub(super) use via::{Doors, no_ports};

/// How long an access lasts if nobody says.
const USUAL: TimeDelta = TimeDelta::hours(24);

/// The most characters kept of the comment beside a key.
const MAX_COMMENT: usize = 128;

/// The port that stands for the box's SSH server.
const SSH: u16 = 22;

/// The port that stands for the box's web page.
const HTTPS: u16 = 443;

/// What a request is judged by, besides itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances<'a> {
    /// The box that it names.
    pub(super) device: &'a DeviceRecord,
    /// What the relays have.
    pub(super) doors: Doors,
    /// Where it came from, if that is known.
    pub(super) caller: Option<IpAddr>,
    /// When it came.
    pub(super) now: DateTime<Utc>,
    /// The longest that an access may last.
    pub(super) longest: Span,
}

/// The access that a request asks for; its revision is the store's to give.
pub(super) fn access(request: CreateAccess, at: &Circumstances<'_>) -> Result<AccessRecord, ApiError> {
    let key = request.public_key.as_deref().map(key).transpose()?;
    check_port(request.exposed_port, key.is_some(), at.device)?;
    let via = via::via(request.via, request.exposed_port, key.is_some(), at.doors)?;
    let allowed = match request.allowed_ips {
        Some(list) => networks(&list, request.allow_any)?,
        None => Networks::only(at.caller.ok_or_else(address_unknown)?),
    };
    let usual = at.now + USUAL.min(at.longest.delta());
    let (key, key_comment) = key.map_or((None, String::new()), |(key, comment)| (Some(key), comment));
    Ok(AccessRecord {
        id: AccessId::from_entropy(entropy()),
        device: at.device.id,
        port: request.exposed_port,
        allowed,
        key,
        key_comment,
        login: request.login.unwrap_or_else(|| at.device.default_login()),
        via,
        leased: None,
        note: text::note(request.note.as_deref().unwrap_or(""))?,
        created_at: at.now,
        expires_at: expiry(request.expires_at, request.expires_in.as_deref(), at.now, at.longest)?
            .unwrap_or(usual.trunc_subsecs(0)),
        revoked_at: None,
        revised_at: at.now,
        revision: 0,
        asked_by: None,
        approved_at: None,
        created_by: None,
        version: 1,
    })
}

/// What a request changes.
pub(super) fn edits(request: EditAccess, now: DateTime<Utc>, longest: Span) -> Result<Edits, ApiError> {
    Ok(Edits {
        allowed: request.allowed_ips.map(|list| networks(&list, request.allow_any)).transpose()?,
        expires_at: expiry(request.expires_at, request.expires_in.as_deref(), now, longest)?,
        key: request.public_key.as_deref().map(key).transpose()?,
        login: request.login,
        note: request.note.as_deref().map(text::note).transpose()?,
    })
}

fn check_port(port: u16, has_key: bool, device: &DeviceRecord) -> Result<(), ApiError> {
    let facts = device.facts.as_ref();
    let offers = facts.is_some_and(|facts| facts.services.iter().any(|service| service.port == port));
    match port {
        SSH if !has_key => Err(ApiError::new(
            Code::KeyRequired,
            "port 22 needs the visitor's SSH public key, such as the line in ~/.ssh/id_ed25519.pub",
        )
        .field("public_key")),
        SSH | HTTPS => Ok(()),
        _ if offers => Ok(()),
        _ => Err(ApiError::new(
            Code::PortNotOffered,
            format!(
                "{} offers 22 and 443, and what its own configuration lists under [services]; {port} is not there",
                device.name
            ),
        )
        .field("exposed_port")),
    }
}

/// The key that was pasted. What is wrong with it never repeats it: it may be secret.
fn key(pasted: &str) -> Result<(PublicKey, String), ApiError> {
    let pasted = PublicKey::parse(pasted).map_err(|problem| {
        let is_private = matches!(problem, Unusable::Private { .. });
        let code = if is_private { Code::PrivateKey } else { Code::UnusableKey };
        ApiError::new(code, problem.to_string()).field("public_key")
    })?;
    if pasted.key.bits() > MAX_KEY_BITS {
        let detail = format!("this key has {} bits; at most {MAX_KEY_BITS} are carried", pasted.key.bits());
        return Err(ApiError::new(Code::UnusableKey, detail).field("public_key"));
    }
    Ok((pasted.key, text::tame(&pasted.comment, MAX_COMMENT)))
}

fn networks(list: &[String], allow_any: bool) -> Result<Networks, ApiError> {
    let networks = Networks::parse(list).map_err(|problem| {
        ApiError::new(Code::InvalidAllowedIps, problem.to_string()).field("allowed_ips")
    })?;
    match admit_everyone(&networks) && !allow_any {
        true => Err(ApiError::new(
            Code::AnyAddress,
            "this lets the whole Internet try; if that is meant, say so with allow_any: true",
        )
        .field("allowed_ips")),
        false => Ok(networks),
    }
}

/// Whether a whole family may come in, be it in two halves.
fn admit_everyone(networks: &Networks) -> bool {
    let list: Vec<IpNet> = networks.iter().copied().collect();
    IpNet::aggregate(&list).iter().any(|network| network.prefix_len() == 0)
}

fn address_unknown() -> ApiError {
    let detail = "the proxy in front of this API does not say where you are; give allowed_ips";
    ApiError::new(Code::AddressUnknown, detail).field("allowed_ips")
}

/// When it ends, to the second, as grants carry it: what the API says and what is enforced are the
/// same moment.
fn expiry(
    at: Option<DateTime<Utc>>,
    within: Option<&str>,
    now: DateTime<Utc>,
    longest: Span,
) -> Result<Option<DateTime<Utc>>, ApiError> {
    let invalid = |field, detail: String| ApiError::new(Code::InvalidExpiry, detail).field(field);
    let (end, field) = match (at, within) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(invalid("expires_in", "give expires_at or expires_in, not both".to_owned()));
        }
        (Some(at), None) => (at, "expires_at"),
        (None, Some(span)) => {
            let span: Span = span.parse().map_err(|problem| invalid("expires_in", format!("{problem}")))?;
            (now + span.delta(), "expires_in")
        }
    };
    let end = end.trunc_subsecs(0);
    if end <= now {
        Err(invalid(field, "an access ends in the future; to end it now, delete it".to_owned()))
    } else if end > now + longest.delta() {
        Err(invalid(field, format!("an access lasts {longest} at most; extend it later if need be")))
    } else {
        Ok(Some(end))
    }
}

#[cfg(test)]
mod tests;
