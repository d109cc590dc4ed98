//! rathole: one TCP port forwarded; plainly, over TLS, or over Noise.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_tests::Scene;

use super::{Route, answers, is_installed, run, skip};

/// rathole with Noise between its ends.
pub(crate) async fn noise(scene: &Arc<Scene>, service: SocketAddr) -> Option<Route> {
    let transport = "[ROLE.transport]\ntype = \"noise\"\n[ROLE.transport.noise]\npattern = \"Noise_NN_25519_ChaChaPoly_BLAKE2s\"\n";
    start(scene, "rathole (noise)", service, transport).await
}

/// rathole with TLS between its ends.
pub(crate) async fn tls(scene: &Arc<Scene>, service: SocketAddr) -> Option<Route> {
    let dir = scene.new_dir("rathole-tls");
    let at = |name: &str| dir.join(name).to_str().expect("temporary paths are text").to_owned();
    let (key, certificate, identity) = (at("key.pem"), at("certificate.pem"), at("identity.pfx"));
    openssl(&[
        &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
        &["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"][..],
        &["-keyout", &key, "-out", &certificate],
    ])?;
    openssl(&[
        &["pkcs12", "-export", "-passout", "pass:bench", "-inkey", &key, "-in", &certificate][..],
        &["-out", &identity],
    ])?;
    let transport = format!(
        "[ROLE.transport]\ntype = \"tls\"\n[ROLE.transport.tls]\ntrusted_root = \"{certificate}\"\n\
         hostname = \"localhost\"\npkcs12 = \"{identity}\"\npkcs12_password = \"bench\"\n"
    );
    start(scene, "rathole (TLS)", service, &transport).await
}

/// Runs openssl; nothing if it is missing or fails.
fn openssl(words: &[&[&str]]) -> Option<()> {
    let done = std::process::Command::new("openssl").args(words.concat()).output().ok()?;
    done.status.success().then_some(())
}

/// rathole without encryption.
pub(crate) async fn plain(scene: &Arc<Scene>, service: SocketAddr) -> Option<Route> {
    start(scene, "rathole (plain)", service, "").await
}

async fn start(
    scene: &Arc<Scene>,
    name: &'static str,
    service: SocketAddr,
    transport: &str,
) -> Option<Route> {
    if !is_installed("rathole") {
        skip(name, "cargo install rathole");
        return None;
    }
    let (control, public) = (scene.free_address(), scene.free_address());
    let dir = scene.new_dir("rathole");
    let write = |role: &str, text: String| {
        let path = dir.join(format!("{role}.toml"));
        std::fs::write(&path, text + &transport.replace("ROLE", role)).expect("a configuration");
        path.to_str().expect("temporary paths are text").to_owned()
    };
    let server = write(
        "server",
        format!(
            "[server]\nbind_addr = \"{control}\"\ndefault_token = \"benchmark\"\n[server.services.s]\nbind_addr = \"{public}\"\n"
        ),
    );
    let client = write(
        "client",
        format!(
            "[client]\nremote_addr = \"{control}\"\ndefault_token = \"benchmark\"\n[client.services.s]\nlocal_addr = \"{service}\"\n"
        ),
    );
    let server = run(scene, &format!("{name}-server"), "rathole", &["--server", &server]);
    let client = run(scene, &format!("{name}-client"), "rathole", &["--client", &client]);
    answers(public).await;
    let (relay, agent) = (vec![server.pid()], vec![client.pid()]);
    Some(Route {
        name,
        address: public,
        login: vec![],
        doors: vec![control, public],
        relay,
        agent,
        _keep: vec![Box::new(server), Box::new(client)],
    })
}
