//! The API's description, made from the handlers, and held against every request.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use postern_protocol::api::Problem;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

mod calls;
mod examples;
mod problems;

use super::Shared;
use super::error::{ApiError, Code};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Postern control API",
        description = "Boxes behind NAT, and who may reach them, from where, until when.\n\n\
            Times are RFC 3339 in UTC. Unknown fields and parameters are refused. Lists are newest first, \
            `limit` items to a page. While an answer has `next`, there is more: ask again for the same, with \
            `next` as `cursor`. A cursor stays where it is while things are added before it.\n\n\
            Whoever asks belongs to an account, sees what is its own, and nothing else: an id of another \
            account is answered as one that does not exist. Under each route's security stands the role \
            that it takes: `viewer`, `operator` or `owner` of the account, each of which may do what those \
            before may, or `admin` of the installation.\n\n\
            A program bears an API token; a browser that has signed in has the cookie of a session.\n\n\
            Creating a box or an access takes an `Idempotency-Key`, so that it can be asked for again when no answer \
            came: for a day the same key with the same request gets the same answer, and nothing is created twice; \
            with another request it is refused (422, `idempotency_key_reused`). Where else something with a secret is \
            created, a key would do nothing and is refused (400, `invalid_idempotency_key`). What can be edited has an `ETag`: a \
            change with `If-Match` is made to what was read or not at all (412).\n\n\
            A token or a user may make so many requests a minute, and an address whose requests prove nothing \
            fewer. Answers say in `RateLimit-Policy` what the limit is and in `RateLimit` what is left of it; beyond \
            it the answer is 429, and `Retry-After` says in how many seconds to come back.\n\n\
            Visits, events, the audit and deliveries to webhooks are kept for as long as the installation is set \
            to (`GET /v1/installation`); older ones are gone from the lists."
    ),
    components(schemas(Problem)),
    tags(
        (name = "devices", description = "Boxes."),
        (name = "accesses", description = "Who may reach a box, from where, until when."),
        (name = "verify", description = "What the relay would do."),
        (name = "visits", description = "Who came, allowed or refused."),
        (name = "events", description = "What happened besides visits."),
        (name = "audit", description = "Who changed what, from where."),
        (name = "webhooks", description = "Addresses that are called when something happens."),
        (name = "relays", description = "The relays of the installation."),
        (name = "session", description = "Signing in with a browser, and who one is."),
        (name = "users", description = "People of the account, who sign in."),
        (name = "accounts", description = "Whoever owns boxes, accesses, users and tokens; for admins."),
        (name = "tokens", description = "API tokens."),
        (name = "installation", description = "What whoever runs it has set; for admins."),
        (name = "relay", description = "What relays ask for, with their own tokens."),
        (name = "open", description = "For whoever watches over the API; no token needed."),
    )
)]
struct Preamble;

/// What the description begins with.
pub(super) fn preamble() -> utoipa::openapi::OpenApi {
    Preamble::openapi()
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "open",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)))]
async fn openapi(Extension(document): Extension<Arc<Document>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.json.clone()).into_response()
}

/// The description, complete.
#[derive(Debug)]
pub(super) struct Document {
    json: Bytes,
    /// The query parameters of each method of each path.
    parameters: HashMap<(String, String), HashSet<String>>,
}

impl Document {
    /// Adds to what the handlers say of themselves what is the same for all: how errors look, and
    /// which token each part wants.
    pub(super) fn complete(document: utoipa::openapi::OpenApi) -> Self {
        let mut document = serde_json::to_value(document).expect("an OpenAPI document is JSON");
        document["components"]["securitySchemes"] = schemes();
        document["components"]["headers"] = rate_headers();
        document["components"]["responses"]["Problem"] = problems::problem(Code::ALL, None);
        for (name, code) in problems::USUAL {
            let alike = Code::ALL.iter().copied().filter(|other| other.status() == code.status());
            document["components"]["responses"][name] =
                problems::problem(&alike.collect::<Vec<_>>(), Some(code));
        }
        document["webhooks"] = calls::all();
        let mut parameters = HashMap::new();
        for (path, method, operation) in operations(&mut document) {
            operation["security"] = security(&method, &path);
            operation["operationId"] = operation_id(operation);
            operation["responses"]["default"] = json!({ "$ref": "#/components/responses/Problem" });
            problems::declare(operation, &method, &path);
            declare_rate(operation);
            examples::add_to(operation);
            let named = operation["parameters"].as_array().into_iter().flatten();
            let of_query = named.filter(|parameter| parameter["in"] == "query");
            let names = of_query.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned));
            parameters.insert((path, method.to_uppercase()), names.collect());
        }
        Self { json: document.to_string().into(), parameters }
    }

    /// The document.
    #[cfg(test)]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.json).expect("it was JSON when it was made")
    }

    fn knows(&self, path: &str, method: &Method, parameter: &str) -> bool {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        if path == super::openid::BACK {
            return true;
        }
        let known = self.parameters.get(&(path.to_owned(), method.to_string()));
        known.is_none_or(|known| known.contains(parameter))
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = (String, String, &mut Value)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object_mut().into_iter().flatten();
        methods.map(|(method, operation)| (path.clone(), method.clone(), operation))
    })
}

fn schemes() -> Value {
    json!({
        "session": {
            "type": "apiKey", "in": "cookie", "name": "__Host-postern",
            "description": "The cookie that `POST /v1/session` sets (on the machine itself, without TLS, it \
                is called `postern`). What changes something must come from a page of the API's own: \
                browsers say so in `Sec-Fetch-Site` or `Origin`.",
        },
        "api_token": {
            "type": "http", "scheme": "bearer",
            "description": "An API token, as `postern-api token create` prints it.",
        },
        "relay_token": {
            "type": "http", "scheme": "bearer",
            "description": "A relay's token, as `postern-api relay add` prints it.",
        },
    })
}

/// Handlers have short names within their files; in the document, the file's name goes before.
fn operation_id(operation: &Value) -> Value {
    let id = operation["operationId"].as_str().unwrap_or("");
    match operation["tags"][0].as_str() {
        Some("open") | None => id.into(),
        Some(tag) => format!("{tag}_{id}").into(),
    }
}

/// Who may call each route. A test proves that it is so, and writes it.
const ROUTES: &str = include_str!("routes.txt");

/// Who may call a route, if it is one of the description's.
pub(super) fn guard(method: &str, path: &str) -> Option<&'static str> {
    let mut routes = ROUTES.lines().map(str::split_whitespace);
    routes.find_map(|mut route| {
        let same = method.eq_ignore_ascii_case(route.next()?) & (route.next()? == path);
        same.then(|| route.next()).flatten()
    })
}

fn security(method: &str, path: &str) -> Value {
    match guard(method, path) {
        Some("open") => json!([]),
        Some("relay") => json!([{ "relay_token": [] }]),
        Some("signed-in") => json!([{ "session": [] }]),
        Some(role) => json!([{ "api_token": [role] }, { "session": [role] }]),
        None => json!([{ "api_token": [] }, { "session": [] }]),
    }
}

/// What answers say of limits on requests.
fn rate_headers() -> Value {
    json!({
        "RateLimit-Policy": {
            "description": "The limit that the request counted towards: `q` requests in `w` seconds.",
            "schema": { "type": "string" }, "example": "\"credential\";q=3000;w=60",
        },
        "RateLimit": {
            "description": "What is left of it: `r` requests now, and in `t` seconds all of them again.",
            "schema": { "type": "string" }, "example": "\"credential\";r=2998;t=1",
        },
    })
}

/// Every answer to a request that counted says what is left; those of relays do not count.
fn declare_rate(operation: &mut Value) {
    let of_relays = operation["security"][0].get("relay_token").is_some();
    for (status, answer) in operation["responses"].as_object_mut().into_iter().flatten() {
        if status.starts_with('2') && !of_relays {
            for name in ["RateLimit-Policy", "RateLimit"] {
                answer["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
            }
        }
    }
}

/// What the description does not name is refused, so that a misspelt filter is never silently none.
pub(super) async fn refuse_unknown_parameters(
    State(document): State<Arc<Document>>,
    request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().unwrap_or("");
    let names =
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(""));
    if let Some(path) = request.extensions().get::<MatchedPath>() {
        let unknown = |name: &&str| !document.knows(path.as_str(), request.method(), name);
        if let Some(name) = names.into_iter().find(unknown) {
            let detail = format!("there is no parameter '{name}' here; /openapi.json lists those there are");
            return ApiError::new(Code::UnknownParameter, detail).into_response();
        }
    }
    next.run(request).await
}
