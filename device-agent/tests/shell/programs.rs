//! Programs without a terminal: what they get, what they give, how they end.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::the_box::{TheBox, noise, stderr, stdout, succeeded, until, whoever_runs_this};

/// As much as the largest file that people are likely to pipe while they watch.
const BULK: usize = 50 * 1024 * 1024;

#[tokio::test]
async fn output_and_error_and_exit_status_arrive_apart() {
    let output = TheBox::start().await.run("echo out; echo err >&2; exit 7").await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((stdout(&output), stderr(&output)), ("out\n".into(), "err\n".into()));
}

#[tokio::test]
async fn a_signal_that_ended_the_program_is_named() {
    let the_box = TheBox::start().await;
    let output = the_box.ssh().args(["-v", &the_box.target(), "kill -TERM $$"]).output().await;
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("exit-signal"), "{}", stderr(&output));
}

#[tokio::test]
async fn fifty_megabytes_go_in_and_come_out_intact() {
    let the_box = TheBox::start().await;
    let sent = noise(BULK);
    let output = the_box.ssh().args([&the_box.target(), "cat"]).input(sent.clone()).output().await;
    succeeded(&output);
    assert!(output.stdout == sent, "{} bytes of {}", output.stdout.len(), sent.len());
}

#[tokio::test]
async fn new_keys_in_the_middle_harm_nothing() {
    let the_box = TheBox::start().await;
    let sent = noise(BULK / 2);
    let often = ["-o", "RekeyLimit=2M", &the_box.target(), "cat"];
    let output = the_box.ssh().args(often).input(sent.clone()).output().await;
    assert!(output.stdout == sent, "{} bytes of {}", output.stdout.len(), sent.len());
}

#[tokio::test]
async fn output_that_nobody_reads_yet_is_not_lost_when_the_program_has_ended() {
    let output = TheBox::start().await.run("head -c 3000000 /dev/zero; exit 3").await;
    assert_eq!((output.stdout.len(), output.status.code()), (3_000_000, Some(3)));
}

#[tokio::test]
async fn the_end_of_the_input_reaches_the_program_and_its_answer_comes_back() {
    let the_box = TheBox::start().await;
    let output = the_box.ssh().args([&the_box.target(), "wc -c; echo done"]).input("12345").output().await;
    assert_eq!(stdout(&output), "5\ndone\n");
}

#[tokio::test]
async fn a_program_that_does_not_want_its_input_ends_all_the_same() {
    let the_box = TheBox::start().await;
    let output = the_box.ssh().args([&the_box.target(), "head -c 4"]).input(noise(BULK / 2)).output().await;
    succeeded(&output);
    assert_eq!(output.stdout.len(), 4);
}

/// The consumer stands still until the producer is held up, and other channels go on meanwhile.
#[tokio::test]
async fn a_program_that_reads_slowly_holds_up_its_sender_and_nobody_else() {
    let the_box = TheBox::start().await;
    let (control, go) = (the_box.path("control"), the_box.path("go"));
    let control = format!("ControlPath={}", control.display());
    let command = format!("until [ -e {} ]; do sleep 0.05; done; sha256sum", go.display());
    let master = ["-M", "-o", &control, &the_box.target(), &command];
    let mut slow = the_box.ssh().args(master).spawn();
    let sent = noise(BULK);
    let mut stdin = slow.stdin.take().unwrap();
    let sending = tokio::spawn({
        let sent = sent.clone();
        async move { stdin.write_all(&sent).await }
    });
    until("the connection is shared", || the_box.path("control").exists()).await;
    for number in 0..20 {
        let other = the_box.ssh().args(["-o", &control, &the_box.target(), &format!("echo {number}")]);
        assert_eq!(stdout(&other.output().await), format!("{number}\n"));
    }
    let flood = the_box.ssh().args(["-o", &control, &the_box.target(), "head -c 20000000 /dev/zero"]);
    assert_eq!(flood.output().await.stdout.len(), 20_000_000);
    assert!(!sending.is_finished(), "nothing held up the sender");

    std::fs::write(&go, "").unwrap();
    sending.await.unwrap().unwrap();
    let output = slow.wait_with_output().await.unwrap();
    let expected = ring::digest::digest(&ring::digest::SHA256, &sent);
    let expected = data_encoding::HEXLOWER.encode(expected.as_ref());
    assert_eq!(stdout(&output), format!("{expected}  -\n"));
}

#[tokio::test]
async fn the_environment_is_clean_and_what_the_owner_lists_passes() {
    let the_box = TheBox::start().await;
    let say = ["-o", "SendEnv=LC_TEST EVIL", &the_box.target(), "env"];
    let output = the_box.ssh().args(say).env("LC_TEST", "yes").env("EVIL", "no").output().await;
    let text = stdout(&output);
    let variables: Vec<_> = text.lines().collect();
    let (name, home) = (whoever_runs_this().name, whoever_runs_this().dir);
    let home = format!("HOME={}", home.display());
    for expected in [&home, &format!("USER={name}"), &format!("LOGNAME={name}"), "LC_TEST=yes"] {
        assert!(variables.contains(&expected), "{expected} is not in {text}");
    }
    assert!(variables.iter().any(|line| line.starts_with("SSH_CONNECTION=127.0.0.1 ")), "{text}");
    for absent in ["EVIL", "CARGO", "SSH_TTY", "SSH_AUTH_SOCK"] {
        assert!(!variables.iter().any(|line| line.starts_with(absent)), "{absent} is in {text}");
    }
}

#[tokio::test]
async fn a_program_starts_at_home_and_leads_its_own_session() {
    let output = TheBox::start().await.run("pwd; ps -o sid= -p $$ | tr -d ' '; echo $$; umask").await;
    let text = stdout(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines[3]), (whoever_runs_this().dir.to_str().unwrap(), "0022"));
    assert_eq!(lines[1], lines[2], "not the leader of its session");
}

#[tokio::test]
async fn plink_runs_programs_too() {
    let the_box = TheBox::start().await;
    let ppk = the_box.path("key.ppk");
    let mut puttygen = std::process::Command::new("puttygen");
    puttygen.arg(the_box.path("key")).args(["-O", "private", "-o"]).arg(&ppk);
    assert!(puttygen.status().unwrap().success());
    let known = std::fs::read_to_string(the_box.path("known_hosts")).unwrap();
    let known = known.split_once(' ').unwrap().1;
    let key = postern_protocol::ssh_key::PublicKey::parse(known).unwrap().key;
    let mut plink = tokio::process::Command::new("plink");
    plink.args(["-batch", "-ssh", "-P", &the_box.port(), "-hostkey", &key.fingerprint(), "-i"]).arg(&ppk);
    let output = plink.args([&the_box.target(), "cat; echo err >&2; exit 7"]);
    let output = output.stdin(Stdio::null()).output().await.unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(7), "err\n".into()));
}

#[tokio::test]
async fn dropbears_client_runs_programs_too() {
    let the_box = TheBox::start().await;
    let (key, own) = (the_box.path("key"), the_box.path("key.dropbear"));
    let mut convert = std::process::Command::new("dropbearconvert");
    let converted = convert.args(["openssh", "dropbear"]).arg(key).arg(&own).output().unwrap();
    succeeded(&converted);
    let mut dbclient = tokio::process::Command::new("dbclient");
    // It trusts whatever it meets, because its known_hosts file is always the user's.
    dbclient.args(["-y", "-y", "-p", &the_box.port(), "-i"]).arg(own).arg(the_box.target());
    let mut client = dbclient.arg("cat; echo err >&2; exit 7").kill_on_drop(true);
    client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = client.spawn().unwrap();
    let sent = noise(1_000_000);
    let mut stdin = running.stdin.take().unwrap();
    let (output, ()) = tokio::join!(running.wait_with_output(), async {
        stdin.write_all(&sent).await.unwrap();
        drop(stdin);
    });
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(output.stdout == sent && stderr(&output).ends_with("err\n"), "{}", stderr(&output));
}
