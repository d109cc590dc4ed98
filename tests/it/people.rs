//! Several people and programs on one installation: what each may do, and what they must ask for.

use postern_protocol::api::{Access, AccessStatus};
use postern_tests::api::http_client;
use postern_tests::{Output, Person, Stack};

/// A person whose `postern` bears this token.
async fn bearer(stack: &Stack, token: &str) -> Person {
    let person = Person::new(stack.scene()).await;
    let settings = format!("api = \"{}\"\ntoken = \"{}\"\n", stack.api.url(), token.trim());
    person.configure(&settings, 0o600);
    person
}

async fn admin(stack: &Stack) -> Person {
    let arguments = ["token", "create", "--name", "admin", "--admin"];
    bearer(stack, &stack.control.run(&arguments).await.success()).await
}

/// Accepts an invitation as a browser would; the session's cookie.
async fn accept(stack: &Stack, link: &str) -> String {
    let token = link.trim().split_once("/setup#").expect("a link to set up").1;
    let body = serde_json::json!({ "token": token, "password": "correct horse battery" });
    let request = http_client().post(format!("{}/v1/setup", stack.api.url())).json(&body);
    let answer = request.send().await.expect("the API answers");
    assert_eq!(answer.status(), 201);
    let cookie = answer.headers()["set-cookie"].to_str().expect("a cookie is text");
    cookie.split(';').next().expect("a cookie has a value").to_owned()
}

fn refused(output: &Output, code: i32, sentence: &str) {
    assert!(output.code == code && output.stderr.contains(sentence), "{output:?}");
}

#[tokio::test]
async fn a_token_does_what_its_role_says_to_its_boxes_until_it_is_removed() {
    let stack = Stack::start().await;
    let _box42 = stack.add_box("box42").await;
    let admin = admin(&stack).await;
    admin.postern(&["device", "add", "other"]).await.success();
    let made =
        admin.postern(&["token", "add", "ci", "--role", "viewer", "--device", "box42", "--for", "1h"]).await;
    let ci = bearer(&stack, &made.clone().success()).await;
    let who = ci.postern(&["whoami"]).await.success();
    assert!(who.contains("viewer") && who.contains("only boxes"), "{who}");
    let listed = ci.postern(&["device", "list"]).await.success();
    assert!(listed.contains("box42") && !listed.contains("other"), "{listed}");
    refused(
        &ci.postern(&["access", "add", "box42"]).await,
        6,
        "this needs the role operator; you are viewer",
    );
    refused(&ci.postern(&["device", "show", "other"]).await, 5, "there is no box 'other'");
    refused(&ci.postern(&["user", "list"]).await, 6, "this needs the role owner");
    let id = made.stderr.split_whitespace().nth(1).expect("token ID for …").to_owned();
    admin.postern(&["token", "rm", &id]).await.success();
    refused(&ci.postern(&["device", "list"]).await, 4, "does not accept the token");
}

#[tokio::test]
async fn support_asks_and_the_customer_decides() {
    let stack = Stack::start().await;
    let admin = admin(&stack).await;
    let link = admin.postern(&["account", "add", "acme", "--owner", "ann@acme.example"]).await.success();
    let cookie = accept(&stack, &link).await;
    let body = serde_json::json!({ "name": "ann" });
    let request = http_client().post(format!("{}/v1/tokens", stack.api.url())).json(&body);
    let request = request.header("cookie", cookie).header("origin", stack.api.url());
    let made: serde_json::Value =
        request.send().await.expect("the API answers").json().await.expect("it is JSON");
    let ann = bearer(&stack, made["token"].as_str().expect("the secret")).await;
    ann.postern(&["device", "add", "shop"]).await.success();
    let none = admin.postern(&["device", "list"]).await.success();
    assert!(!none.contains("shop"), "nothing crosses accounts: {none}");

    let asks = ["access", "add", "shop", "--account", "acme", "--note", "let me look", "--json"];
    let asked: Access = serde_json::from_str(&admin.postern(&asks).await.success()).expect("an access");
    assert_eq!(asked.status, AccessStatus::PendingApproval);
    let listed = ann.postern(&["access", "list"]).await.success();
    assert!(listed.contains(asked.id.as_str()) && listed.contains("asked for"), "{listed}");
    refused(&admin.postern(&["access", "approve", asked.id.as_str()]).await, 5, "no access has this id");
    let approved = ann.postern(&["access", "approve", asked.id.as_str()]).await.success();
    assert!(approved.contains("has not joined yet"), "it is a rule now: {approved}");
    refused(&ann.postern(&["access", "deny", asked.id.as_str()]).await, 6, "waits for no decision");
    admin.postern(&["account", "rm", "acme", "--yes"]).await.success();
    refused(&ann.postern(&["whoami"]).await, 4, "does not accept the token");
}

#[tokio::test]
async fn what_was_done_is_on_record_and_a_record_that_is_gone_is_noticed() {
    let stack = Stack::with().api("[webhooks]\ninsecure_loopback = true").start().await;
    let admin = admin(&stack).await;
    admin.postern(&["device", "add", "box42"]).await.success();
    let added = admin.postern(&["webhook", "add", "http://127.0.0.1:1/", "--event", "box.online"]).await;
    assert!(added.clone().success().starts_with("whsec_"), "{added:?}");
    let listed = admin.postern(&["webhook", "list", "--json"]).await.success();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("the API's own JSON");
    let webhook = listed["items"][0]["id"].as_str().expect("an id").to_owned();
    admin.postern(&["webhook", "edit", &webhook, "--disable"]).await.success();
    admin.postern(&["webhook", "remove", &webhook]).await.success();
    refused(&admin.postern(&["webhook", "test", &webhook]).await, 5, "no webhook has this id");
    refused(&admin.postern(&["webhook", "add", "https://10.0.0.1/"]).await, 6, "not on the public internet");
    refused(&admin.postern(&["visits", "cut", "aaaaaaaaaa"]).await, 5, "no visit has this id");
    admin.postern(&["relays", "add", "relay-2"]).await.success();
    admin.postern(&["relays", "rm", "relay-2", "--yes"]).await.success();

    let audit = admin.postern(&["audit", "list", "--json"]).await.success();
    let audit: serde_json::Value = serde_json::from_str(&audit).expect("the API's own JSON");
    let actions: Vec<_> =
        audit["items"].as_array().expect("a page").iter().map(|record| &record["action"]).collect();
    let expected = [
        "relay_removed",
        "relay_registered",
        "webhook_removed",
        "webhook_edited",
        "webhook_added",
        "device_created",
    ];
    assert_eq!(actions[..6], expected, "{audit}");

    let verified = stack.control.run(&["audit", "verify"]).await.success();
    let head = verified.lines().find_map(|line| line.strip_prefix("head ")).expect("where the chain ends");
    stack.control.run(&["audit", "verify", "--expect-head", head]).await.success();
    let (number, hash) = head.split_once(':').expect("a number and a hash");
    let later = format!("{}:{hash}", number.parse::<u64>().expect("a number") + 1);
    refused(&stack.control.run(&["audit", "verify", "--expect-head", &later]).await, 4, "are missing");
}
