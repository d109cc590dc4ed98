//! What relays ask for, each with its own token.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use futures_util::stream::unfold;
use postern_protocol::api::{
    CertificateAnswer, CertificateRequest, FEED_CUTS, FEED_UNDERSTANDS, FeedLine, Gate, HostKey, JoinBox,
    Presence, PresenceReport, RelayHello, RelayWelcome, RenewBox, Visit, VisitEvents,
};
use postern_protocol::connection::valid_host;
use postern_protocol::id::RelayId;
use postern_protocol::ssh_key::PublicKey;
use postern_protocol::wire::{BoxFacts, Certificate, Membership, OversizedFacts, Web};
use tracing::{debug, info};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::RelayCaller;
use super::error::{ApiError, Code};
use super::extract::Json;
use super::text::tame;
use super::{Shared, devices};
use crate::ca::{BadRequest, Requested};
use crate::feed::Feed;
use crate::store::{JoinError, Sighting, Whereabouts};

/// The largest report: fifty thousand boxes and all that they say of themselves.
const MAX_REPORT: usize = 64 * 1024 * 1024;

/// The largest batch of visits.
const MAX_BATCH: usize = 8 * 1024 * 1024;

/// The most visits in a batch: written in one transaction, which others wait for.
const MAX_EVENTS: usize = 4096;

/// The most host keys of a gate.
const MAX_GATE_KEYS: usize = 8;

/// The most characters of a sentence in the audit.
const MAX_REASON: usize = 500;

/// The most characters of a code, a fingerprint, a version.
const MAX_WORD: usize = 128;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(hello))
        .routes(routes!(certificate))
        .routes(routes!(feed))
        .routes(routes!(presence))
        .routes(routes!(visits))
        .routes(routes!(join))
        .routes(routes!(renew))
}

/// A relay has started: it says where it is found, and learns whom to trust.
#[utoipa::path(post, path = "/v1/relay/hello", tag = "relay", request_body = RelayHello,
    responses((status = 200, description = "Who it is, and whom to trust", body = RelayWelcome)))]
async fn hello(
    relay: RelayCaller,
    State(app): State<Shared>,
    Json(hello): Json<RelayHello>,
) -> Result<Answer<RelayWelcome>, ApiError> {
    let RelayHello { version, gate, agents, web, ports } = hello;
    let gate = checked_gate(gate)?;
    check_authority(&agents)?;
    web.as_ref().map_or(Ok(()), check_web)?;
    let version = tame(&version, MAX_WORD);
    info!(relay = relay.name, version, gate = %format_args!("{}:{}", gate.host, gate.port), agents, "relay started");
    let at = Whereabouts { gate, agents, web, ports };
    app.store.relay_started(relay.id, &version, &at, &relay.by).await?;
    Ok(Answer(RelayWelcome {
        relay: relay.id,
        name: relay.name,
        authority: app.authority.pem().to_owned(),
        grant_key: app.signer.verifier(),
    }))
}

/// A certificate for a relay's QUIC endpoint.
#[utoipa::path(post, path = "/v1/relay/certificate", tag = "relay", request_body = CertificateRequest,
    responses((status = 200, description = "The certificate", body = CertificateAnswer)))]
async fn certificate(
    relay: RelayCaller,
    State(app): State<Shared>,
    Json(request): Json<CertificateRequest>,
) -> Result<Answer<CertificateAnswer>, ApiError> {
    let key = Requested::from_pem(&request.csr)?;
    let issued = app.authority.certify_relay(&key, relay.id, app.clock.now());
    Ok(Answer(CertificateAnswer { certificate: issued.pem, authority: app.authority.pem().to_owned() }))
}

/// The rules of every box, and every change of them: one JSON document a line, without end.
/// The header `Postern-Feed-Understands: cut` asks for lines by which single visits end, too.
#[utoipa::path(get, path = "/v1/relay/feed", tag = "relay",
    responses((status = 200, description = "Lines", body = FeedLine, content_type = "application/x-ndjson")))]
async fn feed(
    relay: RelayCaller,
    State(app): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let understood = headers.get_all(FEED_UNDERSTANDS).into_iter().filter_map(|value| value.to_str().ok());
    let cuts = understood.flat_map(|value| value.split(',')).any(|word| word.trim() == FEED_CUTS);
    let feed = Feed::open(app, relay.id, &relay.name, cuts).await?;
    let pieces = unfold(feed, |mut feed| async move {
        let piece = feed.next().await?;
        Some((Ok::<_, Infallible>(piece), feed))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pieces)).into_response())
}

/// What a relay enforces, and who is connected to it.
#[utoipa::path(post, path = "/v1/relay/presence", tag = "relay", request_body = PresenceReport,
    responses((status = 204, description = "It is noted")))]
async fn presence(
    relay: RelayCaller,
    State(app): State<Shared>,
    Json(report): Json<PresenceReport, MAX_REPORT>,
) -> Result<StatusCode, ApiError> {
    let boxes: Vec<Sighting> = report.boxes.into_iter().map(sighting).collect();
    app.store.report(relay.id, report.in_force, report.complete, &boxes, app.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What happened at a relay's doors. Repeating an event changes nothing.
#[utoipa::path(post, path = "/v1/relay/visits", tag = "relay", request_body = VisitEvents,
    responses((status = 204, description = "It is written down")))]
async fn visits(
    relay: RelayCaller,
    State(app): State<Shared>,
    Json(batch): Json<VisitEvents, MAX_BATCH>,
) -> Result<StatusCode, ApiError> {
    if batch.events.len() > MAX_EVENTS {
        return Err(ApiError::new(Code::BodyTooLarge, format!("at most {MAX_EVENTS} events in one request")));
    }
    let visits = batch.events.into_iter().map(|event| own_visit(event.0, relay.id));
    app.store.record_visits(&visits.collect::<Result<Vec<_>, _>>()?, app.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A box joins: its token is used up, its key is taken down, and it gets a certificate.
#[utoipa::path(post, path = "/v1/relay/join", tag = "relay", request_body = JoinBox,
    responses((status = 200, description = "The box belongs now", body = Membership)))]
async fn join(
    relay: RelayCaller,
    State(app): State<Shared>,
    Json(request): Json<JoinBox>,
) -> Result<Answer<Membership>, ApiError> {
    let now = app.clock.now();
    let key = requested(&request.csr)?;
    let boasting =
        |problem: OversizedFacts| ApiError::new(Code::InvalidRequest, problem.to_string()).field("facts");
    request.facts.check().map_err(boasting)?;
    let joined = app.store.join(&request.token, key.hash(), &request.facts, &relay.by).await?;
    info!(device = %joined.device, name = %joined.name, through = relay.name, "box joined");
    let own = app.authority.certify_device(&key, joined.device, now);
    Ok(Answer(Membership {
        device: joined.device,
        name: joined.name,
        certificate: app.authority.chain(own),
        grant_key: app.signer.verifier(),
        relays: devices::where_to_dial(&app).await?,
    }))
}

/// A connected box wants its certificate renewed, for the key that it enrolled with.
#[utoipa::path(post, path = "/v1/relay/renew", tag = "relay", request_body = RenewBox,
    responses((status = 200, description = "The certificate", body = Certificate)))]
async fn renew(
    relay: RelayCaller,
    State(app): State<Shared>,
    Json(request): Json<RenewBox>,
) -> Result<Answer<Certificate>, ApiError> {
    let key = requested(&request.csr)?;
    let unknown = || ApiError::new(Code::DeviceNotFound, "there is no such box any more");
    let enrolled = app.store.enrolled_key(request.device).await?.ok_or_else(unknown)?;
    if enrolled != key.hash() {
        let detail =
            "a certificate is renewed for the key that the box enrolled with; for another key, join again";
        return Err(ApiError::new(Code::OtherKey, detail));
    }
    info!(device = %request.device, through = relay.name, "certificate renewed");
    let own = app.authority.certify_device(&key, request.device, app.clock.now());
    Ok(Answer(app.authority.chain(own)))
}

fn requested(csr: &str) -> Result<Requested, ApiError> {
    let der = BASE64.decode(csr.as_bytes()).map_err(|_| BadRequest::Unreadable)?;
    Ok(Requested::from_der(&der)?)
}

/// A relay's gate, fit to stand in commands and files that people paste: a host is a host, a key is a
/// key, and its fingerprint is computed and not believed.
fn checked_gate(gate: Gate) -> Result<Gate, ApiError> {
    let invalid = |detail: &'static str| ApiError::new(Code::InvalidGate, detail).field("gate");
    if !valid_host(&gate.host) || gate.port == 0 {
        return Err(invalid("a gate has a host name or an address, and a port; set public_host"));
    }
    if gate.host_keys.len() > MAX_GATE_KEYS {
        return Err(invalid("a gate has at most 8 host keys"));
    }
    let key = |key: HostKey| PublicKey::parse(&key.key).map(|pasted| pasted.key);
    let keys: Result<Vec<PublicKey>, _> = gate.host_keys.into_iter().map(key).collect();
    let keys = keys.map_err(|_| invalid("a host key of the gate cannot be read"))?;
    Ok(Gate { host_keys: keys.iter().map(HostKey::from).collect(), ..gate })
}

/// A domain has names in it, which an address has not.
fn check_web(web: &Web) -> Result<(), ApiError> {
    let fits = valid_host(&web.domain) && web.domain.parse::<IpAddr>().is_err() && web.port != 0;
    let detail = "a TLS front has a domain, in which every name leads to the relay, and a port";
    if fits { Ok(()) } else { Err(ApiError::new(Code::InvalidGate, detail).field("web")) }
}

fn check_authority(agents: &str) -> Result<(), ApiError> {
    let fits = agents.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        valid_host(bare) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    match fits {
        true => Ok(()),
        false => {
            Err(ApiError::new(Code::InvalidGate, "agents is host:port, where boxes dial").field("agents"))
        }
    }
}

/// A box, as a relay sees it. Facts that exceed a limit are left out: a box that boasts must not keep
/// its relay from reporting the others.
fn sighting(seen: Presence) -> Sighting {
    let Presence { device, online, since, address, transport, why_tcp, facts, holding } = seen;
    let fit = |facts: &BoxFacts| match facts.check() {
        Ok(()) => true,
        Err(problem) => {
            debug!(%device, %problem, "facts left out");
            false
        }
    };
    Sighting { device, online, since, address, transport, why_tcp, holding, facts: facts.filter(fit) }
}

/// A visit to the relay that reports it. Long texts are cut, not refused: the relay would have to keep
/// what is refused, and everything behind it.
fn own_visit(mut visit: Visit, relay: RelayId) -> Result<Visit, ApiError> {
    if visit.relay != relay {
        let detail = "a relay writes down the visits that came to it, and no other relay's";
        return Err(ApiError::new(Code::ForeignVisit, detail));
    }
    visit.code = tame(&visit.code, MAX_WORD);
    visit.reason = tame(&visit.reason, MAX_REASON);
    visit.key = visit.key.map(|key| tame(&key, MAX_WORD));
    visit.started_at = storable(visit.started_at);
    visit.ended_at = visit.ended_at.map(storable);
    Ok(visit)
}

/// A time that survives being stored, whatever a relay's clock says.
fn storable(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(DateTime::UNIX_EPOCH)
}

impl From<BadRequest> for ApiError {
    fn from(problem: BadRequest) -> Self {
        Self::new(Code::InvalidSigningRequest, problem.to_string()).field("csr")
    }
}

impl From<JoinError> for ApiError {
    fn from(problem: JoinError) -> Self {
        match problem {
            JoinError::NotValid => Self::new(
                Code::JoinRefused,
                "this join string was used already, has expired, or was replaced by a newer one; \
                 make another with: postern device join <name>",
            )
            .field("token"),
            JoinError::Store(problem) => problem.into(),
        }
    }
}
