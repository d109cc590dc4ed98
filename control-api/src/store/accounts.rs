//! Accounts: whoever owns boxes, accesses, users and tokens.

use super::{Account, StoreError};

impl Account {
    /// What it is called.
    pub(crate) async fn name(&self) -> Result<String, StoreError> {
        let select = "SELECT name FROM accounts WHERE id = $1";
        Ok(sqlx::query_scalar(select).bind(self.id.as_str()).fetch_one(&self.store.reader).await?)
    }
}
