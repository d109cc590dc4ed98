//! Public ports: each leads to one access.
//!
//! A port goes to another box only when a day has passed since its access ended, because somebody may
//! still have the old command, and would otherwise knock at a stranger's door.

use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::access::PublicPort;
use postern_protocol::api::{PortRange, Via};
use postern_protocol::id::{AccessId, DeviceId, RelayId};

use super::{StoreError, Tx, row};
use crate::entropy::entropy;
use crate::record::{AccessRecord, PRESENCE_LEASE};

/// How long after the end of its access a port leads to no other box.
const UNUSED: TimeDelta = TimeDelta::days(1);

/// A port that was not leased.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// No relay has any.
    #[error("no relay has public ports")]
    NoPorts,
    /// The relay has, and each leads to an access that lives or has ended lately.
    #[error("all public ports are leased")]
    AllLeased,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for LeaseError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A port that an access has, or had when it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    port: u16,
    access: AccessId,
    device: DeviceId,
    ends_at: DateTime<Utc>,
}

impl Tx {
    /// Leases a public port to an access that has none, or none that its relay still offers.
    pub(super) async fn lease(
        &mut self,
        access: &mut AccessRecord,
        now: DateTime<Utc>,
    ) -> Result<(), LeaseError> {
        if access.via != Via::Port || self.offers(access.leased).await? {
            return Ok(());
        }
        let (relay, range) = self.lessor(access.device, now).await?.ok_or(LeaseError::NoPorts)?;
        let held = self.held(relay).await?;
        let chosen = choose(range, &held, access.device, now, u64::from_ne_bytes(entropy()));
        let (port, former) = chosen.ok_or(LeaseError::AllLeased)?;
        if let Some(former) = former {
            self.take_from(former, now).await?;
        }
        access.leased = Some(PublicPort { relay, port });
        Ok(())
    }

    async fn offers(&mut self, leased: Option<PublicPort>) -> Result<bool, StoreError> {
        let Some(PublicPort { relay, port }) = leased else { return Ok(false) };
        let select = "SELECT ports FROM relays WHERE id = $1 AND ports IS NOT NULL";
        let found = sqlx::query(select).bind(relay.as_str()).fetch_optional(self.db()).await?;
        let range: Option<PortRange> = found.as_ref().map(|found| row::text(found, "ports")).transpose()?;
        Ok(range.is_some_and(|range| range.contains(port)))
    }

    /// Of the relays that have ports: the one that has the box, or else the one that was seen last.
    async fn lessor(
        &mut self,
        device: DeviceId,
        now: DateTime<Utc>,
    ) -> Result<Option<(RelayId, PortRange)>, StoreError> {
        let select = "SELECT r.id, r.ports FROM relays r
                      LEFT JOIN presence p ON p.relay = r.id AND p.device = $1 AND p.online = 1
                           AND r.last_seen > $2
                      WHERE r.ports IS NOT NULL
                      ORDER BY CASE WHEN p.relay IS NULL THEN 1 ELSE 0 END,
                               CASE WHEN p.relay IS NULL THEN r.last_seen ELSE p.since END DESC, r.id LIMIT 1";
        let query = sqlx::query(select).bind(device.as_str()).bind(row::millis(now - PRESENCE_LEASE));
        let found = query.fetch_optional(self.db()).await?;
        found.map(|found| Ok((row::text(&found, "id")?, row::text(&found, "ports")?))).transpose()
    }

    async fn held(&mut self, relay: RelayId) -> Result<Vec<Held>, StoreError> {
        let select = "SELECT id, device, leased_port, expires_at, revoked_at FROM accesses
                      WHERE leased_from = $1";
        let rows = sqlx::query(select).bind(relay.as_str()).fetch_all(self.db()).await?;
        let held = rows.iter().map(|found| {
            let expires_at = row::time(found, "expires_at")?;
            let revoked_at = row::maybe_time(found, "revoked_at")?;
            Ok(Held {
                port: row::port(found, "leased_port")?,
                access: row::text(found, "id")?,
                device: row::text(found, "device")?,
                ends_at: revoked_at.map_or(expires_at, |revoked| revoked.min(expires_at)),
            })
        });
        held.collect()
    }

    /// An access that has ended loses its port, and relays and its box are told so.
    async fn take_from(&mut self, former: &Held, now: DateTime<Utc>) -> Result<(), StoreError> {
        let update =
            "UPDATE accesses SET leased_from = NULL, leased_port = NULL, version = version + 1 WHERE id = $1";
        sqlx::query(update).bind(former.access.as_str()).execute(self.db()).await?;
        self.revise(former.device, now).await?;
        Ok(())
    }
}

/// A port for an access to this box, and whose it was: one that no access ever had, whichever the
/// random number says; or else the one whose access ended longest ago, if that is long enough.
fn choose(
    range: PortRange,
    held: &[Held],
    device: DeviceId,
    now: DateTime<Utc>,
    random: u64,
) -> Option<(u16, Option<&Held>)> {
    let fresh: Vec<u16> = range.ports().filter(|port| held.iter().all(|held| held.port != *port)).collect();
    if !fresh.is_empty() {
        let place = random % fresh.len() as u64;
        return usize::try_from(place).ok().map(|place| (fresh[place], None));
    }
    let may_go = |held: &&Held| {
        let unused_since = if held.device == device { held.ends_at } else { held.ends_at + UNUSED };
        range.contains(held.port) && unused_since <= now
    };
    let former = held.iter().filter(may_go).min_by_key(|held| held.ends_at)?;
    Some((former.port, Some(former)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(10_000 + hours)
    }

    fn device(number: u8) -> DeviceId {
        DeviceId::from_entropy([number; 10])
    }

    fn held(port: u16, of: u8, ends: i64) -> Held {
        Held { port, access: AccessId::from_entropy([of; 10]), device: device(of), ends_at: at(ends) }
    }

    /// The port that box 1 gets at hour 0, of 40000 to 40002.
    fn chosen(held: &[Held], random: u64) -> Option<u16> {
        let range = "40000-40002".parse().unwrap();
        choose(range, held, device(1), at(0), random).map(|(port, _)| port)
    }

    #[test]
    fn a_port_that_nobody_had_is_drawn_by_lot() {
        assert_eq!([0, 1, 2, 3].map(|random| chosen(&[], random)), [40000, 40001, 40002, 40000].map(Some));
        let one = [held(40001, 2, -1000)];
        assert_eq!([0, 1].map(|random| chosen(&one, random)), [40000, 40002].map(Some));
    }

    #[test]
    fn a_port_that_somebody_had_is_given_away_a_day_after_its_access_ended() {
        let with = |ends: i64| [held(40000, 2, 1), held(40001, 3, ends), held(40002, 4, -23)];
        assert_eq!(chosen(&with(-24), 7), Some(40001));
        assert_eq!(chosen(&with(-23), 7), None, "each is in use or was lately");
        let both = [held(40000, 2, -30), held(40001, 3, -40), held(40002, 4, -50)];
        assert_eq!(chosen(&both, 7), Some(40002), "the longest unused");
    }

    #[test]
    fn a_box_may_have_its_own_port_again_at_once() {
        let own = [held(40000, 2, 5), held(40001, 1, 0), held(40002, 4, -23)];
        assert_eq!(chosen(&own, 7), Some(40001));
        let own_that_lives = [held(40000, 2, 5), held(40001, 1, 1), held(40002, 4, -23)];
        assert_eq!(chosen(&own_that_lives, 7), None);
    }

    #[test]
    fn a_range_that_became_smaller_gives_nothing_outside_of_it() {
        let outside = [held(40000, 2, 5), held(40001, 2, 5), held(40002, 2, 5), held(39999, 3, -100)];
        assert_eq!(chosen(&outside, 7), None);
    }
}
