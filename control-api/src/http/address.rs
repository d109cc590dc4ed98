//! Where a caller is: the peer of the connection, or whom a trusted proxy names.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use super::Shared;
use crate::config::{Config, ForwardedHeader};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of the connection; put into every request by the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The caller's address; nothing if a trusted proxy asks and does not say for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallerAddress(pub(super) Option<IpAddr>);

impl FromRequestParts<Shared> for CallerAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Infallible> {
        let peer = peer(parts);
        Ok(Self(caller(peer, &parts.headers, &app.config)))
    }
}

/// The other end of this request's connection.
pub(super) fn peer(parts: &Parts) -> IpAddr {
    let nobody = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    parts.extensions.get::<Peer>().map_or(nobody, |peer| peer.0.ip().to_canonical())
}

/// Every hop is written at the right end by the one who saw it, so the list is read from there: the
/// first address that is not a trusted proxy's own is the caller's, and what stands further left is
/// whatever the caller liked to claim.
fn caller(peer: IpAddr, headers: &HeaderMap, config: &Config) -> Option<IpAddr> {
    if !config.trusts(peer) {
        return Some(peer);
    }
    let mut furthest = None;
    for hop in hops(headers, config.forwarded_header).iter().rev() {
        let address = address(hop)?;
        if !config.trusts(address) {
            return Some(address);
        }
        furthest = Some(address);
    }
    furthest
}

/// The hops that a header names, from the left; several lines of it are one list (RFC 9110, 5.3).
fn hops(headers: &HeaderMap, from: ForwardedHeader) -> Vec<String> {
    let lines = |name| headers.get_all(name).into_iter().map(|line| line.to_str().unwrap_or("?"));
    match from {
        ForwardedHeader::XForwardedFor => {
            lines(X_FORWARDED_FOR).flat_map(|line| line.split(',')).map(|hop| hop.trim().to_owned()).collect()
        }
        ForwardedHeader::Forwarded => {
            lines(header::FORWARDED).flat_map(|line| line.split(',')).map(forwarded_for).collect()
        }
    }
}

/// The `for` of one element of `Forwarded` (RFC 7239); an element without one hides its hop.
fn forwarded_for(element: &str) -> String {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut of_client = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    of_client.next().map_or_else(String::new, |(_, value)| value.trim().trim_matches('"').to_owned())
}

/// An address, perhaps in brackets, perhaps with a port.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.parse::<IpAddr>();
    let with_port = || hop.parse::<SocketAddr>().map(|socket| socket.ip());
    let bracketed = || hop.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>().map(IpAddr::V6);
    bare.or_else(|_| with_port()).or_else(|_| bracketed()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(header: ForwardedHeader) -> Config {
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        Config { trusted_proxies, forwarded_header: header, ..Config::default() }
    }

    fn caller_of(peer: &str, lines: &[(&'static str, &str)], header: ForwardedHeader) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        caller(peer.parse().unwrap(), &headers, &config(header)).map(|address| address.to_string())
    }

    fn x(peer: &str, lines: &[&str]) -> Option<String> {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        caller_of(peer, &lines, ForwardedHeader::XForwardedFor)
    }

    #[test]
    fn a_stranger_names_nobody_but_itself() {
        assert_eq!(x("203.0.113.9", &["198.51.100.1"]).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn a_trusted_proxys_caller_is_the_rightmost_that_is_not_a_proxy() {
        assert_eq!(x("10.0.0.1", &["198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(x("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(x("10.0.0.1", &["6.6.6.6", "198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(x("fd00::1", &["2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(x("10.0.0.1", &["::ffff:198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(x("10.0.0.1", &["198.51.100.1:4711"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(x("10.0.0.1", &["10.0.0.3, 10.0.0.2"]).as_deref(), Some("10.0.0.3"), "all within");
    }

    #[test]
    fn a_proxy_that_does_not_say_is_not_taken_for_the_caller() {
        assert_eq!(x("10.0.0.1", &[]), None);
        assert_eq!(x("10.0.0.1", &["198.51.100.1, unknown"]), None);
        assert_eq!(x("10.0.0.1", &[""]), None);
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let lines = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "198.51.100.1")];
        assert_eq!(
            caller_of("10.0.0.1", &lines, ForwardedHeader::XForwardedFor).as_deref(),
            Some("198.51.100.1")
        );
        assert_eq!(caller_of("10.0.0.1", &lines, ForwardedHeader::Forwarded).as_deref(), Some("6.6.6.6"));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let of = |line: &str| caller_of("10.0.0.1", &[("forwarded", line)], ForwardedHeader::Forwarded);
        assert_eq!(of("for=192.0.2.60;proto=http;by=203.0.113.43").as_deref(), Some("192.0.2.60"));
        assert_eq!(of("For=\"[2001:db8:cafe::17]:4711\"").as_deref(), Some("2001:db8:cafe::17"));
        assert_eq!(of("for=\"[2001:db8:cafe::17]\"").as_deref(), Some("2001:db8:cafe::17"));
        assert_eq!(of("for=6.6.6.6, for=192.0.2.43").as_deref(), Some("192.0.2.43"));
        assert_eq!(of("for=192.0.2.43, for=_hidden"), None);
        assert_eq!(of("proto=https"), None);
    }
}
