//! bore: one TCP port forwarded, without encryption.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_tests::Scene;

use super::{Route, answers, is_installed, listens, run, skip};

/// Where its server always listens, so its address must be free of others.
const CONTROL: u16 = 7835;

/// bore, if it is installed.
pub(crate) async fn plain(scene: &Arc<Scene>, service: SocketAddr) -> Option<Route> {
    if !is_installed("bore") {
        skip("bore", "cargo install bore-cli");
        return None;
    }
    let (host, public) = (scene.address().to_string(), scene.free_address());
    let server =
        run(scene, "bore-server", "bore", &["server", "--bind-addr", &host, "--bind-tunnels", &host]);
    listens((scene.address(), CONTROL).into()).await;
    let (port, to) = (service.port().to_string(), public.port().to_string());
    let client = run(scene, "bore-client", "bore", &["local", &port, "--to", &host, "--port", &to]);
    answers(public).await;
    let (relay, agent) = (vec![server.pid()], vec![client.pid()]);
    Some(Route {
        name: "bore (plain)",
        address: public,
        login: vec![],
        doors: vec![(scene.address(), CONTROL).into(), public],
        relay,
        agent,
        _keep: vec![Box::new(server), Box::new(client)],
    })
}
