//! The store: the only place that knows there is a database.
//!
//! Its face has ids, times and records; times are passed in. Whatever is checked is checked in the
//! transaction that uses it, revisions come from the database in the transaction of their change, and
//! a change that returned is on disk. What belongs to an account is reached through
//! [`Store::account`] only, so no query on an account's rows can forget to say whose.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use postern_protocol::id::{AccountId, DeviceId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::watch;

use crate::author::Author;
use crate::entropy::entropy;

mod accesses;
mod accounts;
mod activity;
mod audit;
mod census;
mod cuts;
mod deliveries;
mod devices;
mod events;
mod feed;
mod host_keys;
mod idempotency;
mod identities;
mod invitations;
mod joins;
mod leases;
mod presence;
mod relays;
mod retention;
mod row;
mod sessions;
mod sweep;
mod tokens;
mod users;
mod visits;
mod webhooks;

pub(crate) use accesses::{
    AccessFilter, CreateAccessError, Creation, DecideError, EditAccessError, Edits, Phase,
};
pub(crate) use accounts::{AddAccountError, CloseError, RenameAccountError};
pub(crate) use activity::{DAYS, DeviceActivity};
pub(crate) use audit::{AuditFilter, Named};
pub(crate) use census::Census;
pub(crate) use deliveries::{Attempted, Errand, TestWebhookError, Then};
pub(crate) use devices::{CreateDeviceError, RenameError};
pub(crate) use host_keys::ConfirmError;
pub(crate) use invitations::{AcceptError, Addressee};
pub(crate) use joins::{JoinError, JoinToken};
pub(crate) use leases::LeaseError;
pub(crate) use presence::Sighting;
pub(crate) use relays::{AddRelayError, Whereabouts};
pub(crate) use retention::Aging;
pub(crate) use sessions::{Credentials, LASTS as SESSION_LASTS};
pub(crate) use users::{AddUserError, EditUserError, UserEdits};
pub(crate) use visits::VisitFilter;
pub(crate) use webhooks::{AddWebhookError, EditWebhookError, MOST as MOST_WEBHOOKS, WebhookEdits};

/// The database in use. Statements are written so that PostgreSQL reads them too.
type Engine = sqlx::Sqlite;
type Pool = sqlx::Pool<Engine>;
type Row = sqlx::sqlite::SqliteRow;
type Query = sqlx::QueryBuilder<Engine>;

/// Writers wait for each other in the program, where the wait is fair and has no fixed steps.
const WRITERS: u32 = 1;

/// Readers do not wait for anybody; so many at once keep two cores busy.
const READERS: u32 = 8;

/// How long to wait for another program that writes, such as `postern-api token create`.
const BUSY: Duration = Duration::from_secs(5);

/// The database.
#[derive(Clone)]
pub(crate) struct Store {
    writer: Pool,
    reader: Pool,
    bells: Arc<Bells>,
    own_account: AccountId,
}

/// The rows of one account.
#[derive(Clone)]
pub(crate) struct Account {
    store: Store,
    id: AccountId,
    /// The boxes that can be seen through it; none means all of the account's.
    boxes: Option<Arc<[DeviceId]>>,
    /// Whoever reaches them through it.
    by: Author,
}

/// What rings when something has been committed.
struct Bells {
    /// The newest revision of the rules.
    rules: watch::Sender<u64>,
    /// Counts reports of relays.
    presence: watch::Sender<u64>,
    /// Counts reports of visits.
    visits: watch::Sender<u64>,
    /// Counts visits that somebody wants to end.
    cuts: watch::Sender<u64>,
    /// Counts what webhooks are to be told.
    outbox: watch::Sender<u64>,
}

/// Trouble with the database itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It did not do what it was asked.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// It could not be brought to the form that this version needs.
    #[error("the database cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// It holds something that nobody put there.
    #[error("the database holds a {what} that cannot be read")]
    Corrupt {
        /// What cannot be read.
        what: &'static str,
        /// Why.
        #[source]
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its boxes trust other keys than those in the state directory.
    #[error(
        "the state directory has lost its keys: the database belongs to another authority or grant key, \
         and no box would trust the present ones; restore authority.pem and grants.key"
    )]
    OtherKeys,
}

/// Something was edited since whoever wants to change it has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was edited since it was read")]
pub(crate) struct Stale;

/// A page of a list: newest first, so many, and after this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paging<'a> {
    /// How many at most.
    pub(crate) limit: u32,
    /// The last item of the page before.
    pub(crate) after: Option<(DateTime<Utc>, &'a str)>,
}

impl Store {
    /// Opens a database file, makes what is missing, and brings it up to date.
    pub(crate) async fn open(file: &Path, now: DateTime<Utc>) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let writer = pool(WRITERS).connect_with(options.clone()).await?;
        sqlx::migrate!().run(&writer).await?;
        let reader = pool(READERS).connect_with(options.pragma("query_only", "on")).await?;
        let bells = Bells {
            rules: watch::Sender::new(0),
            presence: watch::Sender::new(0),
            visits: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            outbox: watch::Sender::new(0),
        };
        let own_account = own_account(&writer, now).await?;
        let store = Self { writer, reader, bells: Arc::new(bells), own_account };
        Ok(store)
    }

    /// Ties the database to the authority and the grant key that its boxes pin.
    pub(crate) async fn belong_to(&self, authority: &str, grant_key: &str) -> Result<(), StoreError> {
        let insert = "INSERT INTO installation (one, revision, authority, grant_key) VALUES (1, 0, $1, $2)
                      ON CONFLICT (one) DO NOTHING";
        sqlx::query(insert).bind(authority).bind(grant_key).execute(&self.writer).await?;
        let select = "SELECT authority, grant_key FROM installation";
        let known: (String, String) = sqlx::query_as(select).fetch_one(&self.writer).await?;
        match known == (authority.to_owned(), grant_key.to_owned()) {
            true => Ok(()),
            false => Err(StoreError::OtherKeys),
        }
    }

    /// The rows of an account, for whoever asks.
    pub(crate) fn account(&self, id: AccountId, by: Author) -> Account {
        Account { store: self.clone(), id, boxes: None, by }
    }

    /// The account that every installation has.
    pub(crate) fn own_account(&self, by: Author) -> Account {
        self.account(self.own_account, by)
    }

    /// The newest revision, as a bell that rings with every change of a rule.
    pub(crate) fn rules_bell(&self) -> watch::Receiver<u64> {
        self.bells.rules.subscribe()
    }

    /// A bell that rings with every report of a relay.
    pub(crate) fn presence_bell(&self) -> watch::Receiver<u64> {
        self.bells.presence.subscribe()
    }

    /// A bell that rings with every report of visits.
    pub(crate) fn visits_bell(&self) -> watch::Receiver<u64> {
        self.bells.visits.subscribe()
    }

    /// A bell that rings whenever somebody wants a visit to end.
    pub(crate) fn cuts_bell(&self) -> watch::Receiver<u64> {
        self.bells.cuts.subscribe()
    }

    /// The newest revision of the rules; rings the bell if another program made it.
    pub(crate) async fn revision(&self) -> Result<u64, StoreError> {
        let revision: i64 =
            sqlx::query_scalar("SELECT revision FROM installation").fetch_one(&self.reader).await?;
        let revision = row::unsigned(revision);
        self.bells.ring_rules(revision);
        Ok(revision)
    }

    /// Finishes what is being written, and closes the file.
    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    async fn write(&self) -> Result<Tx, StoreError> {
        let inner = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Tx { inner, bells: self.bells.clone(), revision: None, reported: false, posted: false })
    }
}

impl Account {
    /// The account's id.
    pub(crate) fn id(&self) -> AccountId {
        self.id
    }

    /// Whoever asks.
    pub(crate) fn author(&self) -> &Author {
        &self.by
    }

    /// The boxes that can be seen through this, if not all of the account's.
    pub(crate) fn boxes(&self) -> Option<&[DeviceId]> {
        self.boxes.as_deref()
    }

    /// The same rows, as far as they are about these boxes.
    pub(crate) fn only(self, boxes: Option<Vec<DeviceId>>) -> Self {
        Self { boxes: boxes.map(Into::into), ..self }
    }

    fn covers(&self, device: DeviceId) -> bool {
        self.boxes.as_deref().is_none_or(|boxes| boxes.contains(&device))
    }

    /// Adds to a query that has a WHERE that this column names a box that can be seen.
    fn push_scope(&self, query: &mut Query, column: &'static str) {
        if let Some(boxes) = &self.boxes {
            query.push(" AND ").push(column).push(" IN (");
            let mut ids = query.separated(", ");
            for device in boxes.iter() {
                ids.push_bind(device.to_string());
            }
            query.push(")");
        }
    }
}

impl Bells {
    fn ring_rules(&self, revision: u64) {
        self.rules.send_if_modified(|newest| {
            let newer = revision > *newest;
            *newest = revision.max(*newest);
            newer
        });
    }
}

/// A change under way; dropped without [`Tx::commit`], it never was.
struct Tx {
    inner: sqlx::Transaction<'static, Engine>,
    bells: Arc<Bells>,
    revision: Option<u64>,
    reported: bool,
    /// Whether webhooks are to be told something.
    posted: bool,
}

impl Tx {
    fn db(&mut self) -> &mut <Engine as sqlx::Database>::Connection {
        &mut self.inner
    }

    /// The next revision, for a change of rules.
    ///
    /// Boxes never go back to an older revision, so it must rise even if the database is restored
    /// from an older copy: it is at least the time in milliseconds.
    async fn next_revision(&mut self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let next = "UPDATE installation
                    SET revision = CASE WHEN revision < $1 THEN $1 ELSE revision + 1 END
                    RETURNING revision";
        let revision: i64 =
            sqlx::query_scalar(next).bind(now.timestamp_millis()).fetch_one(self.db()).await?;
        let revision = row::unsigned(revision);
        self.revision = Some(revision);
        Ok(revision)
    }

    /// Makes it true, on disk, and only then rings the bells.
    async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await?;
        if let Some(revision) = self.revision {
            self.bells.ring_rules(revision);
        }
        if self.reported {
            self.bells.presence.send_modify(|reports| *reports += 1);
        }
        if self.posted {
            self.bells.outbox.send_modify(|posted| *posted += 1);
        }
        Ok(())
    }
}

fn pool(most: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(most).min_connections(1).idle_timeout(None).max_lifetime(None)
}

async fn own_account(writer: &Pool, now: DateTime<Utc>) -> Result<AccountId, StoreError> {
    let insert = "INSERT INTO accounts (id, name, created_at, own)
                  SELECT $1, 'default', $2, 1 WHERE NOT EXISTS (SELECT 1 FROM accounts WHERE own = 1)";
    let id = AccountId::from_entropy(entropy());
    sqlx::query(insert).bind(id.as_str()).bind(row::millis(now)).execute(writer).await?;
    let select = "SELECT id FROM accounts WHERE own = 1";
    row::parsed("account", &sqlx::query_scalar::<_, String>(select).fetch_one(writer).await?)
}
