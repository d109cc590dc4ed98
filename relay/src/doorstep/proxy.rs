//! The PROXY protocol's second version: how a load balancer says for whom it speaks.
//!
//! Only the binary form is read. It names its own length, so it is taken off the connection to the
//! byte, and what follows is the visitor's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What every header begins with, which is nothing in any other protocol.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, a byte of version and command, one of family and transport, two of length.
const HEAD: usize = 16;

/// Addresses take 36 bytes at most; what load balancers add of themselves is rarely longer than this.
const MAX_BODY: usize = 2048;

/// For whom a load balancer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    /// For a visitor.
    Visitor(SocketAddr),
    /// For itself, such as when it looks whether anybody is there.
    Itself,
}

/// What is wrong with a header.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unannounced {
    #[error("the connection ended before the PROXY header did")]
    Broken(#[from] std::io::Error),
    #[error("it began with something else than a PROXY header of version 2")]
    NoHeader,
    #[error("its PROXY header has {0} bytes, and {MAX_BODY} are the most")]
    TooLong(usize),
    #[error("its PROXY header names no TCP connection")]
    NoAddress,
}

/// Reads a header, and not a byte more.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Announced, Unannounced> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await?;
    let mut body = vec![0; body_length(&head)?];
    from.read_exact(&mut body).await?;
    announced(&head, &body)
}

fn body_length(head: &[u8; HEAD]) -> Result<usize, Unannounced> {
    if !head.starts_with(&SIGNATURE) {
        return Err(Unannounced::NoHeader);
    }
    match u16::from_be_bytes([head[14], head[15]]).into() {
        length @ ..=MAX_BODY => Ok(length),
        length => Err(Unannounced::TooLong(length)),
    }
}

fn announced(head: &[u8; HEAD], body: &[u8]) -> Result<Announced, Unannounced> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;
    let port = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    // Both addresses come first, then both ports, the visitor's before the balancer's own.
    let visitor = match (head[12], head[13]) {
        (LOCAL, _) => return Ok(Announced::Itself),
        (PROXY, TCP_OVER_IPV4) => body
            .first_chunk::<12>()
            .and_then(|body| body.first_chunk::<4>())
            .and_then(|address| Some(SocketAddr::from((Ipv4Addr::from(*address), port(8)?)))),
        (PROXY, TCP_OVER_IPV6) => body
            .first_chunk::<36>()
            .and_then(|body| body.first_chunk::<16>())
            .and_then(|address| Some(SocketAddr::from((Ipv6Addr::from(*address), port(32)?)))),
        _ => None,
    };
    visitor.map(Announced::Visitor).ok_or(Unannounced::NoAddress)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The header of a load balancer that speaks for this visitor.
    pub(in super::super) fn header(visitor: &str) -> Vec<u8> {
        match visitor.parse().unwrap() {
            SocketAddr::V4(visitor) => {
                let addresses = [visitor.ip().octets(), [127, 0, 0, 1]].concat();
                with_body(0x21, 0x11, &[&addresses[..], &visitor.port().to_be_bytes(), &[0, 22]].concat())
            }
            SocketAddr::V6(visitor) => {
                let addresses = [visitor.ip().octets(), [0; 16]].concat();
                with_body(0x21, 0x21, &[&addresses[..], &visitor.port().to_be_bytes(), &[0, 22]].concat())
            }
        }
    }

    fn with_body(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    /// What is read, and what is left.
    fn reading(mut bytes: &[u8]) -> (Result<Announced, Unannounced>, usize) {
        use futures_util::FutureExt;
        let read = read(&mut bytes).now_or_never().expect("a slice is never waited for");
        (read, bytes.len())
    }

    #[test]
    fn what_load_balancers_add_of_themselves_is_skipped() {
        let plain = header("192.0.2.7:5000");
        let extended = with_body(0x21, 0x11, &[&plain[HEAD..], &[4, 0, 3, 1, 2, 3]].concat());
        let (read, left) = reading(&extended);
        assert_eq!((read.unwrap(), left), (Announced::Visitor("192.0.2.7:5000".parse().unwrap()), 0));
    }

    #[test]
    fn a_load_balancer_may_look_whether_anybody_is_there() {
        for body in [&[][..], &[0; 12]] {
            assert_eq!(reading(&with_body(0x20, 0, body)).0.unwrap(), Announced::Itself);
        }
    }

    #[test]
    fn whoever_speaks_for_nobody_in_particular_is_not_heard() {
        let unknown_families = [(0x21, 0x00), (0x21, 0x12), (0x21, 0x31), (0x11, 0x11), (0x22, 0x11)];
        for (command, family) in unknown_families {
            let read = reading(&with_body(command, family, &[0; 36])).0;
            assert!(matches!(read, Err(Unannounced::NoAddress)), "{command:x} {family:x}: {read:?}");
        }
        let truncated = reading(&with_body(0x21, 0x21, &[0; 35])).0;
        assert!(matches!(truncated, Err(Unannounced::NoAddress)), "{truncated:?}");
    }

    #[test]
    fn a_header_has_a_largest_size() {
        let largest = with_body(0x20, 0, &vec![0; MAX_BODY]);
        assert!(reading(&largest).0.is_ok());
        let larger = reading(&with_body(0x20, 0, &vec![0; MAX_BODY + 1])).0;
        assert!(matches!(larger, Err(Unannounced::TooLong(_))), "{larger:?}");
    }

    proptest! {
        #[test]
        fn every_visitor_is_read_as_announced(visitor: SocketAddr, rest: Vec<u8>) {
            // A header has no room for a zone.
            let visitor = SocketAddr::new(visitor.ip(), visitor.port());
            let (read, left) = reading(&[header(&visitor.to_string()), rest.clone()].concat());
            prop_assert_eq!(read.unwrap(), Announced::Visitor(visitor));
            prop_assert_eq!(left, rest.len());
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(command: u8, family: u8, body: Vec<u8>, cut in 0..64_usize) {
            let bytes = with_body(command, family, &body);
            let _ = reading(&bytes);
            prop_assert!(reading(&bytes[..cut.min(HEAD + body.len() - 1)]).0.is_err());
            let _ = reading(&body);
        }
    }
}
