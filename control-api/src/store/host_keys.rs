//! The host keys of boxes: the first are taken as they are, others only when somebody has confirmed
//! that they are the box's.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use postern_protocol::api::{AuditAction, Event, HostKey};
use postern_protocol::id::{AccountId, DeviceId, EventId};
use tracing::{info, warn};

use super::audit::{Deed, fact};
use super::{Account, StoreError, Tx, row};
use crate::entropy::entropy;

/// Host keys that were not confirmed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfirmError {
    /// There is no such box.
    #[error("there is no such box")]
    Unknown,
    /// The box reports others than those that were seen.
    #[error("the box reports other host keys")]
    Others {
        /// The fingerprints that it reports.
        reported: Vec<String>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ConfirmError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a report means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Nothing that was not known.
    Known,
    /// The first keys that the box ever had.
    First,
    /// Other keys than those that visitors expect.
    Changed,
    /// Those that visitors expect, after others.
    Back,
}

/// A box's keys, as they are kept.
struct Kept {
    account: AccountId,
    name: String,
    expected: Vec<HostKey>,
    reported: Option<Vec<HostKey>>,
}

impl Kept {
    fn meaning(&self, reported: &[HostKey]) -> Meaning {
        let same = |keys: &[HostKey]| fingerprints(keys) == fingerprints(reported);
        match &self.reported {
            // A stopped SSH server does not make visitors accept any key.
            _ if reported.is_empty() => Meaning::Known,
            _ if self.expected.is_empty() => Meaning::First,
            None if same(&self.expected) => Meaning::Known,
            Some(_) if same(&self.expected) => Meaning::Back,
            Some(before) if same(before) => Meaning::Known,
            _ => Meaning::Changed,
        }
    }

    fn event(
        &self,
        device: DeviceId,
        action: &str,
        actor: &str,
        reported: &[HostKey],
        at: DateTime<Utc>,
    ) -> Event {
        let detail =
            [("name", self.name.clone()), ("expected", list(&self.expected)), ("reported", list(reported))];
        Event {
            id: EventId::from_entropy(entropy()),
            at,
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: device.to_string(),
            detail: detail
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        }
    }
}

impl Account {
    /// Makes the keys that a box reports those that visitors expect, if they are those that somebody saw.
    pub(crate) async fn confirm_host_keys(
        &self,
        device: DeviceId,
        seen: &[String],
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<(), ConfirmError> {
        let mut tx = self.store.write().await?;
        let found = tx.kept_keys(device).await?;
        let mine = found.filter(|kept| kept.account == self.id && self.covers(device));
        let kept = mine.ok_or(ConfirmError::Unknown)?;
        let current = kept.reported.as_ref().unwrap_or(&kept.expected);
        if fingerprints(current) != seen.iter().map(String::as_str).collect() {
            let reported = current.iter().map(|key| key.fingerprint.clone()).collect();
            return Err(ConfirmError::Others { reported });
        }
        if let Some(reported) = &kept.reported {
            tx.expect_keys(device, reported).await?;
            let event = kept.event(device, "host_keys_confirmed", actor, reported, now);
            tx.record_event(self.id, &event).await?;
            let deed = Deed::new(AuditAction::HostKeysConfirmed, device);
            let deed = deed.was(fact("host_keys", list(&kept.expected)));
            self.wrote(&mut tx, deed.became(fact("host_keys", list(reported)))).await?;
        }
        Ok(tx.commit().await?)
    }
}

impl Tx {
    /// Takes down the host keys that a box reports.
    pub(super) async fn learn_host_keys(
        &mut self,
        device: DeviceId,
        reported: &[HostKey],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let Some(kept) = self.kept_keys(device).await? else { return Ok(()) };
        let name = &kept.name;
        let action = match kept.meaning(reported) {
            Meaning::Known => return Ok(()),
            Meaning::First => return self.expect_keys(device, reported).await,
            Meaning::Changed => {
                warn!(%device, name, expected = list(&kept.expected), reported = list(reported), "host keys changed");
                self.doubt_keys(device, reported, now).await?;
                "host_keys_changed"
            }
            Meaning::Back => {
                info!(%device, name, "host keys are the expected ones again");
                self.expect_keys(device, &kept.expected).await?;
                "host_keys_restored"
            }
        };
        let event = kept.event(device, action, "box", reported, now);
        self.record_event(kept.account, &event).await
    }

    async fn kept_keys(&mut self, device: DeviceId) -> Result<Option<Kept>, StoreError> {
        let select = "SELECT account, name, host_keys, reported_keys FROM devices
                      WHERE id = $1 AND deleted_at IS NULL";
        let found = sqlx::query(select).bind(device.as_str()).fetch_optional(self.db()).await?;
        let kept = found.map(|found| {
            Ok(Kept {
                account: row::text(&found, "account")?,
                name: sqlx::Row::try_get(&found, "name")?,
                expected: row::json(&found, "host_keys")?,
                reported: row::maybe_json(&found, "reported_keys")?,
            })
        });
        kept.transpose()
    }

    async fn expect_keys(&mut self, device: DeviceId, keys: &[HostKey]) -> Result<(), StoreError> {
        let update = "UPDATE devices SET host_keys = $2, reported_keys = NULL, keys_changed_at = NULL
                      WHERE id = $1";
        sqlx::query(update).bind(device.as_str()).bind(row::to_json(&keys)).execute(self.db()).await?;
        Ok(())
    }

    async fn doubt_keys(
        &mut self,
        device: DeviceId,
        reported: &[HostKey],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let update = "UPDATE devices SET reported_keys = $2, keys_changed_at = COALESCE(keys_changed_at, $3)
                      WHERE id = $1";
        let query = sqlx::query(update).bind(device.as_str()).bind(row::to_json(&reported));
        query.bind(row::millis(now)).execute(self.db()).await?;
        Ok(())
    }
}

/// Keys are compared as sets: in which order a server names them says nothing.
fn fingerprints(keys: &[HostKey]) -> BTreeSet<&str> {
    keys.iter().map(|key| key.fingerprint.as_str()).collect()
}

fn list(keys: &[HostKey]) -> String {
    fingerprints(keys).into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &str) -> Vec<HostKey> {
        names
            .chars()
            .map(|name| HostKey { key: format!("key {name}"), fingerprint: name.to_string() })
            .collect()
    }

    fn meaning(expected: &str, before: Option<&str>, reported: &str) -> Meaning {
        let account = AccountId::from_entropy([1; 10]);
        let kept =
            Kept { account, name: "box42".into(), expected: keys(expected), reported: before.map(keys) };
        kept.meaning(&keys(reported))
    }

    #[test]
    fn a_report_is_judged_by_what_is_expected_and_what_was_reported_before() {
        for (expected, before, reported, means) in [
            ("", None, "ab", Meaning::First),
            ("", None, "", Meaning::Known),
            ("ab", None, "ba", Meaning::Known),
            ("ab", None, "", Meaning::Known),
            ("ab", None, "a", Meaning::Changed),
            ("ab", None, "abc", Meaning::Changed),
            ("ab", Some("c"), "c", Meaning::Known),
            ("ab", Some("c"), "", Meaning::Known),
            ("ab", Some("c"), "d", Meaning::Changed),
            ("ab", Some("c"), "ab", Meaning::Back),
        ] {
            assert_eq!(meaning(expected, before, reported), means, "{expected} {before:?} {reported}");
        }
    }
}
