//! The control API: the process, and its face over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use postern_protocol::api::{
    Access, CreateAccess, CreateDevice, Created, Device, EditAccess, Page, Problem, Relay, RenameDevice,
    Verify, VerifyAnswer, Visit,
};
use postern_protocol::grant::GrantSigner;
use postern_protocol::id::AccessId;
use postern_protocol::secret::Secret;
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::daemon::Daemon;
use crate::identity::provider;
use crate::program::Output;
use crate::scene::Scene;

/// The control API over HTTP, with a token for it.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    address: SocketAddr,
    token: Secret,
}

/// `postern-api`, the process.
#[derive(Debug)]
pub struct ApiProcess {
    daemon: Daemon,
    address: SocketAddr,
}

#[derive(Deserialize)]
struct Listening {
    http: SocketAddr,
}

impl ApiProcess {
    pub(crate) async fn start(scene: &Arc<Scene>, settings: Table) -> Self {
        let mut config = Table::new();
        config.insert("listen".into(), format!("{}:0", scene.address()).into());
        // One token does here in a minute what a hundred do elsewhere.
        let unlimited = Table::from_iter([("per_credential".to_owned(), 0.into())]);
        config.insert("limits".into(), unlimited.into());
        config.extend(settings);
        let mut daemon = Daemon::new(scene, "postern-api", &["serve"], config);
        let Listening { http: address } = daemon.start().await;
        daemon.set("listen", address.to_string());
        Self { daemon, address }
    }

    /// The API over HTTP, with a new token.
    pub(crate) async fn client(&self) -> Api {
        let token = self.run(&["token", "create", "--name", "test"]).await.success();
        Api { http: http_client(), address: self.address, token: Secret::from_text(token.trim()) }
    }

    /// Registers a relay; the file that holds its token.
    pub(crate) async fn add_relay(&self, name: &str) -> PathBuf {
        let file = self.daemon.dir().join(format!("{name}.token"));
        let path = file.to_str().expect("temporary paths are text");
        self.run(&["relay", "add", name, "--token-file", path]).await.success();
        file
    }

    /// The key that signs grants, as nobody but the API has it.
    pub fn grant_signer(&self) -> GrantSigner {
        let seed = std::fs::read(self.daemon.state_dir().join("grants.key")).expect("the API has a key");
        GrantSigner::from_seed(&seed.try_into().expect("it is a seed of 32 bytes"))
    }

    /// Runs another subcommand of `postern-api` on the same state.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.daemon.run(arguments).await
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Stops it as a service manager does.
    pub async fn stop(&mut self) {
        self.daemon.stop().await;
    }

    /// Starts it again where it was.
    pub async fn restart(&mut self) {
        let Listening { http } = self.daemon.start().await;
        assert_eq!(http, self.address, "a restarted API is found where it was");
    }
}

impl Api {
    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What opens it.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// A request with the token on it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url())).bearer_auth(self.token.reveal())
    }

    /// Asks.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        answer(self.request(Method::GET, path)).await
    }

    /// Asks for something to be changed.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Problem> {
        answer(self.request(Method::PATCH, path).json(body)).await
    }

    /// Asks for something to be done.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Problem> {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// Creates a box; the answer holds its join string.
    pub async fn create_device(&self, name: &str) -> Device {
        let name = name.parse().expect("a box's name");
        self.post("/v1/devices", &CreateDevice { name }).await.expect("a box is created")
    }

    /// A box, by name or id.
    pub async fn device(&self, device: &str) -> Device {
        self.get(&format!("/v1/devices/{device}")).await.expect("the box exists")
    }

    /// Gives a box another name.
    pub async fn rename_device(&self, device: &str, name: &str) -> Device {
        let rename = RenameDevice { name: name.parse().expect("a box's name") };
        let request = self.request(Method::PATCH, &format!("/v1/devices/{device}")).json(&rename);
        answer(request).await.expect("a box can be renamed")
    }

    /// Deletes a box.
    pub async fn delete_device(&self, device: &str) {
        answer(self.request(Method::DELETE, &format!("/v1/devices/{device}")))
            .await
            .expect("a box can be deleted")
    }

    /// Creates an access and waits until it is in force, or said to be pending.
    pub async fn create_access(&self, access: &CreateAccess) -> Result<Created, Problem> {
        self.post("/v1/accesses?wait=active", access).await
    }

    /// Creates an access without waiting; nothing if the API went away before it answered.
    pub async fn try_create_access(&self, access: &CreateAccess) -> Option<AccessId> {
        let response = self.request(Method::POST, "/v1/accesses").json(access).send().await.ok()?;
        assert!(response.status().is_success(), "{}", response.status());
        response.json::<Created>().await.ok().map(|created| created.access.id)
    }

    /// An access.
    pub async fn access(&self, access: AccessId) -> Access {
        self.get(&format!("/v1/accesses/{access}")).await.expect("the access exists")
    }

    /// Changes an access.
    pub async fn edit_access(&self, access: AccessId, edit: &EditAccess) -> Result<Access, Problem> {
        answer(self.request(Method::PATCH, &format!("/v1/accesses/{access}")).json(edit)).await
    }

    /// Deletes an access.
    pub async fn revoke(&self, access: AccessId) {
        answer(self.request(Method::DELETE, &format!("/v1/accesses/{access}")))
            .await
            .expect("an access can be deleted in any state")
    }

    /// What would the relay do?
    pub async fn verify(&self, attempt: &Verify) -> Result<VerifyAnswer, Problem> {
        self.post("/v1/verify", attempt).await
    }

    /// The newest visits that fit a query such as `access=…`.
    pub async fn visits(&self, query: &str) -> Vec<Visit> {
        let page: Page<Visit> =
            self.get(&format!("/v1/visits?limit=100&{query}")).await.expect("visits are listed");
        page.items
    }

    /// The relays.
    pub async fn relays(&self) -> Vec<Relay> {
        self.get::<Page<Relay>>("/v1/relays").await.expect("relays are listed").items
    }
}

/// Sends a request and reads what it promises, or the problem.
pub async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Problem> {
    let response = request.send().await.unwrap_or_else(|e| panic!("the API answers: {e:?}"));
    let status = response.status();
    let body = response.bytes().await.expect("an answer has a body");
    let body = if body.is_empty() { &b"null"[..] } else { &body };
    let unreadable = |e| panic!("{status}: {e} in {}", String::from_utf8_lossy(body));
    match status.is_success() {
        true => Ok(serde_json::from_slice(body).unwrap_or_else(unreadable)),
        false => Err(serde_json::from_slice(body).unwrap_or_else(|e| panic!("{status}: {e}: {body:?}"))),
    }
}

/// A client that finds no proxy between itself and loopback, and goes nowhere by itself.
pub fn http_client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
    client
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client without settings that could be wrong")
}
