//! How to connect, in every form that programs and people want.

use maud::{Markup, html};
use postern_protocol::api::{Access, AccessStatus, Connection, HostKey};
use postern_protocol::connection::Form;

use super::pieces::{copy, qr};
use super::words::Words;

/// The one command, or the link.
pub(super) fn command(access: &Access, words: &Words) -> Markup {
    html! {
        @match &access.connection {
            Some(connection) => {
                (copy(words, &format!("command-{}", access.id), main(connection)))
                @if connection.warning.is_some() { p.wrong { (words.host_keys_doubted) } }
            }
            None => p.muted { (words.no_way_yet) }
        }
    }
}

fn main(connection: &Connection) -> &str {
    connection.url.as_deref().unwrap_or(&connection.command)
}

/// All forms of it, one at a time, and a code for a telephone. What has ended has none.
pub(super) fn forms(access: &Access, words: &Words) -> Markup {
    let over = matches!(access.status, AccessStatus::Expired | AccessStatus::Revoked);
    html! {
        section id="connect" {
            @if !over {
                h2 id="forms" { (words.how_to_connect) }
                @match &access.connection {
                    Some(connection) => (tabs(access, connection, words)),
                    None => (command(access, words)),
                }
            }
        }
    }
}

fn tabs(access: &Access, connection: &Connection, words: &Words) -> Markup {
    let ssh = connection.forms.contains_key(Form::OpenSsh.as_str());
    let first = match &connection.url {
        Some(_) => words.link_form,
        None if ssh => title(Form::OpenSsh.as_str()),
        None => words.address,
    };
    let others = ordered(connection).into_iter().filter(|(_, text)| *text != main(connection));
    html! {
        div.tabs role="radiogroup" aria-labelledby="forms" {
            (tab("command", first, true, &html! {
                (command(access, words))
                @if ssh { (note(Form::OpenSsh.as_str(), words)) }
            }))
            @for (name, text) in others {
                (tab(name, title(name), false, &html! {
                    (copy(words, &format!("text-{name}"), text))
                    (note(name, words))
                }))
            }
            (tab("qr", words.qr_code, false, &qr(main(connection), words.qr_code)))
            @if let Some(shown) = fingerprints(connection, words) {
                (tab("fingerprints", words.fingerprints, false, &shown))
            }
        }
    }
}

/// A choice, and what it shows: without a script, by the style sheet alone.
fn tab(name: &str, title: &str, first: bool, content: &Markup) -> Markup {
    let id = format!("form-{name}");
    html! {
        input type="radio" name="form" id=(id) value=(name) checked[first];
        label for=(id) { (title) }
        div { (content) }
    }
}

/// What to compare by eye, if anything is known of it.
fn fingerprints(connection: &Connection, words: &Words) -> Option<Markup> {
    let known = &connection.fingerprints;
    let of = |keys: &[HostKey]| keys.iter().map(|key| key.fingerprint.clone()).collect::<Vec<_>>();
    let certificate = known.certificate.iter().map(|hex| colons(hex)).collect();
    let sides =
        [(words.gate, of(&known.gate)), (words.the_box, of(&known.device)), (words.certificate, certificate)];
    let sides: Vec<_> = sides.into_iter().filter(|(_, prints)| !prints.is_empty()).collect();
    let shown = html! {
        dl { @for (side, prints) in &sides { dt { (side) } @for print in prints { dd { code { (print) } } } } }
    };
    (!sides.is_empty()).then_some(shown)
}

/// As browsers show it behind their warning.
fn colons(hex: &str) -> String {
    let pairs: Vec<_> = hex.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
    pairs.join(":").to_uppercase()
}

/// What a form takes for granted.
fn note(name: &str, words: &Words) -> Markup {
    let form = name.parse::<Form>().ok();
    html! {
        @if let Some((form, note)) = form.and_then(|form| Some((form, form.note()?))) {
            p.muted { (words.note_of(form, note)) }
        }
    }
}

/// The usual ones first.
fn ordered(connection: &Connection) -> Vec<(&str, &str)> {
    let place = |name: &str| Form::ALL.iter().position(|form| form.as_str() == name).unwrap_or(usize::MAX);
    let mut forms: Vec<_> =
        connection.forms.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    forms.sort_by_key(|(name, _)| place(name));
    forms
}

fn title(name: &str) -> &str {
    match name {
        "openssh" => "OpenSSH",
        "config" => "~/.ssh/config",
        "known-hosts" => "known_hosts",
        "putty" => "PuTTY (Windows)",
        "putty-unix" => "PuTTY (Unix)",
        "winscp" => "WinSCP",
        "ansible" => "Ansible",
        "vscode" => "VS Code",
        other => other,
    }
}
