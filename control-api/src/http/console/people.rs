//! The account's users, for its owners.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postern_protocol::api::{CreateUser, EditUser, Invitation, Role, User, UserStatus};
use serde::Deserialize;

use super::form::{Form, written};
use super::page::{Page, Section};
use super::pieces::Bin;
use super::words::Words;
use super::{moments, pieces};
use crate::http::auth::Owner;
use crate::http::error::{ApiError, Code};
use crate::http::etag::IfMatch;
use crate::http::extract::{Json, Path};
use crate::http::{App, Shared, users};

/// Every role, the least first.
pub(super) const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::Owner];

/// The form for a new user.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Newcomer {
    name: String,
    role: String,
}

/// What is changed about a user, and what the form showed: what its reader left as it was stays as it is, for
/// somebody else may have changed it meanwhile.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    role: String,
    disabled: String,
    was_role: String,
    was_disabled: String,
}

/// The users.
pub(super) async fn list(page: Page<Owner>, State(app): State<Shared>) -> Result<Markup, ApiError> {
    whole(&app, &page, &Newcomer::default(), None, None).await
}

/// Adds a user, and shows the link for them, which is shown this once.
pub(super) async fn add(
    page: Page<Owner>,
    State(app): State<Shared>,
    Form(form): Form<Newcomer>,
) -> Result<Response, ApiError> {
    let name = written(&form.name).unwrap_or("").parse();
    let made = match name {
        Ok(name) => {
            let request = CreateUser { name, role: role(&form.role)?, admin: false };
            users::add(&app, &page.caller, request).await
        }
        Err(_) => Err(ApiError::new(Code::InvalidName, page.words.bad_user_name).field("name")),
    };
    match made {
        Ok(user) => Ok(whole(&app, &page, &Newcomer::default(), None, Some(&user)).await?.into_response()),
        Err(problem) if matches!(problem.code(), Code::InvalidName | Code::NameTaken) => {
            let wrong = page.words.problem(&problem.problem());
            let whole = whole(&app, &page, &form, Some(&wrong), None).await?;
            Ok((problem.code().status(), whole).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// A role, as a form names it.
pub(super) fn role(name: &str) -> Result<Role, ApiError> {
    let found = ROLES.into_iter().find(|role| role.to_string() == name);
    found.ok_or_else(|| ApiError::new(Code::InvalidRole, "choose a role").field("role"))
}

/// Changes a user's role, or keeps them out.
pub(super) async fn edit(
    page: Page<Owner>,
    State(app): State<Shared>,
    Path(user): Path<String>,
    Form(change): Form<Change>,
) -> Result<Redirect, ApiError> {
    let (disabled, was_disabled) = (!change.disabled.is_empty(), !change.was_disabled.is_empty());
    let role = Some(role(&change.role)?).filter(|role| role.to_string() != change.was_role);
    let disabled = Some(disabled).filter(|disabled| *disabled != was_disabled);
    let change = EditUser { role, disabled, ..EditUser::default() };
    let _ = users::edit(Owner(page.caller), State(app), Path(user), IfMatch::any(), Json(change)).await?;
    Ok(Redirect::to("/console/users"))
}

/// Makes a new link for a user.
pub(super) async fn invite(
    page: Page<Owner>,
    State(app): State<Shared>,
    Path(user): Path<String>,
) -> Result<Markup, ApiError> {
    let user = users::invite_anew(&app, &page.caller, &user).await?;
    whole(&app, &page, &Newcomer::default(), None, Some(&user)).await
}

/// Removes a user.
pub(super) async fn delete(page: Page<Owner>, Path(user): Path<String>) -> Result<Redirect, ApiError> {
    users::delete(Owner(page.caller), Path(user)).await?;
    Ok(Redirect::to("/console/users"))
}

async fn whole(
    app: &App,
    page: &Page<Owner>,
    form: &Newcomer,
    wrong: Option<&str>,
    invited: Option<&User>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let users: Vec<User> = page.caller.account.users().await?.into_iter().map(users::view).collect();
    let content = html! {
        h1 { (words.users) }
        @if let Some(User { name, invitation: Some(invitation), .. }) = invited {
            (link(name.as_str(), invitation, words))
        }
        div.beside {
            ul.accesses { @for user in &users { (item(user, words, app)) } }
            section.card {
                h2 { (words.add_user) }
                form method="post" action="/console/users" {
                    label for="name" { (words.user_name) }
                    input id="name" name="name" value=(form.name) required maxlength="254" autocapitalize="none"
                        autocomplete="off" spellcheck="false" aria-describedby="name-hint name-wrong";
                    p.hint id="name-hint" { (words.add_user_hint) }
                    (pieces::complaint("name", wrong.map(|wrong| ("name", wrong))))
                    label for="role" { (words.role) }
                    (roles("role", &form.role, words))
                    button { (words.add_user) }
                }
            }
        }
    };
    Ok(page.show(words.users, Section::Users, None, &content))
}

/// A choice of role, each with what it may do.
pub(super) fn roles(id: &str, chosen: &str, words: &Words) -> Markup {
    choice(id, chosen, |role| words.role_name(role))
}

fn choice(id: &str, chosen: &str, said: impl Fn(Role) -> &'static str) -> Markup {
    html! {
        select id=(id) name="role" {
            @for role in ROLES {
                @let name = role.to_string();
                option value=(name) selected[name == chosen] { (said(role)) }
            }
        }
    }
}

/// An invitation, to be handed on.
pub(super) fn link(name: &str, invitation: &Invitation, words: &Words) -> Markup {
    html! {
        section.card role="status" {
            h2 { (words.fill(words.link_for, &[name])) }
            (pieces::copy(words, "invitation", invitation.link.reveal()))
            p.hint { (words.link_once) " " (moments::at(invitation.expires_at)) }
        }
    }
}

fn item(user: &User, words: &Words, app: &App) -> Markup {
    let (class, text) = match user.status {
        UserStatus::Active => ("good", words.user_active),
        UserStatus::Invited => ("wait", words.user_invited),
        UserStatus::Disabled => ("idle", words.user_disabled),
    };
    let to = |what: &str| format!("/console/users/{}{what}", user.id);
    let role_id = format!("role-{}", user.id);
    html! {
        li.card id={ "user-" (user.id) } {
            div.head {
                h2 { (user.name) }
                p.status { span.state.(class) { (text) }
                    @if user.admin { " " span.state.idle { (words.admin) } }
                    @if let Some(at) = user.signed_in_at {
                        " " small { (words.signed_in) " " (moments::ago(at, app.clock.now(), words)) }
                    }
                }
            }
            div.actions {
                form.inline method="post" action=(to("")) {
                    input type="hidden" name="was_role" value=(user.role);
                    @if user.status == UserStatus::Disabled { input type="hidden" name="was_disabled" value="yes"; }
                    label for=(role_id) { (words.role) }
                    (choice(&role_id, &user.role.to_string(), |role| words.role_short(role)))
                    label.check {
                        input type="checkbox" name="disabled" value="yes" checked[user.status == UserStatus::Disabled];
                        " " (words.keep_out)
                    }
                    button.quiet { (words.save) span.hidden { " " (user.name) } }
                }
                form.inline method="post" action=(to("/invite")) {
                    button.quiet { (words.new_link) span.hidden { " " (user.name) } }
                }
                (Bin {
                    id: &format!("bin-{}", user.id), verb: words.delete, what: user.name.as_str(),
                    to: &to("/delete"), why: words.delete_user_why,
                }.show(words))
            }
        }
    }
}
