//! Asking an SSH server who it is: its identification, and a key exchange for each kind of host key.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_protocol::ssh_key::PublicKey;
use russh::client::{self, Config};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKeyOrCertificate};
use russh::{Error, Preferred, kex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take to introduce itself.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a key exchange may take; a small box needs its time.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest identification (RFC 4253, section 4.2).
const MAX_IDENTIFICATION: u64 = 255;

/// How Postern's own servers introduce themselves: leading a visitor there would be a circle.
const OWN: &str = "Postern";

/// The kinds of host keys, the best first. Any exchange will do, so old servers can answer too.
const KINDS: [&[Algorithm]; 3] = [
    &[Algorithm::Ed25519],
    &[
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    ],
    &[
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        Algorithm::Rsa { hash: None },
    ],
];

/// A server that has said its identification and nothing more.
pub(super) struct Introduced {
    pub(super) address: SocketAddr,
    pub(super) version: String,
    /// The identification as it came, for whoever goes on with the connection.
    line: Vec<u8>,
    stream: BufReader<TcpStream>,
}

/// Connects, and hears how the server introduces itself.
pub(super) async fn introduce(address: SocketAddr) -> io::Result<Introduced> {
    timeout(GREETING_TIMEOUT, greet(address)).await?
}

async fn greet(address: SocketAddr) -> io::Result<Introduced> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let mut line = Vec::new();
    (&mut stream).take(MAX_IDENTIFICATION).read_until(b'\n', &mut line).await?;
    match version(&line) {
        Some(version) => Ok(Introduced { address, version, line, stream }),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "not an SSH server, or one of our own")),
    }
}

/// The software in an identification such as `SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10`.
fn version(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?.trim_end();
    let software = line.strip_prefix("SSH-2.0-").or_else(|| line.strip_prefix("SSH-1.99-"))?;
    let version = software.split(' ').next().filter(|version| !version.is_empty())?;
    (!version.starts_with(OWN)).then(|| version.to_owned())
}

/// The server's host keys, one of each kind that it has.
pub(super) async fn host_keys(server: Introduced) -> Vec<PublicKey> {
    let address = server.address;
    let [best, second, third] = KINDS;
    let (best, second, third) =
        tokio::join!(key_of(server, best), key_at(address, second), key_at(address, third));
    [best, second, third].into_iter().flatten().collect()
}

async fn key_at(address: SocketAddr, kind: &'static [Algorithm]) -> Option<PublicKey> {
    key_of(introduce(address).await.ok()?, kind).await
}

/// Goes on with a connection just far enough to see a key proved: the exchange is signed with it.
async fn key_of(server: Introduced, kind: &'static [Algorithm]) -> Option<PublicKey> {
    let (read, write) = tokio::io::split(server.stream);
    let stream = tokio::io::join(io::Cursor::new(server.line).chain(read), write);
    let witness = Witness::default();
    // It fails in any case: at the latest because the witness walks away.
    let _ = timeout(EXCHANGE_TIMEOUT, exchange(stream, kind, witness.clone())).await;
    witness.seen()
}

async fn exchange<S>(stream: S, kind: &'static [Algorithm], witness: Witness) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let kex: Vec<_> =
        kex::ALL_KEX_ALGORITHMS.iter().map(|name| **name).filter(|name| *name != kex::NONE).collect();
    let preferred = Preferred { key: Cow::Borrowed(kind), kex: kex.into(), ..Preferred::DEFAULT };
    let config = Config { preferred, inactivity_timeout: Some(EXCHANGE_TIMEOUT), ..Config::default() };
    client::connect_stream(Arc::new(config), stream, witness).await.map(drop)
}

/// Sees the host key, and leaves.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Option<PublicKey>>>);

impl Witness {
    fn seen(&self) -> Option<PublicKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl client::Handler for Witness {
    type Error = Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = key {
            let key = key.to_bytes().ok().and_then(|wire| PublicKey::from_wire(&wire).ok());
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = key;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identification_names_the_software() {
        for (line, expected) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n", Some("OpenSSH_9.2p1")),
            ("SSH-2.0-dropbear_2022.83\r\n", Some("dropbear_2022.83")),
            ("SSH-1.99-Cisco-1.25\n", Some("Cisco-1.25")),
            ("SSH-2.0-Postern_0.1.0\r\n", None),
            ("SSH-2.0-OpenSSH_9.2p1", None),
            ("SSH-2.0-\r\n", None),
            ("SSH-1.5-old\r\n", None),
            ("HTTP/1.1 400 Bad Request\r\n", None),
            ("\n", None),
        ] {
            assert_eq!(version(line.as_bytes()).as_deref(), expected, "{line:?}");
        }
    }
}
