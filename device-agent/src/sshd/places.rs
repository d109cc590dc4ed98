//! Where an SSH server may listen, as its configuration and its command line say.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::aside::aside;

/// Where distributions keep sshd; root's PATH may be short.
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];

/// How long sshd may take to say its configuration.
const CONFIGURATION_TIMEOUT: Duration = Duration::from_secs(3);

/// Dropbear's port unless it is told another.
const DROPBEAR_PORT: u16 = 22;

/// Where servers of either kind listen, the likeliest first: what a running OpenSSH was told on its command line,
/// what its configuration says, and what running dropbears were told.
pub(super) async fn all() -> Vec<SocketAddr> {
    let lines = aside(|| command_lines().collect::<Vec<_>>()).await;
    let mut places: Vec<_> = lines.iter().filter_map(|line| running_openssh(line)).flatten().collect();
    places.extend(configuration().await.as_deref().map(listening).unwrap_or_default());
    places.extend(lines.iter().filter_map(|line| dropbear(line)).flatten());
    places
}

/// Where running servers of either kind were told to listen, which costs less to learn than the rest.
pub(super) fn of_running() -> Vec<SocketAddr> {
    command_lines().filter_map(|line| running_openssh(&line).or_else(|| dropbear(&line))).flatten().collect()
}

fn running_openssh(line: &[String]) -> Option<Vec<SocketAddr>> {
    Some(sshd_ports(line)?.into_iter().map(loopback).collect())
}

/// What `sshd -T` says; only root is told.
async fn configuration() -> Option<String> {
    let sshd = SSHD.into_iter().find(|path| Path::new(path).exists())?;
    let mut asking = Command::new(sshd);
    asking.arg("-T").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = timeout(CONFIGURATION_TIMEOUT, asking.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The addresses in the output of `sshd -T`, where each has its port.
fn listening(configuration: &str) -> Vec<SocketAddr> {
    let value = |line: &'_ str| line.strip_prefix("listenaddress ").map(str::to_owned);
    let addresses = configuration.lines().filter_map(value);
    addresses.filter_map(|address| address.parse().ok()).map(reachable).collect()
}

/// A server that listens everywhere is reached on the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// The command lines of all processes in the agent's own network, in order of their numbers.
fn command_lines() -> impl Iterator<Item = Vec<String>> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(number);
    let ours = fs::read_link("/proc/self/ns/net").ok();
    // A container's server listens on another loopback. Who is not root cannot tell, and then tries.
    let near = move |pid: &u32| match fs::read_link(format!("/proc/{pid}/ns/net")) {
        Ok(theirs) => ours.as_ref().is_none_or(|ours| *ours == theirs),
        Err(_) => true,
    };
    let read = |pid| fs::read(format!("/proc/{pid}/cmdline")).ok().map(|line| (pid, words(&line)));
    processes.filter(near).filter_map(read).collect::<BTreeMap<_, _>>().into_values()
}

/// The words of a command line, which a server that shows its state there may have written anew with
/// blanks between them.
fn words(line: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(line);
    text.split(['\0', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The ports that a listening sshd was given with `-p`.
fn sshd_ports(line: &[String]) -> Option<Vec<u16>> {
    // Sessions call themselves `sshd: user@pts/0`; the listener `sshd: /usr/sbin/sshd -D [listener]`.
    let arguments = match line.first()?.as_str() {
        "sshd:" if line.iter().any(|word| word == "[listener]") => line.get(2..)?,
        program if is(program, "sshd") => &line[1..],
        _ => return None,
    };
    let ports = values(arguments, 'p').filter_map(|port| port.parse().ok()).collect::<Vec<_>>();
    (!ports.is_empty()).then_some(ports)
}

/// Where a dropbear listens: at each `-p [address:]port`, or at its usual port.
fn dropbear(line: &[String]) -> Option<Vec<SocketAddr>> {
    let (program, arguments) = line.split_first()?;
    // One that was started for a single connection listens nowhere.
    if !is(program, "dropbear") || arguments.iter().any(|word| word == "-i") {
        return None;
    }
    let told: Vec<_> = values(arguments, 'p').collect();
    match told.is_empty() {
        true => Some(vec![loopback(DROPBEAR_PORT)]),
        false => Some(told.iter().filter_map(|place| dropbear_place(place)).collect()),
    }
}

fn dropbear_place(place: &str) -> Option<SocketAddr> {
    if let Ok(port) = place.parse() {
        return Some(loopback(port));
    }
    let (address, port) = place.rsplit_once(':')?;
    let ip = match address.trim_matches(['[', ']']) {
        "" => Ipv4Addr::UNSPECIFIED.into(),
        address => address.parse().ok()?,
    };
    Some(reachable(SocketAddr::new(ip, port.parse().ok()?)))
}

fn is(program: &str, name: &str) -> bool {
    Path::new(program).file_name().is_some_and(|found| found == name)
}

/// The values of an option, whether or not a blank stands before them.
fn values(arguments: &[String], option: char) -> impl Iterator<Item = &str> {
    arguments.iter().enumerate().filter_map(move |(at, word)| {
        match word.strip_prefix('-')?.strip_prefix(option)? {
            "" => arguments.get(at + 1).map(String::as_str),
            value => Some(value),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(places: &[&str]) -> Vec<SocketAddr> {
        places.iter().map(|place| place.parse().unwrap()).collect()
    }

    #[test]
    fn the_configuration_names_every_address() {
        let said = "port 2222\naddressfamily any\nlistenaddress [::]:2222\nlistenaddress 0.0.0.0:2222\n\
                    listenaddress 192.168.8.1:22\nhostkey /etc/ssh/ssh_host_ed25519_key\n";
        assert_eq!(listening(said), at(&["[::1]:2222", "127.0.0.1:2222", "192.168.8.1:22"]));
        assert_eq!(listening("port 22\n"), []);
    }

    #[test]
    fn words_are_told_apart_by_nothing_or_by_blanks() {
        assert_eq!(words(b"dropbear\x00-p\x002022\x00"), ["dropbear", "-p", "2022"]);
        assert_eq!(words(b"sshd: /usr/sbin/sshd -D"), ["sshd:", "/usr/sbin/sshd", "-D"]);
        assert!(words(b"").is_empty());
    }

    #[test]
    fn a_dropbear_is_found_by_its_command_line() {
        for (line, places) in [
            (
                "/usr/sbin/dropbear -F -P /var/run/d.pid -p 192.168.8.1:22 -p [fd00::1]:22 ",
                Some(&["192.168.8.1:22", "[fd00::1]:22"][..]),
            ),
            ("dropbear -p2022 ", Some(&["127.0.0.1:2022"])),
            ("dropbear -p :2022 ", Some(&["127.0.0.1:2022"])),
            ("dropbear -p 0.0.0.0:2022 ", Some(&["127.0.0.1:2022"])),
            ("dropbear -R ", Some(&["127.0.0.1:22"])),
            ("dropbear -p nonsense ", Some(&[])),
            ("dropbear -i -r /etc/dropbear/key ", None),
            ("/bin/sh dropbear ", None),
            ("", None),
        ] {
            assert_eq!(dropbear(&words(line.as_bytes())), places.map(at), "{line:?}");
        }
    }

    #[test]
    fn a_listening_sshd_may_have_been_given_ports() {
        for (line, ports) in [
            ("sshd: /usr/sbin/sshd -D -p 2222 [listener] 0 of 10-100 startups", Some(vec![2222])),
            ("/usr/sbin/sshd -p 2222 -p2223 ", Some(vec![2222, 2223])),
            ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", None),
            ("sshd: root@pts/0 -p 2222", None),
            ("vim sshd", None),
        ] {
            assert_eq!(sshd_ports(&words(line.as_bytes())), ports, "{line:?}");
        }
    }
}
