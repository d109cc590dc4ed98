//! The way to a local page: TCP, the visitor's address if the page wants it, TLS if it speaks that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::config::{LocalService, Speaks, Verify};
use crate::trust::{fingerprint, provider};

/// A page on the box or next to it answers in milliseconds or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A local page, as one visitor reaches it.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    tls: Option<TlsConnector>,
    /// Said first, in the PROXY protocol.
    preface: Option<fn(SocketAddr, SocketAddr) -> Vec<u8>>,
    pub(super) visitor: SocketAddr,
}

impl Upstream {
    /// The way to a service; it fails if its certificate cannot be checked as the settings say.
    pub(super) fn new(service: &LocalService, visitor: SocketAddr) -> anyhow::Result<Self> {
        let verify = service.verify.as_ref().unwrap_or(&Verify::Nothing);
        let tls = match service.speaks() {
            Speaks::Https => Some(TlsConnector::from(Arc::new(checking(verify)?))),
            Speaks::Http | Speaks::Anything => None,
        };
        let preface = service.proxy_protocol.then_some(proxy_header as fn(_, _) -> _);
        Ok(Self { address: service.address, tls, preface, visitor })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> anyhow::Result<Either<TcpStream, TlsStream<TcpStream>>> {
        timeout(CONNECT_TIMEOUT, self.dial()).await.context("it does not answer")?
    }

    /// The certificates that it shows.
    pub(super) async fn chain(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let Either::Right(tls) = self.connect().await? else { bail!("it speaks no TLS") };
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(chain.iter().map(|one| one.clone().into_owned()).collect())
    }

    async fn dial(&self) -> anyhow::Result<Either<TcpStream, TlsStream<TcpStream>>> {
        let mut tcp = TcpStream::connect(self.address).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        if let Some(preface) = self.preface {
            tcp.write_all(&preface(self.visitor, self.address)).await.context("saying who visits")?;
        }
        match &self.tls {
            None => Ok(Either::Left(tcp)),
            Some(tls) => {
                let name = ServerName::from(self.address.ip());
                Ok(Either::Right(tls.connect(name, tcp).await.context("speaking TLS")?))
            }
        }
    }
}

/// The PROXY protocol's header, version 2: who really connects. Where the visitor and the service
/// are of different families, the service's address is left out, and the visitor's stays whole.
pub(crate) fn proxy_header(visitor: SocketAddr, service: SocketAddr) -> Vec<u8> {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const VERSION_2_PROXY: u8 = 0x21;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;

    let (family, addresses) = match (visitor.ip().to_canonical(), service.ip().to_canonical()) {
        (IpAddr::V4(from), to) => {
            let to = if let IpAddr::V4(to) = to { to } else { Ipv4Addr::UNSPECIFIED };
            (TCP_OVER_IPV4, [from.octets(), to.octets()].concat())
        }
        (IpAddr::V6(from), to) => {
            let to = if let IpAddr::V6(to) = to { to } else { Ipv6Addr::UNSPECIFIED };
            (TCP_OVER_IPV6, [from.octets(), to.octets()].concat())
        }
    };
    let ports = [visitor.port().to_be_bytes(), service.port().to_be_bytes()].concat();
    let length = u16::try_from(addresses.len() + ports.len()).expect("at most 36 bytes");
    [SIGNATURE, &[VERSION_2_PROXY, family], &length.to_be_bytes(), &addresses, &ports].concat()
}

/// TLS that checks a page's certificate in this way.
fn checking(verify: &Verify) -> anyhow::Result<ClientConfig> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?.dangerous();
    let verifier: Arc<dyn ServerCertVerifier> = match verify {
        Verify::Nothing => Arc::new(Given(None)),
        Verify::Pin(pin) => Arc::new(Given(Some(*pin))),
        Verify::Authority(file) => {
            WebPkiServerVerifier::builder_with_provider(Arc::new(authorities(file)?), provider()).build()?
        }
    };
    Ok(builder.with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The authorities in a file (PEM).
pub(super) fn authorities(file: &std::path::Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for certificate in certificates.with_context(|| format!("reading {}", file.display()))? {
        roots.add(certificate).with_context(|| format!("an authority in {}", file.display()))?;
    }
    Ok(roots)
}

/// Takes a certificate because it is the pinned one, or because the owner trusts the way to the page.
#[derive(Debug)]
struct Given(Option<[u8; 32]>);

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0 {
            Some(pin) if pin != fingerprint(own) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, own, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, own, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn the_visitors_address_is_said_as_the_proxy_protocol_wants_it() {
        let head = "0d0a0d0a000d0a515549540a";
        for (visitor, service, said) in [
            ("203.0.113.9:4711", "127.0.0.1:80", "2111000ccb0071097f00000112670050"),
            ("[::ffff:203.0.113.9]:4711", "127.0.0.1:80", "2111000ccb0071097f00000112670050"),
            ("203.0.113.9:4711", "[fd00::1]:80", "2111000ccb0071090000000012670050"),
            (
                "[2001:db8::9]:4711",
                "[::1]:443",
                "2121002420010db80000000000000000000000090000000000000000000000000000000112 6701bb",
            ),
        ] {
            let header = proxy_header(visitor.parse().unwrap(), service.parse().unwrap());
            assert_eq!(HEXLOWER.encode(&header), format!("{head}{}", said.replace(' ', "")), "{visitor}");
        }
    }
}
