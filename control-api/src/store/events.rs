//! Events: what happened in an account, one row each, never changed.

use postern_protocol::api::Event;
use postern_protocol::id::AccountId;
use sqlx::Row as _;

use super::{Account, Paging, Query, Row, StoreError, Tx, row};

impl Account {
    /// Events, the newest first; through a view of some boxes, those about them.
    pub(crate) async fn events(&self, page: Paging<'_>) -> Result<Vec<Event>, StoreError> {
        let mut query = Query::new("SELECT * FROM events WHERE account = ");
        query.push_bind(self.id.to_string());
        self.push_scope(&mut query, "subject");
        page.push_to(&mut query, "at", "id");
        query.build().fetch_all(&self.store.reader).await?.iter().map(event).collect()
    }
}

impl Tx {
    /// Writes an event down, together with what it tells of.
    pub(super) async fn record_event(&mut self, account: AccountId, event: &Event) -> Result<(), StoreError> {
        let insert = "INSERT INTO events (id, account, at, actor, action, subject, detail)
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(insert)
            .bind(event.id.as_str())
            .bind(account.as_str())
            .bind(row::millis(event.at))
            .bind(&event.actor)
            .bind(&event.action)
            .bind(&event.subject)
            .bind(row::to_json(&event.detail))
            .execute(self.db())
            .await?;
        Ok(())
    }
}

fn event(found: &Row) -> Result<Event, StoreError> {
    Ok(Event {
        id: row::text(found, "id")?,
        at: row::time(found, "at")?,
        actor: found.try_get("actor")?,
        action: found.try_get("action")?,
        subject: found.try_get("subject")?,
        detail: row::json(found, "detail")?,
    })
}
