//! Webhooks: addresses that are called when something happens in the account.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::api::{
    CreateWebhook, Delivery, EditWebhook, NewWebhook, Page, Webhook, WebhookEvent, WebhookStatus,
};
use postern_protocol::id::WebhookId;
use serde::Deserialize;
use tracing::info;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Owner};
use super::error::{ApiError, Code};
use super::etag::{IfMatch, IfNoneMatch, changed, tagged};
use super::extract::{Json, Path, Query};
use super::paging::{Cursor, Wanted};
use super::{App, Shared};
use crate::entropy::entropy;
use crate::record::{Seen, WebhookRecord};
use crate::store::{AddWebhookError, EditWebhookError, MOST_WEBHOOKS, TestWebhookError, WebhookEdits};
use crate::webhooks;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, delete))
        .routes(routes!(deliveries))
        .routes(routes!(test))
}

/// Lists the account's webhooks, the newest first, on one page.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks",
    responses((status = 200, description = "Every webhook", body = Page<Webhook>)))]
async fn list(Owner(caller): Owner) -> Result<Answer<Page<Webhook>>, ApiError> {
    let items = caller.account.webhooks().await?.into_iter().map(Webhook::from).collect();
    Ok(Answer(Page { items, next: None }))
}

/// Adds a webhook. The secret that its calls are signed with is shown this once.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = CreateWebhook,
    responses((status = 201, description = "The webhook, and its secret", body = NewWebhook,
        headers(("Location" = String, description = "Where the webhook is found")))))]
async fn create(
    Owner(caller): Owner,
    State(app): State<Shared>,
    Json(request): Json<CreateWebhook>,
) -> Result<Response, ApiError> {
    let made = add(&app, &caller, request).await?;
    let location = [(header::LOCATION, format!("/v1/webhooks/{}", made.about.id))];
    Ok((StatusCode::CREATED, location, Answer(made)).into_response())
}

/// Adds a webhook.
pub(super) async fn add(app: &App, caller: &Caller, request: CreateWebhook) -> Result<NewWebhook, ApiError> {
    let webhook = WebhookRecord {
        id: WebhookId::from_entropy(entropy()),
        url: target(app, &request.url)?,
        events: request.events.map_or_else(|| Ok(WebhookEvent::ALL.to_vec()), events)?,
        enabled: true,
        salt: entropy(),
        created_at: app.clock.now(),
        failing_since: None,
        failures: 0,
        version: 1,
    };
    caller.account.add_webhook(&webhook).await?;
    info!(webhook = %webhook.id, by = %caller.who, "webhook added");
    let secret = app.webhook_key.secret(&webhook);
    Ok(NewWebhook { about: webhook.into(), secret })
}

/// Shows a webhook.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id"), IfNoneMatch),
    responses((status = 200, description = "The webhook", body = Webhook, headers(("ETag" = String, description = "Its version")))))]
async fn show(
    Owner(caller): Owner,
    Path(webhook): Path<String>,
    seen: IfNoneMatch,
) -> Result<Response, ApiError> {
    let webhook = find(&caller, known(&webhook)?).await?;
    let version = webhook.version;
    Ok(tagged(version, &Webhook::from(webhook), &seen))
}

/// Changes a webhook. What waits for it is tried again at once.
#[utoipa::path(patch, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id"), IfMatch), request_body = EditWebhook,
    responses((status = 200, description = "The webhook", body = Webhook, headers(("ETag" = String, description = "Its version")))))]
async fn edit(
    Owner(caller): Owner,
    State(app): State<Shared>,
    Path(webhook): Path<String>,
    seen: IfMatch,
    Json(change): Json<EditWebhook>,
) -> Result<Response, ApiError> {
    let webhook = self::change(&app, &caller, &webhook, change, &seen.seen()).await?;
    let version = webhook.version;
    Ok(changed(version, &Webhook::from(webhook)))
}

/// Changes a webhook.
pub(super) async fn change(
    app: &App,
    caller: &Caller,
    webhook: &str,
    change: EditWebhook,
    seen: &Seen,
) -> Result<WebhookRecord, ApiError> {
    let id = known(webhook)?;
    let edits = WebhookEdits {
        url: change.url.map(|url| target(app, &url)).transpose()?,
        events: change.events.map(events).transpose()?,
        enabled: change.enabled,
    };
    caller.account.edit_webhook(id, edits, seen).await?;
    info!(webhook = %id, by = %caller.who, "webhook edited");
    find(caller, id).await
}

/// Removes a webhook: it is not called any more, not even for what has happened already.
#[utoipa::path(delete, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    Owner(caller): Owner,
    Path(webhook): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = known(&webhook)?;
    match caller.account.remove_webhook(id).await? {
        true => {
            info!(webhook = %id, by = %caller.who, "webhook removed");
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(not_found()),
    }
}

/// Parameters of a list of deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListDeliveries {
    /// How many at most, 1 to 200; left out, 50.
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

/// Lists what was delivered to a webhook or is to be, the newest first.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}/deliveries", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id"), ListDeliveries),
    responses((status = 200, description = "A page of deliveries", body = Page<Delivery>)))]
async fn deliveries(
    Owner(caller): Owner,
    Path(webhook): Path<String>,
    Query(list): Query<ListDeliveries>,
) -> Result<Answer<Page<Delivery>>, ApiError> {
    let wanted = Wanted::new(list.limit, list.cursor.as_deref())?;
    let found = caller.account.deliveries(known(&webhook)?, wanted.paging()).await?.ok_or_else(not_found)?;
    Ok(Answer(wanted.page(found, |delivery| Cursor::new(delivery.occurred_at, delivery.id))))
}

/// Calls a webhook to try it, with the event `webhook.test`.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/test", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id")),
    responses((status = 202, description = "The delivery; list the deliveries to see what becomes of it", body = Delivery)))]
pub(super) async fn test(
    Owner(caller): Owner,
    Path(webhook): Path<String>,
) -> Result<(StatusCode, Answer<Delivery>), ApiError> {
    let delivery = caller.account.test_webhook(known(&webhook)?).await?;
    Ok((StatusCode::ACCEPTED, Answer(delivery)))
}

/// One webhook.
pub(super) async fn find(caller: &Caller, id: WebhookId) -> Result<WebhookRecord, ApiError> {
    caller.account.webhook(id).await?.ok_or_else(not_found)
}

/// The id in a path, if it could be one.
pub(super) fn known(webhook: &str) -> Result<WebhookId, ApiError> {
    webhook.parse().map_err(|_| not_found())
}

/// The problem with an id that nobody has.
pub(super) fn not_found() -> ApiError {
    ApiError::new(Code::WebhookNotFound, "no webhook has this id")
}

/// An address that may be called, as it is called.
fn target(app: &App, url: &str) -> Result<String, ApiError> {
    let checked = webhooks::check(url, &app.config.webhooks);
    let url = checked.map_err(|why| ApiError::new(Code::InvalidTarget, why.to_string()).field("url"))?;
    Ok(url.into())
}

/// Events that a webhook can be called for, each once.
fn events(mut events: Vec<WebhookEvent>) -> Result<Vec<WebhookEvent>, ApiError> {
    events.sort_unstable();
    events.dedup();
    match events.is_empty() || events.contains(&WebhookEvent::Test) {
        false => Ok(events),
        true => {
            let detail = "name at least one event; webhook.test is sent by POST …/test, and is none of them";
            Err(ApiError::new(Code::InvalidRequest, detail).field("events"))
        }
    }
}

impl From<WebhookRecord> for Webhook {
    fn from(webhook: WebhookRecord) -> Self {
        let status = match (webhook.enabled, webhook.failing_since) {
            (false, _) => WebhookStatus::Disabled,
            (true, Some(_)) => WebhookStatus::Failing,
            (true, None) => WebhookStatus::Active,
        };
        let WebhookRecord { id, url, events, failing_since, created_at, .. } = webhook;
        Self { id, url, events, status, failing_since, created_at }
    }
}

impl From<AddWebhookError> for ApiError {
    fn from(problem: AddWebhookError) -> Self {
        match problem {
            AddWebhookError::TooMany => {
                let detail = format!("an account has at most {MOST_WEBHOOKS} webhooks; remove one first");
                Self::new(Code::TooManyWebhooks, detail)
            }
            AddWebhookError::Store(problem) => problem.into(),
        }
    }
}

impl From<TestWebhookError> for ApiError {
    fn from(problem: TestWebhookError) -> Self {
        match problem {
            TestWebhookError::Unknown => not_found(),
            TestWebhookError::Disabled => {
                Self::new(Code::WebhookDisabled, "this webhook is disabled; enable it to try it")
            }
            TestWebhookError::TooManyWaiting => Self::new(
                Code::TooManyDeliveries,
                "as many deliveries wait for this webhook as may; try it when some have arrived",
            ),
            TestWebhookError::Store(problem) => problem.into(),
        }
    }
}

impl From<EditWebhookError> for ApiError {
    fn from(problem: EditWebhookError) -> Self {
        match problem {
            EditWebhookError::Unknown => not_found(),
            EditWebhookError::Stale(stale) => stale.into(),
            EditWebhookError::Store(problem) => problem.into(),
        }
    }
}
