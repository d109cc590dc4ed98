//! The SSH keys of whoever runs this: files in `~/.ssh`, and what the ssh agent holds.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use postern_protocol::ssh_key::{MAX_PASTED, Pasted, PublicKey, Unusable};
use tokio::process::Command;

use crate::failure::Failure;
use crate::file;
use crate::places::Places;

/// Names of keys that ssh tries by itself, the best first.
const USUAL: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];

/// How long the agent may take: one that is forwarded from a machine that went away never answers.
const AGENT: Duration = Duration::from_secs(3);

/// A key that can be used from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The public half.
    pub(crate) key: PublicKey,
    /// The comment beside it.
    pub(crate) comment: String,
    /// Where the private half is.
    pub(crate) at: At,
}

/// Where a private key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// In a file.
    File(PathBuf),
    /// In the agent alone.
    Agent,
}

/// A public key that somebody gave, and how it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// What it is.
    pub(crate) pasted: Pasted,
    /// Where it comes from, for people.
    pub(crate) from: String,
    /// Whether ssh finds the private half without being told.
    pub(crate) tried_by_ssh: bool,
}

impl Given {
    /// The line that is sent.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.pasted.key.to_openssh(), self.pasted.comment).trim_end().to_owned()
    }
}

/// Every key that can be used from here: the usual files, other files, then what only the agent has.
pub(crate) async fn all(places: &Places) -> Vec<Identity> {
    merge(in_folder(&places.dot_ssh()), in_agent().await)
}

/// The key that is meant when none is named.
pub(crate) async fn usual(places: &Places) -> Result<Given, Failure> {
    let dot_ssh = places.dot_ssh();
    let file = USUAL.iter().find_map(|name| {
        let path = dot_ssh.join(format!("{name}.pub"));
        let text = String::from_utf8(file::read(&path).ok()??).ok()?;
        Some((PublicKey::parse(&text).ok()?, path))
    });
    if let Some((pasted, path)) = file {
        return Ok(Given { pasted, from: places.short(&path), tried_by_ssh: true });
    }
    let first = in_agent().await.into_iter().next();
    first.map(|pasted| Given { pasted, from: "the ssh agent".to_owned(), tried_by_ssh: true }).ok_or_else(
        || {
            Failure::Usage(
                "no SSH key was found in ~/.ssh nor in an ssh agent; make one with: ssh-keygen -t ed25519\n\
             or name another: --key FILE.pub"
                    .to_owned(),
            )
        },
    )
}

/// The key that somebody names: a file, `-` for stdin, or the line itself.
pub(crate) async fn named(name: &str, places: &Places) -> Result<Given, Failure> {
    if name == "-" {
        let text = read_text(std::io::stdin().lock()).context("reading a key from stdin")?;
        let pasted = PublicKey::parse(&text).map_err(|problem| unusable("what stands on stdin", &problem))?;
        return given(pasted, "stdin".to_owned(), None, places).await;
    }
    if name.contains(char::is_whitespace) && !Path::new(name).exists() {
        let pasted = PublicKey::parse(name).map_err(|problem| unusable("this key", &problem))?;
        return given(pasted, "the command line".to_owned(), None, places).await;
    }
    let path = Path::new(name);
    let file = std::fs::File::open(path).map_err(|error| no_such_key(path, &error, places))?;
    let text = read_text(file).with_context(|| format!("reading the key {name}"))?;
    let pasted = PublicKey::parse(&text).map_err(|problem| refused(path, &problem))?;
    given(pasted, places.short(path), Some(path), places).await
}

async fn given(pasted: Pasted, from: String, file: Option<&Path>, places: &Places) -> Result<Given, Failure> {
    let usual = |path: &Path| {
        let name = path.file_stem().and_then(|name| name.to_str());
        path.parent() == Some(&places.dot_ssh()) && name.is_some_and(|name| USUAL.contains(&name))
    };
    let absolute = file.and_then(|path| std::path::absolute(path).ok());
    let tried_by_ssh = absolute.is_some_and(|path| usual(&path))
        || in_agent().await.iter().any(|held| held.key == pasted.key);
    Ok(Given { pasted, from, tried_by_ssh })
}

fn read_text(from: impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    from.take(MAX_PASTED as u64 + 1).read_to_end(&mut bytes)?;
    // PuTTYgen may write UTF-16 only in comments of old files; a key itself is ASCII in any form.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is wrong with a file, and which file was probably meant.
fn refused(path: &Path, problem: &Unusable) -> Failure {
    let shown = path.display();
    let Unusable::Private { format, .. } = problem else { return unusable(&shown.to_string(), problem) };
    let public = public_half(path);
    let advice = match public.is_file() {
        true => format!("its public half lies beside it: --key {}", public.display()),
        false => format!("print its public half with: ssh-keygen -y -f {shown}"),
    };
    Failure::Usage(format!("{shown} is a private key ({format}); it was not sent anywhere\n{advice}"))
}

fn unusable(what: &str, problem: &Unusable) -> Failure {
    let Unusable::Private { format, .. } = problem else {
        return Failure::Usage(format!("{what}: {problem}"));
    };
    Failure::Usage(format!(
        "{what} is a private key ({format}); it was not sent anywhere: give its public half"
    ))
}

fn no_such_key(path: &Path, error: &std::io::Error, places: &Places) -> Failure {
    let found = in_folder(&places.dot_ssh());
    let files = found.iter().filter_map(|identity| match &identity.at {
        At::File(private) => Some(places.short(&public_half(private))),
        At::Agent => None,
    });
    let files: Vec<String> = files.collect();
    let advice = match files.is_empty() {
        true => "make one with: ssh-keygen -t ed25519".to_owned(),
        false => format!("there is: {}", files.join(", ")),
    };
    Failure::Usage(format!("the key {} cannot be read: {error}\n{advice}", path.display()))
}

/// The file beside a private key that holds its public half.
fn public_half(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Keys in a folder whose private half lies beside them, the usual names first.
fn in_folder(dot_ssh: &Path) -> Vec<Identity> {
    let entries = std::fs::read_dir(dot_ssh).into_iter().flatten().flatten();
    let private = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(dot_ssh.join(name.strip_suffix(".pub")?)).filter(|private| private.is_file())
    });
    let mut private: Vec<PathBuf> = private.collect();
    private.sort_by_key(|path| {
        let usual = USUAL.iter().position(|name| path.file_name().is_some_and(|file| file == *name));
        (usual.unwrap_or(USUAL.len()), path.clone())
    });
    let read = |private: PathBuf| {
        let text = String::from_utf8(file::read(&public_half(&private)).ok()??).ok()?;
        let Pasted { key, comment, .. } = PublicKey::parse(&text).ok()?;
        Some(Identity { key, comment, at: At::File(private) })
    };
    private.into_iter().filter_map(read).collect()
}

/// What the agent holds; nothing if there is none.
async fn in_agent() -> Vec<Pasted> {
    let mut list = Command::new("ssh-add");
    list.arg("-L").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(AGENT, list.output()).await {
        Ok(Ok(output)) => agent_keys(&String::from_utf8_lossy(&output.stdout)),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// The keys in what `ssh-add -L` prints; certificates and keys too weak for an access are passed over.
fn agent_keys(printed: &str) -> Vec<Pasted> {
    printed.lines().filter_map(|line| PublicKey::parse(line).ok()).collect()
}

fn merge(files: Vec<Identity>, agent: Vec<Pasted>) -> Vec<Identity> {
    let mut all = files;
    for Pasted { key, comment, .. } in agent {
        if all.iter().all(|known| known.key != key) {
            all.push(Identity { key, comment, at: At::Agent });
        }
    }
    all
}

#[cfg(test)]
mod tests;
