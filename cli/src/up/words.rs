//! What is printed once everything runs: exactly what to type next.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use postern_protocol::secret::Secret;

use super::Addresses;
use super::demo::NAME;
use crate::places::{Places, client_file};

/// What the next steps depend on.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// Where the parts listen.
    pub(super) addresses: Addresses,
    /// The folder, as a person would write it.
    pub(super) dir: String,
    /// The settings to name to the commands, if they do not find them by themselves.
    pub(super) config: Option<PathBuf>,
    /// The folder of this program, if the shell does not find it by itself.
    pub(super) path: Option<PathBuf>,
    /// Whether there is a key that ssh uses by itself.
    pub(super) has_key: bool,
    /// The name of the demo box, if there is one.
    pub(super) demo: Option<String>,
    /// The link by which somebody can sign in with a browser, as long as nobody can.
    pub(super) setup: Option<Secret>,
}

impl Surroundings {
    /// As they are.
    pub(super) fn look(
        places: &Places,
        dir: &Path,
        addresses: &Addresses,
        demo: bool,
        setup: Option<Secret>,
    ) -> Self {
        let found = dir == places.up() && !places.config_file().exists();
        let keys = std::fs::read_dir(places.dot_ssh()).into_iter().flatten().flatten();
        let is_key = |name: &str| name.starts_with("id_") && name.ends_with(".pub");
        let has_agent = std::env::var_os("SSH_AUTH_SOCK").is_some();
        Self {
            addresses: *addresses,
            dir: places.short(dir),
            config: (!found).then(|| client_file(dir)),
            path: folder_to_add(),
            has_key: has_agent
                || keys.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| is_key(&name)),
            demo: demo.then(|| NAME.to_owned()),
            setup,
        }
    }
}

/// The folder of this program, unless typing its name finds it already.
fn folder_to_add() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("postern"))
        .find(|candidate| candidate.is_file());
    let same = found
        .and_then(|found| found.canonicalize().ok())
        .is_some_and(|found| Some(found) == program.canonicalize().ok());
    if same { None } else { program.parent().map(Path::to_owned) }
}

/// The text.
pub(super) fn next_steps(around: &Surroundings) -> String {
    let Surroundings { addresses: Addresses { listen, gate, https, agents }, dir, .. } = around;
    let https = https.port();
    let mut text = format!(
        "Postern is running, on this machine alone:\n\
         \x20 console      http://{listen}/console\n\
         \x20 control API  http://{listen}\n\
         \x20 SSH gate     {gate}\n\
         \x20 links        https://….localhost:{https}/\n\
         \x20 boxes dial   {agents} (UDP)\n\
         \x20 state        {dir}\n\
         Ctrl-C stops it; run it again to go on.\n"
    );
    let _ = match &around.demo {
        Some(demo) => write!(text, "\nThe box '{demo}' is online. In a second terminal, type:\n\n"),
        None => write!(text, "\nIn a second terminal, type:\n\n"),
    };
    for (command, why) in steps(around) {
        let _ = match why.is_empty() {
            true => writeln!(text, "  {command}"),
            false => writeln!(text, "  {command:<34}  # {why}"),
        };
    }
    if let Some(demo) = &around.demo {
        let _ = write!(
            text,
            "\nOr all of that in one, without ssh asking whether it knows these host keys:\n\n  postern ssh {demo}\n"
        );
    }
    if let Some(link) = &around.setup {
        let _ = write!(
            text,
            "\nOr with a browser; this link is for choosing a name and a password:\n\n  {}\n",
            link.reveal()
        );
    }
    text.truncate(text.trim_end().len());
    text
}

/// Commands, and what each is for.
fn steps(around: &Surroundings) -> Vec<(String, &'static str)> {
    let mut steps = Vec::new();
    if let Some(folder) = &around.path {
        steps.push((format!("export PATH={}:$PATH", word(folder)), ""));
    }
    if let Some(config) = &around.config {
        steps.push((format!("export POSTERN_CONFIG={}", word(config)), ""));
    }
    if !around.has_key {
        steps.push(("ssh-keygen -t ed25519".to_owned(), "you have no SSH key yet"));
    }
    match &around.demo {
        Some(demo) => steps.extend([
            (format!("postern access add {demo} --for 10m"), "takes your own key; prints the ssh command"),
            ("ssh -J …".to_owned(), "the command that was printed: you are on the box"),
            ("postern access list".to_owned(), ""),
            ("postern access rm ID".to_owned(), "and your session ends"),
        ]),
        None => steps.extend([
            ("postern device add box42".to_owned(), "prints the line to run on the box"),
            ("postern access add box42".to_owned(), "prints the ssh command"),
        ]),
    }
    steps
}

/// A path as one word for a shell.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            addresses: Addresses {
                listen: "127.0.0.1:8080".parse().unwrap(),
                gate: "127.0.0.1:2222".parse().unwrap(),
                https: "127.0.0.1:8443".parse().unwrap(),
                agents: "127.0.0.1:4433".parse().unwrap(),
            },
            dir: "~/.local/share/postern".to_owned(),
            config: None,
            path: None,
            has_key: true,
            demo: Some("demo".to_owned()),
            setup: None,
        }
    }

    #[test]
    fn a_newcomer_reads_exactly_what_to_type() {
        let expected = "\
Postern is running, on this machine alone:
  console      http://127.0.0.1:8080/console
  control API  http://127.0.0.1:8080
  SSH gate     127.0.0.1:2222
  links        https://….localhost:8443/
  boxes dial   127.0.0.1:4433 (UDP)
  state        ~/.local/share/postern
Ctrl-C stops it; run it again to go on.

The box 'demo' is online. In a second terminal, type:

  postern access add demo --for 10m   # takes your own key; prints the ssh command
  ssh -J …                            # the command that was printed: you are on the box
  postern access list
  postern access rm ID                # and your session ends

Or all of that in one, without ssh asking whether it knows these host keys:

  postern ssh demo";
        assert_eq!(next_steps(&around()), expected);
    }

    #[test]
    fn what_is_missing_comes_first() {
        let around = Surroundings {
            config: Some("/srv/it's here/client.toml".into()),
            path: Some("/src/target/debug".into()),
            has_key: false,
            ..around()
        };
        let text = next_steps(&around);
        let commands: Vec<&str> = text.lines().skip_while(|line| !line.contains("export")).take(4).collect();
        assert_eq!(
            commands,
            [
                "  export PATH=/src/target/debug:$PATH",
                r"  export POSTERN_CONFIG='/srv/it'\''s here/client.toml'",
                "  ssh-keygen -t ed25519               # you have no SSH key yet",
                "  postern access add demo --for 10m   # takes your own key; prints the ssh command",
            ]
        );
    }

    #[test]
    fn without_a_demo_it_says_how_to_add_a_box() {
        let text = next_steps(&Surroundings { demo: None, ..around() });
        assert!(text.contains("postern device add box42") && !text.contains("demo"), "{text}");
        let setup = Some(Secret::from_text("http://127.0.0.1:8080/setup#psi_x"));
        let text = next_steps(&Surroundings { setup, ..around() });
        assert!(text.ends_with("password:\n\n  http://127.0.0.1:8080/setup#psi_x"), "{text}");
    }
}
