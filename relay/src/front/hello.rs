//! The first words of a TLS client: which name it wants, read without answering.
//!
//! The parsing is rustls's, so a hello split over segments and records, with GREASE, with an outer
//! ECH hello or with kilobytes of extensions is read as a real server would. What arrived is kept
//! byte for byte, because the box must see exactly what the visitor sent.

use std::fmt;

use rustls::server::Acceptor;

/// The most bytes read before a hello must be whole: 16 KiB of extensions, and room around them.
pub(crate) const MAX_HELLO: usize = 24 * 1024;

/// A hello on its way in.
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    seen: Vec<u8>,
}

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The name it wants, in lower case; none if it named none.
    pub(crate) name: Option<String>,
    /// The protocols it would speak inside (ALPN), in its order.
    pub(crate) protocols: Vec<Vec<u8>>,
    /// Everything received so far, to be passed on.
    pub(crate) bytes: Vec<u8>,
}

/// Why bytes are not a hello, as the alert that TLS has for it (RFC 8446, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Alert {
    /// The client speaks something else.
    DecodeError = 50,
    /// The client says more than anyone needs to.
    RecordOverflow = 22,
    /// Nobody may come in.
    AccessDenied = 49,
    /// The box cannot be reached now.
    InternalError = 80,
    /// There is nothing by that name.
    UnrecognizedName = 112,
}

impl Alert {
    /// The fatal alert as a record, understood by every version of TLS.
    pub(crate) fn record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        [ALERT, 3, 3, 0, 2, FATAL, self as u8]
    }
}

impl HelloReader {
    /// Nothing has arrived yet.
    pub(crate) fn new() -> Self {
        Self { acceptor: Acceptor::default(), seen: Vec::new() }
    }

    /// Takes more bytes, and returns the hello when it is whole.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Option<Hello>, Alert> {
        if self.seen.len() + bytes.len() > MAX_HELLO {
            return Err(Alert::RecordOverflow);
        }
        self.seen.extend_from_slice(bytes);
        let mut unread = bytes;
        while !unread.is_empty() {
            self.acceptor.read_tls(&mut unread).map_err(|_| Alert::DecodeError)?;
            if let Some(accepted) = self.acceptor.accept().map_err(|_| Alert::DecodeError)? {
                return Ok(Some(self.finish(&accepted)));
            }
        }
        Ok(None)
    }

    fn finish(&mut self, accepted: &rustls::server::Accepted) -> Hello {
        let hello = accepted.client_hello();
        Hello {
            name: hello.server_name().map(str::to_ascii_lowercase),
            protocols: hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect(),
            bytes: std::mem::take(&mut self.seen),
        }
    }
}

impl fmt::Debug for HelloReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HelloReader({} bytes)", self.seen.len())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// The first flight of a real client.
    pub(crate) fn client_hello(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same hello, in as many records as it has pieces of this size.
    fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
        let record = |piece: &[u8]| [&[22, 3, 1], &(piece.len() as u16).to_be_bytes()[..], piece].concat();
        hello[5..].chunks(size).flat_map(record).collect()
    }

    #[test]
    fn a_hello_tells_its_name_and_loses_no_byte() {
        let bytes = client_hello("K7f2q9xwab.Relay.example.com", &[b"h2"]);
        let hello = HelloReader::new().push(&bytes).unwrap().unwrap();
        assert_eq!(hello.name.as_deref(), Some("k7f2q9xwab.relay.example.com"));
        assert_eq!(hello.bytes, bytes);
        assert_eq!(hello.protocols, [b"h2"]);
    }

    #[test]
    fn a_hello_may_come_byte_by_byte_and_in_many_records() {
        for bytes in [client_hello("a.example", &[]), fragmented(&client_hello("a.example", &[]), 7)] {
            let mut reader = HelloReader::new();
            let (last, before) = bytes.split_last().unwrap();
            for byte in before {
                assert_eq!(reader.push(&[*byte]), Ok(None));
            }
            assert_eq!(reader.push(&[*last]).unwrap().unwrap().bytes, bytes);
        }
    }

    /// The same hello with more extensions behind the others.
    fn extended(hello: &[u8], more: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let pair = |at: usize| usize::from(hello[at]) << 8 | usize::from(hello[at + 1]);
        // A record's head, a message's, a version and a random; then lists, each behind its length.
        let ciphers = 5 + 4 + 2 + 32 + 1 + usize::from(hello[5 + 4 + 2 + 32]);
        let compressions = ciphers + 2 + pair(ciphers);
        let at = compressions + 1 + usize::from(hello[compressions]);
        let mut extensions = hello[at + 2..].to_vec();
        for (kind, body) in more {
            extensions.extend_from_slice(&kind.to_be_bytes());
            extensions.extend_from_slice(&(body.len() as u16).to_be_bytes());
            extensions.extend_from_slice(body);
        }
        let mut message = hello[5..at].to_vec();
        message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        message.extend_from_slice(&extensions);
        let length = (message.len() - 4) as u32;
        message[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
        fragmented(&[&[0; 5], &message[..]].concat(), 16 * 1024)
    }

    #[test]
    fn whatever_else_browsers_say_does_not_hide_the_name() {
        const PADDING: u16 = 21;
        const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
        // An outer hello: HKDF-SHA256 and AES-128-GCM, a configuration's id, 32 bytes of a key, a payload.
        let outer = [&[0, 0, 1, 0, 1, 42, 0, 32][..], &[7; 32], &[0, 144], &[9; 144]].concat();
        let grease = [(0x0a0a, vec![]), (0xdada, vec![0])];
        let bytes = client_hello("box42.relay.example.com", &[b"h2", b"http/1.1"]);
        for more in [
            grease.to_vec(),
            vec![(ENCRYPTED_CLIENT_HELLO, outer)],
            vec![(PADDING, vec![0; 16 * 1024])],
            (0..150).map(|kind| (0x7000 + kind, vec![0; 100])).collect(),
        ] {
            let bytes = extended(&bytes, &more);
            let hello = HelloReader::new().push(&bytes).unwrap().unwrap();
            assert_eq!(hello.name.as_deref(), Some("box42.relay.example.com"));
            assert_eq!(hello.bytes, bytes);
        }
    }

    #[test]
    fn no_name_is_no_error() {
        let bytes = client_hello("192.0.2.1", &[]);
        assert_eq!(HelloReader::new().push(&bytes).unwrap().unwrap().name, None);
    }

    #[test]
    fn what_is_not_tls_is_answered_with_an_alert() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.2\r\n", &[0; 64], &[22, 3, 1, 255, 255, 1]]
        {
            assert!(matches!(HelloReader::new().push(bytes), Err(Alert::DecodeError)), "{bytes:?}");
        }
        assert_eq!(Alert::UnrecognizedName.record(), [21, 3, 3, 0, 2, 2, 112]);
    }

    #[test]
    fn a_hello_without_end_is_cut_off() {
        let endless = fragmented(&[&[0; 5][..], &[1, 0, 255, 0], &vec![0; MAX_HELLO]].concat(), 1_000);
        let mut reader = HelloReader::new();
        let answers: Vec<_> = endless.chunks(1_000).map(|piece| reader.push(piece)).collect();
        assert_eq!(answers.last(), Some(&Err(Alert::RecordOverflow)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_at_all_make_it_panic(bytes: Vec<u8>, at in 0..200_usize) {
            let _ = HelloReader::new().push(&bytes);
            let mut hello = client_hello("a.example", &[b"h2"]);
            let at = at.min(hello.len());
            hello.splice(at.., bytes);
            let _ = HelloReader::new().push(&hello);
        }
    }
}
