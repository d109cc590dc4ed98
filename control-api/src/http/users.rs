//! Users: people of the account, who sign in.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use postern_protocol::api::{CreateUser, EditUser, Invitation, Page, User, UserStatus};
use postern_protocol::id::UserId;
use tracing::info;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Owner, forbidden};
use super::error::{ApiError, Code};
use super::etag::{IfMatch, IfNoneMatch, changed, tagged};
use super::extract::{Json, Path};
use super::{App, Shared};
use crate::entropy::{entropy, secret};
use crate::record::{InvitationRecord, UserRecord};
use crate::setup;
use crate::store::{AddUserError, EditUserError, UserEdits};

/// What invitations begin with.
pub(crate) const INVITATION: &str = "psi";

/// How long an invitation works.
pub(crate) const INVITATION_LASTS: TimeDelta = TimeDelta::days(3);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, delete))
        .routes(routes!(invite))
        .routes(routes!(sign_out))
}

/// Lists the account's users, the newest first, on one page.
#[utoipa::path(get, path = "/v1/users", tag = "users",
    responses((status = 200, description = "Every user", body = Page<User>)))]
async fn list(Owner(caller): Owner) -> Result<Answer<Page<User>>, ApiError> {
    let items = caller.account.users().await?.into_iter().map(view).collect();
    Ok(Answer(Page { items, next: None }))
}

/// Adds a user, and answers with the link by which they choose their password.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = CreateUser,
    responses((status = 201, description = "The user, and their invitation", body = User,
        headers(("Location" = String, description = "Where the user is found")))))]
async fn create(
    Owner(caller): Owner,
    State(app): State<Shared>,
    Json(request): Json<CreateUser>,
) -> Result<Response, ApiError> {
    let user = add(&app, &caller, request).await?;
    let location = [(header::LOCATION, format!("/v1/users/{}", user.id))];
    Ok((StatusCode::CREATED, location, Answer(user)).into_response())
}

/// A new user, with their invitation.
pub(super) async fn add(app: &App, caller: &Caller, request: CreateUser) -> Result<User, ApiError> {
    if request.admin && !caller.admin {
        return Err(admins_only());
    }
    let user = newborn(app, request);
    let (kept, invitation) = invitation(app);
    caller.account.add_user(&user, &kept).await?;
    info!(user = %user.id, role = %user.role, admin = user.admin, by = %caller.who, "user added");
    Ok(User { invitation: Some(invitation), ..view(user) })
}

/// Shows a user.
#[utoipa::path(get, path = "/v1/users/{user}", tag = "users",
    params(("user" = String, Path, description = "Their id or their name"), IfNoneMatch),
    responses((status = 200, description = "The user", body = User, headers(("ETag" = String, description = "Its version")))))]
async fn show(
    Owner(caller): Owner,
    Path(user): Path<String>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    let user = find(&caller, &user).await?;
    let version = user.version;
    Ok(tagged(version, &view(user), &known))
}

/// Gives a user another name or role, or keeps them out. Who may do less than before is signed out.
#[utoipa::path(patch, path = "/v1/users/{user}", tag = "users",
    params(("user" = String, Path, description = "Their id or their name"), IfMatch), request_body = EditUser,
    responses((status = 200, description = "The user", body = User, headers(("ETag" = String, description = "Its version")))))]
pub(super) async fn edit(
    Owner(caller): Owner,
    State(app): State<Shared>,
    Path(user): Path<String>,
    seen: IfMatch,
    Json(change): Json<EditUser>,
) -> Result<Response, ApiError> {
    let user = find_mutable(&caller, &user).await?;
    if change.admin == Some(true) && !caller.admin {
        return Err(admins_only());
    }
    let EditUser { name, role, admin, disabled } = change;
    let edits = UserEdits { name, role, admin, disabled };
    caller.account.edit_user(user.id, edits, &seen.seen(), app.clock.now()).await?;
    info!(user = %user.id, by = %caller.who, "user edited");
    let user = find(&caller, user.id.as_str()).await?;
    let version = user.version;
    Ok(changed(version, &view(user)))
}

/// Removes a user: they are signed out at once, and what they made stays.
#[utoipa::path(delete, path = "/v1/users/{user}", tag = "users",
    params(("user" = String, Path, description = "Their id or their name")),
    responses((status = 204, description = "They are gone")))]
pub(super) async fn delete(Owner(caller): Owner, Path(user): Path<String>) -> Result<StatusCode, ApiError> {
    let user = find_mutable(&caller, &user).await?;
    caller.account.remove_user(user.id).await?;
    info!(user = %user.id, by = %caller.who, "user removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new link by which a user chooses a password, in place of any older one: for a link or a
/// password that was lost. Their present password works until then.
#[utoipa::path(post, path = "/v1/users/{user}/invitation", tag = "users",
    params(("user" = String, Path, description = "Their id or their name")),
    responses((status = 201, description = "The user, and their invitation", body = User)))]
async fn invite(
    Owner(caller): Owner,
    State(app): State<Shared>,
    Path(user): Path<String>,
) -> Result<Response, ApiError> {
    let user = invite_anew(&app, &caller, &user).await?;
    Ok((StatusCode::CREATED, Answer(user)).into_response())
}

/// A user with a new invitation.
pub(super) async fn invite_anew(app: &App, caller: &Caller, user: &str) -> Result<User, ApiError> {
    let user = find_mutable(caller, user).await?;
    let (kept, invitation) = invitation(app);
    if !caller.account.invite(user.id, &kept).await? {
        return Err(not_found());
    }
    info!(user = %user.id, by = %caller.who, "user invited again");
    Ok(User { invitation: Some(invitation), ..view(user) })
}

/// Signs a user out everywhere.
#[utoipa::path(delete, path = "/v1/users/{user}/sessions", tag = "users",
    params(("user" = String, Path, description = "Their id or their name")),
    responses((status = 204, description = "They are signed out")))]
async fn sign_out(Owner(caller): Owner, Path(user): Path<String>) -> Result<StatusCode, ApiError> {
    let user = find_mutable(&caller, &user).await?;
    match caller.account.sign_out(user.id).await? {
        true => {
            info!(user = %user.id, by = %caller.who, "user signed out everywhere");
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(not_found()),
    }
}

async fn find(caller: &Caller, user: &str) -> Result<UserRecord, ApiError> {
    caller.account.user(user).await?.ok_or_else(not_found)
}

/// The same, for a change: an owner who could make an admin's password would be an admin.
async fn find_mutable(caller: &Caller, user: &str) -> Result<UserRecord, ApiError> {
    let user = find(caller, user).await?;
    match user.admin && !caller.admin {
        true => Err(admins_only()),
        false => Ok(user),
    }
}

/// A link by which somebody chooses a password: as it is kept, and as it is handed out.
pub(super) fn invitation(app: &App) -> (InvitationRecord, Invitation) {
    let (token, expires_at) = (secret(INVITATION), app.clock.now() + INVITATION_LASTS);
    let kept = InvitationRecord { hash: token.hash(), expires_at };
    (kept, Invitation { link: setup::link(&app.config, app.address, &token), expires_at })
}

pub(super) fn newborn(app: &App, request: CreateUser) -> UserRecord {
    UserRecord {
        id: UserId::from_entropy(entropy()),
        name: request.name,
        role: request.role,
        admin: request.admin,
        can_sign_in: false,
        created_at: app.clock.now(),
        signed_in_at: None,
        disabled_at: None,
        version: 1,
    }
}

/// A user, as the API shows them.
pub(super) fn view(user: UserRecord) -> User {
    let status = match (user.disabled_at, user.can_sign_in) {
        (Some(_), _) => UserStatus::Disabled,
        (None, true) => UserStatus::Active,
        (None, false) => UserStatus::Invited,
    };
    User {
        id: user.id,
        name: user.name,
        role: user.role,
        admin: user.admin,
        status,
        created_at: user.created_at,
        signed_in_at: user.signed_in_at,
        invitation: None,
    }
}

fn not_found() -> ApiError {
    ApiError::new(Code::UserNotFound, "no user has this id or name")
}

pub(super) fn admins_only() -> ApiError {
    forbidden("only an admin of the installation makes, changes or removes another")
}

pub(super) fn name_taken() -> ApiError {
    let detail = "a user has this name; names are unique in the installation, choose another";
    ApiError::new(Code::NameTaken, detail).field("name")
}

impl From<AddUserError> for ApiError {
    fn from(problem: AddUserError) -> Self {
        match problem {
            AddUserError::NameTaken => name_taken(),
            AddUserError::Store(problem) => problem.into(),
        }
    }
}

impl From<EditUserError> for ApiError {
    fn from(problem: EditUserError) -> Self {
        match problem {
            EditUserError::Unknown => not_found(),
            EditUserError::NameTaken => name_taken(),
            EditUserError::Stale(stale) => stale.into(),
            EditUserError::LastOwner => {
                let detail = "this is the account's last owner who can sign in; make another one first";
                Self::new(Code::LastOwner, detail)
            }
            EditUserError::Store(problem) => problem.into(),
        }
    }
}
