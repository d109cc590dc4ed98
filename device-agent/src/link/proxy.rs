//! Through a proxy that the environment names: an HTTP CONNECT, and then bytes as they are.

use std::io;
use std::net::IpAddr;

use base64ct::{Base64, Encoding};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use postern_protocol::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest answer of a proxy that is read.
const LONGEST_ANSWER: usize = 8 * 1024;

/// A proxy that takes CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// Where it listens, `host:port`.
    pub(super) at: String,
    /// User and password, as the header has them.
    credentials: Option<Secret>,
}

/// The environment names a proxy that cannot be used. What it names may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy that https_proxy names is none of the kind http://[user:password@]host[:port]")]
pub(super) struct NoProxy;

impl Proxy {
    /// The proxy for a host, by the variables that people set for it (as curl reads them).
    pub(super) fn for_host(host: &str) -> Result<Option<Self>, NoProxy> {
        let variable = |names: [&str; 2]| {
            names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        let exceptions = variable(["no_proxy", "NO_PROXY"]).unwrap_or_default();
        match variable(["https_proxy", "HTTPS_PROXY"]) {
            Some(url) if !is_exempt(host, &exceptions) => Self::parse(&url).map(Some),
            _ => Ok(None),
        }
    }

    fn parse(url: &str) -> Result<Self, NoProxy> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let authority = rest.split('/').next().filter(|_| !rest.contains("://")).ok_or(NoProxy)?;
        let (credentials, at) = match authority.rsplit_once('@') {
            Some((credentials, at)) => (Some(basic(credentials)), at),
            None => (None, authority),
        };
        let has_port = at.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let at = if has_port { at.to_owned() } else { format!("{at}:80") };
        Ok(Self { at, credentials })
    }

    /// Asks the proxy at the other end of this connection to pass it on.
    pub(super) async fn connect(&self, through: &mut TcpStream, to: &str) -> io::Result<()> {
        let credentials = self.credentials.as_ref();
        let credentials = credentials.map(|it| format!("Proxy-Authorization: Basic {}\r\n", it.reveal()));
        let credentials = credentials.unwrap_or_default();
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{credentials}\r\n");
        through.write_all(request.as_bytes()).await?;
        let answer = read_head(through).await?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        match status.starts_with('2') {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "the proxy {} answers: {}",
                self.at,
                answer.lines().next().unwrap_or_default().escape_debug()
            ))),
        }
    }
}

/// Credentials of a URL, as the header has them (RFC 7617).
fn basic(credentials: &str) -> Secret {
    let bytes: Vec<u8> = percent_decode_str(credentials).collect();
    Secret::from_text(Base64::encode_string(&bytes))
}

/// Reads up to the empty line, and not a byte of what follows it.
async fn read_head(from: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST_ANSWER {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
        head.push(from.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Whether a host is on the list of those that need no proxy: by its name, its domain, or its network.
fn is_exempt(host: &str, exceptions: &str) -> bool {
    exceptions.split(',').map(str::trim).filter(|exception| !exception.is_empty()).any(|exception| {
        let domain = exception.trim_start_matches("*.").trim_start_matches('.');
        exception == "*"
            || host.eq_ignore_ascii_case(domain)
            || is_below(&host.to_ascii_lowercase(), &domain.to_ascii_lowercase())
            || is_within(host, exception)
    })
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn is_within(host: &str, network: &str) -> bool {
    let (host, network) = (host.parse::<IpAddr>(), network.parse::<IpNet>());
    host.is_ok_and(|host| network.is_ok_and(|network| network.contains(&host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_address_with_or_without_credentials() {
        let proxy = |at: &str, credentials: Option<&str>| {
            Ok(Proxy { at: at.into(), credentials: credentials.map(Secret::from_text) })
        };
        assert_eq!(Proxy::parse("http://proxy.example:3128/"), proxy("proxy.example:3128", None));
        assert_eq!(Proxy::parse("proxy.example"), proxy("proxy.example:80", None));
        assert_eq!(Proxy::parse("http://[2001:db8::1]:3128"), proxy("[2001:db8::1]:3128", None));
        assert_eq!(
            Proxy::parse("http://me:secret@10.0.0.1:8080"),
            proxy("10.0.0.1:8080", Some("bWU6c2VjcmV0"))
        );
        assert_eq!(
            Proxy::parse("http://me:s%40cret@10.0.0.1:8080"),
            proxy("10.0.0.1:8080", Some("bWU6c0BjcmV0"))
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_a_word_of_it() {
        for url in ["https://me:secret@proxy.example", "socks5://me:secret@proxy.example:1080"] {
            assert!(!Proxy::parse(url).unwrap_err().to_string().contains("secret"));
        }
        let proxy = Proxy::parse("http://me:secret@proxy.example").unwrap();
        assert!(!format!("{proxy:?}").contains("bWU"), "{proxy:?}");
    }

    #[test]
    fn hosts_that_need_no_proxy_are_listed_by_name_or_domain() {
        for exceptions in ["relay.example.com", "a.b, Example.com", ".example.com", "*.example.com", "*"] {
            assert!(is_exempt("relay.example.com", exceptions), "{exceptions}");
        }
        for exceptions in ["", "other.com", "lay.example.com", "x.relay.example.com", "10.0.0.0/8"] {
            assert!(!is_exempt("relay.example.com", exceptions), "{exceptions}");
        }
    }

    #[test]
    fn and_addresses_by_their_network() {
        for exceptions in ["192.0.2.7", "192.0.2.0/24", "10.0.0.0/8,192.0.2.0/29"] {
            assert!(is_exempt("192.0.2.7", exceptions), "{exceptions}");
        }
        assert!(!is_exempt("192.0.2.7", "192.0.3.0/24,2001:db8::/32"));
        assert!(is_exempt("2001:db8::1", "2001:db8::/32"));
    }
}
