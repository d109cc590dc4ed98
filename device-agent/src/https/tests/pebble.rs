//! Pebble, the ACME server for tests (Debian's package), which finds every name on loopback.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::scene::{Files, free_port, listening};

/// A certificate authority.
pub(super) struct Pebble {
    dir: PathBuf,
    files: Files,
    port: u16,
    management: u16,
    dns: u16,
    _names: Child,
    process: Option<Child>,
}

impl Pebble {
    /// One that looks at this port whose a name is, and signs for so many seconds.
    pub(super) async fn start(dir: &Path, tls_port: u16, validity: u32) -> Self {
        let dir = dir.join("pebble");
        std::fs::create_dir(&dir).unwrap();
        let files = Files::make(&dir, &["127.0.0.1"]);
        let (port, management, dns, control) = (free_port(), free_port(), free_port(), free_port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": files.chain,
            "privateKey": files.key,
            "httpPort": 9,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": validity,
        }});
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        names.args(["-defaultIPv4", "127.0.0.1", "-dns01", &format!("127.0.0.1:{dns}")]);
        names.args(["-management", &format!("127.0.0.1:{control}")]);
        names.stdout(Stdio::null()).stderr(Stdio::null());
        let names = names.kill_on_drop(true).spawn().expect("pebble is installed");
        listening(control).await;
        let mut pebble = Self { dir, files, port, management, dns, _names: names, process: None };
        pebble.run().await;
        pebble
    }

    /// Starts it; it knows nothing of what was before.
    pub(super) async fn run(&mut self) {
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(self.dir.join("config.json"));
        pebble.args(["-dnsserver", &format!("127.0.0.1:{}", self.dns)]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(pebble.kill_on_drop(true).spawn().expect("pebble is installed"));
        listening(self.port).await;
        listening(self.management).await;
    }

    /// Takes it down.
    pub(super) async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// Settings that ask it for certificates.
    pub(super) fn settings(&self) -> String {
        let directory = format!("https://127.0.0.1:{}/dir", self.port);
        format!(
            "[https]\ncertificate = 'acme'\n[https.acme]\ndirectory = '{directory}'\nca = {:?}\n\
             accept_terms = true\ncontact = 'mailto:ops@example.com'\n",
            self.files.chain
        )
    }

    /// Its root, as browsers would know it.
    pub(super) async fn root(&self) -> PathBuf {
        let root = self.dir.join("root.pem");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--insecure", "-o"]).arg(&root);
        curl.arg(format!("https://127.0.0.1:{}/roots/0", self.management));
        assert!(curl.status().await.unwrap().success());
        root
    }
}
