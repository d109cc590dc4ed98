//! A real dropbear of the test's own, as small boxes have it.

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::inetd::{Inetd, listen};
use crate::machine::own_login;
use crate::namespace::Namespace;
use crate::program::finish;
use crate::scene::Scene;

/// Debian keeps it out of people's PATH.
const DROPBEAR: &str = "/usr/sbin/dropbear";

/// A user who lives on every box of this kind besides whoever runs the tests.
pub const GUEST: &str = "guest";

/// A dropbear, until it is dropped.
#[derive(Debug)]
pub struct Dropbear {
    server: Inetd,
    keys_file: PathBuf,
}

impl Dropbear {
    /// Starts one. It reads keys from its users' homes and nowhere else, so it is given a list of users
    /// who live in the test's directory: libnss-wrapper puts it in the place of the machine's.
    pub(crate) async fn start(scene: &Arc<Scene>, place: Option<&Namespace>) -> Self {
        let dir = scene.new_dir("dropbear");
        let host_keys = ["ed25519", "ecdsa"].map(|kind| dir.join(kind));
        for key in &host_keys {
            let mut keygen = Command::new("dropbearkey");
            keygen.arg("-t").arg(key.file_name().expect("it was just named")).arg("-f").arg(key);
            finish(keygen).await.success();
        }
        let (passwd, group) = (dir.join("passwd"), dir.join("group"));
        let keys_file = new_home(&dir, &own_login()).join(".ssh/authorized_keys");
        fs::write(&passwd, users(&dir)).expect("a list of users");
        fs::write(&group, "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n").expect("a list of groups");
        let command = move || {
            let mut dropbear = Command::new(DROPBEAR);
            dropbear.args(["-i", "-s", "-m"]);
            host_keys.iter().for_each(|key| _ = dropbear.arg("-r").arg(key));
            dropbear.env("LD_PRELOAD", "libnss_wrapper.so");
            dropbear.env("NSS_WRAPPER_PASSWD", &passwd).env("NSS_WRAPPER_GROUP", &group);
            dropbear
        };
        Self { server: Inetd::start(listen(place), scene, "dropbear", command), keys_file }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where it reads the keys of whoever runs the tests.
    pub(crate) fn keys_file(&self) -> &Path {
        &self.keys_file
    }
}

/// Whoever runs the tests, and somebody else whom no key opens.
fn users(dir: &Path) -> String {
    let (id, group) = (nix::unistd::getuid(), nix::unistd::getgid());
    let (login, home, others) = (own_login(), dir.join(own_login()), new_home(dir, GUEST));
    format!(
        "{login}:x:{id}:{group}::{}:/bin/bash\n{GUEST}:x:65534:65534::{}:/bin/bash\n",
        home.display(),
        others.display()
    )
}

/// A home that dropbear trusts: nobody else can write in it.
fn new_home(dir: &Path, login: &str) -> PathBuf {
    let home = dir.join(login);
    DirBuilder::new().recursive(true).mode(0o700).create(home.join(".ssh")).expect("a new home");
    home
}
