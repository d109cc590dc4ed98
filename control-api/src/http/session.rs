//! Sessions: signing in with a password, by invitation, and out again.

use std::net::IpAddr;

use axum::Json as Answer;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::api::{ChangePassword, Invited, ReadInvitation, Session, SetUp, SignIn};
use postern_protocol::id::{UserId, UserName};
use postern_protocol::secret::Secret;
use tokio::time::Instant;
use tracing::info;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Browsing, Caller, Origin, SESSION, SignedIn, Source, Viewer, Who, other_page};
use super::error::{ApiError, Code};
use super::extract::Json;
use super::{App, Shared};
use crate::ca::sha256;
use crate::entropy::{entropy, secret};
use crate::password::{Busy, LENGTH};
use crate::store::{AcceptError, Addressee, Credentials};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(show, begin, end))
        .routes(routes!(change_password))
        .routes(routes!(read_invitation))
        .routes(routes!(set_up))
}

/// A visitor of the API's own pages, or a program: somebody who may try to sign in.
pub(crate) struct Visitor {
    /// Where failures are counted.
    source: Source,
    /// How their browser comes here.
    browsing: Browsing,
    /// The session that they have already, if any: it ends when another begins.
    former: Option<Secret>,
}

impl FromRequestParts<Shared> for Visitor {
    type Rejection = ApiError;

    /// Another site's page may not sign its visitors in, not even as somebody they are.
    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        let browsing = Browsing::of(&app.config, &parts.headers);
        let origin = browsing.origin(&app.config, &parts.headers);
        if origin == Origin::Other && !parts.method.is_safe() {
            return Err(other_page());
        }
        let former = browsing.session(&parts.headers);
        let Ok(source) = Source::from_request_parts(parts, app).await;
        Ok(Self { source, browsing, former })
    }
}

impl Visitor {
    /// Where failures are counted.
    pub(crate) fn source(&self) -> IpAddr {
        self.source.0
    }

    /// How their browser comes here.
    pub(crate) fn browsing(&self) -> Browsing {
        self.browsing
    }
}

/// A session that has just begun.
pub(crate) struct Begun {
    /// Who has signed in.
    pub(crate) caller: Caller,
    /// The header that gives the browser its cookie.
    pub(crate) cookie: (header::HeaderName, header::HeaderValue),
}

/// Says who asks, and what they may do.
#[utoipa::path(get, path = "/v1/session", tag = "session",
    responses((status = 200, description = "Who asks", body = Session)))]
async fn show(Viewer(caller): Viewer) -> Result<Answer<Session>, ApiError> {
    Ok(Answer(view(&caller).await?))
}

/// Signs in with a password. The answer sets a cookie for seven days, which ends after twelve hours
/// without use.
#[utoipa::path(post, path = "/v1/session", tag = "session", request_body = SignIn,
    responses((status = 201, description = "Who has signed in", body = Session,
        headers(("Set-Cookie" = String, description = "The session's cookie")))))]
async fn begin(
    visitor: Visitor,
    State(app): State<Shared>,
    Json(request): Json<SignIn>,
) -> Result<Response, ApiError> {
    answer(sign_in(&app, &visitor, &request.name, &request.password).await?).await
}

/// Signs out: the session ends.
#[utoipa::path(delete, path = "/v1/session", tag = "session",
    responses((status = 204, description = "It has ended")))]
async fn end(
    SignedIn(caller): SignedIn,
    State(app): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cookie = sign_out(&app, &caller, &headers).await?;
    Ok((StatusCode::NO_CONTENT, [cookie]).into_response())
}

/// Gives the user another password. Every other session of theirs ends.
#[utoipa::path(post, path = "/v1/session/password", tag = "session", request_body = ChangePassword,
    responses((status = 201, description = "Who has signed in again", body = Session,
        headers(("Set-Cookie" = String, description = "The new session's cookie")))))]
async fn change_password(
    SignedIn(caller): SignedIn,
    visitor: Visitor,
    State(app): State<Shared>,
    Json(request): Json<ChangePassword>,
) -> Result<Response, ApiError> {
    answer(replace_password(&app, &visitor, &caller, request).await?).await
}

/// Says for whom an invitation is.
#[utoipa::path(post, path = "/v1/invitation", tag = "session", request_body = ReadInvitation,
    responses((status = 200, description = "For whom it is", body = Invited)))]
async fn read_invitation(
    visitor: Visitor,
    State(app): State<Shared>,
    Json(request): Json<ReadInvitation>,
) -> Result<Answer<Invited>, ApiError> {
    let Addressee { account_name, user, expires_at, .. } = invited(&app, &visitor, &request.token).await?;
    Ok(Answer(Invited { account_name, name: user.map(|(_, name)| name), expires_at }))
}

/// Accepts an invitation by choosing a password, and signs in. The first one of an installation is
/// printed by `postern-api` at its start; whoever accepts it is its first owner and admin.
#[utoipa::path(post, path = "/v1/setup", tag = "session", request_body = SetUp,
    responses((status = 201, description = "Who has signed in", body = Session,
        headers(("Set-Cookie" = String, description = "The session's cookie")))))]
async fn set_up(
    visitor: Visitor,
    State(app): State<Shared>,
    Json(request): Json<SetUp>,
) -> Result<Response, ApiError> {
    answer(accept(&app, &visitor, request).await?).await
}

/// Signs somebody in by their password.
pub(crate) async fn sign_in(
    app: &App,
    visitor: &Visitor,
    name: &str,
    password: &Secret,
) -> Result<Begun, ApiError> {
    let checked = check(app, visitor, name, password).await?;
    let begun = enter(app, visitor, checked.user, Some(&checked.password)).await?;
    info!(user = %checked.user, source = %visitor.source.0, "signed in");
    Ok(begun)
}

/// Gives a user another password, and a new session in place of all that they have.
pub(crate) async fn replace_password(
    app: &App,
    visitor: &Visitor,
    caller: &Caller,
    request: ChangePassword,
) -> Result<Begun, ApiError> {
    let Who::User { name, .. } = &caller.who else { return Err(wrong()) };
    let checked = check(app, visitor, name.as_str(), &request.current).await?;
    let password = hash(app, &request.new).await?;
    if !app.store.change_password(&checked, &password, Some(visitor.source()), app.clock.now()).await? {
        return Err(wrong());
    }
    info!(user = %checked.user, "password changed");
    enter(app, visitor, checked.user, Some(&password)).await
}

/// Signs somebody in who chooses their password with this.
pub(crate) async fn accept(app: &App, visitor: &Visitor, request: SetUp) -> Result<Begun, ApiError> {
    let invited = invited(app, visitor, &request.token).await?;
    let name = match (invited.user, request.name) {
        (Some((_, name)), None) => name,
        (Some((_, name)), Some(chosen)) if chosen == name => name,
        (Some(_), Some(_)) => {
            return Err(invalid_name("this invitation is for a user who has a name already"));
        }
        (None, Some(name)) => name,
        (None, None) => return Err(invalid_name("choose a name to sign in with")),
    };
    let password = hash(app, &request.password).await?;
    let newcomer = (UserId::from_entropy(entropy()), name);
    let (from, now) = (Some(visitor.source()), app.clock.now());
    let user = app.store.accept(&request.token, newcomer, &password, from, now).await?;
    info!(%user, source = %visitor.source.0, "invitation accepted");
    enter(app, visitor, user, Some(&password)).await
}

/// Ends a session, and makes the browser forget its cookie.
pub(crate) async fn sign_out(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<(header::HeaderName, header::HeaderValue), ApiError> {
    if let Who::User { id, session, .. } = &caller.who {
        app.store.end_session(session, caller.account.author().from(), app.clock.now()).await?;
        info!(user = %id, "signed out");
    }
    Ok((header::SET_COOKIE, Browsing::of(&app.config, headers).end()))
}

/// For whom an invitation is; a wrong one counts like a wrong password.
async fn invited(app: &App, visitor: &Visitor, token: &Secret) -> Result<Addressee, ApiError> {
    let key = token.hash();
    admit(app, visitor, key)?;
    let invited = app.store.invitation(token, app.clock.now()).await?.ok_or_else(not_valid)?;
    app.doorkeeper.signed_in(visitor.source.0, key);
    Ok(invited)
}

/// Whose password this is. For a name that nobody has it takes as long, and the answer is the same.
async fn check(app: &App, visitor: &Visitor, name: &str, password: &Secret) -> Result<Credentials, ApiError> {
    let key = sha256(name.to_ascii_lowercase().as_bytes());
    admit(app, visitor, key)?;
    let credentials = match name.parse::<UserName>() {
        Ok(name) => app.store.credentials(&name).await?,
        Err(_) => None,
    };
    let hash = credentials.as_ref().map(|credentials| credentials.password.as_str());
    let matches = password.reveal().len() <= MAX_BYTES && app.passwords.matches(password, hash).await?;
    match credentials.filter(|_| matches) {
        Some(credentials) => {
            app.doorkeeper.signed_in(visitor.source.0, key);
            Ok(credentials)
        }
        None => {
            info!(source = %visitor.source.0, "a sign-in failed");
            Err(wrong())
        }
    }
}

pub(super) fn admit(app: &App, visitor: &Visitor, key: [u8; 32]) -> Result<(), ApiError> {
    app.doorkeeper.sign_in(visitor.source.0, key, Instant::now()).map_err(|wait| {
        let detail = "too many attempts to sign in failed; wait, and check the name and the password";
        ApiError::new(Code::TooManyFailures, detail).retry_after(wait.as_secs() + 1)
    })
}

/// Begins the session of somebody who has proved who they are.
pub(super) async fn enter(
    app: &App,
    visitor: &Visitor,
    user: UserId,
    checked: Option<&str>,
) -> Result<Begun, ApiError> {
    let session = secret(SESSION);
    let (former, from, now) = (visitor.former.as_ref(), Some(visitor.source()), app.clock.now());
    if !app.store.begin_session(user, checked, &session, former, from, now).await? {
        return Err(wrong());
    }
    let cookie = (header::SET_COOKIE, visitor.browsing.begin(&session));
    Ok(Begun { caller: Caller::by_session(app, session, Some(visitor.source())).await?, cookie })
}

async fn answer(begun: Begun) -> Result<Response, ApiError> {
    let session = view(&begun.caller).await?;
    Ok((StatusCode::CREATED, [begun.cookie], Answer(session)).into_response())
}

/// Who it is, as the API shows it.
pub(crate) async fn view(caller: &Caller) -> Result<Session, ApiError> {
    let (user, user_name, token) = match &caller.who {
        Who::Token(id) => (None, None, Some(*id)),
        Who::User { id, name, .. } => (Some(*id), Some(name.clone()), None),
    };
    Ok(Session {
        account: caller.account.id(),
        account_name: caller.account.name().await?,
        role: caller.role,
        admin: caller.admin,
        devices: caller.account.boxes().map(<[_]>::to_vec),
        user,
        user_name,
        token,
        expires_at: caller.until,
    })
}

/// Bytes of the longest password.
const MAX_BYTES: usize = *LENGTH.end() * 4;

async fn hash(app: &App, password: &Secret) -> Result<String, ApiError> {
    match LENGTH.contains(&password.reveal().chars().count()) {
        true => Ok(app.passwords.hash(password).await?),
        false => {
            let detail = format!("a password has {} to {} characters", LENGTH.start(), LENGTH.end());
            Err(ApiError::new(Code::InvalidPassword, detail).field("password"))
        }
    }
}

/// One answer for every way to fail, so that nobody learns which names there are.
fn wrong() -> ApiError {
    ApiError::new(Code::WrongCredentials, "nobody has this name and this password")
}

fn not_valid() -> ApiError {
    let detail = "this link was used, has expired, or was replaced by a newer one; ask for another \
                  (for the first one: postern-api setup)";
    ApiError::new(Code::InvitationRefused, detail)
}

fn invalid_name(detail: &'static str) -> ApiError {
    ApiError::new(Code::InvalidName, detail).field("name")
}

impl From<Busy> for ApiError {
    fn from(_: Busy) -> Self {
        Self::new(Code::Busy, "too many people sign in at this moment; try again").retry_after(1)
    }
}

impl From<AcceptError> for ApiError {
    fn from(problem: AcceptError) -> Self {
        match problem {
            AcceptError::NotValid => not_valid(),
            AcceptError::NameTaken => super::users::name_taken(),
            AcceptError::Store(problem) => problem.into(),
        }
    }
}
