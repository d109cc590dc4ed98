//! The audit: every change, written down in the transaction that makes it, chained to the one before.

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use postern_protocol::api::{Actor, ActorKind, AuditAction, AuditRecord, AuditSubject};
use postern_protocol::id::{AccountId, AuditId, UserId};
use sqlx::Row as _;

use super::{Account, Query, Row, Store, StoreError, Tx, row};
use crate::author::Author;
use crate::chain::{Broken, Head, Link, Walk};
use crate::entropy::entropy;

mod facts;
mod named;

pub(super) use facts::{Facts, changed, fact};
pub(crate) use named::Named;

/// Records that are checked at a time.
const STRIDE: i64 = 1000;

/// What is done to an account by admins, and stands in the installation's own account whichever it is.
const OF_ACCOUNTS: [AuditAction; 3] =
    [AuditAction::AccountOpened, AuditAction::AccountRenamed, AuditAction::AccountClosed];

/// Names in the record of a pruning.
pub(super) const THROUGH: &str = "through";
pub(super) const HASH: &str = "hash";

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditFilter {
    /// Those of one kind.
    pub(crate) action: Option<AuditAction>,
    /// Those about things of one kind.
    pub(crate) about: Option<AuditSubject>,
    /// Those about one thing.
    pub(crate) subject: Option<String>,
    /// Those of one kind of actor.
    pub(crate) actor_kind: Option<ActorKind>,
    /// Those of one actor.
    pub(crate) actor: Option<String>,
    /// Those of this time or later.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Those before this time.
    pub(crate) until: Option<DateTime<Utc>>,
    /// Those about other accounts too, which stand in the installation's own and are for admins only.
    pub(crate) for_admin: bool,
}

/// Something that was done, and to what.
#[derive(Clone)]
pub(super) struct Deed {
    action: AuditAction,
    subject: String,
    was: Facts,
    became: Facts,
}

impl Deed {
    pub(super) fn new(action: AuditAction, subject: impl ToString) -> Self {
        Self { action, subject: subject.to_string(), was: Facts::new(), became: Facts::new() }
    }

    /// How it was before.
    pub(super) fn was(self, was: Facts) -> Self {
        Self { was, ..self }
    }

    /// How it is now.
    pub(super) fn became(self, became: Facts) -> Self {
        Self { became, ..self }
    }
}

impl Account {
    /// What was done in the account, the newest first.
    pub(crate) async fn audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let mut query = Query::new("SELECT * FROM audit WHERE account = ");
        query.push_bind(self.id.to_string());
        filter.push_to(&mut query);
        if !filter.for_admin {
            query.push(" AND (subject = account OR action NOT IN (");
            let mut words = query.separated(", ");
            for action in OF_ACCOUNTS {
                words.push_bind(row::word(&action));
            }
            query.push("))");
        }
        if let Some(after) = after {
            query.push(" AND seq < (SELECT seq FROM audit WHERE id = ").push_bind(after.to_owned());
            query.push(" AND account = ").push_bind(self.id.to_string()).push(")");
        }
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(i64::from(limit));
        query.build().fetch_all(&self.store.reader).await?.iter().map(record).collect()
    }

    /// Writes down what was done in this account, by whoever has this handle.
    pub(super) async fn wrote(&self, tx: &mut Tx, deed: Deed) -> Result<(), StoreError> {
        tx.write_down(self.id, &self.by, deed).await
    }
}

impl Tx {
    /// Writes down what is done, in the transaction that does it.
    pub(super) async fn write_down(
        &mut self,
        account: AccountId,
        by: &Author,
        deed: Deed,
    ) -> Result<(), StoreError> {
        let advance = "UPDATE audit_head SET seq = seq + 1 RETURNING seq, hash";
        let previous = head(&sqlx::query(advance).fetch_one(self.db()).await?)?;
        let (id, actor) = (AuditId::from_entropy(entropy()), by.actor());
        let (kind, action) = (row::word(&actor.kind), row::word(&deed.action));
        let (address, was, became) =
            (row::shown(by.from().as_ref()), row::to_json(&deed.was), row::to_json(&deed.became));
        let link = Link {
            seq: previous.seq,
            at_millis: row::millis(by.at()),
            id: id.as_str(),
            account: account.as_str(),
            actor_kind: &kind,
            actor_id: actor.id.as_deref(),
            actor_name: &actor.name,
            address: address.as_deref(),
            action: &action,
            subject: &deed.subject,
            was: &was,
            became: &became,
        };
        self.append(&link, link.hash(&previous.hash)).await
    }

    async fn append(&mut self, link: &Link<'_>, hash: [u8; 32]) -> Result<(), StoreError> {
        let insert = "INSERT INTO audit (seq, id, account, at, actor_kind, actor_id, actor_name, address,
                      action, subject, was, became, hash)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        sqlx::query(insert)
            .bind(row::signed(link.seq))
            .bind(link.id)
            .bind(link.account)
            .bind(link.at_millis)
            .bind(link.actor_kind)
            .bind(link.actor_id)
            .bind(link.actor_name)
            .bind(link.address)
            .bind(link.action)
            .bind(link.subject)
            .bind(link.was)
            .bind(link.became)
            .bind(hash.to_vec())
            .execute(self.db())
            .await?;
        sqlx::query("UPDATE audit_head SET hash = $1").bind(hash.to_vec()).execute(self.db()).await?;
        Ok(())
    }

    /// A user as the author of what they do themselves, and their account.
    pub(super) async fn themselves(
        &mut self,
        user: UserId,
        from: Option<std::net::IpAddr>,
        at: DateTime<Utc>,
    ) -> Result<(AccountId, Author), StoreError> {
        let select = "SELECT account, name FROM users WHERE id = $1";
        let found = sqlx::query(select).bind(user.as_str()).fetch_one(self.db()).await?;
        let kind = postern_protocol::api::ActorKind::User;
        let author = Author::new(kind, user.as_str(), found.try_get("name")?, from, at);
        Ok((row::text(&found, "account")?, author))
    }
}

impl Store {
    /// Checks the whole chain; how many records there are, and where it ends.
    pub(crate) async fn verify_audit(
        &self,
        expected: Option<Head>,
    ) -> Result<Result<(u64, Head), Broken>, StoreError> {
        // One read transaction, so that what is appended meanwhile is no part of it.
        let mut tx = self.reader.begin().await?;
        let found = sqlx::query("SELECT seq, hash FROM audit_head").fetch_one(&mut *tx).await?;
        let end = head(&found)?;
        let first: Option<i64> = sqlx::query_scalar("SELECT MIN(seq) FROM audit").fetch_one(&mut *tx).await?;
        let select = "SELECT became FROM audit WHERE action = 'audit_pruned' ORDER BY seq DESC LIMIT 1";
        let pruned = sqlx::query(select).fetch_optional(&mut *tx).await?;
        let start = match beginning(first, pruned.as_ref())? {
            Ok(start) => start,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut walk = match Walk::begin(start, expected) {
            Ok(walk) => walk,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut after = row::signed(start.seq);
        loop {
            let select = "SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
            let rows = sqlx::query(select).bind(after).bind(STRIDE).fetch_all(&mut *tx).await?;
            for found in &rows {
                after = found.try_get("seq")?;
                if let Err(broken) = walk.step(&link(found)?, found.try_get("hash")?) {
                    return Ok(Err(broken));
                }
            }
            if rows.is_empty() {
                return Ok(walk.end(end));
            }
        }
    }
}

/// Where the chain begins: at its first record, or behind what the last pruning took away.
fn beginning(first: Option<i64>, pruned: Option<&Row>) -> Result<Result<Head, Broken>, StoreError> {
    let before = match first {
        None | Some(1) => return Ok(Ok(Head::START)),
        Some(first) => row::unsigned(first - 1),
    };
    let Some(pruned) = pruned else { return Ok(Err(Broken::Beginning { before })) };
    let said: Facts = row::json(pruned, "became")?;
    let said = said.get(THROUGH).zip(said.get(HASH)).map(|(through, hash)| format!("{through}:{hash}"));
    let said: Option<Head> = said.and_then(|said| said.parse().ok());
    Ok(said.filter(|head| head.seq == before).ok_or(Broken::Beginning { before }))
}

impl AuditFilter {
    fn push_to(&self, query: &mut Query) {
        if let Some(action) = self.action {
            query.push(" AND action = ").push_bind(row::word(&action));
        }
        if let Some(about) = self.about {
            query.push(" AND action IN (");
            let mut words = query.separated(", ");
            for action in about.actions() {
                words.push_bind(row::word(&action));
            }
            query.push(")");
        }
        if let Some(subject) = &self.subject {
            query.push(" AND subject = ").push_bind(subject.clone());
        }
        if let Some(kind) = self.actor_kind {
            query.push(" AND actor_kind = ").push_bind(row::word(&kind));
        }
        if let Some(actor) = &self.actor {
            query.push(" AND actor_id = ").push_bind(actor.clone());
        }
        if let Some(since) = self.since {
            query.push(" AND at >= ").push_bind(row::millis(since));
        }
        if let Some(until) = self.until {
            query.push(" AND at < ").push_bind(row::millis(until));
        }
    }
}

fn head(found: &Row) -> Result<Head, StoreError> {
    let hash: &[u8] = found.try_get("hash")?;
    Ok(Head { seq: row::count(found, "seq")?, hash: hash.try_into().unwrap_or_default() })
}

fn link(found: &Row) -> Result<Link<'_>, StoreError> {
    Ok(Link {
        seq: row::count(found, "seq")?,
        at_millis: found.try_get("at")?,
        id: found.try_get("id")?,
        account: found.try_get("account")?,
        actor_kind: found.try_get("actor_kind")?,
        actor_id: found.try_get("actor_id")?,
        actor_name: found.try_get("actor_name")?,
        address: found.try_get("address")?,
        action: found.try_get("action")?,
        subject: found.try_get("subject")?,
        was: found.try_get("was")?,
        became: found.try_get("became")?,
    })
}

fn record(found: &Row) -> Result<AuditRecord, StoreError> {
    let hash: &[u8] = found.try_get("hash")?;
    Ok(AuditRecord {
        id: row::text(found, "id")?,
        at: row::time(found, "at")?,
        actor: Actor {
            kind: row::from_word(found, "actor_kind")?,
            id: found.try_get("actor_id")?,
            name: found.try_get("actor_name")?,
        },
        address: row::maybe_text(found, "address")?,
        action: row::from_word(found, "action")?,
        subject: found.try_get("subject")?,
        before: row::json(found, "was")?,
        after: row::json(found, "became")?,
        hash: HEXLOWER.encode(hash),
    })
}
