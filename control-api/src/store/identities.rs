//! Users, as an OpenID provider knows them.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use postern_protocol::api::AuditAction;
use postern_protocol::id::{UserId, UserName};

use super::audit::{Deed, fact};
use super::{Store, StoreError, row};

impl Store {
    /// The user whom a provider knows by this subject. The first time they come, it is the one who was
    /// invited by the address that the provider vouches for; from then on the subject alone counts, so
    /// that an address that changes hands opens nothing.
    pub(crate) async fn user_by_identity(
        &self,
        issuer: &str,
        subject: &str,
        address: Option<&UserName>,
        from: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<Option<UserId>, StoreError> {
        let mut tx = self.write().await?;
        let select = "SELECT u.id, u.disabled_at FROM identities i JOIN users u ON u.id = i.holder
                      WHERE i.issuer = $1 AND i.subject = $2";
        let query = sqlx::query(select).bind(issuer).bind(subject);
        if let Some(found) = query.fetch_optional(tx.db()).await? {
            let enabled = row::maybe_time(&found, "disabled_at")?.is_none();
            return Ok(if enabled { Some(row::text(&found, "id")?) } else { None });
        }
        let Some(address) = address else { return Ok(None) };
        let insert = "INSERT INTO identities (issuer, subject, holder)
                      SELECT $1, $2, id FROM users WHERE name = $3 AND disabled_at IS NULL
                      AND NOT EXISTS (SELECT 1 FROM identities WHERE issuer = $1 AND holder = users.id)
                      RETURNING holder";
        let query = sqlx::query(insert).bind(issuer).bind(subject).bind(address.as_str());
        let Some(found) = query.fetch_optional(tx.db()).await? else { return Ok(None) };
        let user: UserId = row::text(&found, "holder")?;
        // They need no password any more, and whoever finds the link shall not choose one.
        tx.withdraw_invitation(user).await?;
        let (account, by) = tx.themselves(user, from, now).await?;
        let deed = Deed::new(AuditAction::IdentityLinked, user).became(fact("issuer", issuer));
        tx.write_down(account, &by, deed).await?;
        tx.commit().await?;
        Ok(Some(user))
    }
}
