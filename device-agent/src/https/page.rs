//! One visit to a page whose TLS the box ends: HTTP/2 or HTTP/1.1 with the browser, HTTP/1.1 with
//! the page, bodies passed on as they come.
//!
//! Everything that a visit begins ends with it: its tasks run only until its token is cancelled, and
//! its connections to the page are its own.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::CONTENT_TYPE;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode, client, upgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::copy_bidirectional;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::upstream::Upstream;
use super::{HANDSHAKE_TIMEOUT, VisitStream, headers};

/// The most requests of one browser that are with the page at once; small pages bear no more, and
/// the browser keeps the rest in order.
const MAX_AT_ONCE: u32 = 64;

/// The most connections to the page that are kept for the next request.
const MAX_KEPT: usize = 8;

/// What HTTP/2 calls itself when protocols are chosen (RFC 9113, section 3.2).
const HTTP_2: &[u8] = b"h2";

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// A page, and the certificate to show it under.
pub(crate) struct Page {
    tls: Arc<ServerConfig>,
    upstream: Upstream,
    idle: Duration,
}

impl Page {
    pub(super) fn new(tls: Arc<ServerConfig>, upstream: Upstream, idle: Duration) -> Self {
        Self { tls, upstream, idle }
    }

    /// Shows the page until the browser has gone, or has asked for nothing for long.
    pub(crate) async fn show(self, stream: VisitStream, ended: &CancellationToken) -> anyhow::Result<()> {
        let accepted = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(self.tls).accept(stream)).await;
        let tls = accepted.context("the browser says nothing")?.context("speaking TLS with the browser")?;
        let http_2 = tls.get_ref().1.alpn_protocol() == Some(HTTP_2);
        let site = Arc::new(Site::new(self.upstream, ended.clone()));
        let asked = site.clone();
        let service = service_fn(move |request| {
            let site = asked.clone();
            async move { Ok::<_, Infallible>(site.answer(request).await) }
        });
        // Both kinds of connection have these methods, and no trait to share them.
        macro_rules! converse {
            ($connection:expr) => {{
                let mut connection = pin!($connection);
                tokio::select! {
                    ended = &mut connection => ended,
                    () = site.idle(self.idle) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }};
        }
        let io = TokioIo::new(tls);
        let conversed = if http_2 {
            let mut builder = http2::Builder::new(site.tasks.clone());
            builder.timer(TokioTimer::new()).max_concurrent_streams(MAX_AT_ONCE);
            converse!(builder.serve_connection(io, service))
        } else {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(self.idle + LATER);
            converse!(builder.serve_connection(io, service).with_upgrades())
        };
        conversed.context("speaking HTTP with the browser")?;
        site.tasks.changed_over().await;
        Ok(())
    }
}

/// A connection that nobody uses is ended in order, with TLS's own goodbye; the time-out on half a
/// request, which just drops it, must not be there first.
const LATER: Duration = Duration::from_secs(5);

/// The page as one browser asks for it.
struct Site {
    upstream: Upstream,
    kept: Mutex<Vec<SendRequest<Incoming>>>,
    last_asked: Mutex<Instant>,
    tasks: Tasks,
}

impl Site {
    fn new(upstream: Upstream, ended: CancellationToken) -> Self {
        let tasks = Tasks { ended, changed_over: TaskTracker::new() };
        Self { upstream, kept: Mutex::default(), last_asked: Mutex::new(Instant::now()), tasks }
    }

    async fn answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Answer {
        *lock(&self.last_asked) = Instant::now();
        let browser = upgrade::on(&mut request);
        let (mut parts, body) = request.into_parts();
        let fit = headers::inwards(&mut parts, self.upstream.visitor.ip(), self.upstream.address);
        if fit.is_err() || parts.method == Method::CONNECT {
            return sentence(StatusCode::BAD_REQUEST, "The box cannot pass this request on.\n".into());
        }
        tracing::debug!(method = %parts.method, path = parts.uri.path(), "request");
        match self.ask(Request::from_parts(parts, body)).await {
            Ok(response) => self.pass_on(response, browser),
            Err(error) => {
                let why = format!("{error:#}");
                tracing::info!(address = %self.upstream.address, why, "the page does not answer");
                let said = format!("The box is here, but its page does not answer: {why}.\n");
                sentence(StatusCode::BAD_GATEWAY, said)
            }
        }
    }

    fn pass_on(&self, mut response: Response<Incoming>, browser: OnUpgrade) -> Answer {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let page = upgrade::on(&mut response);
            let join = async move {
                if let Err(error) = join(browser, page).await {
                    tracing::debug!(error = format!("{error:#}"), "what was changed over to broke off");
                }
            };
            self.tasks.execute(self.tasks.changed_over.track_future(join));
        }
        let (mut parts, body) = response.into_parts();
        headers::outwards(&mut parts);
        Response::from_parts(parts, Either::Left(body))
    }

    /// Asks the page, over a connection that is there or a new one. A page may close a kept
    /// connection at any time; what it has not begun to read is asked again.
    async fn ask(self: &Arc<Self>, mut request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
        while let Some(mut kept) = self.kept() {
            match kept.try_send_request(request).await {
                Ok(response) => {
                    self.keep(kept);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut fresh = self.connect().await?;
        let response = fresh.send_request(request).await?;
        self.keep(fresh);
        Ok(response)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Incoming>> {
        let io = TokioIo::new(self.upstream.connect().await?);
        // Some small servers know headers in this case alone.
        let mut builder = client::conn::http1::Builder::new();
        let (asking, connection) = builder.title_case_headers(true).handshake(io).await?;
        self.tasks.execute(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "the connection to the page broke off");
            }
        });
        Ok(asking)
    }

    fn kept(&self) -> Option<SendRequest<Incoming>> {
        let mut kept = lock(&self.kept);
        kept.retain(|connection| !connection.is_closed());
        kept.pop()
    }

    /// Keeps a connection once the answer on it has been read.
    fn keep(self: &Arc<Self>, mut connection: SendRequest<Incoming>) {
        let site = Arc::downgrade(self);
        self.tasks.execute(async move {
            let ready = connection.ready().await.is_ok();
            if let Some(site) = site.upgrade().filter(|_| ready) {
                let mut kept = lock(&site.kept);
                if kept.len() < MAX_KEPT {
                    kept.push(connection);
                }
            }
        });
    }

    /// Returns once nothing has been asked for that long.
    async fn idle(&self, patience: Duration) {
        loop {
            let until = *lock(&self.last_asked) + patience;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes both ways, once both sides speak something else than HTTP.
async fn join(browser: OnUpgrade, page: OnUpgrade) -> anyhow::Result<()> {
    let (browser, page): (Upgraded, Upgraded) = tokio::try_join!(browser, page)?;
    copy_bidirectional(&mut TokioIo::new(browser), &mut TokioIo::new(page)).await?;
    Ok(())
}

fn sentence(status: StatusCode, said: String) -> Answer {
    let mut response = Response::new(Either::Right(Full::from(said)));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The tasks of one visit.
#[derive(Clone)]
struct Tasks {
    ended: CancellationToken,
    /// Those that speak something else than HTTP by now, and outlive the connection's HTTP.
    changed_over: TaskTracker,
}

impl Tasks {
    async fn changed_over(&self) {
        self.changed_over.close();
        self.changed_over.wait().await;
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let ended = self.ended.clone();
        tokio::spawn(async move {
            let _done_or_ended = ended.run_until_cancelled(task).await;
        });
    }
}
