//! What russh calls when a visitor asks for something: translation only.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_protocol::access::{Door, Entrance};
use postern_protocol::id::{AccessId, VisitId};
use postern_protocol::ssh_key::PublicKey;
use russh::keys::{Algorithm, ssh_key};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Error};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::inbound::Queues;
use super::{Gate, Knocking, algorithms};
use crate::session::Call;

/// Channels that one connection may have at the same time.
const MAX_CHANNELS: usize = 32;

/// RFC 4254, section 5.2.
const STDERR: u32 = 1;

/// One connection, as russh sees it.
pub(super) struct Handler {
    gate: Arc<Gate>,
    visitor: SocketAddr,
    /// What was proved, and nothing before.
    identity: Option<Identity>,
    /// Falls when something is proved.
    proved: CancellationToken,
    /// The visits on this connection.
    visits: TaskTracker,
    queues: Queues,
    sessions: usize,
    /// The name and key that came nearest, for the record of a stranger.
    last_attempt: Option<(Option<AccessId>, Option<PublicKey>)>,
}

/// An access, and the key by which it was proved.
#[derive(Clone)]
struct Identity {
    access: AccessId,
    key: PublicKey,
}

impl Handler {
    pub(super) fn new(
        gate: Arc<Gate>,
        visitor: SocketAddr,
        proved: CancellationToken,
        visits: TaskTracker,
    ) -> Self {
        Self {
            gate,
            visitor,
            identity: None,
            proved,
            visits,
            queues: Queues::default(),
            sessions: 0,
            last_attempt: None,
        }
    }

    /// The access that this user name and key are for. An unknown name, a wrong key and a key that
    /// nobody may use are the same no, by the same path.
    fn recognise(&mut self, user: &str, key: &ssh_key::PublicKey, signature: &Algorithm) -> Option<Identity> {
        let access = user.parse().ok();
        let key = key.to_bytes().ok().and_then(|blob| PublicKey::from_wire(&blob).ok());
        self.last_attempt = Some((access, key.clone()));
        let identity = Identity { access: access?, key: key? };
        let entrance = Entrance::Gate(identity.key.clone());
        let known = self.gate.reception.rulebook.recognises(identity.access, &entrance);
        (known && algorithms::is_accepted(signature)).then_some(identity)
    }

    /// A visit, if somebody has proved who they are.
    fn call(&self, host: &str, port: u32) -> Option<Call> {
        let Identity { access, key } = self.identity.clone()?;
        Some(Call {
            id: VisitId::from_entropy(rand::random()),
            access: Some(access),
            entrance: Entrance::Gate(key),
            visitor: self.visitor,
            device: self.gate.reception.rulebook.place(access, host),
            port: u16::try_from(port).unwrap_or_default(),
        })
    }

    /// What somebody is told who came without a box.
    fn directions(&self) -> String {
        let (host, port) = &self.gate.address;
        let access = self.identity.as_ref().map(|identity| identity.access);
        let destination = access.and_then(|access| self.gate.reception.rulebook.destination(access));
        let (Some(access), Some((login, name))) = (access, destination) else {
            return "this is Postern's gate; there is nothing behind it for you\r\n".to_owned();
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!(
            "this is Postern's gate; connect through it:\r\n  ssh -J {access}@{host}:{port} {login}@{name}\r\n"
        )
    }

    fn show_directions(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.sessions = self.sessions.saturating_sub(1);
        session.channel_success(channel)?;
        session.extended_data(channel, STDERR, self.directions().into_bytes())?;
        session.exit_status_request(channel, 1)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.queues.abandon();
        if self.identity.is_none()
            && let Some((access, key)) = self.last_attempt.take()
        {
            let known = access.filter(|access| self.gate.reception.rulebook.knows(*access));
            self.gate.audit.stranger(Door::Gate, self.visitor, known, key.as_ref());
        }
    }
}

impl server::Handler for Handler {
    type Error = Error;

    /// Answered from the rules, so that a client's other keys do not count as attempts.
    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        self.identity = None;
        match self.recognise(user, offer.public_key, offer.algorithm) {
            Some(_) => Ok(Auth::Accept),
            None => Ok(Auth::reject()),
        }
    }

    /// The signature is verified by now; before, nothing was.
    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        self.identity = self.recognise(user, key.public_key, key.algorithm);
        match self.identity {
            Some(_) => Ok(Auth::Accept),
            None => Ok(Auth::reject()),
        }
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Error> {
        self.proved.cancel();
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        let Some(call) = self.call(host, port) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        if self.queues.len() >= MAX_CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // The session loop would wait for a reader that is there but slow; without one it goes on.
        let (_, line) = channel.split();
        let seated = self.queues.enter(line.id().number());
        let visitor = Knocking::new(line, seated, reply);
        let reception = self.gate.reception.clone();
        let access = call.access.map(tracing::field::display);
        let span = tracing::info_span!(parent: None, "visit", id = %call.id, access);
        self.visits.spawn(async move { reception.visit(call, visitor).await }.instrument(span));
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.sessions += 1;
        match self.sessions <= MAX_CHANNELS {
            true => {
                drop(channel.split());
                reply.accept().await;
            }
            false => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
        Ok(())
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.show_directions(channel, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.show_directions(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.show_directions(channel, session)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Error> {
        // A client that ignores its window is noticed by the visit, which ends the channel.
        let _ = self.queues.push(channel.number(), data).await;
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        self.queues.credit()
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.queues.end(channel.number());
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.queues.close(channel.number());
        Ok(())
    }
}
