//! A key, looked at while it is being typed.

use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use postern_protocol::ssh_key::{PublicKey, Unusable};
use serde::Deserialize;

use super::form::Form;
use super::page::Page;
use super::words::Words;
use crate::http::auth::Operator;

/// What has been typed.
#[derive(Deserialize)]
pub(super) struct Typed {
    #[serde(default)]
    key: String,
}

/// Says what the key is, or why it is none. A private key does not come so far: the script keeps it.
pub(super) async fn check(page: Page<Operator>, Form(typed): Form<Typed>) -> Response {
    about(&typed.key, page.words).into_response()
}

/// A key, in a sentence.
fn about(text: &str, words: &Words) -> Markup {
    match PublicKey::parse(text) {
        Err(Unusable::Empty) => html! {},
        Err(problem) => html! { span.wrong { (words.unusable(&problem)) } },
        Ok(pasted) => html! {
            span.right {
                (pasted.key.type_name()) " · " (pasted.key.bits()) " " (words.bits) " · "
                code { (pasted.key.fingerprint()) }
                @if !pasted.comment.is_empty() { " · " (pasted.comment) }
            }
            @if let Some(warning) = pasted.warning { br; span.wrong { (words.key_warning(warning)) } }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::language::Language;
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbeKqVn1gKLBdvnCCwLGcyXSbLu4MaXGaFBmLdpXJTN me@laptop";

    #[test]
    fn a_key_is_described_and_a_private_one_is_refused_by_name_and_not_repeated() {
        let [english, french] = Language::ALL.map(Language::words);
        let good = about(&format!("{KEY}<script>"), english).into_string();
        assert!(good.contains("ssh-ed25519 · 256 bits") && good.contains("SHA256:"), "{good}");
        assert!(good.contains("me@laptop&lt;script&gt;"), "{good}");
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END";
        for words in [english, french] {
            let bad = about(private, words).into_string();
            assert!(bad.contains("private key") || bad.contains("clé privée"), "{bad}");
            assert!(!bad.contains("b3Blb"), "{bad}");
        }
        assert_eq!(about(" ", english).into_string(), "");
    }
}
