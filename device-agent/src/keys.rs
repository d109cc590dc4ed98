//! Hand the keys of live accesses to the box's own SSH server, for exactly as long as they live.
//!
//! Two ways: a block in the keys files that the settings name, rewritten whenever anything changes
//! or ends, or [`authorized_keys`], which sshd asks at each login.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Local, NaiveDateTime, Utc};
use postern_protocol::access::Rules;
use postern_protocol::id::{DeviceId, Login};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::approvals::approved_by;
use crate::clock::Clock;
use crate::config::{Config, KeysSettings, KeysStyle};
use crate::grants::{InForce, kept_by};
use crate::identity::Member;
use crate::pause::paused_since;
use crate::serve::until;
use crate::ssh::Server;
use crate::state::State;

mod block;
mod file;
mod line;

use line::{Expiry, Form, end, lines, live, style_of};

/// The file in the state directory that names every keys file with a block of ours, so that one
/// which the settings no longer name is still put right.
const MANAGED: &str = "managed-keys.json";

/// How long to wait before trying a file again that could not be written.
const RETRY: Duration = Duration::from_secs(10);

/// How long to wait when no key can end: only a change brings work.
const NOTHING_TO_END: Duration = Duration::from_secs(3600);

/// What the keys files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Handed {
    /// The revision of the grants that they follow.
    pub(crate) revision: u64,
    /// What hinders them, one sentence a file.
    pub(crate) trouble: Vec<String>,
}

/// What each keys file should say.
type Wanted = BTreeMap<PathBuf, Vec<String>>;

/// Keeps the keys files true until the agent stops, and then leaves none of our keys in them.
pub(crate) async fn keep(agent: &Agent) {
    let (mut changes, mut ssh) = (agent.changes(), agent.ssh.subscribe());
    let mut written = None;
    while !agent.stopping.is_cancelled() {
        changes.mark_seen();
        let form = form(&agent.config.keys, &ssh.borrow_and_update());
        let (now, grants) = (agent.clock.now(), agent.grants());
        let paused = agent.paused_since().is_some();
        let approved = agent.approvals.asked().map(|decisions| decisions.approved(&grants.rules));
        let rules = approved.as_ref().unwrap_or(&grants.rules);
        let wanted = wanted(&agent.config.keys, form, rules, agent.holder.device(), now, paused);
        if written.as_ref() != Some(&wanted) {
            let trouble = write(&agent.state, wanted.clone()).await;
            written = trouble.is_empty().then_some(wanted);
            report(agent, &grants, trouble);
        } else {
            report(agent, &grants, Vec::new());
        }
        tokio::select! {
            () = changes.next() => {}
            _ = ssh.changed() => {}
            () = sleep(pause(rules, agent.holder.device(), now, written.is_some())) => {}
            () = agent.stopping.cancelled() => {}
        }
    }
    for trouble in write(&agent.state, none(&agent.config.keys)).await {
        tracing::warn!("keys left behind: {trouble}");
    }
}

/// Takes our keys out of every file, as while the box belongs to nobody.
pub(crate) async fn sweep(config: &Config, state: &State) {
    for trouble in write(state, none(&config.keys)).await {
        tracing::warn!("keys left behind: {trouble}");
    }
}

/// What `AuthorizedKeysCommand` prints for a login: the same lines, from the grants that were kept,
/// whether or not the agent runs. They carry no expiry, because sshd asks again at each login, and
/// so every version of it understands them.
pub fn authorized_keys(config: &Config, login: &Login) -> anyhow::Result<String> {
    let state = State::at(&config.state_dir);
    let Some(member) = Member::load(&state)? else { return Ok(String::new()) };
    if paused_since(&state).is_some() {
        return Ok(String::new());
    }
    let in_force = kept_by(&member, &state).map(InForce::from).unwrap_or_default();
    let form = Form { style: KeysStyle::Openssh, expiry: Expiry::Unstated, server: None };
    let form = config.ssh.address.map_or(form, |address| form.at(address));
    let rules = approved_by(&state, config.require_approval, &in_force.rules);
    let lines = lines(&rules, member.device, login, form, Clock::load(&state).now());
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

fn form(settings: &KeysSettings, server: &Server) -> Form {
    let form = |version: &str| Form {
        style: settings.style.unwrap_or_else(|| style_of(version)),
        expiry: Expiry::for_server(version, local),
        server: None,
    };
    match server {
        Server::System(found) => form(&found.version).at(found.address),
        Server::Builtin(_) | Server::Nothing => form(""),
    }
}

fn local(time: DateTime<Utc>) -> NaiveDateTime {
    time.with_timezone(&Local).naive_local()
}

fn wanted(
    settings: &KeysSettings,
    form: Form,
    rules: &Rules,
    device: DeviceId,
    now: DateTime<Utc>,
    paused: bool,
) -> Wanted {
    let mut wanted = none(settings);
    if !paused {
        for (login, path) in &settings.files {
            // Two logins may share a file, as dropbear's do.
            wanted.entry(path.clone()).or_default().extend(lines(rules, device, login, form, now));
        }
    }
    wanted
}

fn none(settings: &KeysSettings) -> Wanted {
    settings.files.values().map(|path| (path.clone(), Vec::new())).collect()
}

/// How long the files stay true by themselves.
fn pause(rules: &Rules, device: DeviceId, now: DateTime<Utc>, written: bool) -> Duration {
    match live(rules, device, now).map(end).min() {
        Some(end) => until(end, now),
        None if written => NOTHING_TO_END,
        None => RETRY,
    }
}

fn report(agent: &Agent, grants: &InForce, trouble: Vec<String>) {
    agent.handed.send_if_modified(|handed| {
        // What was not written is not handed over, and so the relay is not told that it is.
        let revision = if trouble.is_empty() { grants.revision() } else { handed.revision };
        let now = Handed { revision, trouble };
        let changed = *handed != now;
        if handed.trouble != now.trouble {
            now.trouble.iter().for_each(|sentence| tracing::warn!("keys not handed over: {sentence}"));
        }
        *handed = now;
        changed
    });
}

/// Writes the files, and takes our block out of those that we once wrote and are not to write now.
async fn write(state: &State, wanted: Wanted) -> Vec<String> {
    let state = state.clone();
    let written = spawn_blocking(move || write_all(&state, &wanted)).await;
    match written.map_err(anyhow::Error::from).flatten() {
        Ok(trouble) => trouble,
        Err(error) => vec![format!("{error:#}")],
    }
}

fn write_all(state: &State, wanted: &Wanted) -> anyhow::Result<Vec<String>> {
    let before = managed(state)?;
    let both: BTreeSet<PathBuf> = wanted.keys().chain(&before).cloned().collect();
    // A file is remembered before there is anything of ours in it, and forgotten after.
    remember(state, &before, &both)?;
    let mut kept = BTreeSet::new();
    let mut trouble = Vec::new();
    for path in &both {
        let lines = wanted.get(path).map_or(&[][..], Vec::as_slice);
        let written = file::rewrite(path, |old| block::render(old, lines));
        if let Err(error) = &written {
            trouble.push(format!("{}: {error}", path.display()));
        }
        if written.is_err() || wanted.contains_key(path) {
            kept.insert(path.clone());
        }
    }
    remember(state, &both, &kept)?;
    Ok(trouble)
}

fn managed(state: &State) -> anyhow::Result<BTreeSet<PathBuf>> {
    let Some(text) = state.read(MANAGED).context("reading which keys files are managed")? else {
        return Ok(BTreeSet::new());
    };
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", state.path(MANAGED).display()))
}

fn remember(state: &State, before: &BTreeSet<PathBuf>, now: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    if before == now {
        return Ok(());
    }
    let text = serde_json::to_vec(now)?;
    state.write(MANAGED, &text).context("writing down which keys files are managed")
}

/// The keys files that the settings name, for the owner.
pub(crate) fn files(settings: &KeysSettings) -> impl Iterator<Item = (&Login, &Path)> {
    settings.files.iter().map(|(login, path)| (login, path.as_path()))
}

#[cfg(test)]
mod tests;
