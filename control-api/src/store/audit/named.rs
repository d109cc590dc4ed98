//! What the audit speaks of and is still there, by the names that people know it by.

use std::collections::{BTreeSet, HashMap};

use postern_protocol::api::AuditSubject;
use sqlx::Row as _;

use super::super::{Account, Query, StoreError};

/// A thing of the account that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// What it is.
    pub(crate) kind: AuditSubject,
    /// What people call it. An access and a visit have no name: it is their box's.
    pub(crate) name: Option<String>,
    /// The box that it belongs to.
    pub(crate) device: Option<String>,
}

/// Where one kind of thing is found.
struct Place {
    kind: AuditSubject,
    table: &'static str,
    /// Its name and its box, in a row of the table and perhaps of its box.
    columns: &'static str,
    /// The rest of the query, up to the account.
    which: &'static str,
}

/// What a thing of a box is looked up with: without its box it is gone.
const OF_BOX: (&str, &str) =
    ("d.name, t.device", " JOIN devices d ON d.id = t.device AND d.deleted_at IS NULL WHERE t.id = asked.id");

/// Where each kind of thing is found.
const PLACES: [Place; 6] = [
    Place {
        kind: AuditSubject::Device,
        table: "devices",
        columns: "t.name, NULL AS device",
        which: " WHERE t.id = asked.id AND t.deleted_at IS NULL",
    },
    Place { kind: AuditSubject::Access, table: "accesses", columns: OF_BOX.0, which: OF_BOX.1 },
    Place { kind: AuditSubject::Visit, table: "visits", columns: OF_BOX.0, which: OF_BOX.1 },
    Place::named(AuditSubject::User, "users"),
    Place::named(AuditSubject::Token, "tokens"),
    Place {
        kind: AuditSubject::Webhook,
        table: "webhooks",
        columns: "NULL AS name, NULL AS device",
        which: " WHERE t.id = asked.id",
    },
];

impl Place {
    const fn named(kind: AuditSubject, table: &'static str) -> Self {
        Self { kind, table, columns: "t.name, NULL AS device", which: " WHERE t.id = asked.id" }
    }
}

impl Account {
    /// Those of these ids that mean something of the account that is still there.
    pub(crate) async fn named(&self, ids: &BTreeSet<&str>) -> Result<HashMap<String, Named>, StoreError> {
        let mut named = HashMap::new();
        if ids.is_empty() {
            return Ok(named);
        }
        for place in &PLACES {
            for found in self.named_query(place, ids).build().fetch_all(&self.store.reader).await? {
                let (name, device) = (found.try_get("name")?, found.try_get("device")?);
                named.insert(found.try_get("id")?, Named { kind: place.kind, name, device });
            }
        }
        Ok(named)
    }

    /// Goes from the ids to what they name, and not through all that the account has: hence the join.
    fn named_query(&self, place: &Place, ids: &BTreeSet<&str>) -> Query {
        let mut query = Query::new("WITH asked (id) AS (VALUES ");
        for (place, id) in ids.iter().enumerate() {
            query.push(if place == 0 { "(" } else { ", (" }).push_bind((*id).to_owned()).push(")");
        }
        query.push(") SELECT t.id, ").push(place.columns).push(" FROM asked CROSS JOIN ").push(place.table);
        query.push(" t").push(place.which).push(" AND t.account = ").push_bind(self.id.to_string());
        query
    }

    /// Those queries, and the table of each.
    #[cfg(test)]
    pub(in crate::store) fn named_queries(
        &self,
        ids: &BTreeSet<&str>,
    ) -> impl Iterator<Item = (&'static str, Query)> {
        PLACES.iter().map(|place| (place.table, self.named_query(place, ids)))
    }
}
