//! The reader's language: the one they chose, or else the first of their browser's that there is.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::form::{Form, local_path};
use super::words::{ENGLISH, FRENCH, Words};
use crate::http::session::Visitor;

/// What the choice is kept in, by the browser.
const COOKIE: &str = "postern-language";

/// For how long: a year.
const KEPT: u32 = 365 * 24 * 60 * 60;

/// A language that the console speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// English.
    English,
    /// French.
    French,
}

impl Language {
    /// Every one.
    pub(super) const ALL: [Self; 2] = [Self::English, Self::French];

    /// Its code (BCP 47).
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// What it calls itself.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::French => "Français",
        }
    }

    /// Its texts.
    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::French => &FRENCH,
        }
    }

    fn named(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    /// The one to answer a request in.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        chosen(headers).or_else(|| preferred(headers)).unwrap_or(Self::English)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Language {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

fn chosen(headers: &HeaderMap) -> Option<Language> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    cookies.find(|(name, _)| *name == COOKIE).and_then(|(_, code)| Language::named(code))
}

/// The one with the greatest weight, and of equals the first (RFC 9110, section 12.5.4).
fn preferred(headers: &HeaderMap) -> Option<Language> {
    let wanted = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(f32, Language)> = None;
    for item in wanted.split(',') {
        let (tag, weight) = item.split_once(';').unwrap_or((item, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse().ok()).unwrap_or(0.0);
        let primary = tag.trim().split('-').next().unwrap_or("").to_ascii_lowercase();
        let better = best.is_none_or(|(than, _)| weight > than);
        if let (Some(language), true, true) = (Language::named(&primary), better, weight > 0.0) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

/// A choice of language.
#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    /// Its code.
    language: String,
    /// The page to go back to.
    #[serde(default)]
    back: String,
}

/// Keeps the reader's choice, and goes back to where they were.
pub(super) async fn choose(_: Visitor, Form(choice): Form<Choice>) -> Response {
    let language = Language::named(&choice.language).unwrap_or(Language::English);
    let cookie = format!("{COOKIE}={}; Path=/; Max-Age={KEPT}; SameSite=Lax; HttpOnly", language.code());
    let cookie = HeaderValue::from_str(&cookie).expect("a code has only visible characters");
    ([(header::SET_COOKIE, cookie)], Redirect::to(local_path(&choice.back))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str, cookie: &str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        Language::of(&headers)
    }

    #[test]
    fn the_browser_says_which_language_unless_its_reader_chose_one() {
        assert_eq!(of("fr-FR,fr;q=0.9,en;q=0.8", ""), Language::French);
        assert_eq!(of("de, en;q=0.5, fr;q=0.7", ""), Language::French);
        assert_eq!(of("en-GB, fr", ""), Language::English, "of equals the first");
        assert_eq!(of("de", ""), Language::English);
        assert_eq!(of("fr;q=0", ""), Language::English, "not wanted");
        assert_eq!(of("en", "a=b; postern-language=fr"), Language::French);
        assert_eq!(of("fr", "postern-language=xx"), Language::French, "no such language");
    }
}
