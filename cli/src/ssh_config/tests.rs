use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_new_home_gets_a_private_folder_and_one_line() {
    let home = tempfile::tempdir().unwrap();
    let places = Places::within(home.path());
    install(&places, &Target::default()).unwrap();
    let config = places.dot_ssh().join("config");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&places.dot_ssh()), mode(&config), mode(&own_file(&places))), (0o700, 0o600, 0o600));
    assert_eq!(read(&config), format!("Include \"{}\"\n", own_file(&places).display()));
    install(&places, &Target::default()).unwrap();
    assert_eq!(read(&config).lines().count(), 1);
    remove(&places).unwrap();
    assert_eq!(read(&config), "");
}

#[test]
fn paths_that_ssh_would_misread_are_refused() {
    for path in ["/home/a\"b", "/home/a\nb", "/home/$HOME", "/home/a\\b"] {
        assert!(quoted(Path::new(path)).is_err(), "{path:?}");
    }
    assert_eq!(quoted(Path::new("/home/a b/100%")).unwrap(), "\"/home/a b/100%%\"");
    for path in ["/home/a*", "/home/[a]", "/home/a?", "/home/100%"] {
        assert!(include(Path::new(path)).is_err(), "{path:?}");
    }
}

/// What ssh itself makes of the file, with the refreshing command in place of `postern`.
#[test]
fn ssh_asks_for_an_update_before_it_reads_the_ways() {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("with a blank");
    let ways = home.path().join("ways.config");
    let script =
        format!("#!/bin/sh\nprintf 'Host box42.postern\\n    HostName fresh\\n' > '{}'\n", ways.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
    let config = home.path().join("config");
    std::fs::write(&config, own_part(&program, &Target::default(), &ways).unwrap()).unwrap();
    let hostname = |host: &str| {
        let output = Command::new("ssh").arg("-F").arg(&config).args(["-G", host]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.strip_prefix("hostname ")).unwrap().to_owned()
    };
    assert_eq!(hostname("example.com"), "example.com");
    assert!(!ways.exists(), "nothing is asked for other hosts");
    assert_eq!(hostname("box42.postern"), "fresh");
}
