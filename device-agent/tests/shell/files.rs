//! File transfer, with the system's sftp-server and with the agent's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use postern_agent::shell::Settings;

use crate::the_box::{Client, TheBox, noise, settings, stderr, stdout, succeeded, whoever_runs_this};

const SIZE: usize = 8 * 1024 * 1024 + 12_345;

async fn with_own_server() -> TheBox {
    TheBox::with(&whoever_runs_this().name, Settings { sftp_servers: vec![], ..settings() }).await
}

impl TheBox {
    async fn sftp(&self, batch: &str) -> std::process::Output {
        self.transfer("sftp").args(["-b", "-", &self.target()]).input(batch).output().await
    }

    /// scp and sftp take the port in capitals.
    fn transfer(&self, program: &str) -> Client {
        self.client(program).args(["-P", &self.port()])
    }

    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }
}

async fn goes_and_comes_back_intact(the_box: &TheBox) {
    let sent = noise(SIZE);
    let (here, there, back) = (the_box.file("here", &sent), the_box.path("there"), the_box.path("back"));
    fs::set_permissions(&here, fs::Permissions::from_mode(0o640)).unwrap();
    let batch = format!(
        "put -p {} {}\nget -p {} {}\n",
        here.display(),
        there.display(),
        there.display(),
        back.display()
    );
    succeeded(&the_box.sftp(&batch).await);
    assert!(fs::read(&there).unwrap() == sent && fs::read(&back).unwrap() == sent);
    let (here, back) = (fs::metadata(here).unwrap(), fs::metadata(back).unwrap());
    assert_eq!((back.mode(), back.mtime()), (here.mode(), here.mtime()));
}

#[tokio::test]
async fn a_file_goes_and_comes_back_with_the_systems_server() {
    assert!(settings().sftp_servers.iter().any(|path| path.exists()), "openssh-sftp-server is not installed");
    goes_and_comes_back_intact(&TheBox::start().await).await;
}

#[tokio::test]
async fn a_file_goes_and_comes_back_with_the_agents_own_server() {
    goes_and_comes_back_intact(&with_own_server().await).await;
}

#[tokio::test]
async fn the_agents_own_server_does_what_people_ask_of_sftp() {
    let the_box = with_own_server().await;
    let place = the_box.path("place");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("a file"), "one").unwrap();
    let batch = format!(
        "cd {}\nmkdir new\nrename \"a file\" new/b\nsymlink new/b link\nln new/b hard\nchmod 600 new/b\n\
         ls -la\nls -la new\npwd\nrm hard\n",
        place.display()
    );
    let output = the_box.sftp(&batch).await;
    succeeded(&output);
    let said = stdout(&output);
    assert!(
        said.contains("drwxr-xr-x") && said.contains("lrwxrwxrwx") && said.contains("-rw-------"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(place.join("link")).unwrap(), "one");
    assert_eq!(fs::read_link(place.join("link")).unwrap(), PathBuf::from("new/b"));
    assert!(!place.join("hard").exists());

    let emptied = format!("cd {}\nrm link\nrm new/b\nrmdir new\n", place.display());
    succeeded(&the_box.sftp(&emptied).await);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}

#[tokio::test]
async fn the_agents_own_server_says_what_is_wrong() {
    let the_box = with_own_server().await;
    for (batch, complaint) in [
        ("get /no/such/file /tmp/x\n", "not found"),
        ("rmdir /proc\n", "Failure"),
        ("mkdir /proc/x\n", "No such file"),
    ] {
        let output = the_box.sftp(batch).await;
        assert!(!output.status.success());
        assert!(stderr(&output).contains(complaint), "{batch}{}", stderr(&output));
    }
}

#[tokio::test]
async fn a_directory_of_a_thousand_files_is_listed_whole() {
    let the_box = with_own_server().await;
    let place = the_box.path("many");
    fs::create_dir(&place).unwrap();
    for number in 0..1000 {
        fs::write(place.join(format!("file-{number}")), "").unwrap();
    }
    let output = the_box.sftp(&format!("ls -1 {}\n", place.display())).await;
    assert_eq!(stdout(&output).lines().filter(|line| line.contains("/file-")).count(), 1000);
}

#[tokio::test]
async fn a_transfer_that_broke_off_is_resumed() {
    let the_box = with_own_server().await;
    let sent = noise(SIZE);
    let here = the_box.file("here", &sent);
    let there = the_box.file("there", &sent[..SIZE / 3]);
    succeeded(&the_box.sftp(&format!("reput {} {}\n", here.display(), there.display())).await);
    assert!(fs::read(there).unwrap() == sent);
}

#[tokio::test]
async fn scp_copies_in_both_of_its_ways() {
    let the_box = with_own_server().await;
    let sent = noise(SIZE);
    let here = the_box.file("here", &sent);
    for (way, name) in [(&["-s"][..], "by-sftp"), (&["-O"], "by-rcp")] {
        let there = the_box.path(name);
        let target = format!("{}:{}", the_box.target(), there.display());
        let scp = the_box.transfer("scp").args(way);
        succeeded(&scp.args([here.to_str().unwrap(), &target]).output().await);
        assert!(fs::read(&there).unwrap() == sent, "{name}");
        let back = the_box.path("back");
        let scp = the_box.transfer("scp").args(way);
        succeeded(&scp.args([&target, back.to_str().unwrap()]).output().await);
        assert!(fs::read(&back).unwrap() == sent, "{name}");
    }
}

#[tokio::test]
async fn rsync_mirrors_a_tree() {
    let the_box = TheBox::start().await;
    let (from, to) = (the_box.path("from"), the_box.path("to"));
    fs::create_dir_all(from.join("deep/er")).unwrap();
    fs::write(from.join("deep/er/file"), noise(SIZE)).unwrap();
    let ssh = format!("ssh -p {} {}", the_box.port(), the_box.options().join(" "));
    let mut rsync = tokio::process::Command::new("rsync");
    rsync.args(["-a", "-e", &ssh, &format!("{}/", from.display())]);
    let output = rsync.arg(format!("{}:{}/", the_box.target(), to.display())).output().await.unwrap();
    succeeded(&output);
    assert!(fs::read(to.join("deep/er/file")).unwrap() == noise(SIZE));
}

#[tokio::test]
async fn psftp_puts_and_gets() {
    let the_box = with_own_server().await;
    let ppk = the_box.path("key.ppk");
    let mut puttygen = std::process::Command::new("puttygen");
    puttygen.arg(the_box.path("key")).args(["-O", "private", "-o"]).arg(&ppk);
    assert!(puttygen.status().unwrap().success());
    let known = fs::read_to_string(the_box.path("known_hosts")).unwrap();
    let key = postern_protocol::ssh_key::PublicKey::parse(known.split_once(' ').unwrap().1).unwrap().key;
    let sent = noise(SIZE);
    let (here, there, back) = (the_box.file("here", &sent), the_box.path("there"), the_box.path("back"));
    let batch =
        format!("put {} {}\nget {} {}\n", here.display(), there.display(), there.display(), back.display());
    let batch = the_box.file("batch", batch.as_bytes());
    let mut psftp = tokio::process::Command::new("psftp");
    psftp.args(["-batch", "-P", &the_box.port(), "-hostkey", &key.fingerprint(), "-i"]).arg(&ppk);
    let output = psftp.arg("-b").arg(&batch).arg(the_box.target()).output().await.unwrap();
    succeeded(&output);
    assert!(fs::read(there).unwrap() == sent && fs::read(back).unwrap() == sent);
}
