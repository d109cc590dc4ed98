//! Hosts, as visitors are told to dial them.

use std::net::IpAddr;

/// The longest DNS name in text (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;

/// The longest part of one.
const MAX_LABEL: usize = 63;

/// Whether a host can stand in a command, a configuration file and a URL: an IP address without
/// brackets or zone, or a DNS name.
pub fn valid_host(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || is_dns_name(host)
}

/// Underscores are not for host names, yet some local resolvers have them, and they do no harm.
fn is_dns_name(host: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let looks_like_a_number =
        host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    host.len() <= MAX_NAME && host.split('.').all(label) && !looks_like_a_number
}

/// A host beside a port or in a URL, where an IPv6 address needs its brackets (RFC 3986, section 3.2.2).
pub(super) fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}
