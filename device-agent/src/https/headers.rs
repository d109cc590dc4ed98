//! What is changed in a request on its way to the local page, and in the answer on its way back.
//!
//! Everything else stays as it is: the method, the path, the host, the bodies.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{
    ALT_SVC, CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::http::{request, response};
use hyper::{StatusCode, Uri, Version};

/// Headers that are for the next hop alone (RFC 9110, section 7.6.1), besides those that the
/// message itself names as such.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Every header that begins like this says who is behind a proxy, and so do [`FORWARDED`].
const X_FORWARDED: &str = "x-forwarded-";

/// Others that local pages take for the visitor's address.
const FORWARDED: [&str; 4] = ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip"];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request that cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this request cannot be passed on")]
pub(super) struct Unfit;

/// Makes a visitor's request one to the local page at this address.
pub(super) fn inwards(request: &mut request::Parts, visitor: IpAddr, page: SocketAddr) -> Result<(), Unfit> {
    let host = host(request);
    let upgrade = upgrade(&request.headers);
    remove_hop_by_hop(&mut request.headers);
    // The visitor is told to go on as soon as the page takes the body.
    request.headers.remove(EXPECT);
    remove_claims(&mut request.headers);
    join_cookies(&mut request.headers);
    if let Some(protocol) = upgrade {
        request.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers.insert(UPGRADE, protocol);
    }
    if let Some(host) = &host {
        request.headers.insert(HOST, host.clone());
        request.headers.insert(X_FORWARDED_HOST, host.clone());
    }
    let visitor = visitor.to_canonical().to_string();
    request.headers.insert(X_FORWARDED_FOR, HeaderValue::try_from(visitor).map_err(|_| Unfit)?);
    request.headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    if host.is_none() {
        request.headers.insert(HOST, HeaderValue::try_from(page.to_string()).map_err(|_| Unfit)?);
    }
    let path = request.uri.path_and_query().cloned().ok_or(Unfit)?;
    request.uri = origin_form(path)?;
    request.version = Version::HTTP_11;
    Ok(())
}

/// Makes the page's answer one to the visitor.
pub(super) fn outwards(response: &mut response::Parts) {
    let upgrade = upgrade(&response.headers).filter(|_| response.status == StatusCode::SWITCHING_PROTOCOLS);
    remove_hop_by_hop(&mut response.headers);
    // The page's other ways in are not the visitor's (RFC 7838).
    response.headers.remove(ALT_SVC);
    if let Some(protocol) = upgrade {
        response.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers.insert(UPGRADE, protocol);
    }
    response.version = Version::HTTP_11;
}

/// The protocol that a message wants to change to. HTTP/2 begins with TLS or not at all.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = named_by_connection(headers).any(|name| name == UPGRADE);
    headers
        .get(UPGRADE)
        .filter(|protocol| asked && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
        .cloned()
}

/// The host that the visitor asked for: in HTTP/2 it is part of the address.
fn host(request: &request::Parts) -> Option<HeaderValue> {
    let authority = request.uri.authority().map(Authority::as_str);
    authority
        .and_then(|authority| HeaderValue::from_str(authority).ok())
        .or_else(|| request.headers.get(HOST).cloned())
}

fn origin_form(path: PathAndQuery) -> Result<Uri, Unfit> {
    let mut parts = hyper::http::uri::Parts::default();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Unfit)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = named_by_connection(headers).collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let listed = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok())
}

/// Removes what a visitor says of who visits. Many servers take `_` for `-`.
fn remove_claims(headers: &mut HeaderMap) {
    let claims = |name: &&HeaderName| {
        let name = name.as_str().replace('_', "-");
        name.starts_with(X_FORWARDED) || FORWARDED.contains(&&*name)
    };
    let claimed: Vec<HeaderName> = headers.keys().filter(claims).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
}

/// HTTP/2 may send cookies one by one; HTTP/1.1 may not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use hyper::{Request, Response};

    use super::*;

    fn passed(headers: &[(&str, &str)], uri: &str) -> request::Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let visitor = "::ffff:203.0.113.9".parse().unwrap();
        inwards(&mut parts, visitor, "127.0.0.1:8080".parse().unwrap()).unwrap();
        parts
    }

    fn listed(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn who_visits_is_said_by_the_box_alone() {
        let lies = [
            ("host", "box42.example.com"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-port", "80"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("accept", "*/*"),
        ];
        assert_eq!(
            listed(&passed(&lies, "/").headers),
            [
                "accept: */*",
                "host: box42.example.com",
                "x-forwarded-for: 203.0.113.9",
                "x-forwarded-host: box42.example.com",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn what_is_for_one_hop_goes_no_further() {
        let headers = [
            ("host", "h"),
            ("connection", "keep-alive, X-Secret"),
            ("keep-alive", "300"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
        ];
        let passed = passed(&headers, "/");
        let names: Vec<&str> = passed.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-forwarded-host", "x-forwarded-for", "x-forwarded-proto"]);
    }

    #[test]
    fn a_websocket_is_asked_for_and_http_2_in_the_clear_is_not() {
        let asking = |protocol| passed(&[("connection", "Upgrade"), ("upgrade", protocol)], "/").headers;
        assert_eq!(asking("websocket")[UPGRADE], "websocket");
        assert_eq!(asking("websocket")[CONNECTION], "upgrade");
        assert!(!asking("h2c").contains_key(UPGRADE));
        let mut answer = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("alt-svc", "h3=\":443\"")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        outwards(&mut answer);
        assert_eq!(listed(&answer.headers), ["connection: upgrade", "upgrade: websocket"]);
    }

    #[test]
    fn the_host_of_http_2_and_its_cookies_reach_a_page_that_knows_neither() {
        let uri = "https://box42.example.com:8443/a?b=c";
        let passed = passed(&[("host", "other"), ("cookie", "a=1"), ("cookie", "b=2")], uri);
        assert_eq!(passed.uri, "/a?b=c");
        assert_eq!(passed.headers[HOST], "box42.example.com:8443");
        assert_eq!(passed.headers[COOKIE], "a=1; b=2");
        assert_eq!(passed.headers.get_all(COOKIE).iter().count(), 1);
    }

    #[test]
    fn a_request_without_a_host_is_given_the_pages_own() {
        assert_eq!(passed(&[], "/").headers[HOST], "127.0.0.1:8080");
    }
}
