//! What is shown: tables for people, the API's own JSON for programs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use postern_protocol::api::Page;
use serde_json::value::RawValue;

use crate::api::Reply;
use crate::failure::Failure;

/// Where answers go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Whether a program reads it.
    pub(crate) json: bool,
}

impl Output {
    /// Shows an answer: as it came to a program, in these words to people.
    pub(crate) fn reply<T>(self, reply: &Reply<T>, words: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self.json {
            true => print(reply.text.trim_end()),
            false => print(&words(&reply.value)),
        }
    }

    /// Shows a list; where it is empty, people are told what to do on stderr.
    pub(crate) fn list<T>(
        self,
        list: &Listed<T>,
        empty: &str,
        words: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        match (self.json, list.items.is_empty()) {
            (true, _) => print(&list.json()),
            (false, true) => {
                note(empty);
                Ok(())
            }
            (false, false) => print(&words(&list.items)),
        }
    }
}

/// A list: its items understood, and each as it came.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    /// The items, understood.
    pub(crate) items: Vec<T>,
    /// The items as they came, and what is left.
    pub(crate) page: Page<Box<RawValue>>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), page: Page { items: Vec::new(), next: None } }
    }
}

impl<T> Listed<T> {
    fn json(&self) -> String {
        serde_json::to_string(&self.page).expect("JSON that was read can be written")
    }
}

/// Prints to stdout, with a line's end.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| match error.kind() == io::ErrorKind::BrokenPipe {
        true => Failure::ReaderGone,
        false => Failure::Here(anyhow::Error::new(error).context("writing to stdout")),
    })
}

/// Says something beside the answer: to people, on stderr, where it does not get into a pipe.
pub(crate) fn note(text: &str) {
    // If nobody hears it, nothing is lost.
    let _ = writeln!(io::stderr(), "{text}");
}

/// A table with these headings. What stands in it may come from anybody, so it is tamed.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| tame(cell).into_owned())).collect();
    let mut widths = headings.map(width);
    for row in &rows {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = (*column).max(width(cell));
        }
    }
    let mut text = line(headings, &widths);
    for row in &rows {
        text.push('\n');
        text.push_str(&line(row.each_ref().map(String::as_str), &widths));
    }
    text
}

/// A heading, and what is known below it, name by name; what is not known is left out.
pub(crate) fn details(heading: &str, fields: &[(&str, Option<String>)]) -> String {
    let known: Vec<(&str, &str)> =
        fields.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let column = known.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let mut text = tame(heading).into_owned();
    for (name, value) in known {
        for (place, value) in value.split('\n').enumerate() {
            let name = if place == 0 { name } else { "" };
            let _ = write!(text, "\n  {name:column$}  {}", tame(value));
        }
    }
    text
}

fn line<const N: usize>(cells: [&str; N], widths: &[usize; N]) -> String {
    let mut text = String::new();
    for (cell, column) in cells.iter().zip(widths) {
        let _ = write!(text, "{cell:column$}  ");
    }
    text.truncate(text.trim_end().len());
    text
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Text from others, so that it can neither steer a terminal nor read in another order than it is
/// written.
pub(crate) fn tame(text: &str) -> Cow<'_, str> {
    let wild = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    match text.contains(wild) {
        false => Cow::Borrowed(text),
        true => text
            .chars()
            .flat_map(|c| if wild(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
            .collect::<String>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [["box42".to_owned(), "online".to_owned()], ["é".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "STATUS"], &rows), "NAME   STATUS\nbox42  online\né");
    }

    #[test]
    fn nothing_that_others_wrote_reaches_the_terminal_raw() {
        let rows = [["\u{1b}[2Jx\n".to_owned(), "a\u{202e}b".to_owned()]];
        let text = table(["A", "B"], &rows);
        assert_eq!(text.lines().nth(1), Some(r"\u{1b}[2Jx\n  a\u{202e}b"));
        assert_eq!(
            details("\u{7}", &[("a", Some("\u{9b}".to_owned())), ("b", None)]),
            "\\u{7}\n  a  \\u{9b}"
        );
    }

    #[test]
    fn a_list_for_programs_is_the_apis_own() {
        let item = r#"{"z":1,"unknown":true}"#;
        let page =
            Page { items: vec![RawValue::from_string(item.to_owned()).unwrap()], next: Some("c".into()) };
        let listed = Listed::<()> { items: vec![()], page };
        assert_eq!(listed.json(), format!(r#"{{"items":[{item}],"next":"c"}}"#));
    }
}
