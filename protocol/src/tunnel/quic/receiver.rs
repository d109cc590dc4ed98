//! The task of an endpoint: it takes what arrives, and hands it to the connection that it is for.

use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{ConnectionEvent, ConnectionHandle, DatagramEvent, EcnCodepoint, VarInt};
use quinn_udp::RecvMeta;

use super::endpoint::{Shared, State};
use super::socket::Socket;
use super::{lock, now};
use crate::tunnel::LARGEST_PACKET;

/// So many messages are taken at once, each of up to [`MESSAGE`] bytes: what the kernel puts together. More would spare
/// calls, but who is to work on it would wait for all of it, and it would leave the processor's caches meanwhile.
const MESSAGES: usize = 4;
const MESSAGE: usize = 64 * 1024;

/// So many bytes or messages are taken before others have their turn.
const TURN_BYTES: usize = 128 * 1024;
const TURN_MESSAGES: usize = 64;

/// What arrives in one message is held until the last of it was read, and visits that somebody reads come with those
/// that nobody reads. So a message is handed on in pieces of about this size.
const PIECE: usize = 3000;

pub(super) struct Receiver {
    shared: Arc<Shared>,
    buffer: Box<[u8]>,
    /// What strangers are answered.
    answer: Vec<u8>,
    /// What is for one connection, before it is handed over.
    mail: Vec<ConnectionEvent>,
    /// Something was for a connection.
    heard: bool,
}

impl Receiver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let buffer = vec![0; MESSAGES * MESSAGE].into_boxed_slice();
        Self { shared, buffer, answer: Vec::new(), mail: Vec::new(), heard: false }
    }

    /// Takes what has arrived, until nothing is left or others should have their turn.
    fn take(&mut self, socket: &Socket, cx: &mut Context<'_>) -> io::Result<Poll<More>> {
        let (mut bytes, mut messages) = (0, 0);
        loop {
            let mut meta = [RecvMeta::default(); MESSAGES];
            let mut chunks = self.buffer.chunks_mut(MESSAGE).map(IoSliceMut::new);
            let mut into = std::array::from_fn::<_, MESSAGES, _>(|_| chunks.next().expect("so many fit"));
            match socket.poll_receive(cx, &mut into, &mut meta) {
                Poll::Pending => return Ok(Poll::Pending),
                // Somebody may have made it up.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(count)) => {
                    self.hand_on(&meta[..count]);
                    bytes += meta[..count].iter().map(|message| message.len).sum::<usize>();
                    messages += count;
                }
            }
            if bytes >= TURN_BYTES || messages >= TURN_MESSAGES {
                return Ok(Poll::Ready(More));
            }
        }
    }

    /// Hands messages to the connections that they are for.
    fn hand_on(&mut self, messages: &[RecvMeta]) {
        let (shared, now) = (self.shared.clone(), now());
        let mut state = lock(&shared.state);
        let mut to = None;
        for (number, message) in messages.iter().enumerate() {
            let stride = message.stride.max(1);
            // Nobody was told of larger ones.
            if stride > usize::from(LARGEST_PACKET) {
                continue;
            }
            let piece = (PIECE / stride).max(1) * stride;
            self.mail.reserve(message.len.div_ceil(stride));
            let start = number * MESSAGE;
            for at in (start..start + message.len).step_by(piece) {
                let end = (at + piece).min(start + message.len);
                let mut datagrams = BytesMut::from(&self.buffer[at..end]);
                while !datagrams.is_empty() {
                    let datagram = datagrams.split_to(stride.min(datagrams.len()));
                    self.hand_over(&mut state, (message, now), datagram, &mut to);
                }
            }
        }
        self.deliver(&state, to);
    }

    fn hand_over(
        &mut self,
        state: &mut State,
        (message, now): (&RecvMeta, Instant),
        datagram: BytesMut,
        to: &mut Option<ConnectionHandle>,
    ) {
        let ecn = message.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        self.answer.clear();
        match state.quic.handle(now, message.addr, message.dst_ip, ecn, datagram, &mut self.answer) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if *to != Some(handle) {
                    self.deliver(state, *to);
                    *to = Some(handle);
                }
                self.mail.push(event);
                self.heard = true;
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.shared.arrive(state, incoming, &mut self.answer);
            }
            Some(DatagramEvent::Response(transmit)) => state.answer(&transmit, &self.answer),
            None => {}
        }
    }

    fn deliver(&mut self, state: &State, to: Option<ConnectionHandle>) {
        if let Some(connection) = to.and_then(|handle| state.connections.get(&handle)) {
            connection.inbox.receive(&mut self.mail);
        }
        self.mail.clear();
    }
}

/// There may be more; others have their turn first.
struct More;

impl Future for Receiver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let (socket, former) = {
            let mut state = lock(&this.shared.state);
            state.wakes(cx.waker());
            if state.is_over() {
                return Poll::Ready(());
            }
            (state.socket.clone(), state.former.clone())
        };
        let (mut again, mut emptied) = (false, None);
        if let Some(former) = former {
            match this.take(&former, cx) {
                Ok(Poll::Ready(More)) => again = true,
                Ok(Poll::Pending) => emptied = Some(former),
                Err(_) => lock(&this.shared.state).let_go(&former),
            }
        }
        this.heard = false;
        match this.take(&socket, cx) {
            Ok(Poll::Ready(More)) => again = true,
            Ok(Poll::Pending) => {}
            Err(error) if Arc::ptr_eq(&socket, &lock(&this.shared.state).socket) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a UDP socket failed");
                return Poll::Ready(());
            }
            // It is no longer the one that counts.
            Err(_) => again = true,
        }
        if let Some(former) = emptied.filter(|_| this.heard) {
            // The other side has noticed the move.
            lock(&this.shared.state).let_go(&former);
        }
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Nothing is received any more.
        self.shared.close(VarInt::from_u32(0), b"");
    }
}
