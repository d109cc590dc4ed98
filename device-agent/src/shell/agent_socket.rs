//! Agent forwarding: a socket on the box that leads to the visitor's own ssh-agent.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SystemRandom, generate};
use russh::server::Handle;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use tracing::debug;

use super::account::Account;
use super::forward::join;
use super::visit::Visit;

/// After a connection could not be accepted, usually for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Opens the socket, which lasts as long as the visit, and tells where it is.
pub(super) fn open(visit: &Arc<Visit>, account: &Account, handle: Handle) -> io::Result<PathBuf> {
    let place = Place::make(account)?;
    let path = place.socket();
    let listener = UnixListener::bind(&path)?;
    place.hand_over(account)?;
    let (over, visit_) = (visit.over.clone(), Arc::clone(visit));
    visit.tasks.spawn(over.run_until_cancelled_owned(accept(visit_, handle, listener, place)));
    Ok(path)
}

async fn accept(visit: Arc<Visit>, handle: Handle, listener: UnixListener, _place: Place) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if visit.admit_channel().is_ok() => {
                let carrying = carry(Arc::clone(&visit), handle.clone(), stream);
                visit.tasks.spawn(visit.over.clone().run_until_cancelled_owned(carrying));
            }
            Ok(_) => {}
            Err(error) => {
                debug!(%error, "a connection to the forwarded agent was not accepted");
                sleep(BREATH).await;
            }
        }
    }
}

async fn carry(visit: Arc<Visit>, handle: Handle, stream: UnixStream) {
    match handle.channel_open_agent().await {
        Ok(channel) => join(visit.channels.enter(channel, handle), stream).await,
        Err(error) => debug!(%error, "the client refused access to its agent"),
    }
}

/// A directory with the socket in it, removed in the end.
///
/// It stays the agent's own, so that nobody can put anything else in its place while it is removed;
/// another user gets through it by name, and into the socket because that is theirs alone.
struct Place(PathBuf);

impl Place {
    fn make(account: &Account) -> io::Result<Self> {
        let name = generate::<[u8; 8]>(&SystemRandom::new()).map_err(|_| io::ErrorKind::Other)?.expose();
        let dir = std::env::temp_dir().join(format!("postern-{}", base16ct::lower::encode_string(&name)));
        DirBuilder::new().mode(0o700).create(&dir)?;
        let place = Self(dir);
        if account.differs {
            fs::set_permissions(&place.0, Permissions::from_mode(0o711))?;
        }
        Ok(place)
    }

    fn hand_over(&self, account: &Account) -> io::Result<()> {
        fs::set_permissions(self.socket(), Permissions::from_mode(0o600))?;
        match account.differs {
            true => chown(self.socket(), Some(account.uid.as_raw()), Some(account.gid.as_raw())),
            false => Ok(()),
        }
    }

    fn socket(&self) -> PathBuf {
        self.0.join(Path::new("agent"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_dir(&self.0);
    }
}
