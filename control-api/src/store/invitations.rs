//! Invitations: how a password is chosen, the first one of an installation included. Each works once.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use postern_protocol::api::{ActorKind, AuditAction, Role};
use postern_protocol::id::{AccountId, UserId, UserName};
use postern_protocol::secret::Secret;
use sqlx::Row as _;

use super::audit::Deed;
use super::users::AddUserError;
use super::{Account, Row, Store, StoreError, Tx, row};
use crate::author::Author;
use crate::record::{InvitationRecord, UserRecord};

/// For whom an invitation is.
#[derive(Debug, Clone)]
pub(crate) struct Addressee {
    pub(crate) account: AccountId,
    pub(crate) account_name: String,
    /// The user; none if whoever accepts it becomes a new owner.
    pub(crate) user: Option<(UserId, UserName)>,
    pub(crate) expires_at: DateTime<Utc>,
}

/// An invitation that was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    /// It is unknown, used or expired: whoever asks does not learn which.
    #[error("the invitation does not work")]
    NotValid,
    /// Somebody has the name that was chosen.
    #[error("a user has this name")]
    NameTaken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const SELECT: &str = "SELECT i.account, a.name AS account_name, i.holder, u.name, i.expires_at
    FROM invitations i JOIN accounts a ON a.id = i.account LEFT JOIN users u ON u.id = i.holder
    WHERE i.hash = $1 AND i.expires_at > $2 AND u.disabled_at IS NULL";

impl Store {
    /// For whom an invitation is, if it works.
    pub(crate) async fn invitation(
        &self,
        token: &Secret,
        now: DateTime<Utc>,
    ) -> Result<Option<Addressee>, StoreError> {
        let query = sqlx::query(SELECT).bind(token.hash().to_vec()).bind(row::millis(now));
        query.fetch_optional(&self.reader).await?.as_ref().map(addressee).transpose()
    }

    /// Accepts an invitation: the user has this password from now on, and is signed out wherever they
    /// were; where it is for a new owner, there is one by this name. Checked and used in one
    /// transaction, so that of two who bring it at the same time one is let in.
    pub(crate) async fn accept(
        &self,
        token: &Secret,
        newcomer: (UserId, UserName),
        password: &str,
        from: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<UserId, AcceptError> {
        let mut tx = self.write().await?;
        let query = sqlx::query(SELECT).bind(token.hash().to_vec()).bind(row::millis(now));
        let found = query.fetch_optional(tx.db()).await.map_err(StoreError::from)?;
        let invited = addressee(&found.ok_or(AcceptError::NotValid)?)?;
        let delete = "DELETE FROM invitations WHERE hash = $1";
        let query = sqlx::query(delete).bind(token.hash().to_vec());
        query.execute(tx.db()).await.map_err(StoreError::from)?;
        let user = match invited.user {
            Some((user, _)) => {
                tx.set_password(user, password).await?;
                user
            }
            None => {
                let owner = UserRecord {
                    id: newcomer.0,
                    name: newcomer.1,
                    role: Role::Owner,
                    admin: invited.account == self.own_account,
                    can_sign_in: true,
                    created_at: now,
                    signed_in_at: None,
                    disabled_at: None,
                    version: 1,
                };
                let kind = ActorKind::User;
                let by = Author::new(kind, owner.id.as_str(), owner.name.as_str(), from, now);
                self.account(invited.account, by).insert_user(&mut tx, &owner, Some(password)).await?;
                owner.id
            }
        };
        let (account, by) = tx.themselves(user, from, now).await?;
        tx.write_down(account, &by, Deed::new(AuditAction::InvitationAccepted, user)).await?;
        tx.commit().await?;
        Ok(user)
    }
}

impl Account {
    /// Whether somebody can sign in who decides about this account.
    pub(crate) async fn has_owner(&self) -> Result<bool, StoreError> {
        let select = "SELECT COUNT(*) FROM users WHERE account = $1 AND role = 'owner'
                      AND disabled_at IS NULL AND (password IS NOT NULL
                      OR EXISTS (SELECT 1 FROM identities WHERE holder = users.id))";
        let owners: i64 =
            sqlx::query_scalar(select).bind(self.id.as_str()).fetch_one(&self.store.reader).await?;
        Ok(owners > 0)
    }

    /// Invites whoever brings the token to become an owner, in place of any older such invitation.
    pub(crate) async fn invite_an_owner(&self, invitation: &InvitationRecord) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        let delete = "DELETE FROM invitations WHERE account = $1 AND holder IS NULL";
        sqlx::query(delete).bind(self.id.as_str()).execute(tx.db()).await?;
        self.offer(&mut tx, None, invitation).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::OwnerInvited, self.id)).await?;
        tx.commit().await
    }

    /// Lets a user choose a new password, in place of any older invitation; says whether there is such
    /// a user. The password they have works until then.
    pub(crate) async fn invite(
        &self,
        user: UserId,
        invitation: &InvitationRecord,
    ) -> Result<bool, StoreError> {
        let mut tx = self.store.write().await?;
        if self.user_within(&mut tx, user).await?.is_none() {
            return Ok(false);
        }
        let delete = "DELETE FROM invitations WHERE holder = $1";
        sqlx::query(delete).bind(user.as_str()).execute(tx.db()).await?;
        self.offer(&mut tx, Some(user), invitation).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::UserInvited, user)).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub(super) async fn offer(
        &self,
        tx: &mut Tx,
        user: Option<UserId>,
        invitation: &InvitationRecord,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO invitations (hash, account, holder, expires_at) VALUES ($1, $2, $3, $4)";
        sqlx::query(insert)
            .bind(invitation.hash.to_vec())
            .bind(self.id.as_str())
            .bind(row::shown(user.as_ref()))
            .bind(row::millis(invitation.expires_at))
            .execute(tx.db())
            .await?;
        Ok(())
    }
}

impl From<AddUserError> for AcceptError {
    fn from(problem: AddUserError) -> Self {
        match problem {
            AddUserError::NameTaken => Self::NameTaken,
            AddUserError::Store(problem) => Self::Store(problem),
        }
    }
}

fn addressee(found: &Row) -> Result<Addressee, StoreError> {
    let user = match row::maybe_text(found, "holder")? {
        Some(id) => Some((id, row::text(found, "name")?)),
        None => None,
    };
    Ok(Addressee {
        account: row::text(found, "account")?,
        account_name: found.try_get("account_name")?,
        user,
        expires_at: row::time(found, "expires_at")?,
    })
}
