//! What relays must know: every box and its rules, whole or since a revision.

use chrono::{DateTime, Utc};
use postern_protocol::id::{DeviceId, RelayId};
use sqlx::Row as _;

use super::accesses::{access, access_columns};
use super::{Row, Store, StoreError, row};
use crate::documents::REMEMBERED;
use crate::label::label;
use crate::record::BoxRules;

/// The columns of a box.
macro_rules! box_columns {
    () => {
        "SELECT d.id, d.name, d.revision, d.key, d.deleted_at,
         (SELECT name FROM accounts WHERE id = d.account AND own = 0) AS account FROM devices d "
    };
}

/// The boxes that changed, at one moment.
#[derive(Debug)]
pub(crate) struct Changes {
    /// The revision at that moment.
    pub(crate) revision: u64,
    /// The boxes.
    pub(crate) boxes: Vec<BoxRules>,
}

impl Store {
    /// Every box that changed after a revision, the deleted ones too; or, for a relay that knows
    /// nothing yet, every box there is.
    pub(crate) async fn changes(
        &self,
        since: Option<u64>,
        now: DateTime<Utc>,
    ) -> Result<Changes, StoreError> {
        // One read transaction, so that the revision and the rules are of the same moment.
        let mut tx = self.reader.begin().await?;
        let revision: i64 =
            sqlx::query_scalar("SELECT revision FROM installation").fetch_one(&mut *tx).await?;
        let boxes = match since {
            None => {
                let select = concat!(box_columns!(), "WHERE d.deleted_at IS NULL");
                sqlx::query(select).fetch_all(&mut *tx).await?
            }
            Some(since) => {
                let select = concat!(box_columns!(), "WHERE d.revision > $1");
                sqlx::query(select).bind(row::signed(since)).fetch_all(&mut *tx).await?
            }
        };
        let select = concat!(
            "SELECT ",
            access_columns!(),
            " FROM accesses a JOIN devices d ON d.id = a.device
             WHERE d.revision > $1 AND d.deleted_at IS NULL AND a.expires_at > $2
             AND (a.revoked_at IS NULL OR a.revoked_at > $2)"
        );
        let query =
            sqlx::query(select).bind(row::signed(since.unwrap_or(0))).bind(row::millis(now - REMEMBERED));
        let accesses = query.fetch_all(&mut *tx).await?;
        Ok(Changes { revision: row::unsigned(revision), boxes: assemble(&boxes, &accesses)? })
    }

    /// Whether a feed is still the one that its relay follows: neither replaced by a newer one, nor
    /// ended by another token or the relay's removal.
    pub(crate) async fn feed_is_current(&self, relay: RelayId, feed: &str) -> Result<bool, StoreError> {
        let select = "SELECT 1 FROM relays WHERE id = $1 AND feed = $2";
        let query = sqlx::query(select).bind(relay.as_str()).bind(feed);
        Ok(query.fetch_optional(&self.reader).await?.is_some())
    }

    /// The rules of one box; none if it was deleted.
    pub(crate) async fn rules_of(
        &self,
        device: DeviceId,
        now: DateTime<Utc>,
    ) -> Result<Option<BoxRules>, StoreError> {
        let mut tx = self.reader.begin().await?;
        let select = concat!(box_columns!(), "WHERE d.id = $1 AND d.deleted_at IS NULL");
        let boxes = sqlx::query(select).bind(device.as_str()).fetch_all(&mut *tx).await?;
        let select = concat!(
            "SELECT ",
            access_columns!(),
            " FROM accesses a WHERE a.device = $1 AND a.expires_at > $2
             AND (a.revoked_at IS NULL OR a.revoked_at > $2)"
        );
        let query = sqlx::query(select).bind(device.as_str()).bind(row::millis(now - REMEMBERED));
        Ok(assemble(&boxes, &query.fetch_all(&mut *tx).await?)?.pop())
    }
}

fn assemble(boxes: &[Row], accesses: &[Row]) -> Result<Vec<BoxRules>, StoreError> {
    let mut boxes = boxes.iter().map(of_box).collect::<Result<Vec<_>, _>>()?;
    boxes.sort_by_key(|rules| rules.device);
    for found in accesses {
        let access = access(found)?;
        if let Ok(place) = boxes.binary_search_by_key(&access.device, |rules| rules.device) {
            boxes[place].accesses.push(access);
        }
    }
    Ok(boxes)
}

fn of_box(found: &Row) -> Result<BoxRules, StoreError> {
    let (device, name) = (row::text(found, "id")?, row::text(found, "name")?);
    Ok(BoxRules {
        label: label(&name, found.try_get("account")?, device),
        device,
        name,
        revision: row::count(found, "revision")?,
        key: found.try_get("key")?,
        deleted: row::maybe_time(found, "deleted_at")?.is_some(),
        accesses: Vec::new(),
    })
}
