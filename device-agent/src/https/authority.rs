//! HTTP to a certificate authority: one connection per request, because there are ten in two months.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::{HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::upstream::authorities;
use crate::config::AcmeSettings;
use crate::trust::provider;

/// An authority that takes longer is down.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most that an answer may hold; a chain of certificates has a few thousand bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// A certificate authority's server.
#[derive(Clone)]
pub(super) struct Authority {
    tls: TlsConnector,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Authority {
    /// The one of the settings, with whom they believe to be it.
    pub(super) fn new(settings: &AcmeSettings) -> anyhow::Result<Self> {
        let roots = match &settings.ca {
            Some(file) => authorities(file)?,
            None => system_roots()?,
        };
        let tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)), retry_after: Arc::default() })
    }

    /// How long it last asked to be left alone, if that was its last word.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> anyhow::Result<BytesResponse> {
        let host = request.uri().host().context("an address without a host")?.to_owned();
        let response = timeout(TIMEOUT, self.exchange(request)).await;
        let response = response.with_context(|| format!("{host} says nothing"))?;
        let response = response.with_context(|| format!("asking {host}"))?;
        let asked = response.status().is_client_error() || response.status().is_server_error();
        let wait = response.headers().get(RETRY_AFTER).filter(|_| asked).and_then(wait);
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        let (parts, body) = response.into_parts();
        Ok(BytesResponse { parts, body: Box::new(body) })
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> anyhow::Result<Response<Bytes>> {
        let (mut parts, body) = request.into_parts();
        let authority = parts.uri.authority().context("an address without a host")?.clone();
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tcp = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(443))).await?;
        let tls = self.tls.connect(ServerName::try_from(host)?, tcp).await?;
        let (mut asking, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        let connection = tokio::spawn(connection);
        parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = Uri::try_from(path)?;
        let (parts, body) = asking.send_request(Request::from_parts(parts, body)).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(anyhow::Error::from_boxed)?;
        connection.abort();
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

impl HttpClient for Authority {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let asked = self.clone().ask(request);
        Box::pin(async move { asked.await.map_err(|error| Error::Other(format!("{error:#}").into())) })
    }
}

fn system_roots() -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    anyhow::ensure!(
        !roots.is_empty(),
        "this box believes no authority: install the package ca-certificates (ca-bundle on OpenWrt), or \
         set https.acme.ca"
    );
    Ok(roots)
}

/// A span or a date (RFC 9110, section 10.2.3).
fn wait(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?.trim();
    let date = || httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok();
    text.parse().ok().map(Duration::from_secs).or_else(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_says_how_long_or_until_when() {
        assert_eq!(wait(&HeaderValue::from_static("120")), Some(Duration::from_secs(120)));
        let soon = SystemTime::now() + Duration::from_secs(3600);
        let date = HeaderValue::from_str(&httpdate::fmt_http_date(soon)).unwrap();
        assert!((3590..=3600).contains(&wait(&date).unwrap().as_secs()));
        assert_eq!(wait(&HeaderValue::from_static("tomorrow")), None);
    }
}
