//! Signing in with an OpenID provider: a real one, which knows some people and not others.

use std::sync::Arc;

use postern_protocol::api::{CreateUser, EditUser, Problem, Role, Session, User};
use postern_tests::api::http_client;
use postern_tests::openid::OpenIdProvider;
use postern_tests::{Scene, Stack};
use reqwest::{Client, Response, StatusCode};

/// A browser that follows nobody by itself.
struct Browser {
    http: Client,
    api: String,
}

impl Browser {
    fn new(stack: &Stack) -> Self {
        Self { http: http_client(), api: stack.api.url() }
    }

    async fn get(&self, url: &str, cookie: &str) -> Response {
        self.http.get(url).header("cookie", cookie).send().await.expect("the API answers")
    }

    /// Begins to sign in: where the provider is, and the cookie to come back with.
    async fn begin(&self) -> (String, String) {
        let answer = self.get(&format!("{}/v1/session/openid", self.api), "").await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        (location(&answer), cookies(&answer).remove(0))
    }

    /// Goes all the way as somebody whom the provider knows.
    async fn sign_in(&self, provider: &OpenIdProvider, name: &str) -> Response {
        let (there, cookie) = self.begin().await;
        let back = provider.visit(name, &there).await;
        self.get(&back, &cookie).await
    }

    /// Who the session of an answer belongs to.
    async fn who(&self, answer: &Response) -> Session {
        assert_eq!((answer.status(), location(answer)), (StatusCode::SEE_OTHER, "/".to_owned()));
        let session = cookies(answer).remove(0);
        let shown = self.get(&format!("{}/v1/session", self.api), &session).await;
        shown.json().await.expect("a session")
    }
}

fn location(answer: &Response) -> String {
    answer.headers()["location"].to_str().expect("an address is text").to_owned()
}

fn cookies(answer: &Response) -> Vec<String> {
    let lines = answer.headers().get_all("set-cookie").into_iter().map(|line| line.to_str().expect("text"));
    lines.map(|line| line.split(';').next().expect("a value").to_owned()).collect()
}

async fn code(answer: Response) -> String {
    answer.json::<Problem>().await.expect("a problem document").code
}

async fn start(addresses_are_verified: bool) -> (Arc<Scene>, OpenIdProvider, Stack) {
    let scene = Scene::new();
    let provider = OpenIdProvider::start(&scene).await;
    let stack = Stack::with().api(&provider.settings(addresses_are_verified)).start().await;
    provider.register(&stack.api.url()).await;
    provider.add_user("ann", "Ann@Example.com").await;
    provider.add_user("bob", "bob@example.com").await;
    (scene, provider, stack)
}

async fn invite(stack: &Stack, name: &str) -> User {
    let user = CreateUser { name: name.parse().expect("a name"), role: Role::Operator, admin: false };
    stack.api.post("/v1/users", &user).await.expect("the user is added")
}

#[tokio::test]
async fn whom_an_owner_invited_signs_in_by_the_providers_word_and_nobody_else() {
    let (_scene, provider, stack) = start(true).await;
    let browser = Browser::new(&stack);
    assert_eq!(code(browser.sign_in(&provider, "ann").await).await, "not_invited", "nobody is yet");
    let ann = invite(&stack, "ann@example.com").await;
    let session = browser.who(&browser.sign_in(&provider, "ann").await).await;
    assert_eq!((session.user, session.role), (Some(ann.id), Role::Operator));
    assert_eq!(code(browser.sign_in(&provider, "bob").await).await, "not_invited");

    // From now on the provider's own name for her counts, and not the address.
    let path = format!("/v1/users/{}", ann.id);
    let name = EditUser { name: Some("ann".parse().expect("a name")), ..EditUser::default() };
    let _: User = stack.api.patch(&path, &name).await.expect("she has another name");
    invite(&stack, "ann@example.com").await;
    let session = browser.who(&browser.sign_in(&provider, "ann").await).await;
    assert_eq!(session.user, Some(ann.id));
    let out = EditUser { disabled: Some(true), ..EditUser::default() };
    let _: User = stack.api.patch(&path, &out).await.expect("she is kept out");
    assert_eq!(code(browser.sign_in(&provider, "ann").await).await, "not_invited");
}

#[tokio::test]
async fn an_answer_counts_once_and_only_in_the_browser_that_asked() {
    let (_scene, provider, stack) = start(true).await;
    let browser = Browser::new(&stack);
    invite(&stack, "ann@example.com").await;
    let (there, cookie) = browser.begin().await;
    let (_, another) = browser.begin().await;
    let back = provider.visit("ann", &there).await;
    for stranger in ["", &another, "postern-attempt=a.b.c"] {
        assert_eq!(code(browser.get(&back, stranger).await).await, "stale_attempt", "{stranger}");
    }
    let forged = back.replace("code=", "code=x");
    assert_eq!(code(browser.get(&forged, &cookie).await).await, "provider_failed");
    browser.who(&browser.get(&back, &cookie).await).await;
    assert_eq!(code(browser.get(&back, &cookie).await).await, "provider_failed", "the code was used");
    let refused = format!("{}&error=access_denied", back.split("&code").next().expect("it has a code"));
    assert_eq!(code(browser.get(&refused, &cookie).await).await, "not_invited");
}

#[tokio::test]
async fn an_address_that_the_provider_does_not_vouch_for_is_nobodys() {
    let (_scene, provider, stack) = start(false).await;
    invite(&stack, "ann@example.com").await;
    let refused = Browser::new(&stack).sign_in(&provider, "ann").await;
    let problem: Problem = refused.json().await.expect("a problem document");
    assert!(problem.code == "not_invited" && problem.detail.contains("does not vouch"), "{problem:?}");
}
