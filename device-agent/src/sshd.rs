//! The box's own SSH server: where it is, how it introduces itself, and by which keys it is known.
//!
//! Files and command lines say where a server may be; whether it is there, and what its keys are, is
//! asked of the server itself, so that what people are shown is true whatever the files say.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use postern_protocol::ssh_key::PublicKey;
use tracing::debug;

use crate::config::{SSH_PORT, SshChoice, SshSettings};

mod ask;
mod places;
mod traces;
pub(crate) use traces::Traces;

/// The system's SSH server, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How it introduces itself, such as `OpenSSH_9.2p1`.
    pub(crate) version: String,
    /// Its host keys.
    pub(crate) host_keys: Vec<PublicKey>,
}

/// Looks for the system's SSH server; a server that has moved is found at the next call.
///
/// It costs three short connections to the server, which writes a line or two about each into its log.
/// OpenSSH 9.8 counts those that end without a login against their address, which is also the visitors'
/// here; it forgives one a second and minds fifteen at once. So look not more than a few times a minute,
/// and only when its [`Traces`] give a reason.
pub(crate) async fn find(settings: &SshSettings) -> Option<Found> {
    if settings.server == SshChoice::Builtin {
        return None;
    }
    for address in places(settings).await {
        match ask::introduce(address).await {
            Ok(server) => return Some(complete(server, settings).await),
            Err(error) => debug!(%address, %error, "no SSH server here"),
        }
    }
    None
}

/// Where to look, the likeliest place first.
async fn places(settings: &SshSettings) -> Vec<SocketAddr> {
    if let Some(address) = settings.address {
        return vec![address];
    }
    let usual = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), SSH_PORT);
    let mut seen = BTreeSet::new();
    places::all().await.into_iter().chain([usual]).filter(|address| seen.insert(*address)).collect()
}

/// The host keys, by the server's own word; files only if it gives none.
async fn complete(server: ask::Introduced, settings: &SshSettings) -> Found {
    let (address, version) = (server.address, server.version.clone());
    let told = ask::host_keys(server).await;
    let host_keys = match (told.is_empty(), &settings.host_keys) {
        (true, Some(dir)) => keys_in(dir),
        _ => told,
    };
    Found { address, version, host_keys }
}

/// The keys in the `.pub` files of a directory, in the order of the files' names.
fn keys_in(dir: &Path) -> Vec<PublicKey> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths: BTreeSet<_> = entries.map(|entry| entry.path()).collect();
    let public = paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "pub"));
    let texts = public.filter_map(|path| std::fs::read_to_string(path).ok());
    texts.filter_map(|text| PublicKey::parse(&text).ok()).map(|pasted| pasted.key).collect()
}

#[cfg(test)]
mod tests;
