//! Lists, a page at a time. A cursor names the last item of a page, so what is added or removed
//! meanwhile moves nothing from one page to another.

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use postern_protocol::api::Page;

use super::error::{ApiError, Code};
use crate::store::Paging;

/// Items on a page, unless asked for otherwise.
const USUAL: u32 = 50;

/// Items on a page at most.
pub(super) const MOST: u32 = 200;

/// The place after which a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    at: DateTime<Utc>,
    id: String,
}

/// What a caller wants of a list.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// How many items.
    pub(super) limit: u32,
    after: Option<Cursor>,
}

impl Wanted {
    /// Reads the parameters `limit` and `cursor`.
    pub(super) fn new(limit: Option<u32>, cursor: Option<&str>) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(ApiError::new(Code::InvalidParameter, format!("limit is 1 to {MOST}")).field("limit"));
        }
        let after = cursor.map(Cursor::read).transpose()?;
        Ok(Self { limit, after })
    }

    /// As the store reads it: one item more than wanted, to know whether there is another page.
    pub(super) fn paging(&self) -> Paging<'_> {
        let after = self.after.as_ref().map(|cursor| (cursor.at, &*cursor.id));
        Paging { limit: self.limit + 1, after }
    }

    /// The id of the item behind which to begin.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_ref().map(|cursor| &*cursor.id)
    }

    /// The same place in the list, so many items at a time.
    pub(super) fn at_a_time(&self, limit: u32) -> Self {
        Self { limit, after: self.after.clone() }
    }

    /// Goes on behind an item.
    pub(super) fn go_on_after(&mut self, cursor: Cursor) {
        self.after = Some(cursor);
    }

    /// What a page says that ends here and is not the last one.
    pub(super) fn next(&self) -> Option<String> {
        self.after.as_ref().map(Cursor::write)
    }

    /// The page, of one item more than it will have if there is another page.
    pub(super) fn page<T>(&self, mut items: Vec<T>, cursor: impl Fn(&T) -> Cursor) -> Page<T> {
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = items.len() > most;
        items.truncate(most);
        let next = items.last().filter(|_| more).map(|last| cursor(last).write());
        Page { items, next }
    }
}

impl Cursor {
    /// The place of an item.
    pub(super) fn new(at: DateTime<Utc>, id: impl ToString) -> Self {
        Self { at, id: id.to_string() }
    }

    fn write(&self) -> String {
        BASE64URL_NOPAD.encode(format!("{}.{}", self.at.timestamp_millis(), self.id).as_bytes())
    }

    fn read(text: &str) -> Result<Self, ApiError> {
        let invalid = || {
            let detail = "this is no cursor of this list: pass what 'next' of the page before said";
            ApiError::new(Code::InvalidCursor, detail).field("cursor")
        };
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| invalid())?;
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid())?;
        let (millis, id) = text.split_once('.').ok_or_else(invalid)?;
        let millis = millis.parse().map_err(|_| invalid())?;
        let at = DateTime::from_timestamp_millis(millis).ok_or_else(invalid)?;
        Ok(Self { at, id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_way_to_the_caller_and_back() {
        let cursor = Cursor::new(DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(), "abcdefghij");
        assert_eq!(Cursor::read(&cursor.write()).unwrap(), cursor);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "x", "YQ", "****", "Lg", "OTk5OTk5OTk5OTk5OTk5OTk5Lg"] {
            assert!(Cursor::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_kept() {
        assert!(Wanted::new(Some(0), None).is_err());
        assert!(Wanted::new(Some(MOST + 1), None).is_err());
        assert_eq!(Wanted::new(Some(MOST), None).unwrap().limit, MOST);
    }
}
