//! Pieces that pages share.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use postern_protocol::api::{Access, AccessStatus, Approver, Device, DeviceStatus};
use postern_protocol::wire::{BoxFacts, SshServerKind, Transport, WhyTcp};
use qrcode::{Color, EcLevel, QrCode};

use super::moments;
use super::words::Words;
use crate::store::DAYS;

/// The mark: a gate.
pub(super) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 16 16" aria-hidden="true" {
            path d="M1 15V2h2.5v2H6V2h4v2h2.5V2H15v13h-4V10.5a3 3 0 0 0-6 0V15z" {}
        }
    }
}

/// A text to copy, in monospace, with a button for it.
pub(super) fn copy(words: &Words, id: &str, text: &str) -> Markup {
    // Browsers take a line end of two characters for one of one, except where a script puts it in.
    let text = text.replace("\r\n", "\n");
    html! {
        div.copy {
            @if text.contains('\n') { pre tabindex="0" id=(id) { (text) } }
            @else { pre.line tabindex="0" id=(id) {
                @for (place, word) in text.split(' ').enumerate() { @if place > 0 { " " } span { (word) } }
            } }
            button type="button" data-copy=(id) hidden { (words.copy) }
        }
    }
}

/// Something that can be deleted, or ended.
pub(super) struct Bin<'a> {
    /// The id of what opens.
    pub(super) id: &'a str,
    /// What is done, in a word.
    pub(super) verb: &'a str,
    /// To what, for those who do not see where the button stands.
    pub(super) what: &'a str,
    /// Where the form goes.
    pub(super) to: &'a str,
    /// What it means, and that it cannot be undone.
    pub(super) why: &'a str,
}

impl Bin<'_> {
    /// The bin. Opened, it says what it means, and its button closes it again.
    pub(super) fn show(&self, words: &Words) -> Markup {
        html! {
            details.bin id=(self.id) {
                summary {
                    span.asked {
                        svg viewBox="0 0 16 16" aria-hidden="true" {
                            path d="M6 1h4l.5 1.5H14V4H2V2.5h3.5zM3 5h10l-.8 10H3.8zm3 2v6h1V7zm3 0v6h1V7z" {}
                        }
                        (self.verb) span.hidden { " " (self.what) }
                    }
                    span.kept { (words.keep) span.hidden { " " (self.what) } }
                }
                form method="post" action=(self.to) {
                    p { (self.why) }
                    button.danger { (words.delete_now) }
                }
            }
        }
    }
}

/// What is wrong with a field, read together with it.
pub(super) fn complaint(field: &str, wrong: Option<(&str, &str)>) -> Markup {
    html! {
        @if let Some((of, text)) = wrong && of == field {
            p.wrong id={ (field) "-wrong" } role="alert" { (text) }
        }
    }
}

/// Whether a box can be reached.
pub(super) fn device_state(device: &Device, now: DateTime<Utc>, words: &Words) -> Markup {
    let (class, text) = match device.status {
        DeviceStatus::Online if device.facts.as_ref().is_some_and(|facts| facts.paused) => {
            ("warn", words.paused)
        }
        DeviceStatus::Online => ("good", words.online),
        DeviceStatus::Offline => ("bad", words.offline),
        DeviceStatus::WaitingToJoin => ("wait", words.waiting_to_join),
    };
    html! {
        span.state.(class) { (text) } " "
        @match device.status {
            DeviceStatus::Online => { small { (words.since) " " (moments::at(device.since)) } }
            DeviceStatus::Offline => {
                small { (words.last_seen) " " (moments::ago(device.last_seen.unwrap_or(device.since), now, words)) }
            }
            DeviceStatus::WaitingToJoin => {}
        }
    }
}

/// Who may come in: a block of one address is that address.
pub(super) fn networks(allowed: &[String]) -> String {
    let short = |network: &String| -> String {
        let whole = if network.contains(':') { "/128" } else { "/32" };
        network.strip_suffix(whole).unwrap_or(network).to_owned()
    };
    allowed.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// Whether an access works.
pub(super) fn access_state(access: &Access, words: &Words) -> Markup {
    let (class, text) = match access.status {
        AccessStatus::PendingApproval if access.approver == Some(Approver::Box) => {
            ("wait", words.pending_on_box)
        }
        AccessStatus::Active => ("good", words.active),
        AccessStatus::Pending => ("wait", words.pending),
        AccessStatus::PendingApproval => ("wait", words.pending_approval),
        AccessStatus::Expired => ("idle", words.expired),
        AccessStatus::Revoked => ("idle", words.revoked),
    };
    html! { span.state.(class) { (text) } }
}

/// Which SSH server visitors meet on a box.
pub(super) fn ssh_server(facts: &BoxFacts, words: &Words) -> String {
    match &facts.ssh {
        None => words.no_ssh.to_owned(),
        Some(ssh) if ssh.kind == SshServerKind::Builtin => words.builtin_ssh.to_owned(),
        Some(ssh) => ssh.version.clone(),
    }
}

/// What a box's tunnel goes over, and why that is not what it should be.
pub(super) fn transport(device: &Device, words: &Words) -> Option<String> {
    let why = device.why_tcp.map(|why| match why {
        WhyTcp::UdpSilent => words.udp_silent,
        WhyTcp::UdpLost => words.udp_lost,
        WhyTcp::UdpStarved => words.udp_starved,
    });
    let over = match device.transport? {
        Transport::Quic => words.over_quic,
        Transport::Tcp => words.over_tcp,
    };
    Some(why.map_or_else(|| over.to_owned(), |why| format!("{over} ({why})")))
}

/// Visits by the day, as bars.
pub(super) fn sparkline(days: &[u64; DAYS], words: &Words) -> Markup {
    let most = days.iter().copied().max().unwrap_or(0).max(1);
    let total: u64 = days.iter().sum();
    let label = words.fill(words.visits_in_days, &[&total.to_string(), &DAYS.to_string()]);
    html! {
        svg.spark viewBox={ "0 0 " (DAYS * 5) " 18" } role="img" aria-label=(label) {
            title { (label) }
            @for (day, visits) in days.iter().enumerate() {
                @let height = if *visits == 0 { 1 } else { (visits * 16 / most).max(3) };
                rect x=(day * 5) y=(17 - height) width="4" height=(height) rx="0.5"
                    class=[(*visits == 0).then_some("none")] {}
            }
        }
    }
}

/// A text as a QR code, for a telephone; nothing if it is longer than such a code holds.
pub(super) fn qr(text: &str, label: &str) -> Markup {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else { return html! {} };
    let width = code.width();
    let mut path = String::new();
    for (place, colour) in code.to_colors().iter().enumerate() {
        if *colour == Color::Dark {
            path.push_str(&format!("M{} {}h1v1h-1z", place % width + 4, place / width + 4));
        }
    }
    let side = width + 8;
    html! {
        svg.qr viewBox={ "0 0 " (side) " " (side) } role="img" aria-label=(label) {
            rect.paper width=(side) height=(side) {}
            path.ink d=(path) {}
        }
    }
}
