//! Where webhooks may lead: to the public internet, and to what the settings allow besides.
//!
//! Whoever adds a webhook makes this machine send requests, which may stand where they do not. So every
//! address that a host name stands for is looked at when it is used, not when the webhook is added, and the
//! connection goes to the very address that was looked at.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::Webhooks;

/// The longest address of a webhook.
const MAX_URL: usize = 2048;

/// Networks that are no part of the public internet (RFC 6890 and its successors), or that lead into one.
const CLOSED: [&str; 28] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/9",
    "ff00::/8",
];

static CLOSED_NETWORKS: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| CLOSED.iter().map(|network| network.parse().expect("a network of the list")).collect());

/// An address that may be called.
#[derive(Debug, Clone)]
pub(crate) struct Target(Url);

/// An address that may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untouchable {
    /// It is no address.
    #[error("this is no address such as https://example.com/hook")]
    NoUrl,
    /// It has more than scheme, host, port, path and query.
    #[error("an address with a user name or a fragment cannot be called")]
    Extras,
    /// It would go in the clear.
    #[error(
        "only https is called; in the clear only this machine, if the API's settings say insecure_loopback"
    )]
    Scheme,
    /// It leads where nobody may be sent.
    #[error(
        "{0} is not on the public internet; the API's settings list in [webhooks] allow what may be called besides"
    )]
    Closed(IpAddr),
    /// Its host has such addresses only; which, is nothing for those who ask.
    #[error(
        "its host is not on the public internet; the API's settings list in [webhooks] allow what may be called besides"
    )]
    Inside,
}

impl Target {
    /// Reads an address, and looks at it as far as that can be done without looking its host up.
    pub(crate) fn parse(text: &str, settings: &Webhooks) -> Result<Self, Untouchable> {
        if text.len() > MAX_URL {
            return Err(Untouchable::NoUrl);
        }
        let url = Url::parse(text).map_err(|_| Untouchable::NoUrl)?;
        let host = url.host_str().ok_or(Untouchable::NoUrl)?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let own = host == "localhost" || literal.is_some_and(|address| address.to_canonical().is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if own && settings.insecure_loopback => {}
            _ => return Err(Untouchable::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(Untouchable::Extras);
        }
        match literal {
            Some(address) if !may_be_called(address, settings) => Err(Untouchable::Closed(address)),
            Some(_) | None => Ok(Self(url)),
        }
    }

    /// It, for calling.
    pub(crate) fn url(self) -> Url {
        self.0
    }
}

/// Whether an address is on the public internet, or allowed besides.
fn may_be_called(address: IpAddr, settings: &Webhooks) -> bool {
    let address = address.to_canonical();
    let allowed = settings.allow.iter().any(|network| network.contains(&address));
    let own = settings.insecure_loopback && address.is_loopback();
    allowed || own || !CLOSED_NETWORKS.iter().any(|network| network.contains(&address))
}

/// Looks hosts up, and gives away only what may be called.
#[derive(Debug)]
pub(super) struct Careful(Webhooks);

impl Careful {
    pub(super) fn new(settings: &Webhooks) -> Self {
        Self(settings.clone())
    }
}

impl Resolve for Careful {
    fn resolve(&self, name: Name) -> Resolving {
        let settings = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect::<Vec<_>>().into_iter();
            let mut found = found.filter(move |address| may_be_called(address.ip(), &settings)).peekable();
            match found.peek() {
                Some(_) => Ok(Box::new(found) as Addrs),
                None => Err(Untouchable::Inside.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(allow: &[&str], insecure_loopback: bool) -> Webhooks {
        let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
        Webhooks { allow, insecure_loopback }
    }

    #[test]
    fn only_https_to_the_public_internet_is_called() {
        let none = settings(&[], false);
        for url in ["https://example.com/hook?a=b", "https://8.8.8.8/", "https://[2606:4700::1111]:8443/x"] {
            assert!(Target::parse(url, &none).is_ok(), "{url}");
        }
        for (url, why) in [
            ("example.com", Untouchable::NoUrl),
            ("", Untouchable::NoUrl),
            ("ftp://example.com", Untouchable::Scheme),
            ("http://example.com", Untouchable::Scheme),
            ("http://127.0.0.1/", Untouchable::Scheme),
            ("file:///etc/passwd", Untouchable::NoUrl),
            ("https://me:secret@example.com", Untouchable::Extras),
            ("https://example.com/#a", Untouchable::Extras),
        ] {
            assert_eq!(Target::parse(url, &none).unwrap_err(), why, "{url}");
        }
    }

    #[test]
    fn every_way_to_write_an_address_inside_is_refused() {
        let none = settings(&[], false);
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a00:1]",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.8.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "[::]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:0:1::1]",
            "224.0.0.1",
            "255.255.255.255",
            "[ff02::1]",
        ] {
            let told = Target::parse(&format!("https://{host}/"), &none).unwrap_err();
            assert!(matches!(told, Untouchable::Closed(_)), "{host}: {told}");
        }
    }

    #[test]
    fn what_the_settings_allow_is_called() {
        let some = settings(&["10.1.0.0/16", "fd00::/8"], false);
        assert!(Target::parse("https://10.1.2.3/", &some).is_ok());
        assert!(Target::parse("https://[::ffff:10.1.2.3]/", &some).is_ok());
        assert!(Target::parse("https://10.2.0.1/", &some).is_err());
        assert_eq!(Target::parse("http://10.1.2.3/", &some).unwrap_err(), Untouchable::Scheme);
        let local = settings(&[], true);
        for url in ["http://127.0.0.1:8000/", "http://localhost/", "http://[::1]/", "https://127.0.0.1/"] {
            assert!(Target::parse(url, &local).is_ok(), "{url}");
        }
        assert!(Target::parse("http://10.0.0.1/", &local).is_err());
    }

    #[tokio::test]
    async fn a_name_is_looked_at_when_it_is_looked_up() {
        let resolve = async |settings| {
            let careful = Careful::new(&settings);
            careful.resolve("localhost".parse().unwrap()).await.map(|found| found.count())
        };
        let refused = resolve(settings(&[], false)).await.expect_err("localhost is this machine");
        assert!(refused.to_string().contains("not on the public internet"), "{refused}");
        assert!(resolve(settings(&[], true)).await.unwrap() > 0);
    }
}
