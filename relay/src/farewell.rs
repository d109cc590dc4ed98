//! How somebody on a bare connection is told that they do not come in: in the protocol that they came to
//! speak, before any encryption.

use std::time::Duration;

use postern_protocol::Refusal;
use postern_protocol::access::Denial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::front::hello::{Alert, HelloReader};
use crate::tcp::part;

mod ssh;

/// How long somebody may take to say what they came to say.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a visitor expects to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// In TLS, whose client has said its hello already.
    Heard,
    /// In SSH, whose server introduces itself first.
    Ssh,
    /// In whatever they begin to speak.
    AsTheyBegin,
}

impl Manner {
    /// How visitors of this port of a box are spoken to.
    pub(crate) fn at_port(port: u16) -> Self {
        const SSH: u16 = 22;
        match port {
            SSH => Self::Ssh,
            _ => Self::AsTheyBegin,
        }
    }

    /// Says no, and ends the connection.
    pub(crate) async fn refuse(self, line: TcpStream, refusal: &Refusal) {
        match self {
            Self::Heard => alert(line, Alert::from(refusal)).await,
            // Whoever is where they should not be learns nothing, not even that something is here.
            Self::Ssh | Self::AsTheyBegin if !may_know(refusal) => {}
            Self::Ssh => explain(line, &[], refusal).await,
            Self::AsTheyBegin => reply(line, refusal).await,
        }
    }
}

/// Whether somebody who proved nothing but their address may know why they do not come in.
fn may_know(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Denied(denial) => match denial {
            Denial::UnknownAccess
            | Denial::WrongKey
            | Denial::WrongBox
            | Denial::PortNotExposed { .. }
            | Denial::AddressOutside { .. } => false,
            Denial::Revoked | Denial::Expired { .. } | Denial::LeaseOver { .. } => true,
        },
        Refusal::DeniedByBox(_)
        | Refusal::BoxOffline
        | Refusal::BoxPaused
        | Refusal::NotOffered { .. }
        | Refusal::ServiceDown
        | Refusal::BoxSilent
        | Refusal::TooMany
        | Refusal::ShuttingDown
        | Refusal::TunnelLost
        | Refusal::RelayRestarted
        | Refusal::Stalled
        | Refusal::Idle
        | Refusal::Cut
        | Refusal::NotApproved { .. }
        | Refusal::DeniedByOwner
        | Refusal::EndedByBox => true,
    }
}

impl From<&Refusal> for Alert {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Denied(denial) => match denial {
                Denial::UnknownAccess
                | Denial::WrongKey
                | Denial::WrongBox
                | Denial::PortNotExposed { .. } => Self::UnrecognizedName,
                Denial::AddressOutside { .. }
                | Denial::Revoked
                | Denial::Expired { .. }
                | Denial::LeaseOver { .. } => Self::AccessDenied,
            },
            Refusal::DeniedByBox(_)
            | Refusal::BoxPaused
            | Refusal::NotApproved { .. }
            | Refusal::DeniedByOwner => Self::AccessDenied,
            Refusal::BoxOffline
            | Refusal::NotOffered { .. }
            | Refusal::ServiceDown
            | Refusal::BoxSilent
            | Refusal::TooMany
            | Refusal::ShuttingDown
            | Refusal::TunnelLost
            | Refusal::RelayRestarted
            | Refusal::Stalled
            | Refusal::Idle
            | Refusal::Cut
            | Refusal::EndedByBox => Self::InternalError,
        }
    }
}

/// Says why there will be no TLS.
pub(crate) async fn alert(mut line: TcpStream, alert: Alert) {
    if let Ok(Ok(())) = timeout(PATIENCE, line.write_all(&alert.record())).await {
        part(line).await;
    }
}

/// Listens to how they begin, and answers in kind if this relay knows how to.
async fn reply(mut line: TcpStream, refusal: &Refusal) {
    const TLS_HANDSHAKE: u8 = 22;
    const SSH: &[u8] = b"SSH-";
    let mut began = [0; 1024];
    let Ok(Ok(length)) = timeout(PATIENCE, line.read(&mut began)).await else { return };
    match &began[..length] {
        began if began.starts_with(SSH) => explain(line, began, refusal).await,
        began @ [TLS_HANDSHAKE, ..] => {
            let heard = timeout(PATIENCE, hear_out(&mut line, began)).await;
            if let Ok(Some(())) = heard {
                alert(line, Alert::from(refusal)).await;
            }
        }
        _ => {}
    }
}

/// Lets a TLS client finish its hello.
async fn hear_out(line: &mut TcpStream, began: &[u8]) -> Option<()> {
    let (mut reader, mut buffer) = (HelloReader::new(), [0; 1024]);
    let mut hello = reader.push(began).ok()?;
    while hello.is_none() {
        let length = line.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
        hello = reader.push(&buffer[..length]).ok()?;
    }
    Some(())
}

/// Says it in SSH, whose clients show it to people.
async fn explain(mut line: TcpStream, began: &[u8], refusal: &Refusal) {
    let explaining = async {
        line.write_all(ssh::IDENTIFICATION).await?;
        ssh::hear_out(&mut line, began).await?;
        let words = match advice(refusal) {
            "" => refusal.to_string(),
            advice => format!("{refusal}; {advice}"),
        };
        line.write_all(&ssh::disconnect(&words)).await
    };
    if let Ok(Ok(())) = timeout(PATIENCE, explaining).await {
        part(line).await;
    }
}

/// What somebody can do who was refused.
fn advice(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Denied(Denial::Expired { .. }) => "ask whoever gave it to you to extend it",
        Refusal::Denied(Denial::LeaseOver { .. }) => "try again in a while",
        Refusal::Denied(_) | Refusal::DeniedByBox(_) => "ask whoever gave it to you for another",
        Refusal::BoxOffline => "try again when it is back",
        Refusal::BoxPaused | Refusal::NotApproved { .. } | Refusal::DeniedByOwner => "ask its owner",
        Refusal::NotOffered { .. } | Refusal::ServiceDown => "ask whoever looks after the box",
        Refusal::TooMany => "try again when one has ended",
        Refusal::BoxSilent | Refusal::ShuttingDown | Refusal::TunnelLost | Refusal::RelayRestarted => {
            "try again in a moment"
        }
        Refusal::Stalled | Refusal::Idle | Refusal::Cut | Refusal::EndedByBox => "",
    }
}
