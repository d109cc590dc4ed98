//! Sessions: users who have signed in. Kept as hashes of random secrets, as tokens are.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::api::{AuditAction, Role};
use postern_protocol::id::{AccountId, UserId, UserName};
use postern_protocol::secret::Secret;
use sqlx::Row as _;

use super::audit::Deed;
use super::{Row, Store, StoreError, Tx, row};

/// How long a session lasts at the longest.
pub(crate) const LASTS: TimeDelta = TimeDelta::days(7);

/// How long a session lasts without being used.
pub(crate) const IDLE: TimeDelta = TimeDelta::hours(12);

/// How exactly it is known when a session was last used: not every request is worth a write.
const USED_WITHIN: TimeDelta = TimeDelta::minutes(1);

/// Sessions of one user at once; the one that was not used for longest makes room.
const MOST: i64 = 32;

/// What a password is checked against.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) user: UserId,
    /// The hash, in PHC form.
    pub(crate) password: String,
}

/// A session that lasts.
#[derive(Debug, Clone)]
pub(crate) struct SessionRecord {
    pub(crate) account: AccountId,
    pub(crate) user: UserId,
    pub(crate) name: UserName,
    pub(crate) role: Role,
    pub(crate) admin: bool,
    pub(crate) expires_at: DateTime<Utc>,
    used_at: DateTime<Utc>,
}

impl Store {
    /// What the password of the user of this name is checked against; nothing if nobody can sign in by
    /// that name.
    pub(crate) async fn credentials(&self, name: &UserName) -> Result<Option<Credentials>, StoreError> {
        let select = "SELECT id, password FROM users
                      WHERE name = $1 AND password IS NOT NULL AND disabled_at IS NULL";
        let found = sqlx::query(select).bind(name.as_str()).fetch_optional(&self.reader).await?;
        let credentials = |found: Row| {
            Ok(Credentials { user: row::text(&found, "id")?, password: found.try_get("password")? })
        };
        found.map(credentials).transpose()
    }

    /// Begins a session, unless the user may not sign in any more, or their password is no longer the
    /// one that was checked; says whether it began. An older session of the same browser ends.
    pub(crate) async fn begin_session(
        &self,
        user: UserId,
        checked: Option<&str>,
        session: &Secret,
        former: Option<&Secret>,
        from: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let update = "UPDATE users SET signed_in_at = $3
                      WHERE id = $1 AND disabled_at IS NULL AND ($2 IS NULL OR password = $2)";
        let query = sqlx::query(update).bind(user.as_str()).bind(checked).bind(row::millis(now));
        if query.execute(tx.db()).await?.rows_affected() == 0 {
            return Ok(false);
        }
        tx.make_room(user, former, now).await?;
        tx.insert_session(user, session, now).await?;
        let (account, by) = tx.themselves(user, from, now).await?;
        tx.write_down(account, &by, Deed::new(AuditAction::SignedIn, user)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The session that a secret stands for, if it lasts; and it was used now.
    pub(crate) async fn session_by_secret(
        &self,
        secret: &Secret,
        now: DateTime<Utc>,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let select = "SELECT u.account, u.id, u.name, u.role, u.admin, s.used_at, s.expires_at
                      FROM sessions s JOIN users u ON u.id = s.holder
                      WHERE s.hash = $1 AND s.expires_at > $2 AND s.used_at > $3 AND u.disabled_at IS NULL";
        let query = sqlx::query(select)
            .bind(secret.hash().to_vec())
            .bind(row::millis(now))
            .bind(row::millis(now - IDLE));
        let Some(found) = query.fetch_optional(&self.reader).await? else { return Ok(None) };
        let session = session(&found)?;
        if session.used_at + USED_WITHIN <= now {
            let update = "UPDATE sessions SET used_at = $2 WHERE hash = $1";
            let query = sqlx::query(update).bind(secret.hash().to_vec()).bind(row::millis(now));
            query.execute(&self.writer).await?;
        }
        Ok(Some(session))
    }

    /// Ends a session.
    pub(crate) async fn end_session(
        &self,
        secret: &Secret,
        from: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let delete = "DELETE FROM sessions WHERE hash = $1 RETURNING holder";
        let query = sqlx::query(delete).bind(secret.hash().to_vec());
        let Some(ended) = query.fetch_optional(tx.db()).await? else { return Ok(()) };
        let user: UserId = row::text(&ended, "holder")?;
        let (account, by) = tx.themselves(user, from, now).await?;
        tx.write_down(account, &by, Deed::new(AuditAction::SignedOut, user)).await?;
        tx.commit().await
    }

    /// Gives a user another password in place of the one that was checked, unless that has changed
    /// meanwhile, and signs them out everywhere.
    pub(crate) async fn change_password(
        &self,
        checked: &Credentials,
        password: &str,
        from: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let select = "SELECT 1 FROM users WHERE id = $1 AND password = $2";
        let query = sqlx::query(select).bind(checked.user.as_str()).bind(&checked.password);
        if query.fetch_optional(tx.db()).await?.is_none() {
            return Ok(false);
        }
        tx.set_password(checked.user, password).await?;
        let (account, by) = tx.themselves(checked.user, from, now).await?;
        tx.write_down(account, &by, Deed::new(AuditAction::PasswordChanged, checked.user)).await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl Tx {
    /// Gives a user a password, and signs them out: whoever knew the old one may hold a session. An
    /// invitation to choose one has served.
    pub(super) async fn set_password(&mut self, user: UserId, password: &str) -> Result<(), StoreError> {
        let update = "UPDATE users SET password = $2 WHERE id = $1";
        sqlx::query(update).bind(user.as_str()).bind(password).execute(self.db()).await?;
        self.withdraw_invitation(user).await?;
        self.end_sessions(user).await
    }

    /// The link by which a user could choose a password leads nowhere any more.
    pub(super) async fn withdraw_invitation(&mut self, user: UserId) -> Result<(), StoreError> {
        let delete = "DELETE FROM invitations WHERE holder = $1";
        sqlx::query(delete).bind(user.as_str()).execute(self.db()).await?;
        Ok(())
    }

    /// Signs a user out everywhere.
    pub(super) async fn end_sessions(&mut self, user: UserId) -> Result<(), StoreError> {
        let delete = "DELETE FROM sessions WHERE holder = $1";
        sqlx::query(delete).bind(user.as_str()).execute(self.db()).await?;
        Ok(())
    }

    /// Makes room for a session: without what is over, what it takes the place of, and what is too many.
    async fn make_room(
        &mut self,
        user: UserId,
        former: Option<&Secret>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let over = "DELETE FROM sessions WHERE expires_at <= $1 OR used_at <= $2";
        sqlx::query(over).bind(row::millis(now)).bind(row::millis(now - IDLE)).execute(self.db()).await?;
        if let Some(former) = former {
            let delete = "DELETE FROM sessions WHERE hash = $1";
            sqlx::query(delete).bind(former.hash().to_vec()).execute(self.db()).await?;
        }
        let delete = "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE holder = $1
                      ORDER BY used_at DESC LIMIT 1000 OFFSET $2)";
        sqlx::query(delete).bind(user.as_str()).bind(MOST - 1).execute(self.db()).await?;
        Ok(())
    }

    async fn insert_session(
        &mut self,
        user: UserId,
        session: &Secret,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO sessions (hash, holder, created_at, used_at, expires_at)
                      VALUES ($1, $2, $3, $3, $4)";
        sqlx::query(insert)
            .bind(session.hash().to_vec())
            .bind(user.as_str())
            .bind(row::millis(now))
            .bind(row::millis(now + LASTS))
            .execute(self.db())
            .await?;
        Ok(())
    }
}

fn session(found: &Row) -> Result<SessionRecord, StoreError> {
    Ok(SessionRecord {
        account: row::text(found, "account")?,
        user: row::text(found, "id")?,
        name: row::text(found, "name")?,
        role: row::text(found, "role")?,
        admin: row::truth(found, "admin")?,
        expires_at: row::time(found, "expires_at")?,
        used_at: row::time(found, "used_at")?,
    })
}
