//! The accounts of the installation, for its admins: from outside.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postern_protocol::api::{Account, CreateAccount, RenameAccount};
use serde::Deserialize;

use super::form::{Form, written};
use super::page::{Page, Section};
use super::words::Words;
use super::{moments, people, pieces};
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::etag::IfMatch;
use crate::http::extract::{Json, Path};
use crate::http::{Shared, accounts};

/// The form for a new account.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewOne {
    name: String,
    owner: String,
}

/// An account's name, for a change of it or as a confirmation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    name: String,
}

/// The accounts.
pub(super) async fn list(page: Page<Admin>, State(app): State<Shared>) -> Result<Markup, ApiError> {
    whole(&app, &page, &NewOne::default(), None, None).await
}

/// Opens an account, and shows the link for its first owner, which is shown this once.
pub(super) async fn add(
    page: Page<Admin>,
    State(app): State<Shared>,
    Form(form): Form<NewOne>,
) -> Result<Response, ApiError> {
    let owner = written(&form.owner).unwrap_or("").parse();
    let made = match owner {
        Ok(owner) => {
            let request = CreateAccount { name: form.name.trim().to_owned(), owner };
            accounts::add(&app, &page.caller, request).await
        }
        Err(_) => Err(ApiError::new(Code::InvalidName, page.words.bad_user_name).field("owner")),
    };
    match made {
        Ok(account) => {
            Ok(whole(&app, &page, &NewOne::default(), None, Some(&account)).await?.into_response())
        }
        Err(problem) if matches!(problem.code(), Code::InvalidName | Code::NameTaken) => {
            let whole = whole(&app, &page, &form, Some(&problem), None).await?;
            Ok((problem.code().status(), whole).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// Gives an account another name.
pub(super) async fn rename(
    page: Page<Admin>,
    State(app): State<Shared>,
    Path(account): Path<String>,
    Form(form): Form<Named>,
) -> Result<Redirect, ApiError> {
    let change = RenameAccount { name: form.name.trim().to_owned() };
    let _ =
        accounts::rename(Admin(page.caller), State(app), Path(account), IfMatch::any(), Json(change)).await?;
    Ok(Redirect::to("/console/accounts"))
}

/// Closes an account, if its name was written as a confirmation.
pub(super) async fn close(
    page: Page<Admin>,
    State(app): State<Shared>,
    Path(account): Path<String>,
    Form(form): Form<Named>,
) -> Result<Redirect, ApiError> {
    let found = accounts::find(&app, &account).await?;
    if form.name.trim() != found.name {
        return Err(ApiError::new(Code::InvalidName, page.words.close_account_not).field("name"));
    }
    accounts::close(Admin(page.caller), State(app), Path(found.id.to_string())).await?;
    Ok(Redirect::to("/console/accounts"))
}

async fn whole(
    app: &Shared,
    page: &Page<Admin>,
    form: &NewOne,
    problem: Option<&ApiError>,
    made: Option<&Account>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let found = accounts::list(Admin(page.caller.clone()), State(app.clone())).await?.0;
    let problem = problem.map(ApiError::problem);
    let text = problem.as_ref().map(|problem| words.problem(problem));
    let field = problem.as_ref().and_then(|problem| problem.field.as_deref()).unwrap_or("name");
    let wrong = text.as_deref().map(|text| (field, text));
    let content = html! {
        h1 { (words.accounts) }
        p { (words.accounts_what) }
        @if let Some(owner) = made.and_then(|account| account.owner.as_ref()) {
            @if let Some(invitation) = &owner.invitation {
                (people::link(owner.name.as_str(), invitation, words))
            }
        }
        div.beside {
            ul.accesses { @for account in &found.items { (item(account, words)) } }
            (opening(form, wrong, words))
        }
    };
    Ok(page.show(words.accounts, Section::Accounts, None, &content))
}

fn opening(form: &NewOne, wrong: Option<(&str, &str)>, words: &Words) -> Markup {
    let complains = |field| wrong.filter(|(of, _)| *of == field).map(|_| "true");
    html! {
        section.card {
            h2 { (words.add_account) }
            form method="post" action="/console/accounts" {
                label for="name" { (words.account_name) }
                input id="name" name="name" value=(form.name) required maxlength="64" autocomplete="off"
                    aria-invalid=[complains("name")] aria-describedby="name-wrong";
                (pieces::complaint("name", wrong))
                label for="owner" { (words.account_owner) }
                input id="owner" name="owner" value=(form.owner) required maxlength="254" autocapitalize="none"
                    autocomplete="off" spellcheck="false" aria-invalid=[complains("owner")]
                    aria-describedby="owner-hint owner-wrong";
                p.hint id="owner-hint" { (words.add_user_hint) }
                (pieces::complaint("owner", wrong))
                button { (words.add_account) }
            }
        }
    }
}

fn item(account: &Account, words: &Words) -> Markup {
    let to = |what: &str| format!("/console/accounts/{}{what}", account.id);
    let id = |what: &str| format!("{what}-{}", account.id);
    html! {
        li.card {
            div.head {
                h2 { (account.name) }
                @if account.own { p.status { span.state.idle { (words.own_account) } } }
            }
            dl.facts {
                div { dt { (words.boxes) } dd { (account.devices) } }
                div { dt { (words.users) } dd { (account.users) } }
                div { dt { (words.created) } dd { (moments::at(account.created_at)) } }
            }
            details id=(id("upkeep")) {
                summary { (words.rename_or_close) span.hidden { " " (account.name) } }
                form.inline method="post" action=(to("")) {
                    label for=(id("name")) { (words.new_name) }
                    input id=(id("name")) name="name" value=(account.name) required maxlength="64";
                    button.quiet { (words.rename) }
                }
                @if !account.own {
                    form.inline method="post" action=(to("/close")) {
                        p { (words.fill(words.close_account_why, &[&account.name])) }
                        label for=(id("close")) { (words.delete_box_type) }
                        input id=(id("close")) name="name" required autocomplete="off";
                        button.danger { (words.close_account) }
                    }
                }
            }
        }
    }
}
