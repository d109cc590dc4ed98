//! One test's own corner of the machine: a directory, an address, and what its programs said.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// What no program may write to its log: the beginnings of tokens, join strings and private keys.
const SECRETS: [&str; 6] = ["pst_", "psr_", "psj_", "pss_", "postern-join-2-", "PRIVATE KEY"];

/// How much of each log is shown when a test fails.
const LINES_SHOWN: usize = 120;

/// A directory, an address and the logs. When the last of its holders is gone, it shows the logs if
/// the test failed, and fails the test if a program reported an error, panicked or told a secret.
#[derive(Debug)]
pub struct Scene {
    dir: TempDir,
    address: Ipv4Addr,
    count: AtomicU32,
}

impl Scene {
    /// A new one.
    pub fn new() -> Arc<Self> {
        let dir = tempfile::Builder::new().prefix("postern-").tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("logs")).expect("a directory for logs");
        Arc::new(Self { dir, address: own_address(), count: AtomicU32::new(0) })
    }

    /// A loopback address that no other test listens on, so that a program that is started again
    /// finds its port free.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A port of that address that nobody uses.
    pub fn free_address(&self) -> SocketAddr {
        let listener = TcpListener::bind((self.address, 0)).expect("a free port");
        listener.local_addr().expect("a bound address")
    }

    /// A path in the directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new directory of that name and a number.
    pub fn new_dir(&self, name: &str) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.path(format!("{name}-{number}"));
        fs::create_dir(&path).expect("a new directory");
        path
    }

    /// The log of a program, which goes on where it ended when the program starts again.
    pub(crate) fn log(&self, program: &str) -> File {
        let mut append = File::options();
        append.create(true).append(true);
        append.open(self.log_path(program)).expect("a log file")
    }

    /// Everything a program has said.
    pub fn said(&self, program: &str) -> String {
        fs::read_to_string(self.log_path(program)).unwrap_or_default()
    }

    fn log_path(&self, program: &str) -> PathBuf {
        self.path("logs").join(format!("{program}.log"))
    }

    fn logs(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.path("logs")).into_iter().flatten().flatten();
        let mut logs: Vec<_> = entries
            .map(|entry| {
                let text = fs::read(entry.path()).unwrap_or_default();
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    String::from_utf8_lossy(&text).into_owned(),
                )
            })
            .collect();
        logs.sort();
        logs
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let logs = self.logs();
        if std::thread::panicking() {
            logs.iter().for_each(|(name, text)| show(name, text));
            return;
        }
        let faults: Vec<String> = logs
            .iter()
            .flat_map(|(name, text)| faults(text).map(move |line| format!("{name}: {line}")))
            .collect();
        assert!(faults.is_empty(), "the programs said what they must not:\n{}", faults.join("\n"));
    }
}

fn show(name: &str, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
    eprintln!("---- {name} ({} of {} lines)\n{}", shown.len(), lines.len(), shown.join("\n"));
}

fn faults(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| {
        line.split_whitespace().nth(1) == Some("ERROR")
            || line.contains("panicked at")
            || SECRETS.iter().any(|secret| line.contains(secret))
    })
}

fn own_address() -> Ipv4Addr {
    let [a, b, c] = rand::random::<[u8; 3]>();
    Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254))
}
