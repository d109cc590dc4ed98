//! Every refusal that a test meets must be one that the API's description declares.

use std::sync::LazyLock;

use serde_json::Value;

use super::Answer;

/// The refusals that each operation must declare; the rest go without saying.
const SAID: [u16; 8] = [401, 403, 404, 409, 410, 412, 422, 429];

static DOCUMENT: LazyLock<Value> = LazyLock::new(crate::http::description);

/// Holds an answer against the description, if it is an operation's there.
pub(super) fn check(method: &str, path: &str, answer: &Answer) {
    let status = answer.status.as_u16();
    let code = answer.json["code"].as_str().unwrap_or("");
    let said = SAID.contains(&status) && !matches!(code, "route_not_found" | "");
    let Some(operation) = operation(method, path).filter(|_| said) else { return };
    let mut declared = &operation["responses"][status.to_string()];
    assert!(declared.is_object(), "{method} {path} does not declare {status}: {}", answer.text);
    if let Some(elsewhere) = declared["$ref"].as_str() {
        declared = DOCUMENT.pointer(elsewhere.trim_start_matches('#')).expect("no reference dangles");
    }
    let codes = declared["description"].as_str().unwrap_or("");
    assert!(codes.contains(&format!("`{code}`")), "{method} {path} does not declare {code}: {codes}");
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or("");
    let paths = DOCUMENT["paths"].as_object()?;
    let exact =
        paths.get(path).or_else(|| paths.iter().find(|(template, _)| fits(template, path)).map(|(_, of)| of));
    exact?.get(method.to_lowercase())
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(part, given)| part.starts_with('{') || part == given)
}

#[test]
#[should_panic(expected = "does not declare 409")]
fn a_refusal_that_is_not_declared_is_noticed() {
    check("DELETE", "/v1/devices/box42?x=y", &refusal(409, "name_taken"));
}

#[test]
#[should_panic(expected = "does not declare no_relay")]
fn a_reason_that_is_not_declared_is_noticed() {
    check("PATCH", "/v1/devices/box42", &refusal(409, "no_relay"));
}

fn refusal(status: u16, code: &str) -> Answer {
    Answer {
        status: axum::http::StatusCode::from_u16(status).unwrap(),
        headers: axum::http::HeaderMap::new(),
        text: String::new(),
        json: serde_json::json!({ "code": code }),
    }
}
