//! A page: who looks at it, and what stands around its content.

use std::marker::PhantomData;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use maud::{DOCTYPE, Markup, html};
use postern_protocol::api::Role;

use super::language::Language;
use super::words::Words;
use super::{HOME, assets, password, pieces};
use crate::http::Shared;
use crate::http::address::CallerAddress;
use crate::http::auth::{Admin, Browsing, Caller, Operator, Owner, Viewer, Who, unauthorized};
use crate::http::error::ApiError;

/// A guard of the API, which pages have as well.
pub(super) trait Guard: FromRequestParts<Shared, Rejection = ApiError> + Send {
    /// Whoever got past it.
    fn caller(self) -> Caller;
}

macro_rules! guards {
    ($($guard:ident),*) => {$(
        impl Guard for $guard {
            fn caller(self) -> Caller {
                self.0
            }
        }
    )*};
}

guards!(Viewer, Operator, Owner, Admin);

/// Somebody who has signed in, may see this page, and reads it in their language.
pub(super) struct Page<G = Viewer> {
    /// Who it is.
    pub(super) caller: Caller,
    /// The texts of their language.
    pub(super) words: &'static Words,
    /// Where they are, if that is known.
    pub(super) address: Option<IpAddr>,
    path: String,
    guard: PhantomData<G>,
}

impl<G: Guard> FromRequestParts<Shared> for Page<G> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        // Pages are for sessions. Whoever has none is led to where they begin; that is no wrong guess.
        let session = Browsing::of(&app.config, &parts.headers).session(&parts.headers);
        if session.is_none() || parts.headers.contains_key(header::AUTHORIZATION) {
            return Err(unauthorized());
        }
        let caller = G::from_request_parts(parts, app).await?.caller();
        let Ok(CallerAddress(address)) = CallerAddress::from_request_parts(parts, app).await;
        let words = Language::of(&parts.headers).words();
        Ok(Self { caller, words, address, path: parts.uri.path().to_owned(), guard: PhantomData })
    }
}

/// Where a page belongs in the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Boxes,
    Users,
    Tokens,
    Webhooks,
    Audit,
    Accounts,
    Relays,
    Installation,
    Password,
}

impl<G> Page<G> {
    /// Whether they may add and remove boxes and accesses.
    pub(super) fn operates(&self) -> bool {
        self.caller.role >= Role::Operator
    }

    /// The whole page. With the address of a stream, its pieces change as they do.
    pub(super) fn show(&self, title: &str, section: Section, live: Option<&str>, content: &Markup) -> Markup {
        let words = self.words;
        let name = match &self.caller.who {
            Who::User { name, .. } => name.as_str(),
            Who::Token(id) => id.as_str(),
        };
        let menu = html! {
            nav aria-label=(words.menu) {
                (link(HOME, words.boxes, section == Section::Boxes))
                @if self.caller.role >= Role::Owner {
                    (link("/console/users", words.users, section == Section::Users))
                    (link("/console/tokens", words.tokens, section == Section::Tokens))
                    (link("/console/webhooks", words.webhooks, section == Section::Webhooks))
                    (link("/console/audit", words.audit, section == Section::Audit))
                }
                @if self.caller.admin {
                    (link("/console/accounts", words.accounts, section == Section::Accounts))
                    (link("/console/relays", words.relays, section == Section::Relays))
                    (link("/console/installation", words.installation, section == Section::Installation))
                }
            }
            form.who method="post" action="/console/sign-out" {
                a href=(password::HERE) title=(words.your_password)
                    aria-current=[(section == Section::Password).then_some("page")] { (name) }
                button.plain { (words.sign_out) }
            }
        };
        sheet(words, title, &self.path, live, &menu, content)
    }
}

fn link(to: &str, text: &str, here: bool) -> Markup {
    html! { a href=(to) aria-current=[here.then_some("page")] { (text) } }
}

/// A page for somebody who has not signed in.
pub(super) fn bare(words: &'static Words, title: &str, path: &str, content: &Markup) -> Markup {
    sheet(words, title, path, None, &html! {}, content)
}

fn sheet(
    words: &'static Words,
    title: &str,
    path: &str,
    live: Option<&str>,
    menu: &Markup,
    content: &Markup,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(words.language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Postern" }
                link rel="icon" href=(assets::ICON.path()) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE.path());
                script src=(assets::SCRIPT.path()) defer {}
            }
            body data-live=[live] data-copied=(words.copied) data-private=(words.key_private_here)
                data-day=(words.unit_day) data-ended=(words.ended) data-changed=(words.page_changed) {
                a.skip href="#content" { (words.skip) }
                header {
                    a.brand href=(HOME) { (pieces::mark()) "Postern" }
                    (menu)
                }
                main id="content" tabindex="-1" { (content) }
                footer { (switch(words, path)) }
                p.hidden id="said" role="status" {}
            }
        }
    }
}

/// The other languages, to switch to.
fn switch(words: &'static Words, path: &str) -> Markup {
    html! {
        form method="post" action="/console/language" aria-label=(words.language_label) {
            input type="hidden" name="back" value=(path);
            @for language in Language::ALL {
                button.plain name="language" value=(language.code()) lang=(language.code())
                    aria-current=[(language == words.language).then_some("true")] { (language.name()) }
            }
        }
    }
}
