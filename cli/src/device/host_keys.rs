//! Host keys that changed, and whoever says that they are the box's own.

use std::collections::BTreeSet;

use clap::Args;
use postern_protocol::api::{ConfirmHostKeys, Device, FormerHostKeys, HostKey};
use postern_protocol::id::DeviceName;

use super::known;
use crate::args::Session;
use crate::confirm::confirmed;
use crate::failure::{Answer, Failure, Outcome};
use crate::moments::full;
use crate::output::{note, tame};

/// `postern device confirm-host-keys`
#[derive(Debug, Args)]
pub(crate) struct ConfirmKeys {
    /// Its name or id
    device: DeviceName,
    /// A fingerprint that was read on the box itself; may be repeated. The keys are confirmed if these
    /// are all of them
    #[arg(long = "fingerprint", value_name = "SHA256:…")]
    fingerprints: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl ConfirmKeys {
    /// Shows what changed, asks, and confirms what was shown.
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let Self { device, fingerprints, yes } = self;
        let path = ["devices", device.as_str()];
        let shown = known(&session.api, &device, session.api.show::<Device>(&path).await).await?;
        let Some(former) = &shown.value.former_host_keys else {
            note(&format!("the host keys of {device} are the ones that are expected"));
            return Ok(Answer::Yes);
        };
        note(&changed(&shown.value, former));
        let reported: BTreeSet<String> =
            shown.value.host_keys.iter().map(|key| key.fingerprint.clone()).collect();
        let read: BTreeSet<String> = fingerprints.into_iter().collect();
        if !read.is_empty() && read != reported {
            return Err(Failure::Usage(format!(
                "{device} reports other host keys than those that were given"
            )));
        }
        let question = format!("Are these the keys of {device}, as ssh-keygen -l shows them on it?");
        if !confirmed(&question, yes || !read.is_empty())? {
            return Ok(Answer::No);
        }
        let seen = ConfirmHostKeys { fingerprints: reported.into_iter().collect() };
        let path = ["devices", device.as_str(), "host-keys", "confirm"];
        let now = session.api.ask::<Device>(&path, &seen).await;
        let now = known(&session.api, &device, now).await?;
        session.output.reply(&now, |now| format!("{} is known by these host keys now", now.name))?;
        Ok(Answer::Yes)
    }
}

/// What a box shows, and what was expected.
pub(super) fn changed(device: &Device, former: &FormerHostKeys) -> String {
    let list = |keys: &[HostKey]| {
        keys.iter().map(|key| format!("\n  {}", tame(&key.fingerprint))).collect::<String>()
    };
    format!(
        "its host keys changed {}; expected until somebody confirms the new ones:{}\nreported:{}\n\
         confirm with: postern device confirm-host-keys {}",
        full(former.changed_at),
        list(&former.host_keys),
        list(&device.host_keys),
        device.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sets_are_shown() {
        let text = r#"{"id":"k7f2q5xwab","name":"box42","created_at":"2023-11-14T22:00:00Z","status":"online",
            "since":"2023-11-14T22:10:20Z","host_keys":[{"key":"ssh-ed25519 AAAA","fingerprint":"SHA256:new"}],
            "former_host_keys":{"host_keys":[{"key":"ssh-ed25519 BBBB","fingerprint":"SHA256:old"}],
            "changed_at":"2023-11-14T22:10:20Z"}}"#;
        let device: Device = serde_json::from_str(text).unwrap();
        let shown = changed(&device, device.former_host_keys.as_ref().unwrap());
        for part in ["expected until", "SHA256:old", "reported:\n  SHA256:new", "confirm-host-keys box42"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
}
