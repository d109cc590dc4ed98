//! Columns, read as what they stand for.

use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;

use super::{Row, StoreError};

/// A column of text that stands for something else.
pub(super) fn text<T>(row: &Row, column: &'static str) -> Result<T, StoreError>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    parsed(column, row.try_get::<&str, _>(column)?)
}

/// The same, where there may be nothing.
pub(super) fn maybe_text<T>(row: &Row, column: &'static str) -> Result<Option<T>, StoreError>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.try_get::<Option<&str>, _>(column)?.map(|text| parsed(column, text)).transpose()
}

/// A text that stands for something else.
pub(super) fn parsed<T>(what: &'static str, text: &str) -> Result<T, StoreError>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(|why| corrupt(what, why))
}

/// A column of JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(row.try_get(column)?).map_err(|why| corrupt(column, why))
}

/// The same, where there may be nothing.
pub(super) fn maybe_json<T: DeserializeOwned>(
    row: &Row,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| serde_json::from_str(text).map_err(|why| corrupt(column, why))).transpose()
}

/// JSON for a column.
pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("what is stored as JSON has only JSON's shapes")
}

/// A word of a closed list, as it is written in JSON, for a column.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    to_json(value).trim_matches('"').to_owned()
}

/// A column that holds such a word.
pub(super) fn from_word<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_value(text.into()).map_err(|why| corrupt(column, why))
}

/// The same, where there may be none.
pub(super) fn maybe_word<T: DeserializeOwned>(
    row: &Row,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| serde_json::from_value(text.into()).map_err(|why| corrupt(column, why))).transpose()
}

/// A column that holds a time.
pub(super) fn time(row: &Row, column: &'static str) -> Result<DateTime<Utc>, StoreError> {
    Ok(from_millis(row.try_get(column)?))
}

/// The same, where there may be none.
pub(super) fn maybe_time(row: &Row, column: &'static str) -> Result<Option<DateTime<Utc>>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(from_millis))
}

/// A column that holds a count.
pub(super) fn count(row: &Row, column: &'static str) -> Result<u64, StoreError> {
    Ok(unsigned(row.try_get(column)?))
}

/// A column that holds a truth value.
pub(super) fn truth(row: &Row, column: &'static str) -> Result<bool, StoreError> {
    Ok(row.try_get::<i64, _>(column)? == 1)
}

/// A column that holds a port.
pub(super) fn port(row: &Row, column: &'static str) -> Result<u16, StoreError> {
    let number: i64 = row.try_get(column)?;
    u16::try_from(number).map_err(|why| corrupt(column, why))
}

/// The same, where there may be none.
pub(super) fn maybe_port(row: &Row, column: &'static str) -> Result<Option<u16>, StoreError> {
    row.try_get::<Option<i64>, _>(column)?.map(|_| port(row, column)).transpose()
}

/// SHA-256 of something, hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&crate::ca::sha256(bytes))
}

/// A time for a column.
pub(super) fn millis(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

/// A count for a column.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count from a column.
pub(super) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// Something printable, for a column of text.
pub(super) fn shown<T: Display>(value: Option<&T>) -> Option<String> {
    value.map(T::to_string)
}

fn from_millis(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::UNIX_EPOCH)
}

fn corrupt(what: &'static str, why: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Corrupt { what, why: Box::new(why) }
}
