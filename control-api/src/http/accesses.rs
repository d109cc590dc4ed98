//! Accesses.

use std::net::IpAddr;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::api::{Access, AccessStatus, CreateAccess, Created, EditAccess, Page};
use postern_protocol::grant::MAX_GRANTS;
use postern_protocol::id::AccessId;
use serde::Deserialize;
use tokio::time::Instant;
use tracing::info;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::address::CallerAddress;
use super::auth::{Caller, Operator, Viewer};
use super::error::{ApiError, Code};
use super::etag::{IfMatch, IfNoneMatch, changed, tagged};
use super::extract::{Json, Path, Query, RawJson};
use super::idempotency::{self, IdempotencyKey};
use super::paging::{Cursor, MOST, Wanted};
use super::{App, Shared, devices};
use crate::once::Once;
use crate::record::{AccessRecord, Seen};
use crate::status::Standing;
use crate::store::{AccessFilter, Account, CreateAccessError, Creation, EditAccessError, LeaseError, Phase};

mod consent;
mod request;
mod view;
pub(super) mod wait;

pub(super) use consent::decide;
use request::{Circumstances, Doors, no_ports};
pub(super) use view::view;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, delete))
        .merge(consent::routes())
}

/// Parameters of a list of accesses.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListAccesses {
    /// Only those of this box, by id or name.
    device: Option<String>,
    /// Only those with this status.
    #[param(inline)]
    status: Option<AccessStatus>,
    /// How many at most, 1 to 200; left out, 50.
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

/// How many times a page is looked for among [`MOST`] accesses each, before it is answered as it is.
const LOOKS: usize = 5;

/// Parameters of a creation.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CreateParameters {
    /// With `active`, the answer waits until the access works, or says why it does not yet.
    #[param(inline)]
    wait: Option<WaitFor>,
}

/// What an answer may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WaitFor {
    Active,
}

/// Lists accesses, the newest first. With `status`, a page may be short or even empty although others
/// follow: go on until there is no `next`.
#[utoipa::path(get, path = "/v1/accesses", tag = "accesses", params(ListAccesses),
    responses((status = 200, description = "A page of accesses", body = Page<Access>)))]
async fn list(
    Viewer(caller): Viewer,
    State(app): State<Shared>,
    Query(list): Query<ListAccesses>,
) -> Result<Answer<Page<Access>>, ApiError> {
    let wanted = Wanted::new(list.limit, list.cursor.as_deref())?;
    let device = match &list.device {
        Some(device) => Some(devices::find(&app, &caller.account, device).await?.id),
        None => None,
    };
    let filter = AccessFilter { device, phase: list.status.and_then(phase) };
    matching(&app, &caller.account, filter, list.status, &wanted).await.map(Answer)
}

/// Creates an access. In force on the relays within milliseconds; `?wait=active` waits for that.
#[utoipa::path(post, path = "/v1/accesses", tag = "accesses", params(CreateParameters, IdempotencyKey),
    request_body = CreateAccess,
    responses((status = 201, description = "The access, and how to connect", body = Created,
        headers(("Location" = String, description = "Where the access is found")))))]
async fn create(
    Operator(caller): Operator,
    State(app): State<Shared>,
    Query(parameters): Query<CreateParameters>,
    CallerAddress(address): CallerAddress,
    key: IdempotencyKey,
    RawJson { value, bytes }: RawJson<CreateAccess>,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let once = key.once(&caller, "POST /v1/accesses", &bytes);
    let answer = match idempotency::answered(&app, &caller, once.as_ref()).await? {
        Some(answer) => answer,
        None => create_new(&app, &caller, value, address, once.as_ref()).await?,
    };
    let answer = match parameters.wait {
        Some(WaitFor::Active) => wait(&app, &caller.account, answer, once.as_ref(), started).await?,
        None => answer,
    };
    Ok(idempotency::created("/v1/accesses", answer))
}

/// Creates an access; the answer.
async fn create_new(
    app: &App,
    caller: &Caller,
    request: CreateAccess,
    from: Option<IpAddr>,
    once: Option<&Once>,
) -> Result<String, ApiError> {
    let now = app.clock.now();
    let device = devices::find(app, &caller.account, &request.device).await?;
    let relays = app.store.relays().await?;
    let circumstances = Circumstances {
        device: &device,
        doors: Doors::of(&relays),
        caller: from,
        now,
        longest: app.config.max_duration,
    };
    let access = request::access(request, &circumstances)?;
    let access = AccessRecord { created_by: Some(caller.account.author().actor().clone()), ..access };
    let answer = |access: &AccessRecord| {
        let access = view(access, &device, &relays, now);
        idempotency::json(&Created { access, progress: Vec::new() })
    };
    match caller.account.create_access(access, once, answer).await? {
        Creation::New { access, answer } => {
            let AccessRecord { id, port, allowed, expires_at: until, .. } = *access;
            info!(access = %id, device = %device.id, port, %allowed, %until, by = %caller.who, "access created");
            Ok(answer)
        }
        Creation::Repeated { answer } => Ok(answer),
    }
}

/// A new access, as it is at once.
pub(super) async fn add(
    app: &App,
    caller: &Caller,
    request: CreateAccess,
    from: Option<IpAddr>,
) -> Result<Access, ApiError> {
    let answer = create_new(app, caller, request, from, None).await?;
    let created: Created =
        serde_json::from_str(&answer).expect("an answer that was just written can be read");
    Ok(created.access)
}

/// Shows an access.
#[utoipa::path(get, path = "/v1/accesses/{access}", tag = "accesses",
    params(("access" = String, Path, description = "Its id"), IfNoneMatch),
    responses((status = 200, description = "The access", body = Access, headers(("ETag" = String, description = "Its version")))))]
async fn show(
    Viewer(caller): Viewer,
    State(app): State<Shared>,
    Path(access): Path<String>,
    seen: IfNoneMatch,
) -> Result<Response, ApiError> {
    let (version, access) = look(&app, &caller.account, known(&access)?).await?;
    Ok(tagged(version, &access, &seen))
}

/// Extends, shortens or edits an access; what is left out stays.
#[utoipa::path(patch, path = "/v1/accesses/{access}", tag = "accesses",
    params(("access" = String, Path, description = "Its id"), IfMatch), request_body = EditAccess,
    responses((status = 200, description = "The access", body = Access, headers(("ETag" = String, description = "Its version")))))]
async fn edit(
    Operator(caller): Operator,
    State(app): State<Shared>,
    Path(access): Path<String>,
    seen: IfMatch,
    Json(change): Json<EditAccess>,
) -> Result<Response, ApiError> {
    let id = known(&access)?;
    self::change(&app, &caller, id, change, &seen.seen()).await?;
    let (version, access) = look(&app, &caller.account, id).await?;
    Ok(changed(version, &access))
}

/// Changes an access, and waits until the change is in force.
pub(super) async fn change(
    app: &App,
    caller: &Caller,
    id: AccessId,
    change: EditAccess,
    seen: &Seen,
) -> Result<(), ApiError> {
    let now = app.clock.now();
    let edits = request::edits(change, now, app.config.max_duration)?;
    caller.account.edit_access(id, edits, seen, now).await?;
    info!(access = %id, "access edited");
    wait::until_enforced(app).await
}

/// Deletes an access, whatever its status: its visits end within a second.
#[utoipa::path(delete, path = "/v1/accesses/{access}", tag = "accesses",
    params(("access" = String, Path, description = "Its id")),
    responses((status = 204, description = "It lets nobody in any more")))]
pub(super) async fn delete(
    Operator(caller): Operator,
    State(app): State<Shared>,
    Path(access): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = known(&access)?;
    match caller.account.revoke_access(id, app.clock.now()).await? {
        true => {
            info!(access = %id, "access deleted");
            wait::until_enforced(&app).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(not_found()),
    }
}

pub(super) fn known(access: &str) -> Result<AccessId, ApiError> {
    access.parse().map_err(|_| not_found())
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(Code::AccessNotFound, "no access has this id")
}

/// An access as it is now, and the version that it has.
async fn look(app: &App, account: &Account, id: AccessId) -> Result<(u64, Access), ApiError> {
    let now = app.clock.now();
    let (access, device) = account.access(id, now).await?.ok_or_else(not_found)?;
    Ok((access.version, view(&access, &device, &app.store.relays().await?, now)))
}

/// The phase in which all accesses with a status are, if it is one.
fn phase(status: AccessStatus) -> Option<Phase> {
    match status {
        AccessStatus::Pending | AccessStatus::Active => Some(Phase::Live),
        // What an owner of the account has to approve is no rule yet; what the box's owner has to, is one.
        AccessStatus::PendingApproval => None,
        AccessStatus::Expired => Some(Phase::Expired),
        AccessStatus::Revoked => Some(Phase::Revoked),
    }
}

/// A page of accesses with a status. The store knows the phase of a life; whether a live one works is known
/// only by looking, so it may take several looks to fill a page, and a page may end before it is full.
pub(super) async fn matching(
    app: &App,
    account: &Account,
    filter: AccessFilter,
    status: Option<AccessStatus>,
    wanted: &Wanted,
) -> Result<Page<Access>, ApiError> {
    let now = app.clock.now();
    let relays = app.store.relays().await?;
    let enough = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let mut look = wanted.at_a_time(if status.is_some() { MOST } else { wanted.limit });
    let mut items = Vec::new();
    for _ in 0..LOOKS {
        let found = account.accesses(filter, look.paging(), now).await?;
        let is_last = found.len() <= usize::try_from(look.limit).unwrap_or(usize::MAX);
        for (access, device) in &found {
            let stands = || Standing::of(access, device, &relays, now).status();
            if status.is_none_or(|status| status == stands()) {
                if items.len() == enough {
                    return Ok(Page { items, next: look.next() });
                }
                items.push(view(access, device, &relays, now));
            }
            look.go_on_after(Cursor::new(access.created_at, access.id));
        }
        if is_last {
            return Ok(Page { items, next: None });
        }
    }
    Ok(Page { items, next: look.next() })
}

/// Waits until the access of an answer works, and keeps the later answer in place of the earlier.
async fn wait(
    app: &App,
    account: &Account,
    answer: String,
    once: Option<&Once>,
    started: Instant,
) -> Result<String, ApiError> {
    let first: Created = serde_json::from_str(&answer).map_err(|_| not_found())?;
    if first.access.status == AccessStatus::Active {
        return Ok(answer);
    }
    let created = wait::until_active(app, account, first.access.id, started).await?;
    let answer = idempotency::json(&created);
    if let (Some(once), AccessStatus::Active) = (once, created.access.status) {
        account.amend(once, &answer).await?;
    }
    Ok(answer)
}

impl From<CreateAccessError> for ApiError {
    fn from(problem: CreateAccessError) -> Self {
        match problem {
            CreateAccessError::NoDevice => Self::new(Code::DeviceNotFound, "no box has this id or name"),
            CreateAccessError::TooMany => too_many(),
            CreateAccessError::KeyReused => idempotency::reused(),
            CreateAccessError::Lease(problem) => problem.into(),
            CreateAccessError::Store(problem) => problem.into(),
        }
    }
}

impl From<EditAccessError> for ApiError {
    fn from(problem: EditAccessError) -> Self {
        match problem {
            EditAccessError::Unknown => not_found(),
            EditAccessError::Stale(stale) => stale.into(),
            EditAccessError::Revoked => {
                Self::new(Code::AccessRevoked, "this access was deleted for good; create a new one")
            }
            EditAccessError::NoKeyThere => {
                Self::new(Code::ImpossibleVia, "visitors are asked for no key on this way in")
                    .field("public_key")
            }
            EditAccessError::Lease(problem) => problem.into(),
            EditAccessError::TooMany => too_many(),
            EditAccessError::Store(problem) => problem.into(),
        }
    }
}

impl From<LeaseError> for ApiError {
    fn from(problem: LeaseError) -> Self {
        match problem {
            LeaseError::NoPorts => no_ports(),
            LeaseError::AllLeased => Self::new(
                Code::PortsTaken,
                "every public port of the relay leads to an access, or did so until lately: delete accesses that \
                 are no longer needed (their ports are free for other boxes a day later), or give the relay more \
                 ports in relay.toml",
            )
            .field("via"),
            LeaseError::Store(problem) => problem.into(),
        }
    }
}

fn too_many() -> ApiError {
    let detail = format!("a box has at most {MAX_GRANTS} live accesses; delete one that is no longer needed");
    ApiError::new(Code::TooManyAccesses, detail)
}
