//! File transfer: the system's sftp-server where there is one, else the agent's own.
//!
//! Either is a program of its own, run by the visitor's login shell as the visitor's login: file
//! permissions are the kernel's business, and a shell that refuses logins refuses this too.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::io::{BufReader, stdin, stdout};
use tokio::sync::oneshot;

use super::Settings;

mod attributes;
mod files;
mod server;

use server::Server;

/// Where distributions keep the system's sftp-server.
pub(super) const SYSTEM_SERVERS: [&str; 6] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/lib/sftp-server",
    "/usr/lib/misc/sftp-server",
];

/// Enough for several requests of a client that pipelines.
const READ_AHEAD: usize = 128 * 1024;

/// Is the sftp-server on standard input and output, until the client leaves.
pub async fn run_stdio() -> io::Result<()> {
    let stream = tokio::io::join(BufReader::with_capacity(READ_AHEAD, stdin()), stdout());
    let (lives, ended) = oneshot::channel();
    russh_sftp::server::run(stream, Server::new(lives)).await;
    // The server is dropped when its stream ends, and says so by dropping its half.
    let _ = ended.await;
    Ok(())
}

/// The command that a login shell runs for the subsystem.
pub(super) fn command(settings: &Settings) -> Vec<u8> {
    match settings.sftp_servers.iter().find(|path| path.exists()) {
        Some(system) => [b"exec ".as_slice(), &quoted(system)].concat(),
        None => [b"exec ".as_slice(), &quoted(&settings.own_program), b" sftp-server"].concat(),
    }
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> Vec<u8> {
    let mut word = vec![b'\''];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\'' => word.extend(br"'\''"),
            byte => word.push(*byte),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_server_is_preferred_and_the_agents_own_is_there_otherwise() {
        let system = tempfile::NamedTempFile::new().unwrap();
        let mut settings = Settings { own_program: "/opt/it's here/agent".into(), ..Settings::default() };
        settings.sftp_servers = vec!["/nonexistent".into()];
        assert_eq!(command(&settings), br"exec '/opt/it'\''s here/agent' sftp-server");
        settings.sftp_servers.push(system.path().to_owned());
        assert_eq!(command(&settings), format!("exec '{}'", system.path().display()).as_bytes());
    }
}
