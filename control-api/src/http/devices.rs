//! Boxes.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::api::{CreateDevice, Device, DeviceStatus, FormerHostKeys, Join, Page, RenameDevice};
use postern_protocol::id::{DeviceId, DeviceName};
use postern_protocol::join::JoinString;
use serde::Deserialize;
use tracing::info;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Operator, Viewer, forbidden};
use super::error::{ApiError, Code};
use super::etag::{IfMatch, IfNoneMatch, changed, tagged};
use super::extract::{Json, Path, Query, RawJson};
use super::idempotency::{self, IdempotencyKey};
use super::paging::{Cursor, Wanted};
use super::{App, Shared};
use crate::entropy::{entropy, secret};
use crate::once::Once;
use crate::record::{DeviceRecord, Seen};
use crate::status::device_status;
use crate::store::{Account, CreateDeviceError, JoinToken, RenameError};

pub(super) mod host_keys;

/// What join tokens begin with.
const JOIN_TOKEN: &str = "psj";

/// How long a join string works.
const JOIN_LASTS: TimeDelta = TimeDelta::hours(24);

/// The most relays that a join string or a membership names.
const MAX_RELAYS: usize = 8;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, delete))
        .routes(routes!(join))
        .merge(host_keys::routes())
}

/// Parameters of a list of boxes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListDevices {
    /// How many at most, 1 to 200; left out, 50.
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

/// Lists boxes, the newest first.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", params(ListDevices),
    responses((status = 200, description = "A page of boxes", body = Page<Device>)))]
async fn list(
    Viewer(caller): Viewer,
    State(app): State<Shared>,
    Query(list): Query<ListDevices>,
) -> Result<Answer<Page<Device>>, ApiError> {
    let now = app.clock.now();
    let wanted = Wanted::new(list.limit, list.cursor.as_deref())?;
    let devices = caller.account.devices(wanted.paging(), now).await?;
    let page = wanted.page(devices, |device| Cursor::new(device.created_at, device.id));
    let items = page.items.iter().map(|device| view(device, now)).collect();
    Ok(Answer(Page { items, next: page.next }))
}

/// Creates a box, and answers with the one line to run on it. The line works once, for a day.
#[utoipa::path(post, path = "/v1/devices", tag = "devices", params(IdempotencyKey), request_body = CreateDevice,
    responses((status = 201, description = "The box, and how to join it", body = Device,
        headers(("Location" = String, description = "Where the box is found")))))]
async fn create(
    Operator(caller): Operator,
    State(app): State<Shared>,
    key: IdempotencyKey,
    RawJson { value, bytes }: RawJson<CreateDevice>,
) -> Result<Response, ApiError> {
    let once = key.once(&caller, "POST /v1/devices", &bytes);
    let answer = match idempotency::answered(&app, &caller, once.as_ref()).await? {
        Some(answer) => answer,
        None => create_new(&app, &caller, value, once.as_ref()).await?,
    };
    Ok(idempotency::created("/v1/devices", answer))
}

/// Creates a box; the answer.
async fn create_new(
    app: &App,
    caller: &Caller,
    request: CreateDevice,
    once: Option<&Once>,
) -> Result<String, ApiError> {
    let now = app.clock.now();
    if caller.account.boxes().is_some() {
        return Err(forbidden("this token is for some boxes only, and a new one would be none of them"));
    }
    let device = newborn(request.name, now);
    let (token, join) = offer(app, now).await?;
    let answer = Device { join: Some(join), ..view(&device, now) };
    let answer = idempotency::json(&answer);
    let repeated = caller.account.create_device(&device, &token, once, &answer).await?;
    if repeated.is_none() {
        info!(device = %device.id, name = %device.name, "box created");
    }
    Ok(repeated.unwrap_or(answer))
}

/// A new box, with how to join it.
pub(super) async fn add(app: &App, caller: &Caller, request: CreateDevice) -> Result<Device, ApiError> {
    let answer = create_new(app, caller, request, None).await?;
    Ok(serde_json::from_str(&answer).expect("an answer that was just written can be read"))
}

/// Shows a box.
#[utoipa::path(get, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "Its id or its name"), IfNoneMatch),
    responses((status = 200, description = "The box", body = Device, headers(("ETag" = String, description = "Its version")))))]
async fn show(
    Viewer(caller): Viewer,
    State(app): State<Shared>,
    Path(device): Path<String>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    let device = find(&app, &caller.account, &device).await?;
    Ok(tagged(device.version, &view(&device, app.clock.now()), &known))
}

/// Gives a box another name. Its accesses stay; their commands name it anew.
#[utoipa::path(patch, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "Its id or its name"), IfMatch), request_body = RenameDevice,
    responses((status = 200, description = "The box", body = Device, headers(("ETag" = String, description = "Its version")))))]
async fn edit(
    Operator(caller): Operator,
    State(app): State<Shared>,
    Path(device): Path<String>,
    seen: IfMatch,
    Json(change): Json<RenameDevice>,
) -> Result<Response, ApiError> {
    let device = rename(&app, &caller, &device, change, &seen.seen()).await?;
    Ok(changed(device.version, &view(&device, app.clock.now())))
}

/// Gives a box another name.
pub(super) async fn rename(
    app: &App,
    caller: &Caller,
    device: &str,
    change: RenameDevice,
    seen: &Seen,
) -> Result<DeviceRecord, ApiError> {
    let device = find(app, &caller.account, device).await?;
    caller.account.rename_device(device.id, &change.name, seen, app.clock.now()).await?;
    info!(device = %device.id, from = %device.name, to = %change.name, "box renamed");
    find(app, &caller.account, device.id.as_str()).await
}

/// Deletes a box: its accesses are revoked, its tunnel and its visits end at once.
#[utoipa::path(delete, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "Its id or its name")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    Operator(caller): Operator,
    State(app): State<Shared>,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    // A name is free again once its box is gone, so only an id can ask for the same deletion twice.
    let found = caller.account.device(&device, app.clock.now()).await?;
    let id: Option<DeviceId> = found.map(|found| found.id).or_else(|| device.parse().ok());
    let id = id.ok_or_else(not_found)?;
    match caller.account.delete_device(id, app.clock.now()).await? {
        true => {
            info!(device = %id, "box deleted");
            super::accesses::wait::until_enforced(&app).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(not_found()),
    }
}

/// Makes a new join string for a box, in place of any older one: for a line that was lost, or a box
/// that was set up anew.
#[utoipa::path(post, path = "/v1/devices/{device}/join", tag = "devices",
    params(("device" = String, Path, description = "Its id or its name")),
    responses((status = 201, description = "The box, and how to join it", body = Device)))]
async fn join(
    Operator(caller): Operator,
    State(app): State<Shared>,
    Path(device): Path<String>,
) -> Result<Response, ApiError> {
    let device = offer_anew(&app, &caller, &device).await?;
    Ok((StatusCode::CREATED, Answer(device)).into_response())
}

/// A box with a new join string.
pub(super) async fn offer_anew(app: &App, caller: &Caller, device: &str) -> Result<Device, ApiError> {
    let now = app.clock.now();
    let device = find(app, &caller.account, device).await?;
    let (token, join) = offer(app, now).await?;
    if !caller.account.renew_join(device.id, &token).await? {
        return Err(not_found());
    }
    info!(device = %device.id, "join string made");
    Ok(Device { join: Some(join), ..view(&device, now) })
}

/// The account's box of this id or name.
pub(super) async fn find(app: &App, account: &Account, device: &str) -> Result<DeviceRecord, ApiError> {
    account.device(device, app.clock.now()).await?.ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::new(Code::DeviceNotFound, "no box has this id or name")
}

/// A box, as the API shows it.
pub(super) fn view(device: &DeviceRecord, now: DateTime<Utc>) -> Device {
    let (status, since) = device_status(device, now);
    let online = device.online(now);
    let changed = device.changed_keys.as_ref();
    Device {
        id: device.id,
        name: device.name.clone(),
        created_at: device.created_at,
        status,
        since,
        last_seen: device
            .presence
            .as_ref()
            .filter(|_| status != DeviceStatus::WaitingToJoin)
            .map(|seen| seen.last_seen()),
        address: online.map(|presence| presence.address.ip().to_canonical().to_string()),
        relay: online.map(|presence| presence.relay_name.clone()),
        transport: online.map(|presence| presence.transport),
        why_tcp: online.and_then(|presence| presence.why_tcp),
        facts: device.facts.clone(),
        host_keys: changed.map_or(&device.host_keys, |changed| &changed.reported).clone(),
        former_host_keys: changed
            .map(|changed| FormerHostKeys { host_keys: device.host_keys.clone(), changed_at: changed.since }),
        join: None,
    }
}

fn newborn(name: DeviceName, now: DateTime<Utc>) -> DeviceRecord {
    DeviceRecord {
        id: DeviceId::from_entropy(entropy()),
        label: name.clone(),
        name,
        created_at: now,
        key: None,
        joined_at: None,
        facts: None,
        host_keys: Vec::new(),
        changed_keys: None,
        deleted_at: None,
        version: 1,
        presence: None,
    }
}

/// A new join token, as it is kept and as it is handed out.
async fn offer(app: &App, now: DateTime<Utc>) -> Result<(JoinToken, Join), ApiError> {
    let relays = where_to_dial(app).await?;
    if relays.is_empty() {
        let detail = "a box joins through a relay, and none has started yet: register one with \
                      'postern-api relay add relay-1', give it the token, and start postern-relay";
        return Err(ApiError::new(Code::NoRelay, detail));
    }
    let token = secret(JOIN_TOKEN);
    let expires_at = now + JOIN_LASTS;
    let kept = JoinToken { hash: token.hash(), expires_at };
    let (authority, grants) = (app.authority.fingerprint(), app.signer.verifier());
    let string = JoinString { relays, authority, grants, token }.to_string();
    Ok((kept, Join { command: format!("postern-agent join {string}"), string, expires_at }))
}

/// Where agents dial, the relays that are connected now first.
pub(super) async fn where_to_dial(app: &App) -> Result<Vec<String>, ApiError> {
    let now = app.clock.now();
    let mut relays = app.store.relays().await?;
    relays.sort_by_key(|relay| !relay.is_connected(now));
    Ok(relays.into_iter().filter_map(|relay| relay.agents).take(MAX_RELAYS).collect())
}

impl From<CreateDeviceError> for ApiError {
    fn from(problem: CreateDeviceError) -> Self {
        match problem {
            CreateDeviceError::NameTaken => name_taken(),
            CreateDeviceError::KeyReused => idempotency::reused(),
            CreateDeviceError::Store(problem) => problem.into(),
        }
    }
}

impl From<RenameError> for ApiError {
    fn from(problem: RenameError) -> Self {
        match problem {
            RenameError::Unknown => not_found(),
            RenameError::NameTaken => name_taken(),
            RenameError::Stale(stale) => stale.into(),
            RenameError::Store(problem) => problem.into(),
        }
    }
}

fn name_taken() -> ApiError {
    ApiError::new(Code::NameTaken, "another box has this name; choose another, or delete that box first")
        .field("name")
}
