//! An SSH server for boxes that run none.
//!
//! It is spoken end to end through the tunnel, over any stream: the relay carries ciphertext. It lets
//! in one key as one login, which the access names, and asks again at every channel and request
//! whether the access still lives. Everything it starts ends with the visit.
//!
//! ```text
//! serve ─ handler (what the client asks) ─┬─ session ─ process    a program, with or without a terminal
//!                                         ├─ forward              -L, -D, -R
//!                                         └─ agent_socket         -A
//! channels: bytes that arrived, one bounded queue a channel     account: who a login is, and may it be
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postern_protocol::id::Login;
use postern_protocol::ssh_key::PublicKey;
use russh::server::{self, Handle, RunningSession};
use russh::{Disconnect, SshId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::config::SshSettings;
use crate::state::State;

mod account;
mod agent_socket;
mod algorithms;
mod channels;
mod cut;
mod environment;
mod forward;
mod guest;
mod handler;
mod host_key;
mod process;
mod session;
pub mod sftp;
mod sys;
mod terminal;
mod visit;

pub use guest::Guest;

use cut::Cut;
use handler::Handler;
use visit::Visit;

/// How long a client may take to prove its key.
const LOGIN_GRACE: Duration = Duration::from_secs(60);

/// How long a client has to read why it is disconnected; a revocation takes effect within a second.
const FAREWELL: Duration = Duration::from_millis(500);

/// How the server introduces itself.
const VERSION: &str = concat!("Postern_", env!("CARGO_PKG_VERSION"));

/// What the box's owner decides about the built-in server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Variables that a visitor may set; `*` at the end stands for any ending.
    pub accept_env: Vec<String>,
    /// System accounts that visitors may be all the same; root always may be.
    pub system_accounts: Vec<Login>,
    /// Where the system's sftp-server may be; the first that exists is run, else the agent's own.
    pub sftp_servers: Vec<PathBuf>,
    /// The program that is the agent's own sftp-server when it is called with `sftp-server`.
    pub own_program: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accept_env: ["LANG", "LC_*", "TERM", "COLORTERM"].map(str::to_owned).to_vec(),
            system_accounts: Vec::new(),
            sftp_servers: sftp::SYSTEM_SERVERS.map(PathBuf::from).to_vec(),
            own_program: std::env::current_exe().unwrap_or_else(|_| "postern-agent".into()),
        }
    }
}

impl From<&SshSettings> for Settings {
    fn from(settings: &SshSettings) -> Self {
        let otherwise = Self::default();
        let accept_env = match settings.accept_env.is_empty() {
            true => otherwise.accept_env,
            false => settings.accept_env.clone(),
        };
        Self { accept_env, system_accounts: settings.system_accounts.clone(), ..otherwise }
    }
}

/// The built-in SSH server.
pub struct Shell {
    settings: Settings,
    config: Arc<server::Config>,
    host_key: PublicKey,
}

impl Shell {
    /// The server with the host key of this state directory, made at the first start.
    pub fn open(settings: Settings, state_dir: &Path) -> anyhow::Result<Arc<Self>> {
        let private = host_key::load_or_make(&State::at(state_dir)).context("the SSH host key")?;
        let host_key = host_key::public(&private)?;
        let config = Arc::new(server::Config {
            server_id: SshId::Standard(format!("SSH-2.0-{VERSION}").into()),
            keys: vec![private],
            ..algorithms::config()
        });
        Ok(Arc::new(Self { settings, config, host_key }))
    }

    /// The key by which clients know this box.
    pub fn host_key(&self) -> PublicKey {
        self.host_key.clone()
    }

    /// How the server introduces itself, such as `Postern_0.1.0`.
    pub fn version(&self) -> &str {
        VERSION
    }

    /// Serves one visit, until the client leaves or the visit is ended; when this returns, nothing
    /// that the visit started is left running.
    pub async fn serve<S>(self: &Arc<Self>, stream: S, guest: Guest)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let visit = Visit::new(self, guest).await;
        // Also when this future is dropped.
        let _over = visit.over.clone().drop_guard();
        let cut = CancellationToken::new();
        let _cut = cut.clone().drop_guard();
        if let Err(error) = self.converse(Cut::new(stream, cut.clone()), &visit).await {
            debug!(error = &error as &dyn std::error::Error, "the connection broke");
        }
        cut.cancel();
        visit.over.cancel();
        visit.tasks.close();
        visit.tasks.wait().await;
        info!(access = %visit.guest.access, visitor = %visit.guest.visitor, "ssh visit ended");
    }

    async fn converse<S>(&self, stream: Cut<S>, visit: &Arc<Visit>) -> Result<(), russh::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handler = Handler::new(Arc::clone(visit));
        let logged_in = timeout(LOGIN_GRACE, visit.logged_in.cancelled());
        let begun = server::run_stream(Arc::clone(&self.config), stream, handler);
        let mut running = tokio::select! {
            begun = begun => begun?,
            () = tokio::time::sleep(LOGIN_GRACE) => return Err(russh::Error::ConnectionTimeout),
            () = visit.guest.ended.cancelled() => return Ok(()),
        };
        let reason = tokio::select! {
            result = &mut running => return result,
            () = visit.guest.ended.cancelled() => visit.why_it_ended(),
            () = too_late(logged_in) => "no login in time".to_owned(),
        };
        let handle = running.handle();
        timeout(FAREWELL, dismiss(handle, running, reason)).await.unwrap_or(Ok(()))
    }
}

/// Waits for a login that does not come.
async fn too_late(login: impl Future<Output = Result<(), tokio::time::error::Elapsed>>) {
    if login.await.is_ok() {
        std::future::pending().await
    }
}

/// Says why, and waits until the client has taken it.
async fn dismiss(handle: Handle, running: RunningSession<Handler>, why: String) -> Result<(), russh::Error> {
    handle.disconnect(Disconnect::ByApplication, why, String::new()).await?;
    running.await
}
