//! An access as a row.

use postern_protocol::access::PublicPort;
use postern_protocol::ssh_key::PublicKey;
use sqlx::Row as _;

use super::super::{Account, Row, StoreError, Tx, row};
use crate::record::AccessRecord;

/// The columns of an access.
macro_rules! access_columns {
    () => {
        "a.id AS a_id, a.device AS a_device, a.port AS a_port, a.allowed AS a_allowed, a.key AS a_key,
         a.key_comment AS a_key_comment, a.login AS a_login, a.note AS a_note,
         a.via AS a_via, a.leased_from AS a_leased_from, a.leased_port AS a_leased_port,
         a.created_at AS a_created_at, a.expires_at AS a_expires_at, a.revoked_at AS a_revoked_at,
         a.revised_at AS a_revised_at, a.revision AS a_revision, a.asked_by AS a_asked_by,
         a.approved_at AS a_approved_at, a.created_by AS a_created_by, a.version AS a_version"
    };
}
pub(in crate::store) use access_columns;

impl Account {
    /// Writes a new access down.
    pub(super) async fn insert_access(&self, tx: &mut Tx, access: &AccessRecord) -> Result<(), StoreError> {
        let insert =
            "INSERT INTO accesses (id, account, device, port, allowed, key, key_comment, login, note,
                      created_at, expires_at, revised_at, revision, asked_by, via, leased_from, leased_port,
                      created_by)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
        sqlx::query(insert)
            .bind(access.id.as_str())
            .bind(self.id.as_str())
            .bind(access.device.as_str())
            .bind(i64::from(access.port))
            .bind(row::to_json(&access.allowed))
            .bind(row::shown(access.key.as_ref()))
            .bind(&access.key_comment)
            .bind(access.login.as_str())
            .bind(&access.note)
            .bind(row::millis(access.created_at))
            .bind(row::millis(access.expires_at))
            .bind(row::millis(access.revised_at))
            .bind(row::signed(access.revision))
            .bind(access.asked_by.as_deref())
            .bind(row::word(&access.via))
            .bind(row::shown(access.leased.map(|leased| leased.relay).as_ref()))
            .bind(access.leased.map(|leased| i64::from(leased.port)))
            .bind(access.created_by.as_ref().map(row::to_json))
            .execute(tx.db())
            .await?;
        Ok(())
    }

    /// Writes down what may change in an access.
    pub(super) async fn update_access(&self, tx: &mut Tx, access: &AccessRecord) -> Result<(), StoreError> {
        let update = "UPDATE accesses SET allowed = $3, key = $4, key_comment = $5, login = $6, note = $7,
                      expires_at = $8, revoked_at = $9, revised_at = $10, revision = $11, approved_at = $12,
                      leased_from = $13, leased_port = $14,
                      version = version + 1,
                      expiry_told = CASE WHEN expires_at = $8 THEN expiry_told ELSE 0 END
                      WHERE account = $1 AND id = $2";
        sqlx::query(update)
            .bind(self.id.as_str())
            .bind(access.id.as_str())
            .bind(row::to_json(&access.allowed))
            .bind(row::shown(access.key.as_ref()))
            .bind(&access.key_comment)
            .bind(access.login.as_str())
            .bind(&access.note)
            .bind(row::millis(access.expires_at))
            .bind(access.revoked_at.map(row::millis))
            .bind(row::millis(access.revised_at))
            .bind(row::signed(access.revision))
            .bind(access.approved_at.map(row::millis))
            .bind(row::shown(access.leased.map(|leased| leased.relay).as_ref()))
            .bind(access.leased.map(|leased| i64::from(leased.port)))
            .execute(tx.db())
            .await?;
        Ok(())
    }
}

/// An access from a row with [`access_columns`].
pub(in crate::store) fn access(found: &Row) -> Result<AccessRecord, StoreError> {
    let key: Option<KeyText> = row::maybe_text(found, "a_key")?;
    Ok(AccessRecord {
        id: row::text(found, "a_id")?,
        device: row::text(found, "a_device")?,
        port: row::port(found, "a_port")?,
        allowed: row::json(found, "a_allowed")?,
        key: key.map(|key| key.0),
        key_comment: found.try_get("a_key_comment")?,
        login: row::text(found, "a_login")?,
        via: row::from_word(found, "a_via")?,
        leased: leased(found)?,
        note: found.try_get("a_note")?,
        created_at: row::time(found, "a_created_at")?,
        expires_at: row::time(found, "a_expires_at")?,
        revoked_at: row::maybe_time(found, "a_revoked_at")?,
        revised_at: row::time(found, "a_revised_at")?,
        revision: row::count(found, "a_revision")?,
        asked_by: found.try_get("a_asked_by")?,
        approved_at: row::maybe_time(found, "a_approved_at")?,
        created_by: row::maybe_json(found, "a_created_by")?,
        version: row::count(found, "a_version")?,
    })
}

fn leased(found: &Row) -> Result<Option<PublicPort>, StoreError> {
    let relay = row::maybe_text(found, "a_leased_from")?;
    let port = row::maybe_port(found, "a_leased_port")?;
    Ok(relay.zip(port).map(|(relay, port)| PublicPort { relay, port }))
}

/// A key from its OpenSSH line.
struct KeyText(PublicKey);

impl std::str::FromStr for KeyText {
    type Err = postern_protocol::ssh_key::Unusable;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        PublicKey::parse(text).map(|pasted| Self(pasted.key))
    }
}
