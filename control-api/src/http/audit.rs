//! The audit: who changed what, from where.

use axum::Json as Answer;
use axum::extract::State;
use chrono::{DateTime, Utc};
use postern_protocol::api::{ActorKind, AuditAction, AuditRecord, AuditSubject, Page};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::auth::Owner;
use super::error::ApiError;
use super::extract::Query;
use super::paging::{Cursor, Wanted};
use crate::store::AuditFilter;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Parameters of a list of audit records.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListAudit {
    /// Only what was done in this way.
    #[param(inline)]
    action: Option<AuditAction>,
    /// Only what was done to things of this kind.
    #[param(inline)]
    about: Option<AuditSubject>,
    /// Only what was done to this, by its id.
    subject: Option<String>,
    /// Only what this user, token or relay did, by its id.
    actor: Option<String>,
    /// Only what such actors did; `machine` is the control API itself, and whoever has its machine in hand.
    #[param(inline)]
    actor_kind: Option<ActorKind>,
    /// Only what was done at this time or later.
    since: Option<DateTime<Utc>>,
    /// Only what was done before this time.
    until: Option<DateTime<Utc>>,
    /// How many at most, 1 to 200; left out, 50.
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

/// Lists what was done in the account, the newest first. What concerns the whole installation, such as
/// its relays, stands in the installation's own account; there, admins also find which accounts were opened,
/// renamed or closed.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(ListAudit),
    responses((status = 200, description = "A page of records", body = Page<AuditRecord>)))]
async fn list(
    Owner(caller): Owner,
    State(_): State<Shared>,
    Query(list): Query<ListAudit>,
) -> Result<Answer<Page<AuditRecord>>, ApiError> {
    let wanted = Wanted::new(list.limit, list.cursor.as_deref())?;
    let ListAudit { action, about, subject, actor, actor_kind, since, until, .. } = list;
    let filter =
        AuditFilter { action, about, subject, actor, actor_kind, since, until, for_admin: caller.admin };
    let records = caller.account.audit(&filter, wanted.paging().limit, wanted.after()).await?;
    Ok(Answer(wanted.page(records, |record| Cursor::new(record.at, record.id))))
}
