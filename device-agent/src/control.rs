//! The owner's line to a running agent: a local socket that only the owner can open.
//!
//! One JSON line each way, then it is closed.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use postern_protocol::id::AccessId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use crate::agent::Agent;
use crate::config::Config;
use crate::pause::Pause;
use crate::state::State;
use crate::status::Status;

/// The socket in the state directory.
const SOCKET: &str = "control.sock";

/// The longest request.
const MAX_REQUEST: u64 = 256;

/// The longest answer: 128 accesses with full lists of networks, and 256 visits.
const MAX_ANSWER: u64 = 1024 * 1024;

/// The most that speak at once; others wait in the socket's own queue.
const MAX_CONVERSATIONS: usize = 4;

/// The whole of a conversation.
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait when the system lacks what an accepted connection needs.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// What the owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Tell how things are.
    Status,
    /// Let nobody in.
    Pause,
    /// Let those in again who may come in.
    Resume,
    /// Let in by this access, as it is now.
    Approve(AccessId),
    /// Do not.
    Deny(AccessId),
    /// The box has joined: be that member from now on.
    Joined,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Status(Box<Status>),
    Failed(String),
}

/// Why the owner could not be heard.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("the agent is not running (nothing answers at {0}); start it with: postern-agent run")]
    NotRunning(String),
    /// Somebody else's agent.
    #[error("{0} is for the agent's owner alone; try again as that user, such as with sudo")]
    Forbidden(String),
    /// It runs and could not do it.
    #[error("{0}")]
    Failed(String),
    /// It does not answer as it should.
    #[error("the agent at {0} does not answer")]
    Broken(String, #[source] io::Error),
}

/// What runs behind the socket.
pub(crate) struct Desk {
    pub(crate) pause: Arc<Pause>,
    /// The agent, once the box has joined.
    pub(crate) agent: Option<Arc<Agent>>,
    /// Told when the box has joined.
    pub(crate) joined: Notify,
}

/// The listening end.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    state: State,
}

impl Control {
    /// Opens the socket. The caller has claimed the directory, so a socket that is there is a dead one.
    pub(crate) fn bind(state: &State) -> anyhow::Result<Self> {
        let path = state.path(SOCKET);
        state.remove(SOCKET).with_context(|| format!("removing {}", path.display()))?;
        let listener = UnixListener::bind(&path).with_context(|| format!("opening {}", path.display()))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        Ok(Self { listener, state: state.clone() })
    }

    /// Answers until dropped.
    pub(crate) async fn serve(&self, desk: Arc<Desk>) {
        let places = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let (stream, _) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the control socket");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let desk = desk.clone();
            tokio::spawn(async move {
                if let Err(error) = timeout(CONVERSATION_TIMEOUT, converse(stream, &desk)).await {
                    tracing::debug!(%error, "a conversation on the control socket took too long");
                }
                drop(place);
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // What is left is removed at the next start.
        let _left_behind = self.state.remove(SOCKET);
    }
}

async fn converse(mut stream: UnixStream, desk: &Desk) {
    let answer = match hear(&mut stream).await {
        Ok(request) => desk.answer(request, desk.now()),
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    let mut line = serde_json::to_vec(&answer).expect("answers have no shape that JSON lacks");
    line.push(b'\n');
    if let Err(error) = stream.write_all(&line).await {
        tracing::debug!(%error, "nobody waits for an answer on the control socket");
    }
}

async fn hear(stream: &mut UnixStream) -> anyhow::Result<Request> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_line(&mut line).await?;
    serde_json::from_str(&line).context("a request that this agent does not know")
}

impl Desk {
    fn now(&self) -> DateTime<Utc> {
        self.agent.as_ref().map_or_else(Utc::now, |agent| agent.clock.now())
    }

    fn answer(&self, request: Request, now: DateTime<Utc>) -> Answer {
        let done = match request {
            Request::Status => Ok(()),
            Request::Pause => self.pause.pause(now).context("paused, but not beyond a restart"),
            Request::Resume => self.pause.resume().context("still paused"),
            Request::Approve(access) => self.decide(access, true, now),
            Request::Deny(access) => self.decide(access, false, now),
            Request::Joined => {
                self.joined.notify_one();
                Ok(())
            }
        };
        match done {
            Ok(()) => Answer::Status(Box::new(self.status(now))),
            Err(error) => Answer::Failed(format!("{error:#}")),
        }
    }

    fn decide(&self, access: AccessId, approve: bool, now: DateTime<Utc>) -> anyhow::Result<()> {
        let agent = self.agent.as_ref().context("this box has not joined, so there is no access to it")?;
        agent.decide(access, approve, now)
    }

    fn status(&self, now: DateTime<Utc>) -> Status {
        match &self.agent {
            Some(agent) => Status::of(agent, now),
            None => Status::of_nobody(*self.pause.watch().borrow()),
        }
    }
}

/// How a running agent is.
pub async fn status(config: &Config) -> Result<Status, ControlError> {
    ask(config, Request::Status).await
}

/// Lets nobody in, at once and over restarts; answers how the agent is then.
pub async fn pause(config: &Config) -> Result<Status, ControlError> {
    ask(config, Request::Pause).await
}

/// Lets those in again who may come in; answers how the agent is then.
pub async fn resume(config: &Config) -> Result<Status, ControlError> {
    ask(config, Request::Resume).await
}

/// Approves an access as it is now; answers how the agent is then.
pub async fn approve(config: &Config, access: AccessId) -> Result<Status, ControlError> {
    ask(config, Request::Approve(access)).await
}

/// Denies an access, approved or not, and ends the visits by it; answers how the agent is then.
pub async fn deny(config: &Config, access: AccessId) -> Result<Status, ControlError> {
    ask(config, Request::Deny(access)).await
}

/// Asks the agent that runs with these settings.
pub(crate) async fn ask(config: &Config, request: Request) -> Result<Status, ControlError> {
    let path = State::at(&config.state_dir).path(SOCKET);
    let shown = path.display().to_string();
    let stream = UnixStream::connect(&path).await.map_err(|error| {
        let kind = error.kind();
        if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            ControlError::NotRunning(shown.clone())
        } else if kind == io::ErrorKind::PermissionDenied {
            ControlError::Forbidden(shown.clone())
        } else {
            ControlError::Broken(shown.clone(), error)
        }
    })?;
    let answer = timeout(CONVERSATION_TIMEOUT, exchange(stream, request)).await;
    match answer.unwrap_or_else(|late| Err(late.into())) {
        Ok(Answer::Status(status)) => Ok(*status),
        Ok(Answer::Failed(why)) => Err(ControlError::Failed(why)),
        Err(error) => Err(ControlError::Broken(shown, error)),
    }
}

async fn exchange(mut stream: UnixStream, request: Request) -> io::Result<Answer> {
    let line = serde_json::to_string(&request)? + "\n";
    stream.write_all(line.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        _home: tempfile::TempDir,
        config: Config,
        state: State,
        desk: Arc<Desk>,
    }

    impl Fixture {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let config = Config { state_dir: home.path().join("agent"), ..Config::default() };
            let state = State::open(&config.state_dir).unwrap();
            let pause = Arc::new(Pause::load(&state));
            let desk = Arc::new(Desk { pause, agent: None, joined: Notify::new() });
            Self { _home: home, config, state, desk }
        }

        /// Speaks to a running desk.
        async fn running<T>(&self, speak: impl Future<Output = T>) -> T {
            let control = Control::bind(&self.state).unwrap();
            tokio::select! {
                spoken = speak => spoken,
                () = control.serve(self.desk.clone()) => unreachable!("it serves until dropped"),
            }
        }
    }

    #[tokio::test]
    async fn pausing_and_resuming_answer_with_the_new_state() {
        let fixture = Fixture::new();
        let config = &fixture.config;
        fixture
            .running(async {
                assert_eq!(status(config).await.unwrap().paused_since, None);
                assert!(pause(config).await.unwrap().paused_since.is_some());
                assert!(status(config).await.unwrap().paused_since.is_some());
                assert_eq!(resume(config).await.unwrap().paused_since, None);
            })
            .await;
    }

    #[tokio::test]
    async fn an_agent_that_does_not_run_is_named_as_such_and_leaves_no_socket() {
        let fixture = Fixture::new();
        assert!(matches!(status(&fixture.config).await, Err(ControlError::NotRunning(_))));
        fixture.running(async {}).await;
        assert!(!fixture.state.path(SOCKET).exists());
        drop(std::os::unix::net::UnixListener::bind(fixture.state.path(SOCKET)).unwrap());
        assert!(matches!(status(&fixture.config).await, Err(ControlError::NotRunning(_))));
        fixture.running(async { status(&fixture.config).await.unwrap() }).await;
    }

    #[tokio::test]
    async fn the_socket_is_for_the_owner_alone() {
        let fixture = Fixture::new();
        let _control = Control::bind(&fixture.state).unwrap();
        let mode = std::fs::metadata(fixture.state.path(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn an_endless_or_foolish_request_changes_nothing() {
        let fixture = Fixture::new();
        for request in [vec![b'x'; MAX_REQUEST as usize * 2], b"\"reboot\"\n".to_vec(), b"\xff\n".to_vec()] {
            let answer = fixture
                .running(async {
                    let mut stream = UnixStream::connect(fixture.state.path(SOCKET)).await.unwrap();
                    stream.write_all(&request).await.unwrap();
                    let mut answer = String::new();
                    // What was not read of a request resets the connection.
                    let _reset = stream.read_to_string(&mut answer).await;
                    answer
                })
                .await;
            assert!(answer.is_empty() || answer.starts_with("{\"failed\":"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_say_nothing_keep_nobody_waiting_for_long() {
        let fixture = Fixture::new();
        fixture
            .running(async {
                let connect = || UnixStream::connect(fixture.state.path(SOCKET));
                let mut silent = Vec::new();
                for _ in 0..MAX_CONVERSATIONS {
                    silent.push(connect().await.unwrap());
                }
                assert!(exchange(connect().await.unwrap(), Request::Status).await.is_ok());
            })
            .await;
    }
}
