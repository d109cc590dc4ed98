use std::process::Command;

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
const OTHER_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";

fn key(text: &str) -> PublicKey {
    PublicKey::parse(text).unwrap().key
}

fn identity(at: At) -> Identity {
    Identity { key: key(KEY), comment: String::new(), at }
}

fn gate_at(host: &str, port: u16) -> Gate {
    Gate { host: host.to_owned(), port, host_keys: vec![HostKey::from(&key(OTHER_KEY))] }
}

fn access(id: &str, ends: &str, status: &str, openssh: &str) -> Access {
    let host_key = HostKey::from(&key(OTHER_KEY));
    let host_keys = serde_json::to_value([host_key]).unwrap();
    serde_json::from_value(serde_json::json!({
        "id": id, "device": "k7f2q5xwac", "device_name": "box42", "exposed_port": 22,
        "allowed_ips": ["127.0.0.1/32"], "expires_at": ends, "login": "root", "note": "",
        "created_at": "2023-11-14T22:00:00Z", "status": status, "status_since": "2023-11-14T22:00:00Z",
        "status_reason": "", "revision": 1,
        "public_key": {"openssh": openssh, "type": "ssh-ed25519", "bits": 256, "fingerprint": "", "comment": ""},
        "connection": {"command": "", "known_hosts": [], "forms": {},
            "fingerprints": {"gate": host_keys, "device": host_keys}},
    }))
    .unwrap()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

#[test]
fn the_best_access_is_one_that_works_and_lasts() {
    let accesses = [
        access("aaaaaaaaaa", "2023-11-15T10:00:00Z", "pending", KEY),
        access("bbbbbbbbbb", "2023-11-15T01:00:00Z", "active", KEY),
        access("cccccccccc", "2023-11-15T02:00:00Z", "active", KEY),
        access("dddddddddd", "2023-11-15T20:00:00Z", "active", OTHER_KEY),
        access("eeeeeeeeee", "2023-11-14T22:13:30Z", "active", KEY),
        access("ffffffffff", "2023-11-15T20:00:00Z", "revoked", KEY),
    ];
    let identities = [identity(At::Agent)];
    let mine = held(&accesses, &identities, now());
    let ids: Vec<&str> = mine.iter().map(|held| held.access.id.as_str()).collect();
    assert_eq!(ids, ["cccccccccc", "bbbbbbbbbb", "aaaaaaaaaa"]);
    assert_eq!(best(&mine, None).map(|held| held.access.id), Some(accesses[2].id));
    assert!(best(&mine, Some(&"ann".parse().unwrap())).is_none());
}

/// What ssh itself reads in what is written.
fn as_ssh_reads(config: &Path, host: &str) -> Vec<String> {
    let output = Command::new("ssh").arg("-F").arg(config).args(["-G", host]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn ssh_reads_both_hops_with_the_one_key_and_no_question() {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join("a key 100%");
    let access = access("aaaaaaaaaa", "2023-11-15T10:00:00Z", "active", KEY);
    let identity = identity(At::File(private.clone()));
    let held = Held { access: &access, identity: &identity };
    let folder = Folder::open(dir.path().join("100% ssh"), "ways").unwrap();
    let names = ["box42.postern".to_owned(), "aaaaaaaaaa.postern".to_owned()];
    let block = Block::new(&held, Start::Gate(&gate_at("2001:db8::9", 2222)), &names, &folder).unwrap();
    folder.write("", &[block], "").unwrap();
    let identity_file = format!("identityfile {}", private.display()).replace('%', "%%");
    let known_hosts = format!("userknownhostsfile {}", folder.known_hosts().display()).replace('%', "%%");
    for host in ["box42.postern", "aaaaaaaaaa.postern", "postern-aaaaaaaaaa"] {
        let read = as_ssh_reads(&folder.config(), host);
        for line in [&*identity_file, &*known_hosts, "stricthostkeychecking true", "identitiesonly yes"] {
            let plain = line.replace("%%", "%");
            assert!(read.iter().any(|read| *read == plain || read == line), "{host}: {line} in {read:#?}");
        }
    }
    let at_box = as_ssh_reads(&folder.config(), "box42.postern");
    for line in ["hostname box42", "hostkeyalias box42", "user root", "proxyjump postern-aaaaaaaaaa"] {
        assert!(at_box.iter().any(|read| read == line), "{line} in {at_box:#?}");
    }
    let at_gate = as_ssh_reads(&folder.config(), "postern-aaaaaaaaaa");
    for line in ["hostname 2001:db8::9", "port 2222", "user aaaaaaaaaa"] {
        assert!(at_gate.iter().any(|read| read == line), "{line} in {at_gate:#?}");
    }
    let known_hosts = std::fs::read_to_string(folder.known_hosts()).unwrap();
    assert_eq!(known_hosts, format!("[2001:db8::9]:2222 {OTHER_KEY}\nbox42 {OTHER_KEY}\n"));
}

#[test]
fn a_key_that_only_the_agent_has_is_named_by_its_public_half() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path().join("ssh"), "ways").unwrap();
    let path = folder.identity(&identity(At::Agent)).unwrap();
    assert_eq!(path.extension().unwrap(), "pub");
    assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{KEY}\n"));
}

#[test]
fn nothing_that_was_sent_can_become_a_line_of_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path().join("ssh"), "ways").unwrap();
    let mut access = access("aaaaaaaaaa", "2023-11-15T10:00:00Z", "active", KEY);
    let evil = "ssh-ed25519 AAAA\n* ssh-ed25519 AAAA".to_owned();
    access
        .connection
        .as_mut()
        .unwrap()
        .fingerprints
        .device
        .push(HostKey { key: evil, fingerprint: String::new() });
    let identity = identity(At::File("/k".into()));
    let held = Held { access: &access, identity: &identity };
    for host in ["relay\n    ProxyCommand touch /tmp/x", "a b", "", "-x", "relay;x", "%h", "$(x)"] {
        assert!(Block::new(&held, Start::Gate(&gate_at(host, 22)), &[], &folder).is_err(), "{host:?}");
    }
    let block = Block::new(&held, Start::Gate(&gate_at("relay.example.com", 22)), &["x".to_owned()], &folder)
        .unwrap();
    assert_eq!(block.known_hosts, format!("relay.example.com {OTHER_KEY}\nbox42 {OTHER_KEY}\n"));
}

#[test]
fn the_gate_is_the_one_whose_keys_are_shown() {
    let relay = |name: &str, gate: Gate| Relay {
        id: "k7f2q5xwab".parse().unwrap(),
        name: name.to_owned(),
        created_at: now(),
        connected: true,
        last_seen: None,
        revision_in_force: 1,
        revision: 1,
        boxes: 0,
        version: None,
        gate: Some(gate),
        web: None,
        ports: None,
    };
    let stranger = Gate { host_keys: vec![HostKey::from(&key(KEY))], ..gate_at("a", 1) };
    let relays = [relay("a", stranger), relay("b", gate_at("b", 2))];
    let access = access("aaaaaaaaaa", "2023-11-15T10:00:00Z", "active", KEY);
    assert_eq!(gate(&access, &relays).map(|gate| gate.port), Some(2));
    assert!(gate(&access, &relays[..1]).is_none());
}

#[test]
fn a_public_port_is_one_hop_to_the_box() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path().join("ssh"), "ways").unwrap();
    let mut access = access("aaaaaaaaaa", "2023-11-15T10:00:00Z", "active", KEY);
    access.via = Via::Port;
    access.public_port = Some(40122);
    access.relay = Some("k7f2q5xwab".parse().unwrap());
    let relay: Relay = serde_json::from_value(serde_json::json!({
        "id": "k7f2q5xwab", "name": "a", "created_at": now(), "connected": true, "revision_in_force": 1,
        "revision": 1, "boxes": 0, "gate": gate_at("relay.example.com", 2222),
    }))
    .unwrap();
    let relays = [relay];
    let start = start(&access, &relays).unwrap();
    assert_eq!(start, Start::Port { host: "relay.example.com", port: 40122 });
    let identity = identity(At::File("/k".into()));
    let held = Held { access: &access, identity: &identity };
    let block = Block::new(&held, start, &["box42".to_owned()], &folder).unwrap();
    assert_eq!(block.known_hosts, format!("box42 {OTHER_KEY}\n"));
    folder.write("", &[block], "").unwrap();
    let read = as_ssh_reads(&folder.config(), "box42");
    for line in ["hostname relay.example.com", "port 40122", "user root", "hostkeyalias box42"] {
        assert!(read.iter().any(|read| read == line), "{line} in {read:?}");
    }
    access.relay = None;
    assert_eq!(super::start(&access, &relays), None);
}
