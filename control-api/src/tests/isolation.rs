//! Nothing crosses accounts: every route of the document, asked with every kind of credential for what
//! belongs to somebody else, answers as it does for what does not exist.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::TimeDelta;
use postern_protocol::api::Role;
use serde_json::{Value, json};

use super::Api;
use super::harness::{Answer, OWNER};
use super::routes::operations;
use crate::admin::{self, TokenTerms};

/// What of somebody else a route could give away or change.
#[derive(Debug, Clone, Copy)]
enum Asks {
    /// It is about the installation, or about whoever asks.
    Nothing,
    /// It lists what one has.
    List,
    /// It names something of an account in its path, and may bring this.
    For(Kind, &'static str),
    /// It names things of an account in its body, where `BOX` and `ACCESS` stand for them.
    With(&'static str),
    /// The same, in its query.
    Where(&'static str),
    /// It is an admin's, who is no part of this walk: nobody else gets past the door.
    Admins,
    /// It is a relay's: relays serve every account, and nobody else gets past the door.
    Relays,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Box,
    Access,
    Visit,
    Token,
    User,
    Webhook,
}

use Asks::{Admins, For, List, Nothing, Relays, Where, With};
use Kind::{Access, Box, Token, User, Visit, Webhook};

/// Every route. One that is not here fails the walk: say what it could be asked for.
const ROUTES: &[(&str, &[Asks])] = &[
    ("GET /healthz", &[Nothing]),
    ("GET /metrics", &[Nothing]),
    ("GET /openapi.json", &[Nothing]),
    ("GET /readyz", &[Nothing]),
    ("GET /v1/accesses", &[List, Where("device=BOX"), Where("device=their-box")]),
    (
        "POST /v1/accesses",
        &[
            With(r#"{"device":"BOX","exposed_port":443,"allowed_ips":["192.0.2.1"]}"#),
            With(r#"{"device":"their-box","exposed_port":443,"allowed_ips":["192.0.2.1"]}"#),
        ],
    ),
    ("DELETE /v1/accesses/{access}", &[For(Access, "")]),
    ("GET /v1/accesses/{access}", &[For(Access, "")]),
    ("PATCH /v1/accesses/{access}", &[For(Access, r#"{"note":"mine now"}"#)]),
    ("POST /v1/accesses/{access}/approve", &[For(Access, "")]),
    ("POST /v1/accesses/{access}/deny", &[For(Access, "")]),
    ("GET /v1/accounts", &[Admins]),
    ("POST /v1/accounts", &[Admins]),
    ("DELETE /v1/accounts/{account}", &[Admins]),
    ("GET /v1/accounts/{account}", &[Admins]),
    ("PATCH /v1/accounts/{account}", &[Admins]),
    ("POST /v1/accounts/{account}/accesses", &[Admins]),
    ("GET /v1/accounts/{account}/accesses/{access}", &[Admins]),
    ("GET /v1/audit", &[List]),
    ("GET /v1/devices", &[List]),
    ("POST /v1/devices", &[Nothing]),
    ("DELETE /v1/devices/{device}", &[For(Box, "")]),
    ("GET /v1/devices/{device}", &[For(Box, "")]),
    ("PATCH /v1/devices/{device}", &[For(Box, r#"{"name":"mine-now"}"#)]),
    ("POST /v1/devices/{device}/host-keys/confirm", &[For(Box, r#"{"fingerprints":[]}"#)]),
    ("POST /v1/devices/{device}/join", &[For(Box, "")]),
    ("GET /v1/events", &[List]),
    ("GET /v1/installation", &[Admins]),
    ("POST /v1/invitation", &[Nothing]),
    ("POST /v1/relay/certificate", &[Relays]),
    ("GET /v1/relay/feed", &[Relays]),
    ("POST /v1/relay/hello", &[Relays]),
    ("POST /v1/relay/join", &[Relays]),
    ("POST /v1/relay/presence", &[Relays]),
    ("POST /v1/relay/renew", &[Relays]),
    ("POST /v1/relay/visits", &[Relays]),
    ("GET /v1/relays", &[List]),
    ("POST /v1/relays", &[Admins]),
    ("DELETE /v1/relays/{relay}", &[Admins]),
    ("GET /v1/relays/{relay}", &[Nothing]),
    ("DELETE /v1/session", &[Nothing]),
    ("GET /v1/session", &[List]),
    ("POST /v1/session", &[Nothing]),
    ("GET /v1/session/openid", &[Nothing]),
    ("GET /v1/session/openid/callback", &[Nothing]),
    ("POST /v1/session/password", &[Nothing]),
    ("POST /v1/setup", &[Nothing]),
    ("GET /v1/tokens", &[List]),
    ("POST /v1/tokens", &[With(r#"{"name":"mine","devices":["BOX"]}"#)]),
    ("DELETE /v1/tokens/{token}", &[For(Token, "")]),
    ("GET /v1/users", &[List]),
    ("POST /v1/users", &[Nothing]),
    ("DELETE /v1/users/{user}", &[For(User, "")]),
    ("GET /v1/users/{user}", &[For(User, "")]),
    ("PATCH /v1/users/{user}", &[For(User, r#"{"disabled":true}"#)]),
    ("POST /v1/users/{user}/invitation", &[For(User, "")]),
    ("DELETE /v1/users/{user}/sessions", &[For(User, "")]),
    (
        "POST /v1/verify",
        &[
            With(r#"{"device":"BOX","port":443,"source":"192.0.2.1"}"#),
            With(r#"{"device":"my-box","access":"ACCESS","port":443,"source":"192.0.2.1"}"#),
        ],
    ),
    (
        "GET /v1/visits",
        &[
            List,
            Where("device=BOX"),
            Where("device=their-box"),
            Where("access=ACCESS"),
            Where("source=192.0.2.99"),
        ],
    ),
    ("DELETE /v1/visits/{visit}", &[For(Visit, "")]),
    ("GET /v1/visits/{visit}", &[For(Visit, "")]),
    ("GET /v1/webhooks", &[List]),
    ("POST /v1/webhooks", &[Nothing]),
    ("DELETE /v1/webhooks/{webhook}", &[For(Webhook, "")]),
    ("GET /v1/webhooks/{webhook}", &[For(Webhook, "")]),
    ("PATCH /v1/webhooks/{webhook}", &[For(Webhook, r#"{"enabled":false}"#)]),
    ("GET /v1/webhooks/{webhook}/deliveries", &[For(Webhook, "")]),
    ("POST /v1/webhooks/{webhook}/test", &[For(Webhook, "")]),
];

/// An account of somebody else, with one of everything.
struct Neighbour {
    bearer: String,
    device: String,
    access: String,
    visit: String,
    token: String,
    user: String,
    webhook: String,
}

/// An id that nobody has.
const ABSENT: &str = "zzzzzzzzzz";

impl Neighbour {
    async fn moves_in(walk: &Walk) -> Self {
        let body = json!({ "name": "their-account", "owner": "they@example.com" });
        let account = walk.api.post("/v1/accounts", body).await;
        assert_eq!(account.status, 201, "{}", account.text);
        let link = account.json["owner"]["invitation"]["link"].as_str().unwrap();
        let body = json!({ "token": link.split_once('#').unwrap().1, "password": "their long password" });
        let cookie = walk.api.raw("POST", "/v1/setup", Some(body.to_string()), &[]).await.cookie();
        let token = walk.api.browse("POST", "/v1/tokens", &cookie, Some(json!({ "name": "theirs" }))).await;
        let bearer = format!("Bearer {}", token.json["token"].as_str().unwrap());
        let mut this = Self {
            bearer,
            device: String::new(),
            access: String::new(),
            visit: "vvvvvvvvvv".to_owned(),
            token: token.id(),
            user: account.json["owner"]["id"].as_str().unwrap().to_owned(),
            webhook: String::new(),
        };
        this.device = this.ask(walk, "POST", "/v1/devices", json!({ "name": "their-box" })).await.id();
        let access = json!({ "device": "their-box", "exposed_port": 443, "allowed_ips": ["192.0.2.7"] });
        this.access = this.ask(walk, "POST", "/v1/accesses", access).await.id();
        let url = json!({ "url": "https://their-box.example.com/" });
        this.webhook = this.ask(walk, "POST", "/v1/webhooks", url).await.id();
        let relay = walk.api.relay("relay-1").await;
        let visit = json!({
            "id": this.visit, "relay": relay.id, "entrance": "front", "source": "192.0.2.99", "source_port": 5000,
            "device": this.device, "access": this.access, "started_at": "2026-11-21T12:00:00Z",
            "outcome": "open", "code": "open", "reason": "because", "bytes_up": 1, "bytes_down": 2,
        });
        assert_eq!(relay.post("visits", json!({ "events": [visit] })).await.status, 204);
        this
    }

    async fn ask(&self, walk: &Walk, method: &str, path: &str, body: Value) -> Answer {
        let body = (!body.is_null()).then(|| body.to_string());
        walk.api.raw(method, path, body, &[("authorization", &self.bearer)]).await
    }

    /// Everything that they have, as they see it.
    async fn belongings(&self, walk: &Walk) -> Vec<String> {
        let mut all = Vec::new();
        for path in ["devices", "accesses", "visits", "tokens", "users", "webhooks"] {
            let answer = self.ask(walk, "GET", &format!("/v1/{path}"), Value::Null).await;
            assert_eq!(answer.json["items"].as_array().unwrap().len(), 1, "{}", answer.text);
            all.push(answer.text);
        }
        all
    }

    fn id(&self, kind: Kind) -> &str {
        match kind {
            Box => &self.device,
            Access => &self.access,
            Visit => &self.visit,
            Token => &self.token,
            User => &self.user,
            Webhook => &self.webhook,
        }
    }

    /// What a text gives away of them.
    fn traces(&self, text: &str) -> Vec<String> {
        let theirs = [
            &self.device,
            &self.access,
            &self.visit,
            &self.token,
            &self.user,
            &self.webhook,
            "their-box",
            "their-account",
            "they@",
        ];
        theirs.into_iter().filter(|trace| text.contains(*trace)).map(str::to_owned).collect()
    }
}

/// The walk: an API, and the credentials of an account that is not the neighbour's.
struct Walk {
    api: Api,
    credentials: Vec<(&'static str, Option<(&'static str, String)>)>,
    /// Each request comes from elsewhere, so that none is turned away for the failures of others.
    source: AtomicU32,
}

impl Walk {
    async fn begin() -> Self {
        let api =
            Api::start_with(|config| config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]).await;
        api.relay("relay-1").await;
        api.device("my-box").await;
        let token = |role, devices: &[&str], expires: Option<&str>| TokenTerms {
            role,
            devices: devices.iter().map(|device| (*device).to_owned()).collect(),
            expires: expires.map(|expires| expires.parse().unwrap()),
            admin: false,
            name: "walk".to_owned(),
        };
        let mut credentials = vec![("nobody", None), ("wrong", bearer("pst_wrong"))];
        for (name, terms) in [
            ("expired", token(Role::Owner, &[], Some("1s"))),
            ("viewer", token(Role::Viewer, &[], None)),
            ("operator", token(Role::Operator, &[], None)),
            ("owner", token(Role::Owner, &[], None)),
            ("restricted", token(Role::Operator, &["my-box"], None)),
        ] {
            let token = admin::create_token(api.config(), &terms).await.unwrap();
            credentials.push((name, bearer(token.reveal())));
        }
        credentials.push(("relay", bearer(api.relay("relay-2").await.token.reveal())));
        let admin = api.session().await;
        let made =
            api.browse("POST", "/v1/users", &admin, Some(json!({ "name": "me", "role": "owner" }))).await;
        let link = made.json["invitation"]["link"].as_str().unwrap().split_once('#').unwrap().1;
        let body = json!({ "token": link, "password": OWNER.1 }).to_string();
        let cookie = api.raw("POST", "/v1/setup", Some(body), &[]).await.cookie();
        credentials.push(("session", Some(("cookie", cookie))));
        api.clock.advance(TimeDelta::seconds(2));
        Self { api, credentials, source: AtomicU32::new(1) }
    }

    /// Asks with each credential for something, and for the same of nobody's; both answers must be one.
    async fn must_not_tell_apart(&self, method: &str, theirs: (&str, &str), absent: (&str, &str)) {
        for (name, credential) in &self.credentials {
            let place = format!("{name}: {method} {} {}", theirs.0, theirs.1);
            let told = self.ask(method, theirs.0, theirs.1, credential).await;
            let expected = self.ask(method, absent.0, absent.1, credential).await;
            assert_eq!(told.status, expected.status, "{place}: {}", told.text);
            assert_eq!(
                self.without_what_was_asked(&told, theirs),
                self.without_what_was_asked(&expected, absent),
                "{place}"
            );
            let expected = match *name {
                "nobody" | "wrong" | "expired" | "relay" => told.status == 401,
                _ => told.status != 401 && !told.status.is_server_error(),
            };
            assert!(expected, "{place}: {} {}", told.status, told.text);
        }
    }

    /// An answer, with the name that the request brought taken out, should it be repeated.
    fn without_what_was_asked(&self, answer: &Answer, asked: (&str, &str)) -> String {
        let names = [asked.0, asked.1].join("/");
        let names = names
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .filter(|name| name.len() == 10 || name.ends_with("-box"));
        names.fold(answer.text.clone(), |text, name| text.replace(name, "…"))
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: &str,
        credential: &Option<(&'static str, String)>,
    ) -> Answer {
        let number = self.source.fetch_add(1, Ordering::Relaxed);
        let source = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        let mut headers = vec![("x-forwarded-for", source.as_str()), ("sec-fetch-site", "same-origin")];
        headers.extend(credential.as_ref().map(|(name, value)| (*name, value.as_str())));
        let body = (!body.is_empty()).then(|| body.to_owned());
        self.api.raw(method, path, body, &headers).await
    }
}

fn bearer(token: &str) -> Option<(&'static str, String)> {
    Some(("authorization", format!("Bearer {token}")))
}

#[tokio::test]
async fn nothing_of_another_account_is_seen_or_changed_by_any_route_with_any_credential() {
    let walk = Walk::begin().await;
    let neighbour = Neighbour::moves_in(&walk).await;
    let before = neighbour.belongings(&walk).await;
    for (route, asks) in ROUTES {
        let (method, path) = route.split_once(' ').unwrap();
        for asked in *asks {
            try_it(&walk, &neighbour, method, path, *asked).await;
        }
    }
    assert_eq!(neighbour.belongings(&walk).await, before);
}

async fn try_it(walk: &Walk, neighbour: &Neighbour, method: &str, path: &str, asked: Asks) {
    let fill = |text: &str, device: &str, access: &str| {
        let named = text.replace("BOX", device).replace("ACCESS", access);
        if device == ABSENT { named.replace("their-box", "nones-box") } else { named }
    };
    match asked {
        Nothing => {}
        List => {
            for (name, credential) in &walk.credentials {
                let answer = walk.ask(method, path, "", credential).await;
                assert_eq!(neighbour.traces(&answer.text), Vec::<String>::new(), "{name}: {method} {path}");
            }
        }
        For(kind, body) => {
            let (start, rest) = path.split_once('{').unwrap();
            let end = rest.split_once('}').unwrap().1;
            let of = |id: &str| format!("{start}{id}{end}");
            let names: &[(&str, &str)] = match kind {
                Box => &[("their-box", "nones-box")],
                User => &[("they@example.com", "none@example.com")],
                Access | Visit | Token | Webhook => &[],
            };
            for (theirs, absent) in names.iter().copied().chain([(neighbour.id(kind), ABSENT)]) {
                walk.must_not_tell_apart(method, (&of(theirs), body), (&of(absent), body)).await;
            }
        }
        With(body) => {
            let theirs = fill(body, &neighbour.device, &neighbour.access);
            let absent = fill(body, ABSENT, ABSENT);
            walk.must_not_tell_apart(method, (path, &theirs), (path, &absent)).await;
        }
        Where(query) => {
            let theirs = fill(query, &neighbour.device, &neighbour.access);
            let absent = fill(query, ABSENT, ABSENT).replace("192.0.2.99", "192.0.2.98");
            let of = |query: &str| format!("{path}?{query}");
            walk.must_not_tell_apart(method, (&of(&theirs), ""), (&of(&absent), "")).await;
        }
        Admins | Relays => {
            let path = path.replace("{account}", "their-account").replace("{relay}", "relay-1");
            for (name, credential) in &walk.credentials {
                let relay = matches!((asked, *name), (Relays, "relay"));
                let status = match relay {
                    true => continue,
                    false => walk.ask(method, &path, "", credential).await.status.as_u16(),
                };
                assert!(matches!(status, 401 | 403), "{name}: {method} {path}: {status}");
            }
        }
    }
}

#[tokio::test]
async fn the_walk_knows_every_route_and_none_besides() {
    let api = Api::start().await;
    let document = api.raw("GET", "/openapi.json", None, &[]).await.json;
    let documented: BTreeSet<String> =
        operations(&document).into_iter().map(|(path, method, _)| format!("{method} {path}")).collect();
    let known: BTreeSet<String> = ROUTES.iter().map(|(route, _)| (*route).to_owned()).collect();
    assert_eq!(
        documented.difference(&known).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "say what they could be asked for"
    );
    assert_eq!(known.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new());
    for (route, asks) in ROUTES {
        let in_path = ["{device}", "{access}", "{visit}", "{token}", "{user}", "{webhook}"]
            .iter()
            .any(|part| route.contains(part));
        let says = asks.iter().any(|asked| matches!(asked, For(..) | Admins));
        assert!(!in_path || says, "{route}");
    }
}
