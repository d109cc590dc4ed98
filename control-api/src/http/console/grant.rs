//! The form *Add a remote access*: what it asks, and what is made of the answers.

use std::net::IpAddr;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use maud::{Markup, html};
use postern_protocol::api::{CreateAccess, Device, Via};
use postern_protocol::ssh_key::PublicKey;
use serde::Deserialize;

use super::form::{Form, written};
use super::page::Page;
use super::words::Words;
use super::{device, pieces};
use crate::http::auth::Operator;
use crate::http::error::{ApiError, Code};
use crate::http::extract::Path;
use crate::http::{App, Shared, accesses, devices};
use crate::record::RelayRecord;
use crate::span::Span;

/// How long an access may last, to choose from.
const PRESETS: [&str; 6] = ["1h", "4h", "1d", "3d", "7d", "30d"];

/// What is chosen unless the reader says otherwise.
const USUAL: &str = "4h";

/// The choice of a date.
const EXACT: &str = "exact";

/// Time zones in use, in minutes east of Greenwich.
const ZONES: [i32; 38] = [
    -720, -660, -600, -570, -540, -480, -420, -360, -300, -240, -210, -180, -120, -60, 0, 60, 120, 180, 210,
    240, 270, 300, 330, 345, 360, 390, 420, 480, 525, 540, 570, 600, 630, 660, 720, 765, 780, 840,
];

/// The form's fields, as they were filled in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    port: String,
    key: String,
    from: String,
    any: String,
    ends: String,
    until: String,
    zone: String,
    login: String,
    note: String,
    via: String,
}

/// What is wrong with them: a field's name in the API, and a sentence.
pub(super) type Wrong = (String, String);

impl Fields {
    /// As they are before anybody fills them in.
    pub(super) fn usual(address: Option<IpAddr>) -> Self {
        let from = address.map(|address| address.to_string()).unwrap_or_default();
        Self { port: "22".into(), from, ends: USUAL.into(), zone: "0".into(), ..Self::default() }
    }

    /// What the form asks the API for.
    fn request(&self, device: &str) -> Result<CreateAccess, ApiError> {
        let invalid = |field, why| ApiError::new(Code::InvalidRequest, why).field(field);
        let (expires_at, expires_in) = self.end()?;
        let login = written(&self.login).map(str::parse).transpose();
        Ok(CreateAccess {
            device: device.to_owned(),
            exposed_port: self
                .port
                .parse()
                .map_err(|_| invalid("exposed_port", "choose what to reach on the box"))?,
            allowed_ips: written(&self.from).map(networks),
            allow_any: !self.any.is_empty(),
            expires_at,
            expires_in,
            public_key: written(&self.key).map(str::to_owned),
            login: login.map_err(|_| invalid("login", "this is no user name"))?,
            via: match self.via.as_str() {
                "gate" => Some(Via::Gate),
                "name" => Some(Via::Name),
                "port" => Some(Via::Port),
                _ => None,
            },
            note: written(&self.note).map(|note| note.replace("\r\n", "\n")),
        })
    }

    fn end(&self) -> Result<(Option<DateTime<Utc>>, Option<String>), ApiError> {
        if self.ends != EXACT {
            return Ok((None, written(&self.ends).map(str::to_owned)));
        }
        let end = moment(&self.until, &self.zone);
        let why = "write the date and the time at which the access ends";
        end.map(|end| (Some(end), None))
            .ok_or_else(|| ApiError::new(Code::InvalidExpiry, why).field("expires_at"))
    }
}

/// Addresses and blocks, however they are separated.
pub(super) fn networks(text: &str) -> Vec<String> {
    let apart = text.split(|letter: char| letter.is_whitespace() || matches!(letter, ',' | ';'));
    apart.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A date and a time as a browser sends them, of a zone so many minutes east of Greenwich.
pub(super) fn moment(text: &str, zone: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S"));
    let zone: i32 = zone.trim().parse().ok().filter(|zone| ZONES.contains(zone))?;
    local.ok()?.and_utc().checked_sub_signed(TimeDelta::minutes(zone.into()))
}

/// Creates an access, and shows how to connect; or the form again, with what is wrong beside it.
pub(super) async fn create(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(device): Path<String>,
    Form(mut fields): Form<Fields>,
) -> Result<Response, ApiError> {
    let found = devices::find(&app, &page.caller.account, &device).await?;
    let made = match fields.request(found.id.as_str()) {
        Ok(request) => accesses::add(&app, &page.caller, request, page.address).await,
        Err(problem) => Err(problem),
    };
    let problem = match made {
        Ok(access) => return Ok(Redirect::to(&format!("/console/accesses/{}", access.id)).into_response()),
        Err(problem) => problem,
    };
    let wrong = wrong(&problem, &fields.key, page.words);
    // A private key has come too far already.
    if matches!(problem.code(), Code::PrivateKey | Code::UnusableKey) {
        fields.key.clear();
    }
    let whole = device::whole(&app, &page, &found, &fields, Some(&wrong)).await?;
    Ok((problem.code().status(), whole).into_response())
}

fn wrong(problem: &ApiError, key: &str, words: &Words) -> Wrong {
    let problem = problem.problem();
    let field = problem.field.clone().unwrap_or_default();
    let of_key = PublicKey::parse(key).err().filter(|_| field == "public_key" && !key.trim().is_empty());
    let text = of_key.map_or_else(|| words.problem(&problem), |unusable| words.unusable(&unusable));
    (field, text)
}

/// The form.
pub(super) fn form<G>(
    page: &Page<G>,
    device: &Device,
    relays: &[RelayRecord],
    app: &App,
    fields: &Fields,
    wrong: Option<&Wrong>,
) -> Markup {
    let words = page.words;
    let wrong = wrong.map(|(field, text)| (field.as_str(), text.as_str()));
    let complains = |field| wrong.filter(|(of, _)| *of == field).map(|_| "true");
    let known =
        ["public_key", "allowed_ips", "exposed_port", "expires_at", "expires_in", "login", "note", "via"];
    html! {
        details.card.grant id="add" open[wrong.is_some()] {
            summary { (words.add_an_access) }
            form method="post" action={ "/console/boxes/" (device.id) "/accesses" } {
                @if let Some((field, text)) = wrong && !known.contains(&field) {
                    p.wrong role="alert" { (text) }
                }
                div.columns {
                    div {
                        (ports(device, &fields.port, words))
                        (pieces::complaint("exposed_port", wrong))
                        (ways_in(relays, &fields.via, words))
                        (pieces::complaint("via", wrong))
                        (addresses(page.address, relays, fields, words, complains("allowed_ips")))
                        (pieces::complaint("allowed_ips", wrong))
                        (ends(app.config.max_duration, fields, words))
                        (pieces::complaint("expires_at", wrong))
                        (pieces::complaint("expires_in", wrong))
                    }
                    div {
                        (key(fields, words, complains("public_key")))
                        (pieces::complaint("public_key", wrong))
                        label for="login" { (words.login) " " small { (words.optional) } }
                        input id="login" name="login" value=(fields.login) maxlength="32" autocomplete="off"
                            autocapitalize="none" spellcheck="false"
                            placeholder=[device.facts.as_ref().map(|facts| facts.default_login.as_str())]
                            aria-invalid=[complains("login")] aria-describedby="login-wrong";
                        (pieces::complaint("login", wrong))
                        label for="note" { (words.note) " " small { (words.optional) } }
                        input id="note" name="note" value=(fields.note) maxlength="500"
                            aria-invalid=[complains("note")] aria-describedby="note-wrong";
                        (pieces::complaint("note", wrong))
                    }
                }
                button { (words.add_access) }
            }
        }
    }
}

fn ports(device: &Device, chosen: &str, words: &Words) -> Markup {
    let services = device.facts.iter().flat_map(|facts| &facts.services);
    let listed = services.filter(|service| ![22, 443].contains(&service.port));
    html! {
        label for="port" { (words.what_to_reach) }
        select id="port" name="port" aria-describedby="exposed_port-wrong" {
            option value="22" selected[chosen == "22"] { "SSH (22)" }
            option value="443" selected[chosen == "443"] { (words.web_page) " (443)" }
            @for service in listed {
                @let port = service.port.to_string();
                option value=(port) selected[chosen == port] { (service.name) " (" (port) ")" }
            }
        }
    }
}

/// How to come in, where the relays leave a choice.
fn ways_in(relays: &[RelayRecord], chosen: &str, words: &Words) -> Markup {
    let front = relays.iter().any(|relay| relay.web.is_some());
    let ports = relays.iter().any(|relay| relay.ports.is_some());
    let ways = [
        ("", words.via_what_suits, true),
        ("gate", words.via_gate, true),
        ("name", words.via_name, front),
        ("port", words.via_port, ports),
    ];
    html! {
        @if front || ports {
            label for="via" { (words.via) }
            select id="via" name="via" aria-describedby="via-wrong" {
                @for (value, text, _) in ways.into_iter().filter(|(_, _, there)| *there) {
                    option value=(value) selected[chosen == value] { (text) }
                }
            }
        }
    }
}

fn addresses(
    own: Option<IpAddr>,
    relays: &[RelayRecord],
    fields: &Fields,
    words: &Words,
    invalid: Option<&str>,
) -> Markup {
    let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let gate = device::gate_address(relays);
    html! {
        label for="from" { (words.allowed_addresses) }
        input id="from" name="from" value=(fields.from) autocomplete="off" spellcheck="false"
            aria-invalid=[invalid] aria-describedby="from-hint allowed_ips-wrong";
        p.hint id="from-hint" {
            @match own {
                Some(own) => { (words.fill(words.your_address, &[&own.to_string(), family(own)])) }
                None => { (words.address_unknown) }
            }
            " " (words.addresses_hint)
            @if let (Some(own), Some(gate)) = (own, gate) && own.is_ipv4() != gate.is_ipv4() {
                br; strong { (words.fill(words.other_family, &[family(gate), family(own)])) }
            }
        }
        label.check { input type="checkbox" name="any" value="yes" checked[!fields.any.is_empty()]; " " (words.allow_any) }
    }
}

fn ends(longest: Span, fields: &Fields, words: &Words) -> Markup {
    let fits = |preset: &str| preset.parse::<Span>().is_ok_and(|span| span <= longest);
    let preset = |text: &str| {
        let (count, unit) = text.split_at(text.len() - 1);
        let unit = match (unit, count) {
            ("h", "1") => words.hour,
            ("h", _) => words.hours,
            (_, "1") => words.day,
            (_, _) => words.days,
        };
        format!("{count} {unit}")
    };
    html! {
        fieldset {
            legend { (words.ends) }
            div.choices {
                @for choice in PRESETS.into_iter().filter(|preset| fits(preset)) {
                    label.chip {
                        input type="radio" name="ends" value=(choice) checked[fields.ends == choice];
                        span { (preset(choice)) }
                    }
                }
                label.chip {
                    input type="radio" name="ends" value=(EXACT) checked[fields.ends == EXACT];
                    span { (words.exactly) }
                }
            }
            div.exact {
                label.hidden for="until" { (words.ends_at) }
                input id="until" name="until" type="datetime-local" value=(fields.until)
                    aria-describedby="expires_at-wrong";
                (zones(&fields.zone, words))
            }
        }
    }
}

/// The choice of a time zone; the script chooses the reader's own.
pub(super) fn zones(chosen: &str, words: &Words) -> Markup {
    let name = |minutes: i32| {
        let sign = if minutes < 0 { '−' } else { '+' };
        format!("UTC{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    };
    html! {
        select name="zone" data-zone aria-label=(words.time_zone) {
            @for minutes in ZONES {
                @let value = minutes.to_string();
                option value=(value) selected[chosen == value] {
                    (if minutes == 0 { "UTC".to_owned() } else { name(minutes) })
                }
            }
        }
    }
}

fn key(fields: &Fields, words: &Words, invalid: Option<&str>) -> Markup {
    html! {
        label for="key" { (words.public_key) }
        textarea id="key" name="key" rows="4" autocomplete="off" autocapitalize="none" spellcheck="false"
            placeholder="ssh-ed25519 AAAAC3Nz…" data-key="/console/key"
            aria-invalid=[invalid] aria-describedby="key-hint key-said public_key-wrong" { (fields.key) }
        p id="key-said" aria-live="polite" {}
        p.hint id="key-hint" { (words.key_hint) }
        label.file hidden data-file="key" { (words.from_a_file) " " input type="file" accept=".pub,text/plain"; }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_meant_in_the_zone_that_was_chosen() {
        let paris = moment("2026-07-14T10:30", "120").unwrap();
        assert_eq!(paris.to_rfc3339(), "2026-07-14T08:30:00+00:00");
        assert_eq!(moment("2026-07-14T10:30:15", "0").unwrap().timestamp() % 60, 15);
        for (text, zone) in
            [("", "0"), ("tomorrow", "0"), ("2026-07-14T10:30", "7"), ("2026-07-14T10:30", "x")]
        {
            assert_eq!(moment(text, zone), None, "{text} {zone}");
        }
    }

    #[test]
    fn addresses_may_stand_in_any_kind_of_list() {
        assert_eq!(
            networks(" 192.0.2.1, 10.0.0.0/8\n2001:db8::1;"),
            ["192.0.2.1", "10.0.0.0/8", "2001:db8::1"]
        );
    }
}
