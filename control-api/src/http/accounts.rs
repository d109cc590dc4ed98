//! Accounts, as admins of the installation see them: from outside. What an account has stays its own.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::api::{Account, CreateAccount, CreateUser, Page, RenameAccount, Role, User};
use postern_protocol::id::AccountId;
use tracing::info;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Caller};
use super::error::{ApiError, Code};
use super::etag::{IfMatch, IfNoneMatch, changed, tagged};
use super::extract::{Json, Path};
use super::text::label;
use super::{App, Shared, users};
use crate::entropy::entropy;
use crate::record::AccountRecord;
use crate::store::{AddAccountError, CloseError, RenameAccountError};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, rename, close))
}

/// Lists accounts, the newest first, on one page.
#[utoipa::path(get, path = "/v1/accounts", tag = "accounts",
    responses((status = 200, description = "Every account", body = Page<Account>)))]
pub(super) async fn list(_: Admin, State(app): State<Shared>) -> Result<Answer<Page<Account>>, ApiError> {
    let items = app.store.accounts().await?.into_iter().map(view).collect();
    Ok(Answer(Page { items, next: None }))
}

/// Opens an account, and answers with the link by which its first owner chooses a password.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", request_body = CreateAccount,
    responses((status = 201, description = "The account, and its first owner", body = Account,
        headers(("Location" = String, description = "Where the account is found")))))]
async fn create(
    Admin(caller): Admin,
    State(app): State<Shared>,
    Json(request): Json<CreateAccount>,
) -> Result<Response, ApiError> {
    let answer = add(&app, &caller, request).await?;
    let location = [(header::LOCATION, format!("/v1/accounts/{}", answer.id))];
    Ok((StatusCode::CREATED, location, Answer(answer)).into_response())
}

/// Opens an account, and invites its first owner.
pub(super) async fn add(app: &App, caller: &Caller, request: CreateAccount) -> Result<Account, ApiError> {
    let name = label(&request.name)?;
    let id = AccountId::from_entropy(entropy());
    let owner = users::newborn(app, CreateUser { name: request.owner, role: Role::Owner, admin: false });
    let (kept, invitation) = users::invitation(app);
    app.store.add_account(id, name, &owner, &kept, caller.account.author()).await?;
    info!(account = %id, name, owner = %owner.id, by = %caller.who, "account opened");
    let owner = User { invitation: Some(invitation), ..users::view(owner) };
    Ok(Account { owner: Some(owner), ..view(find(app, id.as_str()).await?) })
}

/// Shows an account.
#[utoipa::path(get, path = "/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Its id or its name"), IfNoneMatch),
    responses((status = 200, description = "The account", body = Account, headers(("ETag" = String, description = "Its version")))))]
async fn show(
    _: Admin,
    State(app): State<Shared>,
    Path(account): Path<String>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    let account = find(&app, &account).await?;
    let version = account.version;
    Ok(tagged(version, &view(account), &known))
}

/// Gives an account another name.
#[utoipa::path(patch, path = "/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Its id or its name"), IfMatch), request_body = RenameAccount,
    responses((status = 200, description = "The account", body = Account, headers(("ETag" = String, description = "Its version")))))]
pub(super) async fn rename(
    Admin(caller): Admin,
    State(app): State<Shared>,
    Path(account): Path<String>,
    seen: IfMatch,
    Json(change): Json<RenameAccount>,
) -> Result<Response, ApiError> {
    let account = find(&app, &account).await?;
    let name = label(&change.name)?;
    if !app.store.rename_account(account.id, name, &seen.seen(), caller.account.author()).await? {
        return Err(not_found());
    }
    info!(account = %account.id, from = account.name, to = name, by = %caller.who, "account renamed");
    let account = find(&app, account.id.as_str()).await?;
    let version = account.version;
    Ok(changed(version, &view(account)))
}

/// Closes an account for good: its boxes are deleted, their visits end at once, and its users and
/// tokens stop working.
#[utoipa::path(delete, path = "/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Its id or its name")),
    responses((status = 204, description = "It is closed")))]
pub(super) async fn close(
    Admin(caller): Admin,
    State(app): State<Shared>,
    Path(account): Path<String>,
) -> Result<StatusCode, ApiError> {
    let account = find(&app, &account).await?;
    app.store.close_account(account.id, caller.account.author()).await?;
    info!(account = %account.id, name = account.name, by = %caller.who, "account closed");
    super::accesses::wait::until_enforced(&app).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The account of this id or name; if a name looks like another account's id, the id wins.
pub(super) async fn find(app: &App, id_or_name: &str) -> Result<AccountRecord, ApiError> {
    app.store.account_called(id_or_name).await?.ok_or_else(not_found)
}

fn view(account: AccountRecord) -> Account {
    let AccountRecord { id, name, created_at, own, users, devices, version: _ } = account;
    Account { id, name, created_at, own, users, devices, owner: None }
}

fn not_found() -> ApiError {
    ApiError::new(Code::AccountNotFound, "no account has this id or name")
}

impl From<RenameAccountError> for ApiError {
    fn from(problem: RenameAccountError) -> Self {
        match problem {
            RenameAccountError::Stale(stale) => stale.into(),
            RenameAccountError::Name(problem) => problem.into(),
            RenameAccountError::Store(problem) => problem.into(),
        }
    }
}

impl From<AddAccountError> for ApiError {
    fn from(problem: AddAccountError) -> Self {
        match problem {
            AddAccountError::NameTaken => {
                Self::new(Code::NameTaken, "another account has this name; choose another").field("name")
            }
            AddAccountError::OwnerTaken => users::name_taken().field("owner"),
            AddAccountError::Store(problem) => problem.into(),
        }
    }
}

impl From<CloseError> for ApiError {
    fn from(problem: CloseError) -> Self {
        match problem {
            CloseError::Unknown => not_found(),
            CloseError::Own => {
                Self::new(Code::OwnAccount, "this is the installation's own account, and stays")
            }
            CloseError::Store(problem) => problem.into(),
        }
    }
}
