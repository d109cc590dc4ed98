//! Each form as people will paste it, and hosts and keys that want to be more than that.

use std::fmt::Write as _;
use std::process::Command;

use proptest::prelude::*;

use crate::examples::{gate, key, read};
use crate::golden::assert_golden;

use super::*;

/// A way with everything that it borrows.
struct Example {
    gate: Gate,
    device: DeviceName,
    login: Login,
    key: PublicKey,
    host_keys: Vec<HostKey>,
    port: u16,
}

impl Example {
    fn through(host: &str, gate_port: u16) -> Self {
        Self {
            gate: gate(host, gate_port),
            device: read("box42"),
            login: read("root"),
            key: key(9),
            host_keys: vec![HostKey::from(&key(2)), HostKey::from(&key(3))],
            port: 22,
        }
    }

    fn way(&self) -> Way<'_> {
        Way {
            access: read("k7f2q5xwab"),
            device: &self.device,
            port: self.port,
            login: &self.login,
            key: Some(&self.key),
            gate: &self.gate,
            host_keys: &self.host_keys,
        }
    }

    /// The same box on a public port of the same host.
    fn direct(&self) -> Direct<'_> {
        Direct {
            device: &self.device,
            login: &self.login,
            key: Some(&self.key),
            host: &self.gate.host,
            port: 40122,
            host_keys: &self.host_keys,
        }
    }

    fn forward(&self) -> Forward<'_> {
        Forward { access: read("k7f2q5xwab"), device: &self.device, port: self.port, gate: &self.gate }
    }

    fn direct_forms(&self) -> Vec<Rendered> {
        Form::ALL.map(|form| self.direct().render(form)).to_vec()
    }

    fn all_forms(&self) -> Vec<Rendered> {
        Form::ALL.map(|form| self.way().render(form)).to_vec()
    }
}

const HOSTILE_HOSTS: [&str; 16] = [
    "",
    " ",
    "-oProxyCommand=sh",
    "relay.example.com -oProxyCommand=sh",
    "relay.example.com\nProxyCommand sh",
    "relay\r\n[HKEY_CURRENT_USER\\Software]",
    "relay\"&calc&\"",
    "relay'; sh; '",
    "relay$(sh)",
    "relay`sh`",
    "relay;sh",
    "%h",
    "%COMSPEC%",
    "[::1]",
    "fe80::1%eth0",
    "relay,*",
];

const INTRODUCTION: &str = "\
Each form of some connections. A carriage return is shown as \\r.

All but three of those through the gate were tried as they stand, by host name and by IPv6 address, with OpenSSH's sshd 9.2 as
gate and as box, in batch mode and with strict host key checking, so that any question would have
failed: ssh, scp and sftp of OpenSSH 9.2, rsync 3.5, plink and pscp of PuTTY 0.78 (with the key from
an agent, and with PublicKeyFile), dbclient 2022.83, ansible-core 2.19. The forms putty, winscp and vscode follow the
programs' documentation and sources.
";

#[test]
fn every_form_is_as_the_golden_file_shows_it() {
    let mut elsewhere = Example::through("relay.example.com", 4022);
    elsewhere.port = 8022;
    let mut text = String::from(INTRODUCTION);
    let by_name = Example::through("relay.example.com", 4022);
    let by_address = Example::through("2001:db8::9", 4022);
    let keyless = Example { host_keys: Vec::new(), ..Example::through("relay.example.com", 22) };
    for (title, forms) in [
        ("by name", by_name.all_forms()),
        ("by IPv6 address", by_address.all_forms()),
        ("on a port of its own", elsewhere.all_forms()),
        ("to a box whose host keys are not known, by a gate on port 22", keyless.all_forms()),
        ("by a public port", by_name.direct_forms()),
        ("by a public port of an IPv6 address", by_address.direct_forms()),
        ("by a public port, to a box whose host keys are not known", keyless.direct_forms()),
    ] {
        write!(text, "\n======== {title}\n").unwrap();
        for (form, rendered) in Form::ALL.into_iter().zip(forms) {
            let shown = rendered.text.replace('\r', "\\r");
            write!(text, "\n== {form}\n{shown}\n").unwrap();
            if rendered.files.len() > 1 {
                let names: Vec<&str> = rendered.files.iter().map(|file| &*file.name).collect();
                writeln!(text, "(files: {})", names.join(", ")).unwrap();
            }
        }
    }
    for (title, example, port) in [
        ("a page through the gate", &by_name, 443),
        ("a service through the gate, by IPv6 address", &by_address, 80),
        ("a service on a high port, by a gate on port 22", &keyless, 9000),
    ] {
        write!(text, "\n======== {title}\n").unwrap();
        let connection = Forward { port, ..example.forward() }.connection();
        for (form, shown) in &connection.forms {
            write!(text, "\n== {form}\n{shown}\n").unwrap();
        }
        assert_eq!(connection.forms["openssh"], connection.command);
    }
    assert_golden("connection/forms.txt", &text);
}

#[test]
fn every_form_is_found_by_its_name_and_carried_by_the_api() {
    let example = Example::through("relay.example.com", 4022);
    let connection = example.way().connection();
    assert_eq!(connection.forms.len(), Form::ALL.len());
    for form in Form::ALL {
        assert_eq!(form.to_string().parse(), Ok(form));
        assert_eq!(connection.forms[form.as_str()], example.way().render(form).text);
        assert!(UnknownForm.to_string().contains(form.as_str()), "{form}");
    }
    assert_eq!("telnet".parse::<Form>(), Err(UnknownForm));
    assert_eq!(connection.forms["openssh"], connection.command);
}

#[test]
fn an_answer_without_forms_is_still_a_connection() {
    let connection = Example::through("relay.example.com", 4022).way().connection();
    let mut json = serde_json::to_value(&connection).unwrap();
    json.as_object_mut().unwrap().remove("forms");
    let read: Connection = serde_json::from_value(json).unwrap();
    assert_eq!(read, Connection { forms: BTreeMap::new(), ..connection });
}

#[test]
fn hosts_that_people_dial_are_valid() {
    let longest = [&"a".repeat(63)[..]; 3].join(".") + "." + &"b".repeat(61);
    for host in [
        "relay.example.com",
        "localhost",
        "RELAY-1",
        "relay_1.lan",
        "192.0.2.1",
        "2001:db8::9",
        "::1",
        &longest,
    ] {
        assert!(valid_host(host), "{host}");
    }
    let too_long = format!("{longest}x");
    let label_too_long = "a".repeat(64);
    for host in [
        "relay.",
        ".relay",
        "a..b",
        "-a",
        "a-",
        "1.2.3",
        "192.0.2.256",
        "relay:22",
        "é",
        &too_long,
        &label_too_long,
    ] {
        assert!(!valid_host(host), "{host}");
    }
}

#[test]
fn a_hostile_host_leads_nowhere_in_every_form() {
    let nowhere = Example::through(NOWHERE, 4022).all_forms();
    for host in HOSTILE_HOSTS {
        assert!(!valid_host(host), "{host}");
        let hostile = Example::through(host, 4022);
        assert_eq!(hostile.all_forms(), nowhere, "{host}");
        assert_eq!(hostile.direct_forms(), Example::through(NOWHERE, 4022).direct_forms(), "{host}");
        let shown = hostile.forward().connection();
        assert_eq!(shown, Example::through(NOWHERE, 4022).forward().connection(), "{host}");
    }
}

#[test]
fn a_hostile_host_key_is_left_out_of_every_form() {
    let harmless = Example::through("relay.example.com", 4022);
    let good = key(7).to_openssh();
    for hostile in [
        format!("{good}\n* {good}"),
        format!("@cert-authority * {good}"),
        format!("{good}\r\n[HKEY_CURRENT_USER\\Software]"),
        "ssh-ed25519 \"; sh".to_owned(),
        String::new(),
    ] {
        let host_key = HostKey { key: hostile.clone(), fingerprint: "SHA256:\"&calc&\"".to_owned() };
        let mut example = Example::through("relay.example.com", 4022);
        example.gate.host_keys.push(host_key.clone());
        example.host_keys.push(host_key);
        assert_eq!(example.all_forms(), harmless.all_forms(), "{hostile}");
        assert_eq!(example.way().connection(), harmless.way().connection(), "{hostile}");
        assert_eq!(example.direct().connection(), harmless.direct().connection(), "{hostile}");
        assert_eq!(example.forward().connection(), harmless.forward().connection(), "{hostile}");
    }
}

#[test]
fn a_fingerprint_is_that_of_its_key_whatever_was_claimed() {
    let mut example = Example::through("relay.example.com", 4022);
    example.host_keys =
        vec![HostKey { fingerprint: "SHA256:another".to_owned(), key: format!("{} ada", key(2)) }];
    let shown = example.way().connection().fingerprints;
    assert_eq!(shown.device, [HostKey::from(&key(2))]);
    assert_eq!(example.direct().connection().fingerprints.device, [HostKey::from(&key(2))]);
    let plink = example.way().render(Form::Plink).text;
    assert!(plink.contains(&format!("-hostkey {} ", key(2).fingerprint())), "{plink}");
}

#[test]
fn openssh_reads_the_block_as_it_is_meant() {
    for host in ["relay.example.com", "2001:db8::9"] {
        let example = Example::through(host, 4022);
        let access = "k7f2q5xwab";
        let of_box = openssh_reads(&example.way().ssh_config(), "box42");
        for line in ["hostname box42", "port 22", "user root", "hostkeyalias box42"] {
            assert!(of_box.lines().any(|read| read == line), "{line}\n{of_box}");
        }
        assert!(of_box.contains(&format!("proxyjump postern-{access}\n")), "{of_box}");
        let of_gate = openssh_reads(&example.way().ssh_config(), &format!("postern-{access}"));
        for line in [format!("hostname {host}"), "port 4022".into(), format!("user {access}")] {
            assert!(of_gate.lines().any(|read| read == line), "{line}\n{of_gate}");
        }
    }
}

#[test]
fn openssh_reads_the_block_of_a_public_port_as_it_is_meant() {
    for host in ["relay.example.com", "2001:db8::9"] {
        let example = Example::through(host, 4022);
        let of_box = openssh_reads(&example.direct().ssh_config(), "box42");
        let hostname = format!("hostname {host}");
        for line in [hostname.as_str(), "port 40122", "user root", "hostkeyalias box42"] {
            assert!(of_box.lines().any(|read| read == line), "{line}\n{of_box}");
        }
        assert!(!of_box.contains("proxyjump"), "{of_box}");
    }
}

fn openssh_reads(config: &str, host: &str) -> String {
    let file = std::env::temp_dir().join(format!("postern-{}-{host}.ssh_config", std::process::id()));
    std::fs::write(&file, config).unwrap();
    let output = Command::new("ssh").arg("-F").arg(&file).arg("-G").arg(host).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

proptest! {
    #[test]
    fn no_host_breaks_out_of_any_form(host in any::<String>()) {
        let example = Example::through(&host, 4022);
        if !valid_host(&host) {
            let nowhere = Example::through(NOWHERE, 4022);
            prop_assert_eq!(example.all_forms(), nowhere.all_forms());
            prop_assert_eq!(example.direct_forms(), nowhere.direct_forms());
        }
    }

    #[test]
    fn what_is_valid_holds_nothing_that_any_program_could_misread(host in "[a-zA-Z0-9:._ %$\"'\\\\\n-]{1,12}") {
        if valid_host(&host) {
            prop_assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte)));
            prop_assert!(!host.starts_with('-'));
        }
    }
}
