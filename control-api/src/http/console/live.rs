//! Pages that change as things do: pieces of a page, sent anew when they look different.
//!
//! A stream draws the pieces of its page again whenever a bell of the store rings, and at every turn of
//! a slow clock for what changes by time alone, and sends those that are not as they were. It asks before
//! every drawing whether its reader is still signed in, so what ends a session ends its streams.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use maud::Markup;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};

use super::page::Page;
use crate::http::auth::{Caller, Who};
use crate::http::error::{ApiError, Code};
use crate::http::{App, Shared};

/// Streams at once. A page without one shows what was when it was loaded.
pub(in crate::http) const STREAMS: usize = 256;

/// Bells ring in bursts; so long a rest lies between two drawings.
const REST: Duration = Duration::from_millis(200);

/// After so long a page is drawn although no bell rang.
const SLOW: Duration = Duration::from_secs(5);

/// A stream lasts so long; the browser opens another.
const LASTS: Duration = Duration::from_secs(15 * 60);

/// Pieces of a page by their ids: the root of each has its id.
pub(super) type Pieces = Vec<(String, Markup)>;

/// One page's stream.
struct Live<G, D> {
    app: Shared,
    page: Arc<Page<G>>,
    draw: D,
    sent: HashMap<String, String>,
    /// Drawn, and to be sent.
    due: Vec<Event>,
    bells: [watch::Receiver<u64>; 3],
    ends: Instant,
    _place: OwnedSemaphorePermit,
}

/// Sends the pieces of a page as they change.
pub(super) async fn stream<G, D, F>(app: Shared, page: Page<G>, draw: D) -> Result<Response, ApiError>
where
    G: Send + Sync + 'static,
    D: Fn(Shared, Arc<Page<G>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Pieces, ApiError>> + Send,
{
    let place = app.streams.clone().try_acquire_owned();
    let busy = |_| ApiError::new(Code::Busy, "too many pages are open; load this one again").retry_after(60);
    let store = &app.store;
    let mut live = Live {
        bells: [store.rules_bell(), store.presence_bell(), store.visits_bell()],
        page: Arc::new(page),
        draw,
        sent: HashMap::new(),
        due: Vec::new(),
        ends: Instant::now() + LASTS,
        _place: place.map_err(busy)?,
        app,
    };
    live.draw().await?;
    let events = stream::unfold(live, async |mut live| {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

impl<G, D, F> Live<G, D>
where
    D: Fn(Shared, Arc<Page<G>>) -> F,
    F: Future<Output = Result<Pieces, ApiError>>,
{
    /// The next piece that changed; nothing once the stream is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.due.pop() {
                return Some(event);
            }
            if !self.wait().await || !still_signed_in(&self.app, &self.page.caller).await {
                return None;
            }
            self.draw().await.ok()?;
        }
    }

    async fn draw(&mut self) -> Result<(), ApiError> {
        // Before drawing, so that what rings meanwhile makes it draw again.
        self.bells.iter_mut().for_each(watch::Receiver::mark_unchanged);
        let pieces = (self.draw)(self.app.clone(), self.page.clone()).await?;
        self.keep_changed(pieces);
        Ok(())
    }

    /// Waits for something to draw; false when the stream is over.
    async fn wait(&mut self) -> bool {
        let [rules, presence, visits] = &mut self.bells;
        tokio::select! {
            () = self.app.stop.cancelled() => return false,
            _ = rules.changed() => {}
            _ = presence.changed() => {}
            _ = visits.changed() => {}
            () = sleep(SLOW) => {}
        }
        sleep(REST).await;
        Instant::now() < self.ends
    }

    fn keep_changed(&mut self, pieces: Pieces) {
        for (id, markup) in pieces.into_iter().rev() {
            // A line of an event ends at a carriage return, too.
            let html = markup.into_string().replace('\r', "&#13;");
            let still = without_clocks(&html);
            if self.sent.get(&id) != Some(&still) {
                self.due.push(Event::default().data(&html));
                self.sent.insert(id, still);
            }
        }
    }
}

/// A piece without what its times say in words: those change by themselves, in the browser.
fn without_clocks(html: &str) -> String {
    let mut parts = html.split("<time");
    let mut still = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (tag, rest) = part.split_once('>').unwrap_or((part, ""));
        still.push_str(tag);
        still.push_str(rest.split_once("</time>").map_or(rest, |(_, after)| after));
    }
    still
}

async fn still_signed_in(app: &App, caller: &Caller) -> bool {
    match &caller.who {
        Who::User { session, .. } => {
            let from = caller.account.author().from();
            Caller::by_session(app, session.clone(), from).await.is_ok()
        }
        Who::Token(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_alone_changes_no_piece() {
        let at = |words: &str, moment: &str| {
            without_clocks(&format!("<p>a <time data-ago datetime=\"{moment}\">{words}</time> b</p>"))
        };
        assert_eq!(at("3 s ago", "x"), at("8 s ago", "x"));
        assert_ne!(at("3 s ago", "x"), at("3 s ago", "y"));
        assert!(at("3 s ago", "x").ends_with(" b</p>"));
    }
}
