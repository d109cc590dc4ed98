//! How to connect, in every form that programs and people want.

use maud::{Markup, html};
use postern_protocol::api::{Access, Connection};
use postern_protocol::connection::Form;

use super::pieces::{copy, qr};
use super::words::Words;

/// The one command, or the link.
pub(super) fn command(access: &Access, words: &Words) -> Markup {
    let id = format!("command-{}", access.id);
    html! {
        @match &access.connection {
            Some(connection) => {
                (copy(words, &id, connection.url.as_deref().unwrap_or(&connection.command)))
                @if let Some(warning) = &connection.warning { p.wrong { (warning) } }
            }
            None => p.muted { (words.no_way_yet) }
        }
    }
}

/// All of them, and a code for a telephone.
pub(super) fn forms(connection: &Connection, words: &Words) -> Markup {
    let text = connection.url.as_deref().unwrap_or(&connection.command);
    html! {
        div.forms {
            @for (name, text) in ordered(connection) {
                details id={ "form-" (name) } {
                    summary { (title(name)) }
                    (copy(words, &format!("text-{name}"), text))
                    @if let Some(note) = name.parse::<Form>().ok().and_then(Form::note) { p.muted { (note) } }
                }
            }
            details id="form-qr" {
                summary { (words.qr_code) }
                (qr(text, words.qr_code))
            }
            details id="form-fingerprints" {
                summary { (words.fingerprints) }
                dl {
                    dt { (words.gate) }
                    @for key in &connection.fingerprints.gate { dd { code { (key.fingerprint) } } }
                    dt { (words.the_box) }
                    @for key in &connection.fingerprints.device { dd { code { (key.fingerprint) } } }
                }
            }
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
