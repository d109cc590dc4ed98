//! OpenSSH: `ssh -R` from the box to a server, used by its port, or through the server's sshd as a jump
//! host.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_tests::sshd::Sshd;
use postern_tests::{Key, Scene};

use super::{Route, answers, run};

/// AES-GCM, which is OpenSSH's fastest.
const CIPHER: &str = "aes128-gcm@openssh.com";

/// The two ways through `ssh -R`: by the port that sshd opens, and by `ssh -L` through that sshd.
pub(crate) async fn both(scene: &Arc<Scene>, service: SocketAddr) -> [Route; 2] {
    let key = Key::generate(scene.new_dir("openssh").join("id"), "ed25519").await;
    let believed = format!("AuthorizedKeysFile {}.pub", key.path().display());
    let sshd = Sshd::with(scene, &believed).await;
    let (public, through) = (scene.free_address(), scene.free_address());
    let at = sshd.address();
    let options = |forward: &str, value: &str| -> Vec<String> {
        let words = ["-N", "-F", "none", "-i", key.path().to_str().expect("temporary paths are text")];
        let mut all: Vec<String> = words.map(str::to_owned).into();
        for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes"]
        {
            all.extend(["-o".to_owned(), option.to_owned()]);
        }
        all.extend(["-c".to_owned(), CIPHER.to_owned(), "-p".to_owned(), at.port().to_string()]);
        all.extend([forward.to_owned(), value.to_owned(), at.ip().to_string()]);
        all
    };
    let start = |name: &str, arguments: Vec<String>| {
        run(scene, name, "ssh", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let tunnel = start("ssh-R", options("-R", &format!("127.0.0.1:{}:{service}", public.port())));
    let opened = SocketAddr::from(([127, 0, 0, 1], public.port()));
    answers(opened).await;
    let jump = start("ssh-L", options("-L", &format!("{through}:{opened}")));
    answers(through).await;
    let (agent, keep) = (vec![tunnel.pid()], Arc::new((sshd, tunnel)));
    let route = |name, address| Route {
        name,
        address,
        login: vec![],
        doors: vec![at, opened],
        // sshd starts a process for each connection, which is not known beforehand.
        relay: vec![],
        agent: agent.clone(),
        _keep: vec![Box::new(keep.clone())],
    };
    let by_port = route("ssh -R", opened);
    let mut by_jump = route("ssh -R, sshd as jump host", through);
    by_jump.login = options("-W", &opened.to_string());
    by_jump._keep.push(Box::new(jump));
    [by_port, by_jump]
}
