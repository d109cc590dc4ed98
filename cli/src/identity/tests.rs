use std::process::Command;

use super::*;

/// A home with keys made by ssh-keygen.
struct Home {
    _dir: tempfile::TempDir,
    places: Places,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::within(dir.path());
        std::fs::create_dir(places.dot_ssh()).unwrap();
        Self { _dir: dir, places }
    }

    fn keygen(&self, name: &str, kind: &str) -> PathBuf {
        let path = self.places.dot_ssh().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", kind, "-C", "ann@laptop", "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        path
    }
}

fn names(identities: &[Identity]) -> Vec<String> {
    let name = |identity: &Identity| match &identity.at {
        At::File(path) => path.file_name().unwrap().to_string_lossy().into_owned(),
        At::Agent => "agent".to_owned(),
    };
    identities.iter().map(name).collect()
}

#[test]
fn keys_are_found_in_the_order_in_which_they_are_best() {
    let home = Home::new();
    for (name, kind) in
        [("work", "ed25519"), ("id_rsa", "rsa"), ("id_ed25519", "ed25519"), ("id_ecdsa", "ecdsa")]
    {
        home.keygen(name, kind);
    }
    let lonely = home.keygen("lonely", "ed25519");
    std::fs::remove_file(lonely).unwrap();
    std::fs::write(home.places.dot_ssh().join("notes.pub"), "no key").unwrap();
    std::fs::write(home.places.dot_ssh().join("notes"), "").unwrap();
    let found = in_folder(&home.places.dot_ssh());
    assert_eq!(names(&found), ["id_ed25519", "id_ecdsa", "id_rsa", "work"]);
    assert_eq!(found[0].comment, "ann@laptop");
    assert!(in_folder(Path::new("/nowhere")).is_empty());
}

#[test]
fn what_the_agent_lists_is_read_key_by_key() {
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB ann@laptop";
    let keys = agent_keys(&format!("The agent has no identities.\nssh-dss AAAA old\n{line}\n"));
    assert_eq!(keys.len(), 1);
    let file = Identity { key: keys[0].key.clone(), comment: String::new(), at: At::File("/k".into()) };
    assert_eq!(merge(vec![file.clone()], keys.clone()), [file]);
    assert_eq!(names(&merge(Vec::new(), keys)), ["agent"]);
}

#[tokio::test]
async fn without_a_name_the_usual_key_is_taken_and_named() {
    let home = Home::new();
    home.keygen("id_rsa", "rsa");
    home.keygen("id_ed25519", "ed25519");
    let usual = usual(&home.places).await.unwrap();
    assert_eq!(usual.from, "~/.ssh/id_ed25519.pub");
    assert!(usual.tried_by_ssh && usual.line().ends_with(" ann@laptop"));
}

#[tokio::test]
async fn a_private_key_is_refused_by_name_with_the_file_that_is_meant() {
    let home = Home::new();
    let private = home.keygen("work", "ed25519");
    let name = private.to_str().unwrap();
    let failure = named(name, &home.places).await.unwrap_err().to_string();
    assert!(
        failure.contains("private key (OpenSSH)") && failure.contains(&format!("--key {name}.pub")),
        "{failure}"
    );
    let given = named(&format!("{name}.pub"), &home.places).await.unwrap();
    assert!(!given.tried_by_ssh);
    assert_eq!(given.from, "~/.ssh/work.pub");
    std::fs::remove_file(format!("{name}.pub")).unwrap();
    let failure = named(name, &home.places).await.unwrap_err().to_string();
    assert!(failure.contains("ssh-keygen -y"), "{failure}");
}

#[tokio::test]
async fn a_missing_file_is_answered_with_those_that_are_there() {
    let home = Home::new();
    home.keygen("id_ed25519", "ed25519");
    let failure = named("/nowhere/id.pub", &home.places).await.unwrap_err().to_string();
    assert!(failure.contains("~/.ssh/id_ed25519.pub"), "{failure}");
}

#[tokio::test]
async fn the_line_itself_will_do() {
    let home = Home::new();
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    let given = named(&format!("{line} ann"), &home.places).await.unwrap();
    assert_eq!(given.line(), format!("{line} ann"));
    assert!(named("ssh-dss AAAA x", &home.places).await.is_err());
}
