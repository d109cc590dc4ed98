//! A certificate authority checks who has a box's name (RFC 8737): the box answers, and none other.
//!
//! This is the one stream to a box without a permit, for the authority has none, and comes from anywhere.
//! So it is marked as what it is, and the box answers it itself: it never reaches a service.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use postern_protocol::Refusal;
use postern_protocol::id::DeviceId;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Front;
use super::hello::Hello;
use crate::admission::{Pace, SourceNetwork};
use crate::farewell::Manner;
use crate::metrics::Code;
use crate::session::Visitor;
use crate::splice::{Tally, splice};
use crate::tcp::Caller;

/// What such a client, and only such a client, would speak.
const ACME_TLS: &[u8] = b"acme-tls/1";

/// An authority asks from a handful of places at once, once for each certificate that is ordered.
const EVERY: Duration = Duration::from_secs(3);
const BURST: u32 = 20;

/// It is one handshake.
const AT_MOST: Duration = Duration::from_secs(20);

/// How often one box may be asked from one place: whoever asks for nothing must not use up what an authority
/// needs.
pub(super) fn pace() -> Pace<(SourceNetwork, DeviceId)> {
    Pace::new(EVERY, BURST)
}

/// Whether a client is a certificate authority that checks a name.
pub(super) fn is_one(hello: &Hello) -> bool {
    hello.protocols == [ACME_TLS]
}

impl Front {
    /// Lets an authority speak to the box that has the name.
    pub(super) async fn challenge(
        &self,
        stream: TcpStream,
        (source, device): (IpAddr, DeviceId),
        name: String,
        said: Bytes,
    ) {
        tracing::info!(%device, name, "a certificate authority checks who has a name");
        let mut authority = Caller::new(stream, said, Manner::Heard, None);
        let outcome = tokio::select! {
            outcome = self.converse(&mut authority, (source, device), name) => outcome,
            () = self.reception.closing.cancelled() => Err(Refusal::ShuttingDown),
        };
        let code = outcome.as_ref().err().map_or("ended", Refusal::code);
        self.metrics.challenges.get_or_create(&Code { code }).inc();
        authority.leave(outcome).await;
    }

    async fn converse(
        &self,
        authority: &mut Caller,
        (source, device): (IpAddr, DeviceId),
        name: String,
    ) -> Result<(), Refusal> {
        if !self.may_challenge(source, device) {
            return Err(Refusal::TooMany);
        }
        let box_ = self.reception.registry.challenge(device, name).await?;
        let tally = Tally::default();
        let conversation = splice(authority.welcome().await, box_.split(), &tally);
        timeout(AT_MOST, conversation).await.unwrap_or(Err(Refusal::Stalled))
    }
}
