//! Users: people of an account.

use chrono::{DateTime, Utc};
use postern_protocol::api::{AuditAction, Role};
use postern_protocol::id::{UserId, UserName};

use super::accounts::open_account;
use super::audit::{Deed, changed};
use super::devices::is_taken;
use super::{Account, Row, Stale, StoreError, Tx, row};
use crate::record::{InvitationRecord, Seen, UserRecord};

/// What changes in a user; the rest stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserEdits {
    /// What they sign in with.
    pub(crate) name: Option<UserName>,
    /// What they may do.
    pub(crate) role: Option<Role>,
    /// Whether they look after the installation.
    pub(crate) admin: Option<bool>,
    /// Whether they are kept out.
    pub(crate) disabled: Option<bool>,
}

/// A user who was not added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddUserError {
    /// Somebody has the name.
    #[error("a user has this name")]
    NameTaken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A user who was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditUserError {
    /// There is none.
    #[error("there is no such user")]
    Unknown,
    /// Somebody else has the name.
    #[error("a user has this name")]
    NameTaken,
    /// They were edited meanwhile.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// Nobody would be left who could let others in.
    #[error("this is the account's last owner")]
    LastOwner,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The columns of a user.
macro_rules! user_columns {
    () => {
        "id, name, role, admin, CASE WHEN password IS NOT NULL
         OR EXISTS (SELECT 1 FROM identities WHERE holder = users.id) THEN 1 ELSE 0 END AS can_sign_in,
         created_at, signed_in_at, disabled_at, version"
    };
}

impl Account {
    /// Adds a user, who chooses a password with this invitation.
    pub(crate) async fn add_user(
        &self,
        user: &UserRecord,
        invitation: &InvitationRecord,
    ) -> Result<(), AddUserError> {
        let mut tx = self.store.write().await?;
        self.insert_user(&mut tx, user, None).await?;
        self.offer(&mut tx, Some(user.id), invitation).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::UserAdded, user.id).became(user.facts())).await?;
        Ok(tx.commit().await?)
    }

    /// Every user of the account, the newest first.
    pub(crate) async fn users(&self) -> Result<Vec<UserRecord>, StoreError> {
        let select = concat!(
            "SELECT ",
            user_columns!(),
            " FROM users WHERE account = $1 ORDER BY created_at DESC, id DESC"
        );
        let query = sqlx::query(select).bind(self.id.as_str());
        query.fetch_all(&self.store.reader).await?.iter().map(user).collect()
    }

    /// A user by their id or name; if a name looks like another user's id, the id wins.
    pub(crate) async fn user(&self, id_or_name: &str) -> Result<Option<UserRecord>, StoreError> {
        let select = concat!(
            "SELECT ",
            user_columns!(),
            " FROM users WHERE account = $1 AND (id = $2 OR name = $3)
             ORDER BY CASE WHEN id = $2 THEN 0 ELSE 1 END LIMIT 1"
        );
        let query =
            sqlx::query(select).bind(self.id.as_str()).bind(id_or_name).bind(id_or_name.to_ascii_lowercase());
        query.fetch_optional(&self.store.reader).await?.as_ref().map(user).transpose()
    }

    /// Changes a user. Whoever may do less than before, or is kept out, is signed out. So is who becomes an
    /// admin: an owner may have let themselves in by a link that was made before.
    pub(crate) async fn edit_user(
        &self,
        id: UserId,
        edits: UserEdits,
        seen: &Seen,
        now: DateTime<Utc>,
    ) -> Result<(), EditUserError> {
        let mut tx = self.store.write().await?;
        let before = self.user_within(&mut tx, id).await?.ok_or(EditUserError::Unknown)?;
        seen.check(before.version)?;
        let after = edits.applied_to(before.clone(), now);
        let update =
            "UPDATE users SET name = $3, role = $4, admin = $5, disabled_at = $6, version = version + 1
                      WHERE account = $1 AND id = $2";
        let query = sqlx::query(update)
            .bind(self.id.as_str())
            .bind(id.as_str())
            .bind(after.name.as_str())
            .bind(after.role.as_str())
            .bind(i64::from(after.admin))
            .bind(after.disabled_at.map(row::millis));
        query.execute(tx.db()).await.map_err(|error| {
            if is_taken(&error) { EditUserError::NameTaken } else { StoreError::from(error).into() }
        })?;
        if before.is_owner() && !after.is_owner() {
            self.keep_an_owner(&mut tx).await?;
        }
        if after.disabled_at.is_some() || after.role < before.role || before.admin != after.admin {
            tx.end_sessions(id).await?;
        }
        if after.disabled_at.is_some() || after.admin {
            tx.withdraw_invitation(id).await?;
        }
        let (was, became) = changed(&before.facts(), &after.facts());
        if was != became {
            self.wrote(&mut tx, Deed::new(AuditAction::UserEdited, id).was(was).became(became)).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Removes a user, and with them their sessions and their invitation.
    pub(crate) async fn remove_user(&self, id: UserId) -> Result<(), EditUserError> {
        let mut tx = self.store.write().await?;
        let before = self.user_within(&mut tx, id).await?.ok_or(EditUserError::Unknown)?;
        let delete = "DELETE FROM users WHERE account = $1 AND id = $2";
        let query = sqlx::query(delete).bind(self.id.as_str()).bind(id.as_str());
        query.execute(tx.db()).await.map_err(StoreError::from)?;
        if before.is_owner() {
            self.keep_an_owner(&mut tx).await?;
        }
        self.wrote(&mut tx, Deed::new(AuditAction::UserRemoved, id).was(before.facts())).await?;
        Ok(tx.commit().await?)
    }

    /// Signs a user out everywhere, and says whether there is such a user.
    pub(crate) async fn sign_out(&self, id: UserId) -> Result<bool, StoreError> {
        let mut tx = self.store.write().await?;
        if self.user_within(&mut tx, id).await?.is_none() {
            return Ok(false);
        }
        tx.end_sessions(id).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::UserSignedOut, id)).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub(super) async fn insert_user(
        &self,
        tx: &mut Tx,
        user: &UserRecord,
        password: Option<&str>,
    ) -> Result<(), AddUserError> {
        let insert = concat!(
            "INSERT INTO users (id, account, name, role, admin, password, created_at) VALUES ($1, ",
            open_account!("$2"),
            ", $3, $4, $5, $6, $7)"
        );
        let query = sqlx::query(insert)
            .bind(user.id.as_str())
            .bind(self.id.as_str())
            .bind(user.name.as_str())
            .bind(user.role.as_str())
            .bind(i64::from(user.admin))
            .bind(password)
            .bind(row::millis(user.created_at));
        match query.execute(tx.db()).await {
            Ok(_) => Ok(()),
            Err(error) if is_taken(&error) => Err(AddUserError::NameTaken),
            Err(error) => Err(StoreError::from(error).into()),
        }
    }

    pub(super) async fn user_within(
        &self,
        tx: &mut Tx,
        id: UserId,
    ) -> Result<Option<UserRecord>, StoreError> {
        let select = concat!("SELECT ", user_columns!(), " FROM users WHERE account = $1 AND id = $2");
        let query = sqlx::query(select).bind(self.id.as_str()).bind(id.as_str());
        query.fetch_optional(tx.db()).await?.as_ref().map(user).transpose()
    }

    /// Refuses what the transaction did if the account has no owner any more who can sign in.
    async fn keep_an_owner(&self, tx: &mut Tx) -> Result<(), EditUserError> {
        let select = "SELECT COUNT(*) FROM users WHERE account = $1 AND role = 'owner'
                      AND disabled_at IS NULL AND (password IS NOT NULL
                      OR EXISTS (SELECT 1 FROM identities WHERE holder = users.id))";
        let query = sqlx::query_scalar::<_, i64>(select).bind(self.id.as_str());
        match query.fetch_one(tx.db()).await.map_err(StoreError::from)? {
            0 => Err(EditUserError::LastOwner),
            _ => Ok(()),
        }
    }
}

impl UserEdits {
    fn applied_to(self, mut user: UserRecord, now: DateTime<Utc>) -> UserRecord {
        user.name = self.name.unwrap_or(user.name);
        user.role = self.role.unwrap_or(user.role);
        user.admin = self.admin.unwrap_or(user.admin);
        user.disabled_at = match self.disabled {
            None => user.disabled_at,
            Some(true) => user.disabled_at.or(Some(now)),
            Some(false) => None,
        };
        user
    }
}

fn user(found: &Row) -> Result<UserRecord, StoreError> {
    Ok(UserRecord {
        id: row::text(found, "id")?,
        name: row::text(found, "name")?,
        role: row::text(found, "role")?,
        admin: row::truth(found, "admin")?,
        can_sign_in: row::truth(found, "can_sign_in")?,
        created_at: row::time(found, "created_at")?,
        signed_in_at: row::maybe_time(found, "signed_in_at")?,
        disabled_at: row::maybe_time(found, "disabled_at")?,
        version: row::count(found, "version")?,
    })
}
