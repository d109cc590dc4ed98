//! What russh calls when the client asks for something: translation only.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use nix::pty::Winsize;
use russh::keys::{Algorithm, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Disconnect, Error, Pty, Sig};
use tracing::{debug, info, warn};

use super::channels::Overrun;
use super::forward::{self, Listeners};
use super::process::What;
use super::session::{Controls, Preparing, signals};
use super::terminal::{Wanted, size};
use super::visit::Visit;
use super::{agent_socket, algorithms, sftp};

/// One connection, as russh sees it.
pub(super) struct Handler {
    visit: Arc<Visit>,
    sessions: HashMap<ChannelId, Stage>,
    listeners: Listeners,
    agent_socket: Option<PathBuf>,
}

/// A session channel runs one program, after it was told how.
enum Stage {
    Preparing(Box<Preparing>),
    Running(Controls),
}

impl Handler {
    pub(super) fn new(visit: Arc<Visit>) -> Self {
        Self { visit, sessions: HashMap::new(), listeners: Listeners::default(), agent_socket: None }
    }

    /// Everything but the one key, as the one login, while the access lives, is the same constant no.
    fn judge(&self, user: &str, key: &PublicKey, signature: &Algorithm) -> Auth {
        let guest = &self.visit.guest;
        let is_it = user == guest.login.as_str()
            && key.to_bytes().is_ok_and(|key| key == guest.key.as_wire())
            && algorithms::is_accepted(signature)
            && self.visit.allowed().is_ok();
        if is_it { Auth::Accept } else { Auth::reject() }
    }

    /// The channel, if nothing runs on it yet and the access lives.
    fn preparing(&mut self, channel: ChannelId) -> Option<&mut Preparing> {
        self.visit.allowed().ok()?;
        match self.sessions.get_mut(&channel)? {
            Stage::Preparing(preparing) => Some(preparing),
            Stage::Running(_) => None,
        }
    }

    /// What runs on the channel, if the access lives.
    fn running(&self, channel: ChannelId) -> Option<&Controls> {
        self.visit.allowed().ok()?;
        match self.sessions.get(&channel)? {
            Stage::Running(controls) => Some(controls),
            Stage::Preparing(_) => None,
        }
    }

    /// Runs a program on a channel on which none runs yet.
    fn start(&mut self, channel: ChannelId, what: What, session: &mut Session) -> Result<(), Error> {
        if let Err(denial) = self.visit.allowed() {
            info!(access = %self.visit.guest.access, %denial, "nothing is run any more");
            return session.channel_failure(channel);
        }
        match self.sessions.remove(&channel) {
            Some(Stage::Preparing(preparing)) => {
                let running = preparing.start(what, &self.visit).map(Stage::Running);
                self.sessions.extend(running.map(|stage| (channel, stage)));
                session.channel_success(channel)
            }
            Some(running) => {
                self.sessions.insert(channel, running);
                session.channel_failure(channel)
            }
            None => session.channel_failure(channel),
        }
    }

    fn agent_path(&mut self, session: &Session) -> Option<PathBuf> {
        if self.agent_socket.is_none() {
            let account = self.visit.admit_forwarding().ok()?;
            let opened = agent_socket::open(&self.visit, account, session.handle());
            let failed = |error: &std::io::Error| warn!(%error, "no socket for the visitor's agent");
            self.agent_socket = opened.inspect_err(failed).ok();
        }
        self.agent_socket.clone()
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.visit.over.cancel();
    }
}

/// Answers a request on a channel.
fn answer(done: bool, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
    match done {
        true => session.channel_success(channel),
        false => session.channel_failure(channel),
    }
}

impl server::Handler for Handler {
    type Error = Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        Ok(self.judge(user, offer.public_key, offer.algorithm))
    }

    /// The signature is verified by now; before, nothing was.
    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        Ok(self.judge(user, key.public_key, key.algorithm))
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Error> {
        let guest = &self.visit.guest;
        info!(access = %guest.access, login = %guest.login, visitor = %guest.visitor, "logged in");
        self.visit.logged_in.cancel();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        if let Err(refusal) = self.visit.admit_channel() {
            reply.reject(refusal).await;
            return Ok(());
        }
        let id = channel.id();
        let line = self.visit.channels.enter(channel, session.handle());
        // Programs that have ended since.
        self.sessions.retain(|id, _| self.visit.channels.has(*id));
        self.sessions.insert(id, Stage::Preparing(Box::new(Preparing::new(line))));
        reply.accept().await;
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
        session: &mut Session,
    ) -> Result<(), Error> {
        match self.visit.admit_forwarding() {
            Ok(_) => {
                forward::connect(&self.visit, channel, session.handle(), (host.to_owned(), port), reply);
            }
            Err(refusal) => reply.reject(refusal).await,
        }
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.visit.channels.expect(id);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Error> {
        match self.visit.channels.data(channel, data).await {
            Ok(()) => Ok(()),
            Err(Overrun) => {
                warn!(access = %self.visit.guest.access, "the client ignores its window");
                session.disconnect(Disconnect::ProtocolError, "more data than the window allows", "")
            }
        }
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        self.visit.channels.credit()
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.visit.channels.eof(channel);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.visit.channels.closed(channel);
        self.sessions.remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let modes = modes.iter().map(|(mode, value)| (*mode as u8, *value)).collect();
        let wanted = Wanted::new(term, size(columns, rows, width, height), modes);
        let preparing = self.preparing(channel).filter(|preparing| preparing.terminal.is_none());
        let noted = match (preparing, wanted) {
            (Some(preparing), Some(wanted)) => preparing.terminal.replace(wanted).is_none(),
            _ => false,
        };
        answer(noted, channel, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        let visit = Arc::clone(&self.visit);
        let accepted = &visit.settings().accept_env;
        let noted = self.preparing(channel).is_some_and(|to| to.wishes.set(name, value, accepted));
        answer(noted, channel, session)
    }

    async fn agent_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<bool, Error> {
        let path = self.agent_path(session);
        Ok(match (self.preparing(channel), path) {
            (Some(preparing), Some(path)) => preparing.agent_socket.insert(path).is_absolute(),
            _ => false,
        })
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.start(channel, What::LoginShell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.start(channel, What::Command(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        match name {
            "sftp" => {
                let command = sftp::command(self.visit.settings());
                self.start(channel, What::Command(command), session)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        let size: Winsize = size(columns, rows, width, height);
        answer(self.running(channel).is_some_and(|program| program.resize(size)), channel, session)
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, session: &mut Session) -> Result<(), Error> {
        let send = |signal| self.running(channel).is_some_and(|program| program.signal(signal));
        answer(signals::asked_for(&signal).is_some_and(send), channel, session)
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Error> {
        let visit = Arc::clone(&self.visit);
        let Ok(account) = visit.admit_forwarding() else { return Ok(false) };
        match self.listeners.listen(&visit, session.handle(), account, (address, *port)).await {
            Ok(bound) => *port = bound,
            Err(error) => {
                debug!(access = %visit.guest.access, %error, address, port, "not listening");
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, Error> {
        Ok(self.listeners.cancel(address, port))
    }
}
