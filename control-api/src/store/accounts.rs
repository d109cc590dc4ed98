//! Accounts: whoever owns boxes, accesses, users and tokens.

use std::collections::HashMap;

use postern_protocol::api::AuditAction;
use postern_protocol::id::{AccountId, DeviceId, RelayId};
use sqlx::Row as _;

use super::audit::{Deed, fact};
use super::devices::is_taken;
use super::users::AddUserError;
use super::{Account, Query, Row, Stale, Store, StoreError, row};
use crate::author::Author;
use crate::record::{AccountRecord, InvitationRecord, Seen, UserRecord};

/// An account that was not created, or did not get a name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddAccountError {
    /// Another account has the name.
    #[error("an account has this name")]
    NameTaken,
    /// Somebody has the name of its owner.
    #[error("a user has this name")]
    OwnerTaken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An account that did not get another name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenameAccountError {
    /// It was edited meanwhile.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// It could not have the name.
    #[error(transparent)]
    Name(#[from] AddAccountError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An account that was not closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloseError {
    /// There is none.
    #[error("there is no such account")]
    Unknown,
    /// It is the installation's own.
    #[error("this is the installation's own account")]
    Own,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The id of an account that is open: nothing at all if it has been closed meanwhile, which no column
/// of an account takes.
macro_rules! open_account {
    ($id:literal) => {
        concat!("(SELECT id FROM accounts WHERE id = ", $id, " AND closed_at IS NULL)")
    };
}

pub(super) use open_account;

/// Open accounts, and what they have.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT a.id, a.name, a.created_at, a.own, a.version,
             (SELECT COUNT(*) FROM users WHERE account = a.id) AS users,
             (SELECT COUNT(*) FROM devices WHERE account = a.id AND deleted_at IS NULL) AS devices
             FROM accounts a WHERE a.closed_at IS NULL ",
            $which
        )
    };
}

impl Store {
    /// Every open account, the newest first.
    pub(crate) async fn accounts(&self) -> Result<Vec<AccountRecord>, StoreError> {
        let select = select!("ORDER BY a.created_at DESC, a.id DESC");
        sqlx::query(select).fetch_all(&self.reader).await?.iter().map(account).collect()
    }

    /// The open account of this id or name; if a name looks like another account's id, the id wins.
    pub(crate) async fn account_called(&self, id_or_name: &str) -> Result<Option<AccountRecord>, StoreError> {
        let select = select!("AND (a.id = $1 OR a.name = $1) ORDER BY CASE WHEN a.id = $1 THEN 0 ELSE 1 END");
        let query = sqlx::query(select).bind(id_or_name);
        query.fetch_optional(&self.reader).await?.as_ref().map(account).transpose()
    }

    /// Opens an account with its first owner, who is invited.
    pub(crate) async fn add_account(
        &self,
        id: AccountId,
        name: &str,
        owner: &UserRecord,
        invitation: &InvitationRecord,
        by: &Author,
    ) -> Result<(), AddAccountError> {
        let mut tx = self.write().await?;
        let insert = "INSERT INTO accounts (id, name, created_at) VALUES ($1, $2, $3)";
        let query = sqlx::query(insert).bind(id.as_str()).bind(name).bind(row::millis(owner.created_at));
        query.execute(tx.db()).await.map_err(AddAccountError::of)?;
        let account = self.account(id, by.clone());
        account.insert_user(&mut tx, owner, None).await?;
        account.offer(&mut tx, Some(owner.id), invitation).await?;
        let deed = Deed::new(AuditAction::AccountOpened, id).became(fact("name", name));
        tx.write_down_of_account(self.own_account, id, by, deed).await?;
        account.wrote(&mut tx, Deed::new(AuditAction::UserAdded, owner.id).became(owner.facts())).await?;
        Ok(tx.commit().await?)
    }

    /// Gives an account another name, and its boxes other labels; says whether there is such an account.
    pub(crate) async fn rename_account(
        &self,
        id: AccountId,
        name: &str,
        seen: &Seen,
        by: &Author,
    ) -> Result<bool, RenameAccountError> {
        let mut tx = self.write().await?;
        seen.check(tx.account_version(id).await?)?;
        let former = tx.account_name(id).await?.unwrap_or_default();
        let update =
            "UPDATE accounts SET name = $2, version = version + 1 WHERE id = $1 AND closed_at IS NULL";
        let query = sqlx::query(update).bind(id.as_str()).bind(name);
        if query.execute(tx.db()).await.map_err(AddAccountError::of)?.rows_affected() == 0 {
            return Ok(false);
        }
        let revision = tx.next_revision(by.at()).await?;
        let update = "UPDATE devices SET revision = $2 WHERE account = $1 AND deleted_at IS NULL";
        let query = sqlx::query(update).bind(id.as_str()).bind(row::signed(revision));
        query.execute(tx.db()).await.map_err(StoreError::from)?;
        let deed = Deed::new(AuditAction::AccountRenamed, id).was(fact("name", former));
        tx.write_down_of_account(self.own_account, id, by, deed.became(fact("name", name))).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Closes an account: its boxes are deleted, its accesses revoked, its users and tokens forgotten.
    /// Its visits stay, for the audit outlives whatever it speaks of.
    pub(crate) async fn close_account(&self, id: AccountId, by: &Author) -> Result<(), CloseError> {
        let now = by.at();
        if id == self.own_account {
            return Err(CloseError::Own);
        }
        let mut tx = self.write().await?;
        let name = tx.account_name(id).await?.ok_or(CloseError::Unknown)?;
        // No account is called like this while it is open: a name has no '~'.
        let update = "UPDATE accounts SET closed_at = $2, name = name || '~' || id
                      WHERE id = $1 AND closed_at IS NULL";
        let query = sqlx::query(update).bind(id.as_str()).bind(row::millis(now));
        if query.execute(tx.db()).await.map_err(StoreError::from)?.rows_affected() == 0 {
            return Err(CloseError::Unknown);
        }
        for forget in [
            "DELETE FROM users WHERE account = $1",
            "DELETE FROM invitations WHERE account = $1",
            "DELETE FROM tokens WHERE account = $1",
            "DELETE FROM webhooks WHERE account = $1",
            "DELETE FROM kept_answers WHERE account = $1",
        ] {
            sqlx::query(forget).bind(id.as_str()).execute(tx.db()).await.map_err(StoreError::from)?;
        }
        let select = "SELECT id FROM devices WHERE account = $1 AND deleted_at IS NULL";
        let query = sqlx::query_scalar::<_, String>(select).bind(id.as_str());
        for device in query.fetch_all(tx.db()).await.map_err(StoreError::from)? {
            let device: DeviceId = row::parsed("device", &device)?;
            let revision = tx.next_revision(now).await?;
            tx.bury(device, revision, now).await?;
        }
        // There is nobody left to read it in the account itself.
        let deed = Deed::new(AuditAction::AccountClosed, id).was(fact("name", name));
        tx.write_down(self.own_account, by, deed).await?;
        Ok(tx.commit().await?)
    }
}

impl super::Tx {
    /// Writes down what was done to an account where its own owners read it, and in the installation's own,
    /// where admins do.
    async fn write_down_of_account(
        &mut self,
        own: AccountId,
        id: AccountId,
        by: &Author,
        deed: Deed,
    ) -> Result<(), StoreError> {
        if id != own {
            self.write_down(own, by, deed.clone()).await?;
        }
        self.write_down(id, by, deed).await
    }

    async fn account_version(&mut self, id: AccountId) -> Result<u64, StoreError> {
        let select = "SELECT version FROM accounts WHERE id = $1";
        let version: Option<i64> =
            sqlx::query_scalar(select).bind(id.as_str()).fetch_optional(self.db()).await?;
        Ok(version.map_or(0, row::unsigned))
    }

    async fn account_name(&mut self, id: AccountId) -> Result<Option<String>, StoreError> {
        let select = "SELECT name FROM accounts WHERE id = $1 AND closed_at IS NULL";
        Ok(sqlx::query_scalar(select).bind(id.as_str()).fetch_optional(self.db()).await?)
    }
}

impl Account {
    /// What it is called.
    pub(crate) async fn name(&self) -> Result<String, StoreError> {
        let select = "SELECT name FROM accounts WHERE id = $1";
        Ok(sqlx::query_scalar(select).bind(self.id.as_str()).fetch_one(&self.store.reader).await?)
    }

    /// How many of these boxes each relay has.
    pub(crate) async fn boxes_by_relay(&self) -> Result<HashMap<RelayId, u64>, StoreError> {
        let mut query = Query::new(
            "SELECT p.relay, COUNT(*) AS boxes FROM presence p JOIN devices d ON d.id = p.device
             WHERE p.online = 1 AND d.account = ",
        );
        query.push_bind(self.id.to_string());
        self.push_scope(&mut query, "d.id");
        query.push(" GROUP BY p.relay");
        let rows = query.build().fetch_all(&self.store.reader).await?;
        rows.iter().map(|found| Ok((row::text(found, "relay")?, row::count(found, "boxes")?))).collect()
    }
}

impl AddAccountError {
    fn of(error: sqlx::Error) -> Self {
        if is_taken(&error) { Self::NameTaken } else { StoreError::from(error).into() }
    }
}

impl From<AddUserError> for AddAccountError {
    fn from(problem: AddUserError) -> Self {
        match problem {
            AddUserError::NameTaken => Self::OwnerTaken,
            AddUserError::Store(problem) => Self::Store(problem),
        }
    }
}

fn account(found: &Row) -> Result<AccountRecord, StoreError> {
    Ok(AccountRecord {
        id: row::text(found, "id")?,
        name: found.try_get("name")?,
        created_at: row::time(found, "created_at")?,
        own: row::truth(found, "own")?,
        users: row::count(found, "users")?,
        devices: row::count(found, "devices")?,
        version: row::count(found, "version")?,
    })
}
