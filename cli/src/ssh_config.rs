//! `postern ssh-config`: one line in `~/.ssh/config`, and `ssh box42.postern` works, and whatever runs
//! ssh: scp, rsync, editors, Ansible.
//!
//! The line includes a file of our own. That one asks `postern` to bring the list of ways up to date
//! whenever somebody goes to a name that ends in `.postern`, and then includes the list.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use clap::{ArgGroup, Args};
use postern_protocol::api::Relay;

use crate::access::live;
use crate::args::Session;
use crate::failure::{Answer, Failure, Outcome};
use crate::output::{Output, note, print};
use crate::places::Places;
use crate::settings::Target;
use crate::way::{Block, Folder, held, quoted, start};
use crate::{file, identity};

mod include;

use include::{with_line, without_line};

/// What names end in that lead through Postern.
const DOMAIN: &str = "postern";

/// How long bringing the list up to date may hold up an ssh that was started.
const REFRESH: Duration = Duration::from_secs(4);

/// `postern ssh-config`
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").required(true).args(["install", "print", "remove", "refresh"])),
    after_help = "Afterwards: ssh box42.postern, scp FILE box42.postern:, rsync, sftp, Ansible, VS Code Remote - SSH."
)]
pub(crate) struct SshConfig {
    /// Add one Include line at the top of ~/.ssh/config
    #[arg(long)]
    install: bool,
    /// Print the ways that it leads to, and change nothing of ssh's own
    #[arg(long)]
    print: bool,
    /// Take the line out again
    #[arg(long)]
    remove: bool,
    /// Bring the ways up to date; ssh asks for it by itself
    #[arg(long, hide = true)]
    refresh: bool,
}

impl SshConfig {
    /// Does it.
    pub(crate) async fn run(self, target: &Target) -> Outcome {
        let places = Places::find()?;
        if self.remove {
            remove(&places)?;
            note("taken out of ~/.ssh/config");
        } else if self.refresh {
            refresh_if_possible(target).await;
        } else {
            let session = Session::open(target, Output { json: false })?;
            let names = refresh(&session).await?;
            if self.print {
                print(
                    &std::fs::read_to_string(ways(&places)?.config())
                        .context("reading what was just written")?,
                )?;
            } else {
                install(&places, target)?;
                note(&welcome(&names));
            }
        }
        Ok(Answer::Yes)
    }
}

/// What to do next.
fn welcome(names: &[String]) -> String {
    match names.first() {
        Some(name) => format!(
            "installed; now this works: ssh {name}\nand whatever runs ssh: scp, rsync, Ansible, editors"
        ),
        None => {
            format!("installed; create an access and go there: postern access add BOX && ssh BOX.{DOMAIN}")
        }
    }
}

/// Asked for by ssh: what fails here must not stop it, for what is known already may do.
async fn refresh_if_possible(target: &Target) {
    let attempt = async { refresh(&Session::open(target, Output { json: false })?).await };
    let failure = match tokio::time::timeout(REFRESH, attempt).await {
        Ok(Ok(_)) => return,
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => "the control API does not answer in time".to_owned(),
    };
    note(&format!("postern: {failure}\npostern: going by what was known before"));
}

/// Writes the way by every access one holds, and answers with their names.
async fn refresh(session: &Session) -> Result<Vec<String>, Failure> {
    let (accesses, relays) = (live(&session.api, None), session.api.list_whole::<Relay>(&["relays"]));
    let (accesses, relays) = tokio::try_join!(accesses, relays)?;
    let identities = identity::all(&session.places).await;
    let folder = ways(&session.places)?;
    let (mut blocks, mut names, mut boxes) = (Vec::new(), Vec::new(), HashSet::new());
    for held in held(&accesses, &identities, Utc::now()) {
        let Some(start) = start(held.access, &relays.items) else { continue };
        let by_access = format!("{}.{DOMAIN}", held.access.id);
        // The best access of a box stands first, and so it has the box's name.
        let by_box =
            boxes.insert(held.access.device).then(|| format!("{}.{DOMAIN}", held.access.device_name));
        let both: Vec<String> = by_box.into_iter().chain([by_access]).collect();
        blocks.push(Block::new(&held, start, &both, &folder)?);
        names.extend(both.into_iter().next());
    }
    folder.write("# Written by postern ssh-config; changes are lost.\n", &blocks, "")?;
    Ok(names)
}

/// The list of ways.
fn ways(places: &Places) -> Result<Folder, Failure> {
    Folder::open(places.ways(), "ways")
}

/// The file that the one line includes.
fn own_file(places: &Places) -> PathBuf {
    places.ways().join("config")
}

fn install(places: &Places, target: &Target) -> Result<(), Failure> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    let own = own_part(&program, target, &ways(places)?.config())?;
    file::write(&own_file(places), own.as_bytes())?;
    file::private_folder(&places.dot_ssh())?;
    change(places, with_line)
}

fn remove(places: &Places) -> Result<(), Failure> {
    change(places, without_line)
}

fn change(places: &Places, edit: impl FnOnce(&[u8], &str) -> Vec<u8>) -> Result<(), Failure> {
    let path = places.dot_ssh().join("config");
    let before = file::read(&path)?.unwrap_or_default();
    let after = edit(&before, &include_line(places)?);
    if after != before {
        file::write(&path, &after)?;
    }
    Ok(())
}

/// The one line. Its path is absolute: ssh takes `~` from the system's list of users, not from HOME.
fn include_line(places: &Places) -> Result<String, Failure> {
    include(&own_file(places))
}

/// A directive. Its path is a pattern to ssh, and to some versions `%` begins a token in it.
fn include(path: &Path) -> Result<String, Failure> {
    match path.to_string_lossy().contains(['*', '?', '[', '%']) {
        false => quoted(path).map(|path| format!("Include {path}")),
        true => Err(Failure::Usage(format!(
            "ssh would read the path {} as a pattern; set XDG_DATA_HOME to another",
            path.display()
        ))),
    }
}

/// The included file: first up to date, then the ways.
fn own_part(program: &Path, target: &Target, ways: &Path) -> Result<String, Failure> {
    let mut command = vec![shell_word(program)?];
    if let Some(config) = &target.config {
        let config = std::path::absolute(config).context("finding the settings file")?;
        command.extend(["--config".to_owned(), shell_word(&config)?]);
    }
    command.push("ssh-config --refresh".to_owned());
    Ok(format!(
        "# Written by postern ssh-config; changes are lost.\n\
         Match originalhost *.{DOMAIN} exec \"{}\"\n\
         Match all\n    {}\n",
        command.join(" "),
        include(ways)?
    ))
}

/// A path as a word of a shell's command within a quoted word of ssh's configuration.
fn shell_word(path: &Path) -> Result<String, Failure> {
    let quoted = quoted(path)?;
    match path.to_string_lossy().contains('\'') {
        true => Err(Failure::Usage(format!("ssh's configuration cannot hold the path {}", path.display()))),
        false => Ok(format!("'{}'", quoted.trim_matches('"'))),
    }
}

#[cfg(test)]
mod tests;
