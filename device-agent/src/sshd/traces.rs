//! What an SSH server shows without being asked: the sockets on which it listens, the command lines of those
//! that run, and the files with its keys and settings. While these stay the same, so does the server.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::places;
use crate::aside::aside;
use crate::config::SshSettings;

/// Where the kernel lists the sockets of the agent's own network.
const SOCKETS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// How it writes that a socket listens.
const LISTENS: &str = "0A";

/// A connection that is not there yet: old kernels list those with the socket that they come to.
const COMES: &str = "03";

/// Where distributions keep host keys and settings.
const FOLDERS: [&str; 2] = ["/etc/ssh", "/etc/dropbear"];

/// What there is to see, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Where servers listen, as their command lines say: a likelier one may have come.
    told: BTreeSet<SocketAddr>,
    listening: BTreeSet<Socket>,
    files: BTreeSet<Written>,
}

/// A listening socket. Another one has another number, so a server that was started again, or has read its
/// settings again, is told from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Socket {
    port: u16,
    inode: u64,
}

/// A file, as it was last written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    path: PathBuf,
    at: Option<SystemTime>,
    bytes: u64,
}

impl Traces {
    /// Looks. A box may run hundreds of processes, and visits do not wait while they are looked through.
    pub(crate) async fn seen(settings: &SshSettings) -> Self {
        let settings = settings.clone();
        aside(move || Self::look(&settings)).await
    }

    fn look(settings: &SshSettings) -> Self {
        let told = match settings.address {
            Some(_) => BTreeSet::new(),
            None => places::of_running().into_iter().collect(),
        };
        let lists = SOCKETS.into_iter().filter_map(|path| File::open(path).ok());
        let listening = lists.flat_map(|list| listening(BufReader::new(list))).collect();
        let folders = FOLDERS.into_iter().map(Path::new).chain(settings.host_keys.as_deref());
        Self { told, listening, files: folders.flat_map(files).collect() }
    }

    /// Those of the server at this address: none if it shows none, as one on another machine does.
    pub(crate) fn of(mut self, server: SocketAddr) -> Option<Self> {
        self.listening.retain(|socket| socket.port == server.port());
        (is_here(server.ip()) && !self.listening.is_empty()).then_some(self)
    }
}

/// The listening sockets in one of the kernel's lists. They come first; of the others there may be tens of thousands,
/// which take the kernel its time to write down.
fn listening(list: impl BufRead) -> impl Iterator<Item = Socket> {
    let lines = list.lines().skip(1).map_while(Result::ok);
    let first = lines.take_while(|line| state(line).is_none_or(|state| [LISTENS, COMES].contains(&state)));
    first.filter_map(|line| socket(&line))
}

fn state(line: &str) -> Option<&str> {
    line.split_ascii_whitespace().nth(3)
}

/// The socket of a line, if it listens: number, local and remote address, state, and further on an inode.
fn socket(line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    let inode = words.nth(5)?.parse().ok()?;
    (state == LISTENS).then_some(Socket { port, inode })
}

fn files(folder: &Path) -> impl Iterator<Item = Written> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter_map(|path| {
        let data = fs::metadata(&path).ok()?;
        Some(Written { path, at: data.modified().ok(), bytes: data.len() })
    })
}

/// Whether an address is one of this machine's: the kernel lets nobody have another.
fn is_here(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_list_of_the_kernels_shows_who_listens_and_is_read_no_further() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
                    timeout inode\n   \
             0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 8841 1 \
             0000000000000000 100 0 0 10 0\n   \
             1: 0100007F:0016 0100007F:E0D0 03 00000000:00000000 00:00000000 00000000     0        0 0 1 \
             0000000000000000 100 0 0 10 0\n   \
             2: nonsense\n   \
             3: 00000000000000000000000000000000:08AE 00000000000000000000000000000000:0000 0A \
             00000000:00000000 00:00000000 00000000     0        0 8843 1 0000000000000000 100 0 0 10 0\n   \
             4: 0100007F:0016 0100007F:E0D2 01 00000000:00000000 00:00000000 00000000     0        0 9127 1 \
             0000000000000000 20 4 30 10 -1\n";
        let mut unread = list.as_bytes().chain(&[b'\n'; 100][..]);
        let expected = [Socket { port: 22, inode: 8841 }, Socket { port: 2222, inode: 8843 }];
        assert_eq!(listening(&mut unread).collect::<Vec<_>>(), expected);
        assert_eq!(unread.lines().count(), 100);
    }

    #[test]
    fn a_server_on_another_machine_leaves_nothing_to_see_here() {
        let traces =
            Traces { listening: BTreeSet::from([Socket { port: 22, inode: 1 }]), ..Traces::default() };
        let of = |server: &str| traces.clone().of(server.parse().unwrap());
        assert_eq!(of("192.0.2.1:22"), None);
        assert_eq!(of("127.0.0.1:2222"), None, "nobody listens there");
        assert_eq!(of("127.0.0.1:22"), Some(traces.clone()));
    }
}
