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

/// What a thing of a box is looked up with: without its box it is gone.
macro_rules! of_box {
    ($table:literal) => {
        concat!(
            "SELECT id, device, (SELECT name FROM devices d WHERE d.id = device AND d.deleted_at IS NULL) AS name FROM ",
            $table,
            " WHERE device IN (SELECT id FROM devices WHERE deleted_at IS NULL) AND account = "
        )
    };
}

/// Where each kind of thing is found.
const PLACES: [(AuditSubject, &str); 6] = [
    (
        AuditSubject::Device,
        "SELECT id, name, NULL AS device FROM devices WHERE deleted_at IS NULL AND account = ",
    ),
    (AuditSubject::Access, of_box!("accesses")),
    (AuditSubject::Visit, of_box!("visits")),
    (AuditSubject::User, "SELECT id, name, NULL AS device FROM users WHERE account = "),
    (AuditSubject::Token, "SELECT id, name, NULL AS device FROM tokens WHERE account = "),
    (AuditSubject::Webhook, "SELECT id, NULL AS name, NULL AS device FROM webhooks WHERE account = "),
];

impl Account {
    /// Those of these ids that mean something of the account that is still there.
    pub(crate) async fn named(&self, ids: &BTreeSet<&str>) -> Result<HashMap<String, Named>, StoreError> {
        let mut named = HashMap::new();
        if ids.is_empty() {
            return Ok(named);
        }
        for (kind, select) in PLACES {
            let mut query = Query::new(select);
            query.push_bind(self.id.to_string()).push(" AND id IN (");
            let mut list = query.separated(", ");
            for id in ids {
                list.push_bind((*id).to_owned());
            }
            query.push(")");
            for found in query.build().fetch_all(&self.store.reader).await? {
                let (name, device) = (found.try_get("name")?, found.try_get("device")?);
                named.insert(found.try_get("id")?, Named { kind, name, device });
            }
        }
        Ok(named)
    }
}
