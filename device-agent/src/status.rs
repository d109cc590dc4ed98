//! What the owner sees of a running agent, for people and for programs.

use std::fmt;
use std::net::SocketAddr;

use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::id::{AccessId, DeviceId, DeviceName, Login, RelayId, VisitId};
use postern_protocol::wire::{SshServer, SshServerKind, Transport, WebCertificate, WebCertificateKind};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::approvals::Approval;
use crate::keys;
use crate::link::Standing;
use crate::network::Way;
use crate::ssh::Server;

/// What a running agent says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// Since when the owner lets nobody in.
    pub paused_since: Option<DateTime<Utc>>,
    /// The box and its tunnel, once it has joined.
    pub member: Option<MemberStatus>,
}

/// What the agent of a member says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The box's id.
    pub device: DeviceId,
    /// The box's name.
    pub name: DeviceName,
    /// The tunnel.
    pub tunnel: TunnelStatus,
    /// When the box's certificate ends; it is renewed long before.
    pub certificate_expires_at: Option<DateTime<Utc>>,
    /// The SSH server that visitors reach.
    pub ssh: Option<SshServer>,
    /// The certificate that browsers see.
    pub https: HttpsStatus,
    /// The keys files that the agent writes.
    pub keys_files: Vec<KeysFile>,
    /// What hinders the keys files.
    pub trouble: Vec<String>,
    /// The revision of the grants that the box enforces.
    pub revision: u64,
    /// The accesses that let somebody in now.
    pub accesses: Vec<AccessInForce>,
    /// Who is inside.
    pub visits: Vec<OpenVisit>,
    /// Who was last turned away, or sent away.
    pub last_refusal: Option<LastRefusal>,
}

/// How the tunnel stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TunnelStatus {
    /// It stands.
    Connected {
        /// Since when.
        since: DateTime<Utc>,
        /// Where the relay was dialled.
        relay: String,
        /// The relay's id.
        relay_id: RelayId,
        /// The way out that it takes.
        way: Way,
        /// What it goes over.
        transport: Transport,
        /// Why not over QUIC.
        why_tcp: Option<String>,
        /// The round trip to it, in milliseconds, if it is known.
        round_trip_ms: Option<f64>,
    },
    /// There is none.
    Disconnected {
        /// Since when.
        since: DateTime<Utc>,
        /// Why, and what to do.
        why: String,
        /// When the relays are dialled again; in the past while they are being dialled.
        next_attempt: DateTime<Utc>,
    },
}

/// How the certificate stands that browsers see on the box's pages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpsStatus {
    /// The certificate.
    pub certificate: Option<WebCertificate>,
    /// Why there is none, or no newer one.
    pub trouble: Option<String>,
    /// When the next one will be asked for.
    pub next_attempt: Option<DateTime<Utc>>,
}

/// A keys file that the agent writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeysFile {
    /// Whose it is.
    pub login: Login,
    /// Where it is.
    pub path: String,
}

/// An access that lets somebody in now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessInForce {
    /// The access.
    pub access: AccessId,
    /// The port it exposes.
    pub port: u16,
    /// Who the visitor is on the box.
    pub login: Login,
    /// The fingerprint of the visitor's key.
    pub key: Option<String>,
    /// Where visitors may come from.
    pub allowed_ips: Vec<String>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// What the owner says of it, if accesses have to be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// A visit that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenVisit {
    /// The visit.
    pub visit: VisitId,
    /// The access that let it in.
    pub access: AccessId,
    /// The port.
    pub port: u16,
    /// The visitor's address.
    pub visitor: SocketAddr,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Bytes from the visitor.
    pub bytes_to_service: u64,
    /// Bytes to the visitor.
    pub bytes_to_visitor: u64,
}

/// Somebody who was turned away, or sent away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRefusal {
    /// When.
    pub at: DateTime<Utc>,
    /// The access they came with.
    pub access: AccessId,
    /// The port they wanted.
    pub port: u16,
    /// Their address.
    pub visitor: SocketAddr,
    /// The stable code of the reason.
    pub code: String,
    /// The reason in words.
    pub reason: String,
}

impl Status {
    /// What an agent says of a box that has not joined.
    pub(crate) fn of_nobody(paused_since: Option<DateTime<Utc>>) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), paused_since, member: None }
    }

    /// What a member's agent says.
    pub(crate) fn of(agent: &Agent, now: DateTime<Utc>) -> Self {
        Self { member: Some(MemberStatus::of(agent, now)), ..Self::of_nobody(agent.paused_since()) }
    }

    /// Whether the box can be reached.
    pub fn is_connected(&self) -> bool {
        let tunnel = self.member.as_ref().map(|member| &member.tunnel);
        matches!(tunnel, Some(TunnelStatus::Connected { .. }))
    }

    /// The status for people, with times relative to this one.
    pub fn display(&self, now: DateTime<Utc>) -> impl fmt::Display {
        fmt::from_fn(move |f| self.write(f, now))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, now: DateTime<Utc>) -> fmt::Result {
        match &self.member {
            None => writeln!(f, "This box has not joined: run the line that 'postern device add' printed.")?,
            Some(member) => member.write(f, now)?,
        }
        if let Some(since) = self.paused_since {
            let since = moment(since, now);
            writeln!(f, "PAUSED since {since}: nobody comes in until 'postern-agent resume'.")?;
        }
        Ok(())
    }
}

impl MemberStatus {
    fn of(agent: &Agent, now: DateTime<Utc>) -> Self {
        let (member, grants) = (agent.member(), agent.grants());
        let live = grants.rules.iter().filter(|rule| rule.is_live(now));
        let decisions = agent.approvals.asked();
        Self {
            device: member.device,
            name: grants.grants.as_ref().map_or(member.name.clone(), |grants| grants.name.clone()),
            tunnel: TunnelStatus::of(&agent.standing.borrow()),
            certificate_expires_at: member.validity().ok().map(|validity| validity.until),
            ssh: agent.ssh().describe(),
            https: HttpsStatus::of(agent),
            keys_files: keys::files(&agent.config.keys)
                .map(|(login, path)| KeysFile { login: login.clone(), path: path.display().to_string() })
                .collect(),
            trouble: agent.handed.borrow().trouble.clone(),
            revision: grants.revision(),
            accesses: live
                .map(|rule| AccessInForce {
                    access: rule.access,
                    port: rule.port,
                    login: rule.login.clone(),
                    key: rule.key.as_ref().map(|key| key.fingerprint()),
                    allowed_ips: rule.allowed.iter().map(ToString::to_string).collect(),
                    expires_at: rule.expires_at,
                    approval: decisions.as_ref().map(|decisions| decisions.on(rule)),
                })
                .collect(),
            visits: agent.visits.inside(),
            last_refusal: agent.visits.last_refusal(),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, now: DateTime<Utc>) -> fmt::Result {
        writeln!(f, "{} ({})", self.name, self.device)?;
        match &self.tunnel {
            TunnelStatus::Connected { since, relay, relay_id, way, transport, why_tcp, round_trip_ms } => {
                writeln!(f, "  connected    since {} to {relay} ({relay_id})", moment(*since, now))?;
                writeln!(f, "  way out      {way}")?;
                if let Some(round_trip_ms) = round_trip_ms {
                    writeln!(f, "  round trip   {round_trip_ms:.1} ms")?;
                }
                match (transport, why_tcp) {
                    (Transport::Quic, _) => writeln!(f, "  over         QUIC")?,
                    (Transport::Tcp, why) => {
                        writeln!(
                            f,
                            "  over         TCP, because {}",
                            why.as_deref().unwrap_or("of the settings")
                        )?;
                    }
                }
            }
            TunnelStatus::Disconnected { since, why, next_attempt } => {
                writeln!(f, "  OFFLINE      since {}", moment(*since, now))?;
                writeln!(f, "  because      {why}")?;
                writeln!(f, "  next try     {}", ahead(*next_attempt, now))?;
            }
        }
        writeln!(f, "  ssh server   {}", self.ssh.as_ref().map_or(Server::NOTHING.into(), server))?;
        if let Some(expiry) = self.certificate_expires_at {
            writeln!(f, "  certificate  until {}", expiry.format("%Y-%m-%d"))?;
        }
        self.https.write(f, now)?;
        for file in &self.keys_files {
            writeln!(f, "  keys file    {} for {}", file.path, file.login)?;
        }
        for sentence in &self.trouble {
            writeln!(f, "  TROUBLE      {sentence}")?;
        }
        self.write_people(f, now)
    }

    fn write_people(&self, f: &mut fmt::Formatter<'_>, now: DateTime<Utc>) -> fmt::Result {
        writeln!(f, "  accesses     {} in force (revision {})", self.accesses.len(), self.revision)?;
        for access in &self.accesses {
            writeln!(f, "    {}", access.line(now))?;
        }
        writeln!(f, "  visits       {} open", self.visits.len())?;
        for visit in &self.visits {
            let OpenVisit { access, port, visitor, since, .. } = visit;
            writeln!(f, "    {access}  port {port} from {visitor} since {}", moment(*since, now))?;
        }
        match &self.last_refusal {
            None => writeln!(f, "  last refusal none"),
            Some(LastRefusal { at, access, visitor, reason, .. }) => {
                writeln!(f, "  last refusal {}: {access} from {visitor}: {reason}", moment(*at, now))
            }
        }
    }
}

impl AccessInForce {
    /// It on one line, with times relative to this one.
    fn line(&self, now: DateTime<Utc>) -> String {
        let Self { access, port, login, allowed_ips, expires_at, .. } = self;
        let said = match self.approval {
            None => "",
            Some(Approval::Approved) => ", approved",
            Some(Approval::Awaited) => ", AWAITS APPROVAL",
            Some(Approval::Denied) => ", DENIED",
        };
        let (from, ends) = (allowed_ips.join(", "), ahead(*expires_at, now));
        format!("{access}  port {port} as {login} from {from}, ends {ends}{said}")
    }

    /// All that the owner has to know to decide on it, with times relative to this one.
    fn terms(&self, now: DateTime<Utc>) -> String {
        let key = self.key.as_deref().unwrap_or("none: what it reaches asks for itself");
        format!("{}\n            key {key}", self.line(now))
    }
}

impl MemberStatus {
    /// The accesses and what the owner has decided about them, for people.
    pub fn approvals(&self, now: DateTime<Utc>) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            for access in &self.accesses {
                writeln!(f, "{}", access.terms(now))?;
            }
            match self.accesses.iter().find(|access| access.approval == Some(Approval::Awaited)) {
                Some(waiting) => writeln!(
                    f,
                    "To let in by one: postern-agent approve {0}; or not: postern-agent deny {0}",
                    waiting.access
                ),
                None if self.accesses.is_empty() => writeln!(f, "No access to this box is in force."),
                None => Ok(()),
            }
        })
    }
}

impl HttpsStatus {
    fn of(agent: &Agent) -> Self {
        let standing = agent.https.standing.borrow();
        Self {
            certificate: standing.shown.clone(),
            trouble: standing.trouble.clone(),
            next_attempt: standing.next_attempt,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, now: DateTime<Utc>) -> fmt::Result {
        if let Some(WebCertificate { kind, names, fingerprint, ends_at }) = &self.certificate {
            let whose = match kind {
                WebCertificateKind::Service => "the page's own",
                WebCertificateKind::File => "from a file",
                WebCertificateKind::Acme => "from its authority",
            };
            let until = ends_at.format("%Y-%m-%d");
            writeln!(f, "  web page     certificate {whose}, until {until}: {}", names.join(" "))?;
            writeln!(f, "               sha256 {fingerprint}")?;
        }
        if let Some(trouble) = &self.trouble {
            let next = self.next_attempt.map_or(String::new(), |at| format!("; next try {}", ahead(at, now)));
            writeln!(f, "  TROUBLE      no new certificate for the web page: {trouble}{next}")?;
        }
        Ok(())
    }
}

impl TunnelStatus {
    fn of(standing: &Standing) -> Self {
        match standing {
            Standing::Up { since, address, relay, connection, why_tcp, way } => Self::Connected {
                since: *since,
                relay: address.clone(),
                relay_id: *relay,
                way: way.borrow().clone(),
                transport: connection.transport(),
                why_tcp: why_tcp.clone(),
                round_trip_ms: connection.rtt().map(|rtt| rtt.as_secs_f64() * 1000.0),
            },
            Standing::Down { since, why, next } => {
                Self::Disconnected { since: *since, why: why.clone(), next_attempt: *next }
            }
        }
    }
}

fn server(ssh: &SshServer) -> String {
    match ssh.kind {
        SshServerKind::System => format!("{} on port {}", ssh.version, ssh.port),
        SshServerKind::Builtin => format!("the agent's own ({})", ssh.version),
    }
}

/// A moment in the past, with how long ago it was.
fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ({} ago)", at.format("%Y-%m-%d %H:%M:%S UTC"), span(now - at))
}

fn ahead(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match at > now {
        true => format!("in {}", span(at - now)),
        false => "now".to_owned(),
    }
}

/// A span in its two largest units.
fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    #[test]
    fn spans_are_told_in_two_units() {
        let cases = [(5, "5 s"), (65, "1 min 5 s"), (7_500, "2 h 5 min"), (200_000, "2 d 7 h"), (-3, "0 s")];
        for (seconds, text) in cases {
            assert_eq!(span(TimeDelta::seconds(seconds)), text);
        }
    }

    #[test]
    fn a_box_that_has_not_joined_is_told_what_to_do() {
        let status = Status::of_nobody(Some(now()));
        let text = status.display(now()).to_string();
        assert!(text.contains("postern device add") && text.contains("PAUSED"), "{text}");
        assert!(!status.is_connected());
    }
}
