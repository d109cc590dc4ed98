//! Which client does what, as the manual shows it.

use std::fs::File;
use std::io::Write;

use postern_protocol::connection::Form;
use postern_tests::{Client, Server};

use super::deed::Deed;

/// Why a cell is empty, if it is.
pub(super) fn refusal(client: Client, server: Server, deed: Deed) -> Option<&'static str> {
    let unprivileged = !nix::unistd::getuid().is_root();
    match (client, server, deed) {
        (Client::Sshfs, _, Deed::Sftp) => without_fuse(),
        (Client::OpenSsh | Client::Putty | Client::Dbclient, Server::Sshd, Deed::Shell) if unprivileged => {
            Some("an sshd that is not root's may give nobody a terminal")
        }
        _ => means(client, deed).err(),
    }
}

/// With which program people do it, or why not.
fn means(client: Client, deed: Deed) -> Result<&'static str, &'static str> {
    Ok(match (client, deed) {
        (Client::OpenSsh, Deed::Shell | Deed::Exec | Deed::Input) => "`ssh`",
        (Client::OpenSsh, Deed::Sftp) => "`sftp`",
        (Client::OpenSsh, Deed::Scp) => "`scp`",
        (Client::OpenSsh, Deed::Rsync) => "`rsync -e ssh`",
        (Client::OpenSsh, Deed::LocalForward | Deed::RemoteForward) => "`ssh`",
        (Client::Putty, Deed::Shell | Deed::Exec | Deed::Input) => "`plink`",
        (Client::Putty, Deed::Sftp) => "`psftp`",
        (Client::Putty, Deed::Scp) => "`pscp`",
        (Client::Putty, Deed::Rsync) => "`rsync -e plink`",
        (Client::Putty, Deed::LocalForward | Deed::RemoteForward) => "`plink`",
        (Client::Dbclient, Deed::Shell | Deed::Exec | Deed::Input) => "`dbclient`",
        (Client::Dbclient, Deed::Sftp) => "`sftp -S dbclient`",
        (Client::Dbclient, Deed::Scp) => "`scp -S dbclient`",
        (Client::Dbclient, Deed::Rsync) => "`rsync -e dbclient`",
        (Client::Dbclient, Deed::LocalForward | Deed::RemoteForward) => "`dbclient`",
        (Client::Sshfs, Deed::Sftp) => "mounts a folder",
        (Client::Sshfs, _) => return Err("sshfs is a file system: it speaks sftp and nothing else"),
    })
}

/// Why this machine cannot mount anything, if it cannot: told to whoever runs the tests, past the
/// capture of what tests print that pass.
fn without_fuse() -> Option<&'static str> {
    let fuse = File::options().read(true).write(true).open("/dev/fuse");
    let error = fuse.err()?;
    writeln!(std::io::stderr(), "\nNOT TESTED: sshfs, because /dev/fuse cannot be opened: {error}\n").ok();
    Some("this machine has no /dev/fuse")
}

/// What is printed for a client by `postern access show --for`.
fn forms(client: Client) -> &'static [Form] {
    match client {
        Client::OpenSsh => &[Form::OpenSsh, Form::SshConfig],
        Client::Putty => &[Form::Plink, Form::PuttyUnix],
        Client::Dbclient => &[Form::Dbclient],
        Client::Sshfs => &[Form::SshConfig],
    }
}

/// The clients, with the versions that the tests use.
fn name(client: Client) -> &'static str {
    match client {
        Client::OpenSsh => "OpenSSH 9.2",
        Client::Putty => "PuTTY 0.78",
        Client::Dbclient => "dropbear 2022.83",
        Client::Sshfs => "sshfs 3.7",
    }
}

#[test]
fn the_manual_shows_the_same_table() {
    let manual = include_str!("../../../README.md");
    let table = table();
    assert!(manual.contains(&table), "README.md does not contain this:\n\n{table}");
}

fn table() -> String {
    const COLUMNS: [(&str, Deed); 5] = [
        ("shell, commands", Deed::Shell),
        ("sftp", Deed::Sftp),
        ("scp", Deed::Scp),
        ("rsync", Deed::Rsync),
        ("`-L`, `-R`", Deed::LocalForward),
    ];
    let titles = COLUMNS.map(|(title, _)| title).join(" | ");
    let mut table = format!("| client | `--for` | {titles} |\n|---|---|{}\n", "---|".repeat(COLUMNS.len()));
    for client in Client::ALL {
        let forms: Vec<String> = forms(client).iter().map(|form| format!("`{form}`")).collect();
        let cells = COLUMNS.map(|(_, deed)| means(client, deed).unwrap_or("–")).join(" | ");
        table += &format!("| {} | {} | {cells} |\n", name(client), forms.join(", "));
    }
    table
}
