//! A browser, as far as curl is one: it finds every name in a relay's domain at the relay's TLS front.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::namespace::Namespace;
use crate::program::{Output, finish};

/// Who asks for a page.
#[derive(Debug, Clone)]
pub struct Curl {
    front: SocketAddr,
    host: String,
    options: Vec<String>,
    place: Option<Arc<Namespace>>,
}

impl Curl {
    /// One that wants the host with this first label.
    pub fn new(front: SocketAddr, label: impl std::fmt::Display) -> Self {
        Self::to_host(front, &format!("{label}.localhost"))
    }

    /// The same by the whole name.
    pub fn to_host(front: SocketAddr, host: &str) -> Self {
        Self { front, host: host.into(), options: Vec::new(), place: None }
    }

    /// The same with these options.
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// The same at another of this machine's addresses.
    pub fn from(self, source: &str) -> Self {
        self.with(&["--interface", source])
    }

    /// The same in another network.
    pub fn at(mut self, place: Arc<Namespace>) -> Self {
        self.place = Some(place);
        self
    }

    /// The command that asks for a page.
    pub fn command(&self, path: &str) -> Command {
        let (host, port, ip) = (&self.host, self.front.port(), self.front.ip());
        let mut curl = match &self.place {
            Some(place) => {
                let mut command = place.entrance();
                command.arg("curl");
                command
            }
            None => Command::new("curl"),
        };
        // Nobody has signed the box's certificate; who wants to be sure pins its key.
        curl.args(["--silent", "--show-error", "--insecure", "--noproxy", "*", "--max-time", "60"]);
        curl.args(["--resolve", &format!("{host}:{port}:{ip}")]).args(&self.options);
        curl.arg(format!("https://{host}:{port}{path}")).stdin(Stdio::null());
        curl
    }

    /// Asks for a page.
    pub async fn get(&self, path: &str) -> Output {
        finish(self.command(path)).await
    }
}
