//! Who is asking. The extractor is the gate: a handler names who may call it, and runs for nobody else.
//!
//! Within an account it is [`Viewer`], [`Operator`] or [`Owner`], for the installation [`Admin`], for a
//! user in a browser [`SignedIn`]: whoever bears an API token, or has the cookie of a session. A relay
//! is a [`RelayCaller`]. A [`Caller`] alone cannot be asked for, so no handler forgets to say.

use std::fmt;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use postern_protocol::api::{ActorKind, Role};
use postern_protocol::id::{RelayId, TokenId, UserId, UserName};
use postern_protocol::secret::Secret;
use tokio::time::Instant;

use super::address::{CallerAddress, peer};
use super::error::{ApiError, Code};
use super::rate::Tally;
use super::{App, Shared};
use crate::author::Author;
use crate::once::SealingKey;
use crate::store::Account;

mod again;
mod cookie;
mod door;

pub(crate) use again::Again;
pub(crate) use cookie::{Browsing, Origin};
pub(crate) use door::Doorkeeper;

/// What API tokens begin with.
pub(crate) const API_TOKEN: &str = "pst";

/// What relays' tokens begin with.
pub(crate) const RELAY_TOKEN: &str = "psr";

/// What the secrets of sessions begin with.
pub(crate) const SESSION: &str = "pss";

/// The longest token that is looked at.
const MAX_TOKEN: usize = 128;

/// Somebody with an API token or a session.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The rows that are theirs.
    pub(crate) account: Account,
    /// Who it is.
    pub(crate) who: Who,
    /// What they may do in their account.
    pub(crate) role: Role,
    /// Whether they look after the installation.
    pub(crate) admin: bool,
    /// When their session or token ends.
    pub(crate) until: Option<DateTime<Utc>>,
    /// What only they can seal with.
    pub(crate) sealing: SealingKey,
}

/// Who is calling, and so by what method they proved it.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// A program, or a person at a command line, with an API token.
    Token(TokenId),
    /// A user who signed in with a browser.
    User {
        /// Their id.
        id: UserId,
        /// Their name.
        name: UserName,
        /// Their session's secret.
        session: Secret,
    },
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token {id}"),
            Self::User { id, .. } => write!(f, "user {id}"),
        }
    }
}

impl Who {
    /// The id of the token or the user.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Token(id) => id.as_str(),
            Self::User { id, .. } => id.as_str(),
        }
    }
}

impl Caller {
    fn require(self, allowed: bool, needed: &str) -> Result<Self, ApiError> {
        match allowed {
            true => Ok(self),
            false => Err(forbidden(format!("this needs {needed}; you are {}", self.rank()))),
        }
    }

    fn rank(&self) -> String {
        format!("{}{}", self.role, if self.admin { " and admin" } else { "" })
    }
}

/// The answer to whoever may not do this.
pub(super) fn forbidden(why: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::new(Code::Forbidden, why)
}

macro_rules! guards {
    ($($(#[$doc:meta])* $guard:ident: $needed:literal, |$caller:ident| $allowed:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $guard(pub(crate) Caller);

        impl $guard {
            fn admit($caller: Caller) -> Result<Self, ApiError> {
                let allowed = $allowed;
                $caller.require(allowed, $needed).map(Self)
            }
        }

        impl FromRequestParts<Shared> for $guard {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
                let admitted = Self::admit(Caller::of(parts, app).await?)?;
                Again::leave(parts, app, |mut head, app| {
                    async move { Self::admit(Caller::proved(&mut head, &app).await?).map(drop) }.boxed()
                });
                Ok(admitted)
            }
        }
    )*};
}

guards! {
    /// Whoever may look at the account.
    Viewer: "the role viewer", |caller| caller.role >= Role::Viewer;
    /// Whoever may add and remove boxes and accesses.
    Operator: "the role operator", |caller| caller.role >= Role::Operator;
    /// Whoever decides about the account.
    Owner: "the role owner", |caller| caller.role >= Role::Owner;
    /// Whoever looks after the installation.
    Admin: "an admin of the installation", |caller| caller.admin;
    /// Whoever has signed in, whatever their role; not a token.
    SignedIn: "a session: sign in with a browser", |caller| matches!(caller.who, Who::User { .. });
}

/// A relay.
pub(super) struct RelayCaller {
    /// Its id.
    pub(super) id: RelayId,
    /// Its name.
    pub(super) name: String,
    /// It, as the author of what it reports.
    pub(super) by: Author,
}

impl Caller {
    /// Whoever bears a token, or else whoever has a session's cookie.
    async fn of(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        let caller = Self::proved(parts, app).await?;
        app.rates.known(caller.who.id(), parts.extensions.get::<Tally>())?;
        Ok(caller)
    }

    async fn proved(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        let attempt = Attempt::of(parts, app).await;
        let browsing = Browsing::of(&app.config, &parts.headers);
        match browsing.session(&parts.headers) {
            Some(session) if attempt.token.is_none() => {
                refuse_other_pages(app, browsing, &parts.method, &parts.headers)?;
                let caller = Self::by_session(app, session, Some(attempt.source)).await;
                if caller.is_err() {
                    app.rates.stranger(attempt.source, None)?;
                }
                caller
            }
            Some(_) | None => Self::by_token(app, attempt).await,
        }
    }

    async fn by_token(app: &Shared, attempt: Attempt) -> Result<Self, ApiError> {
        let secret = attempt.secret(app, API_TOKEN)?;
        let Some((account, token)) = app.store.token_by_secret(&secret, app.clock.now()).await? else {
            return Err(attempt.failed(app));
        };
        app.doorkeeper.right_token(&secret);
        let (from, now) = (Some(attempt.source), app.clock.now());
        let by = Author::new(ActorKind::Token, token.id.as_str(), &token.name, from, now);
        Ok(Self {
            account: app.store.account(account, by).only(token.devices),
            who: Who::Token(token.id),
            role: token.role,
            admin: token.admin,
            until: token.expires_at,
            sealing: SealingKey::of(&secret),
        })
    }

    /// A cookie that does not work is no guess: browsers go on sending one that has expired.
    pub(super) async fn by_session(
        app: &App,
        secret: Secret,
        from: Option<IpAddr>,
    ) -> Result<Self, ApiError> {
        let session = app.store.session_by_secret(&secret, app.clock.now()).await?;
        let session = session.ok_or_else(unauthorized)?;
        let (id, name) = (session.user.as_str(), session.name.as_str());
        let by = Author::new(ActorKind::User, id, name, from, app.clock.now());
        Ok(Self {
            account: app.store.account(session.account, by),
            who: Who::User { id: session.user, name: session.name, session: secret.clone() },
            role: session.role,
            admin: session.admin,
            until: Some(session.expires_at),
            sealing: SealingKey::of(&secret),
        })
    }
}

/// A browser sends its cookies along with what any page makes it ask, so what changes something must be
/// asked by a page of our own.
fn refuse_other_pages(
    app: &Shared,
    browsing: Browsing,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    match browsing.origin(&app.config, headers) {
        _ if method.is_safe() => Ok(()),
        Origin::Own => Ok(()),
        Origin::Other | Origin::Unsaid => Err(other_page()),
    }
}

/// The answer to what another site's page made a browser ask.
pub(super) fn other_page() -> ApiError {
    let detail = "this came from another site's page, or does not say from where; if it should not have, \
                  check public_url in the API's settings";
    ApiError::new(Code::OtherPage, detail)
}

impl FromRequestParts<Shared> for RelayCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        let relay = Self::proved(parts, app).await?;
        Again::leave(parts, app, |mut head, app| {
            async move { Self::proved(&mut head, &app).await.map(drop) }.boxed()
        });
        Ok(relay)
    }
}

impl RelayCaller {
    async fn proved(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        let attempt = Attempt::of(parts, app).await;
        let secret = attempt.secret(app, RELAY_TOKEN)?;
        match app.store.relay_by_secret(&secret).await? {
            Some((id, name)) => {
                app.doorkeeper.right_token(&secret);
                let (from, now) = (Some(attempt.source), app.clock.now());
                let by = Author::new(ActorKind::Relay, id.as_str(), &name, from, now);
                Ok(Self { id, name, by })
            }
            None => Err(attempt.failed(app)),
        }
    }
}

/// Somebody at the door.
struct Attempt {
    source: IpAddr,
    token: Option<Secret>,
}

impl Attempt {
    async fn of(parts: &mut Parts, app: &Shared) -> Self {
        let Source(source) = Source::of(parts, app).await;
        Self { source, token: bearer(&parts.headers) }
    }

    /// The token, if it is of the right kind and this source is still listened to.
    fn secret(&self, app: &Shared, kind: &str) -> Result<Secret, ApiError> {
        let of_kind =
            |token: &&Secret| token.reveal().strip_prefix(kind).is_some_and(|rest| rest.starts_with('_'));
        if let Some(wait) = app.doorkeeper.turns_away(self.source, self.token.as_ref(), Instant::now()) {
            let detail = "too many wrong tokens came from this address; wait, and check the token";
            return Err(ApiError::new(Code::TooManyFailures, detail).retry_after(wait.as_secs() + 1));
        }
        self.token.as_ref().filter(of_kind).cloned().ok_or_else(|| self.failed(app))
    }

    /// One answer for every way to fail, so that it says nothing of how near it came.
    fn failed(&self, app: &Shared) -> ApiError {
        app.doorkeeper.wrong_token(self.source, Instant::now());
        app.rates.stranger(self.source, None).err().unwrap_or_else(unauthorized)
    }
}

pub(super) fn unauthorized() -> ApiError {
    ApiError::new(Code::Unauthorized, "send a valid token: Authorization: Bearer …")
}

/// Where failures are counted: the caller's address, or where a proxy does not say, the proxy's.
pub(super) struct Source(pub(super) IpAddr);

impl Source {
    pub(super) async fn of(parts: &mut Parts, app: &Shared) -> Self {
        let Ok(CallerAddress(caller)) = CallerAddress::from_request_parts(parts, app).await;
        Self(caller.unwrap_or_else(|| peer(parts)))
    }
}

impl FromRequestParts<Shared> for Source {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts, app).await)
    }
}

fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN;
    fits.then(|| Secret::from_text(token))
}
