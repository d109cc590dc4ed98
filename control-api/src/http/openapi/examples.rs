//! Examples for the API's description: one for each type that goes in or comes out.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

/// The examples, by the names that their types have in the description. A test reads each as its type.
static EXAMPLES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).expect("examples are JSON"));

/// The pages of a list are called like this, and then like what is listed.
const PAGE: &str = "Page_";

/// Puts an example beside every schema of an operation's request and answers.
pub(super) fn add_to(operation: &mut Value) {
    if let Some(content) = operation.pointer_mut("/requestBody/content") {
        add_to_content(content);
    }
    let answers = operation["responses"].as_object_mut().into_iter().flatten();
    for (_, answer) in answers {
        if let Some(content) = answer.get_mut("content") {
            add_to_content(content);
        }
    }
}

fn add_to_content(content: &mut Value) {
    for (kind, media) in content.as_object_mut().into_iter().flatten() {
        let name = media.pointer("/schema/$ref").and_then(Value::as_str).and_then(|at| at.rsplit('/').next());
        let example = match name {
            Some(name) => of(name),
            None if kind.starts_with("text/") => Some("ok\n".into()),
            None => Some(json!({ "openapi": "3.1.0" })),
        };
        if let Some(example) = example {
            media["example"] = example;
        }
    }
}

/// The example of a type.
pub(super) fn of(name: &str) -> Option<Value> {
    match name.strip_prefix(PAGE) {
        Some(item) => Some(json!({ "items": [of(item)?], "next": "MTc5NTI4NDAwMDAwMC5rN2YycTV4d2Fi" })),
        None => EXAMPLES.get(name).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::api;
    use postern_protocol::wire;
    use serde::de::DeserializeOwned;

    use super::*;

    fn read<T: DeserializeOwned>(value: &Value) -> Result<(), serde_json::Error> {
        serde_json::from_value::<T>(value.clone()).map(drop)
    }

    macro_rules! readers {
        ($($module:ident: $($name:ident)*;)*) => {
            fn fits(name: &str, value: &Value) -> Result<(), serde_json::Error> {
                match name {
                    $($(stringify!($name) => read::<$module::$name>(value),)*)*
                    other => panic!("say which type {other} is"),
                }
            }
        };
    }

    readers! {
        api: Access Account AuditRecord CertificateAnswer CertificateRequest ChangePassword ConfirmHostKeys
            CreateAccess CreateAccount CreateDevice CreateRelay CreateToken CreateUser CreateWebhook Created
            Delivery Device EditAccess EditUser EditWebhook Event FeedLine Installation Invited JoinBox NewRelay NewToken
            NewWebhook PresenceReport Problem ReadInvitation Relay RelayHello RelayWelcome RenameAccount
            RenameDevice RenewBox Session SetUp SignIn Token User Verify VerifyAnswer Visit VisitEvents Webhook;
        wire: Certificate Membership;
    }

    #[test]
    fn every_example_can_be_read_as_what_it_is_an_example_of() {
        for (name, example) in EXAMPLES.iter() {
            if let Err(error) = fits(name, example) {
                panic!("{name}: {error}");
            }
        }
    }
}
