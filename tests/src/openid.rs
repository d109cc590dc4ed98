//! A real OpenID provider of the test's own: glewlwyd.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::api::http_client;
use crate::program::finish;
use crate::scene::Scene;
use crate::wait::{SOON, eventually};

/// Where Debian puts what makes its database.
const DATABASE: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";

/// What Postern is to it.
const CLIENT: (&str, &str) = ("postern", "the client's secret");

/// The password of everybody there.
const PASSWORD: &str = "a password of the provider's";

/// A provider, until it is dropped.
#[derive(Debug)]
pub struct OpenIdProvider {
    process: Child,
    url: String,
    secret_file: String,
    http: reqwest::Client,
}

impl OpenIdProvider {
    /// Starts one, with its own database and key.
    pub async fn start(scene: &Arc<Scene>) -> Self {
        let dir = scene.new_dir("openid");
        let path = |name: &str| dir.join(name).display().to_string();
        let address = scene.free_address();
        let mut sqlite = Command::new("sqlite3");
        sqlite.arg(path("database")).arg(format!(".read {DATABASE}"));
        finish(sqlite).await.success();
        let url = format!("http://{address}");
        let settings = format!(
            "port={}\nbind_address=\"{}\"\nexternal_url=\"{url}\"\nlogin_url=\"login.html\"\napi_prefix=\"api\"
             log_mode=\"console\"\nlog_level=\"WARNING\"\ncookie_secure=0\nsession_key=\"SESSION\"
             admin_scope=\"g_admin\"\nprofile_scope=\"g_profile\"
             user_module_path=\"/usr/lib/glewlwyd/user\"\nclient_module_path=\"/usr/lib/glewlwyd/client\"
             user_auth_scheme_module_path=\"/usr/lib/glewlwyd/scheme\"\nplugin_module_path=\"/usr/lib/glewlwyd/plugin\"
             use_secure_connection=false\nsecure_connection_key_file=\"-\"\nsecure_connection_pem_file=\"-\"
             secure_connection_ca_file=\"-\"\nhash_algorithm=\"SHA512\"
             database = {{ type = \"sqlite3\" path = \"{}\" }};\n",
            address.port(),
            address.ip(),
            path("database"),
        );
        fs::write(path("settings"), settings).expect("a file of settings");
        fs::write(path("secret"), CLIENT.1).expect("a file for the secret");
        let log = fs::File::create(path("log")).expect("a log");
        let process = Command::new("glewlwyd")
            .arg(format!("--config-file={}", path("settings")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("glewlwyd is installed");
        let this = Self { process, url, secret_file: path("secret"), http: http_client() };
        this.publish().await;
        this
    }

    /// The settings of an API that takes its word.
    pub fn settings(&self, addresses_are_verified: bool) -> String {
        format!(
            "[openid]\nname = \"Glewlwyd\"\nissuer = \"{}/api/oidc\"\nclient_id = \"{}\"
             client_secret_file = \"{}\"\naddresses_are_verified = {addresses_are_verified}\n",
            self.url, CLIENT.0, self.secret_file
        )
    }

    /// Makes Postern known to it.
    pub async fn register(&self, api: &str) {
        let client = json!({
            "client_id": CLIENT.0, "client_secret": CLIENT.1, "password": CLIENT.1, "name": "Postern",
            "confidential": true, "enabled": true, "authorization_type": ["code"], "scope": ["openid"],
            "redirect_uri": [format!("{api}/v1/session/openid/callback")],
            "token_endpoint_auth_method": ["client_secret_basic"],
        });
        self.as_admin("client/", client).await;
    }

    /// Adds somebody.
    pub async fn add_user(&self, name: &str, address: &str) {
        let user = json!({ "username": name, "email": address, "password": PASSWORD, "scope": ["openid"], "enabled": true });
        self.as_admin("user/", user).await;
    }

    /// Somebody's browser, sent to this address of the provider's: they sign in and consent. Where they
    /// are sent back to.
    pub async fn visit(&self, name: &str, address: &str) -> String {
        let cookie = self.sign_in(name, PASSWORD).await.expect("a session of the provider's");
        let path = format!("auth/grant/{}", CLIENT.0);
        self.ask(Method::PUT, &path, Some(&cookie), json!({ "scope": "openid" })).await;
        let request = self.http.get(format!("{address}&g_continue")).header(header::COOKIE, cookie);
        let answer = request.send().await.expect("the provider answers");
        assert_eq!(answer.status(), StatusCode::FOUND);
        answer.headers()["location"].to_str().expect("an address is text").to_owned()
    }

    /// Offers OpenID Connect, with a new key.
    async fn publish(&self) {
        let key = rcgen::KeyPair::generate().expect("a key on P-256");
        let parameters = json!({
            "iss": format!("{}/api/oidc", self.url), "jwt-type": "ecdsa", "jwt-key-size": "256",
            "key": key.serialize_pem(), "cert": key.public_key_pem(),
            "access-token-duration": 3600, "refresh-token-duration": 3600, "code-duration": 600,
            "refresh-token-rolling": true, "allow-non-oidc": false, "auth-type-code-enabled": true,
            "auth-type-token-enabled": false, "auth-type-id-token-enabled": true, "auth-type-none-enabled": false,
            "auth-type-password-enabled": false, "auth-type-client-enabled": false,
            "auth-type-refresh-enabled": false, "auth-type-device-enabled": false, "subject-type": "public",
            "pkce-allowed": true, "pkce-method-plain-allowed": false, "pkce-required": true,
            "email-claim": "mandatory", "email-claim-scope": ["openid"], "scope": [],
        });
        let plugin =
            json!({ "module": "oidc", "name": "oidc", "display_name": "OpenID", "parameters": parameters });
        eventually("the provider listens", SOON, async || self.sign_in("admin", "password").await).await;
        self.as_admin("mod/plugin/", plugin).await;
    }

    async fn as_admin(&self, path: &str, body: Value) {
        let admin = self.sign_in("admin", "password").await.expect("the first password of its database");
        self.ask(Method::POST, path, Some(&admin), body).await;
    }

    /// The cookie of a session of the provider's; nothing while it does not listen.
    async fn sign_in(&self, name: &str, password: &str) -> Option<String> {
        let body = json!({ "username": name, "password": password });
        let answer = self.http.post(format!("{}/api/auth/", self.url)).json(&body).send().await.ok()?;
        assert_eq!(answer.status(), StatusCode::OK, "{name} signs in at the provider");
        let cookie = answer.headers().get("set-cookie")?.to_str().ok()?;
        Some(cookie.split(';').next()?.to_owned())
    }

    async fn ask(&self, method: Method, path: &str, cookie: Option<&str>, body: Value) {
        let mut request = self.http.request(method, format!("{}/api/{path}", self.url)).json(&body);
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let answer = request.send().await.expect("the provider answers");
        let status = answer.status();
        assert_eq!(status, StatusCode::OK, "{path}: {}", answer.text().await.unwrap_or_default());
    }
}

impl Drop for OpenIdProvider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
