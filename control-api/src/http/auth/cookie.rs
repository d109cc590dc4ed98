//! The cookie that a browser signs in with, and whether a request comes from the API's own pages.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use postern_protocol::secret::Secret;

use crate::config::Config;
use crate::store::SESSION_LASTS;

/// The cookie's name over TLS. The prefix makes browsers insist on how it was set: by this host, for
/// this host, over TLS.
const OVER_TLS: &str = "__Host-postern";

/// The cookie's name in plain HTTP on the machine itself.
const IN_CLEAR: &str = "postern";

/// How long an attempt to sign in elsewhere may take, in seconds.
const ATTEMPT_LASTS: i64 = 10 * 60;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How browsers come here, which decides about cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Browsing {
    /// Over TLS, the API's own or a proxy's.
    OverTls,
    /// In plain HTTP, on the machine itself or because the settings say so.
    InClear,
}

/// Where a browser says that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// One of the API's own pages.
    Own,
    /// A page of somebody else.
    Other,
    /// It does not say: this is no browser of our time.
    Unsaid,
}

impl Browsing {
    /// How the browser that sent this comes here. Plain HTTP must be plain to see: in the settings, or
    /// because the page's own address is the machine itself.
    pub(crate) fn of(config: &Config, headers: &HeaderMap) -> Self {
        let https = match &config.public_url {
            Some(url) => url.is_https(),
            None => config.tls.is_some() || !host(headers).is_some_and(is_loopback),
        };
        if https { Self::OverTls } else { Self::InClear }
    }

    fn name(self) -> &'static str {
        match self {
            Self::OverTls => OVER_TLS,
            Self::InClear => IN_CLEAR,
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::OverTls => "https://",
            Self::InClear => "http://",
        }
    }

    /// The session's secret among a request's cookies.
    pub(crate) fn session(self, headers: &HeaderMap) -> Option<Secret> {
        read(headers, self.name()).filter(|value| value.len() <= super::MAX_TOKEN).map(Secret::from_text)
    }

    /// The `Set-Cookie` that begins a session in a browser.
    pub(crate) fn begin(self, session: &Secret) -> HeaderValue {
        self.cookie(self.name(), session.reveal(), SESSION_LASTS.num_seconds())
    }

    /// The `Set-Cookie` that ends it.
    pub(crate) fn end(self) -> HeaderValue {
        self.cookie(self.name(), "", 0)
    }

    /// The `Set-Cookie` that has a browser remember an attempt to sign in elsewhere.
    pub(crate) fn remember(self, attempt: &str) -> HeaderValue {
        self.cookie(&self.attempt(), attempt, ATTEMPT_LASTS)
    }

    /// The `Set-Cookie` that has it forget the attempt.
    pub(crate) fn forget(self) -> HeaderValue {
        self.cookie(&self.attempt(), "", 0)
    }

    /// The attempt that a browser remembers.
    pub(crate) fn remembered(self, headers: &HeaderMap) -> Option<String> {
        read(headers, &self.attempt()).map(str::to_owned)
    }

    fn attempt(self) -> String {
        format!("{}-attempt", self.name())
    }

    fn cookie(self, name: &str, value: &str, seconds: i64) -> HeaderValue {
        let secure = if self == Self::OverTls { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut value = HeaderValue::from_str(&text).expect("a cookie of ours has only visible characters");
        value.set_sensitive(true);
        value
    }

    /// Where a request comes from. Browsers of our time say so themselves where the page is to be
    /// trusted at all (over TLS, or on the machine itself); others name the page's origin.
    pub(crate) fn origin(self, config: &Config, headers: &HeaderMap) -> Origin {
        if let Some(site) = headers.get(FETCH_SITE) {
            return if site == "same-origin" { Origin::Own } else { Origin::Other };
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Origin::Unsaid };
        let origin = origin.to_str().unwrap_or("").to_ascii_lowercase();
        let own = match &config.public_url {
            Some(url) => origin == url.as_str(),
            None => origin
                .strip_prefix(self.scheme())
                .is_some_and(|page| host(headers).is_some_and(|host| host.eq_ignore_ascii_case(page))),
        };
        if own { Origin::Own } else { Origin::Other }
    }
}

/// A cookie's value.
fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut cookies =
        lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(known, _)| *known == name).map(|(_, value)| value)
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether a page's host is the machine itself, whatever DNS says.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn settings(public_url: &str) -> Config {
        let public_url = (!public_url.is_empty()).then(|| public_url.to_owned().try_into().unwrap());
        Config { public_url, ..Config::default() }
    }

    #[test]
    fn a_cookie_is_for_tls_unless_the_page_is_on_the_machine_itself_or_the_settings_say_so() {
        let table = [
            ("", "127.0.0.1:8080", Browsing::InClear),
            ("", "localhost:8080", Browsing::InClear),
            ("", "[::1]:8080", Browsing::InClear),
            ("", "postern.example.com", Browsing::OverTls),
            ("", "localhost.example.com", Browsing::OverTls),
            ("", "192.168.1.1:8080", Browsing::OverTls),
            ("https://postern.example.com", "127.0.0.1:8080", Browsing::OverTls),
            ("http://192.168.1.1:8080", "192.168.1.1:8080", Browsing::InClear),
        ];
        for (public_url, host, expected) in table {
            assert_eq!(Browsing::of(&settings(public_url), &headers(&[("host", host)])), expected, "{host}");
        }
        assert_eq!(Browsing::of(&settings(""), &HeaderMap::new()), Browsing::OverTls);
    }

    #[test]
    fn a_cookie_is_read_by_the_name_that_it_was_given_only() {
        let secret = Secret::from_text("pss_x");
        let set = Browsing::OverTls.begin(&secret);
        assert_eq!(set, "__Host-postern=pss_x; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure");
        let sent = headers(&[("cookie", "a=b; postern=pss_y;__Host-postern=pss_x; c")]);
        assert_eq!(Browsing::OverTls.session(&sent), Some(secret));
        assert_eq!(Browsing::InClear.session(&sent), Some(Secret::from_text("pss_y")));
        assert_eq!(Browsing::OverTls.session(&headers(&[("cookie", "postern=pss_y")])), None);
        assert_eq!(Browsing::InClear.end(), "postern=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn a_page_of_somebody_else_is_told_from_our_own() {
        let of = |lines: &[(&'static str, &str)], public_url: &str| {
            let (headers, config) = (headers(lines), settings(public_url));
            Browsing::of(&config, &headers).origin(&config, &headers)
        };
        let host = ("host", "postern.example.com");
        let origin = |origin| ("origin", origin);
        let site = |site| ("sec-fetch-site", site);
        assert_eq!(of(&[host], ""), Origin::Unsaid);
        assert_eq!(of(&[host, origin("https://postern.example.com")], ""), Origin::Own);
        assert_eq!(of(&[host, origin("http://postern.example.com")], ""), Origin::Other, "not over TLS");
        assert_eq!(of(&[host, origin("https://evil.example.com")], ""), Origin::Other);
        assert_eq!(of(&[host, origin("null")], ""), Origin::Other);
        assert_eq!(of(&[host, site("same-origin"), origin("https://a")], ""), Origin::Own);
        for other in ["cross-site", "same-site", "none"] {
            assert_eq!(of(&[host, site(other), origin("https://postern.example.com")], ""), Origin::Other);
        }
        let proxied = [("host", "127.0.0.1:8080"), origin("https://postern.example.com")];
        assert_eq!(of(&proxied, "https://postern.example.com"), Origin::Own, "the proxy changed the host");
        assert_eq!(of(&proxied, ""), Origin::Other);
    }
}
