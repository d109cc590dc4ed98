//! The audit: every change leaves a record, and what is done to the records shows.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use postern_protocol::api::Role;
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::harness::{Answer, OWNER, Relay, csr, facts, hello, join_token};
use super::routes::operations;
use super::{Api, KEY};
use crate::admin::{self, TokenTerms};
use crate::chain::{Broken, Head};

/// What a route that may change something leaves in the audit.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    /// A record of this action, when it is asked with this body by such a caller.
    Record(&'static str, By, &'static str),
    /// Nothing, for this reason.
    Nothing(&'static str),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Token,
    Session,
    Relay,
    Anybody,
}

use By::{Anybody, Session, Token};
use Leaves::{Nothing, Record};

/// Every route that is not for looking only. One that is not here fails the walk: say what it leaves.
/// Capitals stand for things that are made for it.
const ROUTES: &[(&str, Leaves)] = &[
    (
        "POST /v1/accesses",
        Record(
            "access_created",
            Token,
            r#"{"device":"BOX","exposed_port":443,"allowed_ips":["192.0.2.1"],"note":"n"}"#,
        ),
    ),
    ("DELETE /v1/accesses/{access}", Record("access_deleted", Token, "")),
    ("PATCH /v1/accesses/{access}", Record("access_edited", Token, r#"{"note":"other"}"#)),
    ("POST /v1/accesses/{asked}/approve", Record("access_approved", Token, "")),
    ("POST /v1/accesses/{asked}/deny", Record("access_denied", Token, "")),
    ("POST /v1/accounts", Record("account_opened", Token, r#"{"name":"NEW","owner":"NEW@example.com"}"#)),
    ("DELETE /v1/accounts/{account}", Record("account_closed", Token, "")),
    ("PATCH /v1/accounts/{account}", Record("account_renamed", Token, r#"{"name":"NEW"}"#)),
    (
        "POST /v1/accounts/{own}/accesses",
        Record(
            "access_asked_for",
            Token,
            r#"{"device":"BOX","exposed_port":443,"allowed_ips":["192.0.2.1"]}"#,
        ),
    ),
    ("POST /v1/devices", Record("device_created", Token, r#"{"name":"NEW"}"#)),
    ("DELETE /v1/devices/{device}", Record("device_deleted", Token, "")),
    ("PATCH /v1/devices/{device}", Record("device_renamed", Token, r#"{"name":"NEW"}"#)),
    (
        "POST /v1/devices/{doubted}/host-keys/confirm",
        Record("host_keys_confirmed", Token, r#"{"fingerprints":["REPORTED"]}"#),
    ),
    ("POST /v1/devices/{device}/join", Record("join_string_made", Token, "")),
    ("POST /v1/invitation", Nothing("it only looks")),
    ("POST /v1/relay/certificate", Nothing("a relay's own, and short-lived; nothing is kept of it")),
    ("POST /v1/relay/hello", Record("relay_changed", By::Relay, "HELLO")),
    ("POST /v1/relay/join", Record("device_joined", By::Relay, "JOIN")),
    ("POST /v1/relay/presence", Nothing("what is seen every few seconds, not what anybody did")),
    ("POST /v1/relay/renew", Nothing("for the key that the box has already; nothing is kept of it")),
    ("POST /v1/relay/visits", Nothing("visits are an audit of their own")),
    ("POST /v1/relays", Record("relay_registered", Token, r#"{"name":"NEW"}"#)),
    ("DELETE /v1/relays/{relay}", Record("relay_removed", Token, "")),
    ("DELETE /v1/session", Record("signed_out", Session, "")),
    ("POST /v1/session", Record("signed_in", Anybody, "SIGN_IN")),
    ("POST /v1/session/password", Record("password_changed", Session, "PASSWORD")),
    ("POST /v1/setup", Record("invitation_accepted", Anybody, "SETUP")),
    ("POST /v1/tokens", Record("token_created", Token, r#"{"name":"NEW"}"#)),
    ("DELETE /v1/tokens/{token}", Record("token_removed", Token, "")),
    ("POST /v1/users", Record("user_added", Token, r#"{"name":"NEW","role":"viewer"}"#)),
    ("DELETE /v1/users/{user}", Record("user_removed", Token, "")),
    ("PATCH /v1/users/{user}", Record("user_edited", Token, r#"{"role":"operator"}"#)),
    ("POST /v1/users/{user}/invitation", Record("user_invited", Token, "")),
    ("DELETE /v1/users/{user}/sessions", Record("user_signed_out", Token, "")),
    ("DELETE /v1/visits/{visit}", Record("visit_cut", Token, "")),
    ("POST /v1/webhooks", Record("webhook_added", Token, r#"{"url":"https://example.com/NEW"}"#)),
    ("DELETE /v1/webhooks/{webhook}", Record("webhook_removed", Token, "")),
    ("PATCH /v1/webhooks/{webhook}", Record("webhook_edited", Token, r#"{"enabled":false}"#)),
    ("POST /v1/webhooks/{webhook}/test", Record("webhook_tested", Token, "")),
    ("POST /v1/verify", Nothing("it only looks")),
];

/// A name that nobody has yet.
fn fresh() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("new-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An id that nobody has yet.
fn fresh_id() -> String {
    postern_protocol::id::VisitId::from_entropy(crate::entropy::entropy()).to_string()
}

/// An API in which things can be made for a route to change.
struct Scene<'a> {
    api: &'a Api,
    relay: Relay<'a>,
    cookie: String,
}

impl Scene<'_> {
    /// What a capital or a part of a path stands for, made anew.
    async fn make(&self, what: &str) -> String {
        let api = self.api;
        match what {
            "NEW" => fresh(),
            "{device}" | "BOX" => api.device(&fresh()).await,
            "{access}" => api.access(&api.device(&fresh()).await).await,
            "{asked}" => {
                let device = api.device(&fresh()).await;
                let ask = json!({ "device": device, "exposed_port": 443, "allowed_ips": ["192.0.2.1"] });
                let own = self.own().await;
                api.post(&format!("/v1/accounts/{own}/accesses"), ask).await.id()
            }
            "{own}" => self.own().await,
            "{account}" => {
                let name = fresh();
                let body = json!({ "name": name, "owner": format!("{name}@example.com") });
                api.post("/v1/accounts", body).await.id()
            }
            "{doubted}" => {
                let device = api.device(&fresh()).await;
                let token = join_token(&api.post(&format!("/v1/devices/{device}/join"), json!({})).await);
                self.relay.join(&token).await;
                let mut seen = super::harness::seen(&device, 0);
                seen["facts"] = facts();
                seen["facts"]["ssh"]["host_keys"] = json!([OTHER_KEY]);
                self.relay.report_all(0, false, json!([seen])).await;
                device
            }
            "{visit}" => self.relay.visit(&api.device(&fresh()).await, &fresh_id(), "open").await,
            "{user}" => self.invited().await.0,
            "{webhook}" => api.post("/v1/webhooks", json!({ "url": "https://example.invalid/" })).await.id(),
            "{token}" => api.post("/v1/tokens", json!({ "name": fresh() })).await.id(),
            "{relay}" => api.post("/v1/relays", json!({ "name": fresh() })).await.json["relay"]
                .as_str()
                .unwrap()
                .to_owned(),
            other => panic!("nobody knows how to make {other}"),
        }
    }

    async fn own(&self) -> String {
        self.api.get("/v1/session").await.json["account"].as_str().unwrap().to_owned()
    }

    /// A user, and the token of their invitation.
    async fn invited(&self) -> (String, String) {
        let user = self.api.post("/v1/users", json!({ "name": fresh(), "role": "viewer" })).await;
        let link = user.json["invitation"]["link"].as_str().unwrap();
        (user.id(), link.split_once('#').unwrap().1.to_owned())
    }

    async fn body(&self, template: &str) -> String {
        let body = match template {
            "HELLO" => {
                let mut hello = hello("relay-1");
                hello["version"] = json!(fresh());
                hello.to_string()
            }
            "JOIN" => {
                let device = self.api.device(&fresh()).await;
                let path = format!("/v1/devices/{device}/join");
                let token = join_token(&self.api.post(&path, json!({})).await);
                let key = rcgen::KeyPair::generate().unwrap();
                json!({ "token": token.reveal(), "csr": csr(&key), "facts": facts() }).to_string()
            }
            "SIGN_IN" => json!({ "name": OWNER.0, "password": OWNER.1 }).to_string(),
            "PASSWORD" => json!({ "current": OWNER.1, "new": OWNER.1 }).to_string(),
            "SETUP" => {
                json!({ "token": self.invited().await.1, "password": "a password of mine" }).to_string()
            }
            other => other.replace("REPORTED", &fingerprint(OTHER_KEY)),
        };
        let body = if body.contains("BOX") { body.replace("BOX", &self.make("BOX").await) } else { body };
        body.replace("NEW", &fresh())
    }

    async fn ask(&self, method: &str, path: &str, body: &str, by: By) -> Answer {
        let mut made = String::new();
        for part in path.split('/').skip(1) {
            made.push('/');
            made.push_str(&if part.starts_with('{') { self.make(part).await } else { part.to_owned() });
        }
        let body = Some(self.body(body).await).filter(|body| !body.is_empty());
        let bearer = match by {
            Token => format!("Bearer {}", self.api.token.reveal()),
            By::Relay => format!("Bearer {}", self.relay.token.reveal()),
            Session => return self.api.browse(method, &made, &self.cookie, body.map(parsed)).await,
            Anybody => return self.api.raw(method, &made, body, &[]).await,
        };
        self.api.raw(method, &made, body, &[("authorization", &bearer)]).await
    }
}

fn parsed(text: String) -> Value {
    serde_json::from_str(&text).unwrap()
}

/// A host key that is not the one in [`facts`].
const OTHER_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGKvBhb7kgcU5mmcw4IUUTbFWY4BmJq0eh8bsDP9Lmyr";

fn fingerprint(key: &str) -> String {
    postern_protocol::ssh_key::PublicKey::parse(key).unwrap().key.fingerprint()
}

#[tokio::test]
async fn every_route_that_changes_something_leaves_a_record() {
    let api = Api::start().await;
    let document = api.raw("GET", "/openapi.json", None, &[]).await.json;
    let named = |route: &str| {
        route.replace("{asked}", "{access}").replace("{own}", "{account}").replace("{doubted}", "{device}")
    };
    let documented: BTreeSet<String> = operations(&document)
        .into_iter()
        .filter(|(_, method, _)| method != "GET")
        .map(|(path, method, _)| format!("{method} {path}"))
        .collect();
    let known: BTreeSet<String> = ROUTES.iter().map(|(route, _)| named(route)).collect();
    assert_eq!(known, documented, "say what each route leaves in the audit");
    for (route, leaves) in ROUTES {
        let (action, by, body) = match *leaves {
            Record(action, by, body) => (action, by, body),
            Nothing(why) if !why.is_empty() => continue,
            Nothing(_) => panic!("{route} leaves nothing, and nobody says why"),
        };
        let cookie = api.session().await;
        let scene = Scene { api: &api, relay: api.relay("relay-1").await, cookie };
        let (method, path) = route.split_once(' ').unwrap();
        let answer = scene.ask(method, path, body, by).await;
        assert!(answer.status.is_success(), "{route}: {} {}", answer.status, answer.text);
        let record = newest(&api, action).await;
        let kind = match by {
            Token => "token",
            Session | Anybody => "user",
            By::Relay => "relay",
        };
        assert_eq!(record.0, kind, "{route}");
        assert_eq!(record.1.as_deref(), Some("127.0.0.1"), "{route}");
    }
    assert!(verify(&api, None).await.is_ok());
}

/// An API with a relay, of which two records tell.
async fn started() -> Api {
    let api = Api::start().await;
    api.relay("relay-1").await;
    api
}

/// Who did the newest thing, which must be this, and from where, in whichever account it was.
async fn newest(api: &Api, action: &str) -> (String, Option<String>) {
    let mut database = database(api).await;
    let select = "SELECT action, actor_kind, address FROM audit ORDER BY seq DESC LIMIT 3";
    let rows: Vec<(String, String, Option<String>)> =
        sqlx::query_as(select).fetch_all(&mut database).await.unwrap();
    let found = rows.iter().find(|row| row.0 == action);
    let (_, kind, address) = found.unwrap_or_else(|| panic!("no {action} in {rows:?}"));
    (kind.clone(), address.clone())
}

pub(super) async fn database(api: &Api) -> sqlx::SqliteConnection {
    let file = api.state_dir().join("postern.db");
    sqlx::SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap()
}

async fn verify(api: &Api, expected: Option<Head>) -> Result<(u64, Head), Broken> {
    admin::verify_audit(api.config(), expected).await.unwrap()
}

async fn tamper(api: &Api, statement: &str) {
    let mut database = database(api).await;
    let done = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
    assert_ne!(done.rows_affected(), 0, "{statement}");
}

#[tokio::test]
async fn a_record_says_who_did_what_from_where_and_how_it_was() {
    let api = started().await;
    let device = api.device("box42").await;
    let access =
        json!({ "device": device, "exposed_port": 22, "allowed_ips": ["192.0.2.1"], "public_key": KEY });
    let access = api.post("/v1/accesses", access).await;
    assert_eq!(access.json["created_by"]["kind"], "token", "{}", access.text);
    assert_eq!(access.json["created_by"]["name"], "test");
    let change = json!({ "note": "for ann", "allowed_ips": ["192.0.2.0/24"] });
    api.patch(&format!("/v1/accesses/{}", access.id()), change).await;
    api.patch(&format!("/v1/accesses/{}", access.id()), json!({ "note": "for ann" })).await;
    let list = api.get("/v1/audit").await;
    assert_eq!(list.items("action")[..3], ["access_edited", "access_created", "device_created"]);
    let [edited, created, ..] = list.json["items"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!(edited["actor"]["kind"], "token");
    assert_eq!(edited["actor"]["name"], "test");
    assert_eq!(edited["address"], "127.0.0.1");
    assert_eq!(edited["subject"], access.id());
    assert_eq!(edited["before"], json!({ "allowed_ips": "192.0.2.1/32" }), "only what changed");
    assert_eq!(edited["after"], json!({ "allowed_ips": "192.0.2.0/24", "note": "for ann" }));
    assert_eq!(created["after"]["key"], fingerprint(KEY));
    let machine = &list.json["items"][6];
    assert_eq!((&machine["action"], &machine["actor"]["kind"]), (&json!("token_created"), &json!("machine")));
    assert_eq!(list.json["items"][3]["actor"]["name"], "relay-1");
}

#[tokio::test]
async fn records_are_listed_by_what_whom_and_when_a_page_at_a_time() {
    let api = started().await;
    let first = api.device("box1").await;
    api.clock.advance(TimeDelta::hours(1));
    let since = api.clock.now().to_rfc3339().replace("+00:00", "Z");
    api.device("box2").await;
    api.delete(&format!("/v1/devices/{first}")).await;
    let of = async |query: &str| api.get(&format!("/v1/audit?{query}")).await.items("action");
    assert_eq!(of(&format!("subject={first}")).await, ["device_deleted", "device_created"]);
    assert_eq!(of("action=device_created").await.len(), 2);
    assert_eq!(of(&format!("since={since}")).await, ["device_deleted", "device_created"]);
    let before = ["device_created", "relay_changed", "relay_registered", "owner_invited", "token_created"];
    assert_eq!(of(&format!("until={since}")).await, before);
    let page = api.get("/v1/audit?limit=3").await;
    let next = page.json["next"].as_str().unwrap();
    assert_eq!(of(&format!("limit=3&cursor={next}")).await, before[1..4]);
    let me = page.json["items"][0]["actor"]["id"].as_str().unwrap().to_owned();
    assert_eq!(of(&format!("actor={me}")).await.len(), 3);
    assert_eq!(of("about=relay").await, ["relay_changed", "relay_registered"]);
    assert_eq!(of("about=device&actor_kind=machine").await, Vec::<String>::new());
    assert_eq!(of("actor_kind=relay").await, ["relay_changed"]);
    assert_eq!(of("actor_kind=machine").await.last().unwrap(), "token_created");
    assert_eq!(api.get("/v1/audit?about=eaten").await.problem(), "invalid_parameter");
    assert_eq!(api.get("/v1/audit?actor_kind=eaten").await.problem(), "invalid_parameter");
    assert_eq!(api.get("/v1/audit?action=device_eaten").await.problem(), "invalid_parameter");
    let operator = api.bearer_of(Role::Operator, true).await;
    let operator = operator.trim().split_once(": ").unwrap().1;
    let answer = api.raw("GET", "/v1/audit", None, &[("authorization", operator)]).await;
    assert_eq!(answer.problem(), "forbidden");
}

#[tokio::test]
async fn no_record_holds_a_secret() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let scene = Scene { api: &api, cookie: api.session().await, relay };
    let token = api.post("/v1/tokens", json!({ "name": "ci" })).await;
    let token = token.json["token"].as_str().unwrap();
    let (_, invitation) = scene.invited().await;
    let box_ = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let join = box_.json["join"]["string"].as_str().unwrap();
    let mut database = database(&api).await;
    let select = "SELECT actor_name || subject || was || became FROM audit";
    let all: Vec<String> = sqlx::query_scalar(select).fetch_all(&mut database).await.unwrap();
    let all = all.join("\n");
    for secret in [token, &invitation, join, OWNER.1, api.token.reveal(), scene.relay.token.reveal()] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn what_is_done_to_the_records_shows() {
    let api = started().await;
    for number in 0..5 {
        api.device(&format!("box{number}")).await;
    }
    let (records, head) = verify(&api, None).await.unwrap();
    assert_eq!((records, head.seq()), (9, 9));
    tamper(&api, "UPDATE audit SET became = '{\"name\":\"other\"}' WHERE seq = 6").await;
    assert_eq!(verify(&api, None).await, Err(Broken::Altered { seq: 6 }));
    tamper(&api, "UPDATE audit SET became = '{\"name\":\"box1\"}' WHERE seq = 6").await;
    assert_eq!(verify(&api, Some(head)).await, Ok((9, head)));
    tamper(&api, "DELETE FROM audit WHERE seq = 9").await;
    assert!(matches!(verify(&api, None).await, Err(Broken::End { .. })));
    // Whoever knows of the head takes it back as well; one that was noted down tells.
    let last = "(SELECT hash FROM audit WHERE seq = 8)";
    tamper(&api, &format!("UPDATE audit_head SET seq = 8, hash = {last}")).await;
    assert_eq!(verify(&api, None).await.map(|(records, _)| records), Ok(8));
    assert!(matches!(verify(&api, Some(head)).await, Err(Broken::End { .. })));
    tamper(&api, "DELETE FROM audit WHERE seq = 2").await;
    assert_eq!(verify(&api, None).await, Err(Broken::Missing { seq: 2 }));
    tamper(&api, "DELETE FROM audit WHERE seq = 1").await;
    assert_eq!(verify(&api, None).await, Err(Broken::Beginning { before: 2 }));
}

#[tokio::test]
async fn an_account_sees_its_own_records_and_no_others() {
    let api = started().await;
    let account = api.post("/v1/accounts", json!({ "name": "acme", "owner": "them@example.com" })).await;
    let link = account.json["owner"]["invitation"]["link"].as_str().unwrap();
    let body = json!({ "token": link.split_once('#').unwrap().1, "password": "their long password" });
    let cookie = api.raw("POST", "/v1/setup", Some(body.to_string()), &[]).await.cookie();
    api.device("mine").await;
    let theirs = api.browse("GET", "/v1/audit", &cookie, None).await;
    let expected = ["signed_in", "invitation_accepted", "user_added", "account_opened"];
    assert_eq!(theirs.items("action"), expected, "and who opened it: {}", theirs.text);
    let mine = api.get("/v1/audit").await;
    let expected = [
        "device_created",
        "account_opened",
        "relay_changed",
        "relay_registered",
        "owner_invited",
        "token_created",
    ];
    assert_eq!(mine.items("action"), expected);
    let next = api.get("/v1/audit?limit=1").await.json["next"].as_str().unwrap().to_owned();
    let crossed = api.browse("GET", &format!("/v1/audit?cursor={next}"), &cookie, None).await;
    assert!(crossed.items("action").is_empty(), "another account's cursor leads nowhere");
}

#[tokio::test]
async fn a_change_that_fails_leaves_nothing() {
    let api = started().await;
    api.device("box42").await;
    let before = verify(&api, None).await.unwrap();
    assert_eq!(api.post("/v1/devices", json!({ "name": "box42" })).await.problem(), "name_taken");
    assert_eq!(api.delete("/v1/accesses/aaaaaaaaaa").await.problem(), "access_not_found");
    assert_eq!(verify(&api, None).await.unwrap(), before);
    let terms = TokenTerms::everything("on-the-machine");
    admin::create_token(api.config(), &terms).await.unwrap();
    assert_eq!(verify(&api, Some(before.1)).await.unwrap().0, before.0 + 1);
}
