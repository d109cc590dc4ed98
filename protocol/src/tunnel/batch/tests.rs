use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;

const SIZE: usize = 100;
const HERE: &str = "127.0.0.1:1";
const THERE: &str = "127.0.0.1:2";

/// A kernel that writes down what it was given.
#[derive(Debug, Default)]
struct Kernel {
    sent: Mutex<Vec<(SocketAddr, usize, Option<usize>)>>,
    is_full: AtomicBool,
    has_room: Arc<Notify>,
    /// Messages that have arrived: the numbers in their datagrams.
    arrived: Mutex<VecDeque<Range<u8>>>,
}

impl Kernel {
    fn sent(&self) -> Vec<(SocketAddr, usize, Option<usize>)> {
        self.sent.lock().unwrap().clone()
    }
}

#[derive(Debug)]
struct Room(Arc<Kernel>);

impl UdpPoller for Room {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        if !self.0.is_full.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let (waker, has_room) = (cx.waker().clone(), self.0.has_room.clone());
        tokio::spawn(async move {
            has_room.notified().await;
            waker.wake();
        });
        Poll::Pending
    }
}

impl AsyncUdpSocket for Kernel {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.is_full.load(Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = (transmit.destination, transmit.contents.len(), transmit.segment_size);
        self.sent.lock().unwrap().push(sent);
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut arrived = self.arrived.lock().unwrap();
        let count = arrived.len().min(buffers.len());
        for ((message, buffer), meta) in arrived.drain(..count).zip(buffers).zip(meta) {
            // The last datagram of each is short.
            *meta = RecvMeta { len: message.len() * SIZE - 1, stride: SIZE, ..RecvMeta::default() };
            for (number, datagram) in message.zip(buffer.chunks_mut(SIZE)) {
                datagram.fill(number);
            }
        }
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(HERE.parse().unwrap())
    }

    fn max_transmit_segments(&self) -> usize {
        64
    }
}

fn scene() -> (Arc<Kernel>, Arc<Batcher>) {
    let kernel = Arc::new(Kernel::default());
    (kernel.clone(), Batcher::start(kernel))
}

fn send(batcher: &Batcher, to: &str, datagrams: usize) -> io::Result<()> {
    let contents = vec![0; datagrams * SIZE];
    let segment_size = (datagrams > 1).then_some(SIZE);
    let destination = to.parse().unwrap();
    batcher.try_send(&Transmit { destination, ecn: None, contents: &contents, segment_size, src_ip: None })
}

fn sent(to: &str, datagrams: usize) -> (SocketAddr, usize, Option<usize>) {
    (to.parse().unwrap(), datagrams * SIZE, (datagrams > 1).then_some(SIZE))
}

/// Lets the task that sends left-overs have its turns.
async fn everybody_had_a_turn() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn full_batches_leave_together_with_the_one_that_is_not() {
    let (kernel, batcher) = scene();
    send(&batcher, HERE, FULL).unwrap();
    send(&batcher, HERE, FULL).unwrap();
    assert_eq!(kernel.sent(), []);
    send(&batcher, HERE, 3).unwrap();
    assert_eq!(kernel.sent(), [sent(HERE, 23)]);
    send(&batcher, HERE, 1).unwrap();
    assert_eq!(kernel.sent(), [sent(HERE, 23), sent(HERE, 1)]);
}

#[tokio::test]
async fn full_batches_that_nothing_follows_leave_once_nobody_has_anything_to_do() {
    let (kernel, batcher) = scene();
    send(&batcher, HERE, FULL).unwrap();
    everybody_had_a_turn().await;
    assert_eq!(kernel.sent(), [sent(HERE, FULL)]);
}

#[tokio::test]
async fn no_batch_is_larger_than_the_kernel_takes() {
    let (kernel, batcher) = scene();
    for _ in 0..12 {
        send(&batcher, HERE, FULL).unwrap();
    }
    everybody_had_a_turn().await;
    assert_eq!(kernel.sent(), [sent(HERE, MOST), sent(HERE, MOST), sent(HERE, 2 * FULL)]);
}

#[tokio::test]
async fn what_goes_elsewhere_does_not_mix() {
    let (kernel, batcher) = scene();
    send(&batcher, HERE, FULL).unwrap();
    send(&batcher, THERE, FULL).unwrap();
    send(&batcher, THERE, 1).unwrap();
    assert_eq!(kernel.sent(), [sent(HERE, FULL), sent(THERE, FULL + 1)]);
}

#[tokio::test]
async fn what_the_kernel_has_no_room_for_waits_and_is_not_lost() {
    let (kernel, batcher) = scene();
    kernel.is_full.store(true, Relaxed);
    send(&batcher, HERE, FULL).unwrap();
    send(&batcher, HERE, 2).unwrap();
    assert_eq!(send(&batcher, THERE, 1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    everybody_had_a_turn().await;
    assert_eq!(kernel.sent(), []);
    kernel.is_full.store(false, Relaxed);
    kernel.has_room.notify_one();
    everybody_had_a_turn().await;
    assert_eq!(kernel.sent(), [sent(HERE, FULL + 2)]);
}

/// What the library is given, with so many buffers, of messages of so many datagrams: the numbers in each piece's
/// datagrams.
async fn handed_on(messages: &[u8], buffers: usize) -> Vec<Vec<u8>> {
    let (kernel, batcher) = scene();
    let mut count = 0;
    for datagrams in messages {
        kernel.arrived.lock().unwrap().push_back(count..count + datagrams);
        count += datagrams;
    }
    let mut memory = vec![vec![0; 64 * SIZE]; buffers];
    let mut pieces = Vec::new();
    while !kernel.arrived.lock().unwrap().is_empty() {
        let mut slices: Vec<_> = memory.iter_mut().map(|bytes| io::IoSliceMut::new(bytes)).collect();
        let mut meta = vec![RecvMeta::default(); buffers];
        let received = poll_fn(|cx| batcher.poll_recv(cx, &mut slices, &mut meta)).await.unwrap();
        pieces.extend(meta[..received].iter().zip(&slices).map(|(meta, bytes)| {
            bytes[..meta.len].chunks(meta.stride).map(|datagram| datagram[0]).collect::<Vec<u8>>()
        }));
    }
    pieces
}

#[tokio::test]
async fn what_arrives_together_is_handed_on_in_small_groups() {
    let pieces = handed_on(&[64], 32).await;
    assert!(pieces.iter().all(|datagrams| datagrams.len() <= 2), "{pieces:?}");
    assert_eq!(pieces.concat(), (0..64).collect::<Vec<u8>>(), "in their order, each once");
}

#[tokio::test]
async fn no_datagram_overtakes_one_of_an_earlier_message() {
    let pieces = handed_on(&[50, 1, 50, 3], 32).await;
    assert_eq!(pieces.concat(), (0..104).collect::<Vec<u8>>());
}

#[tokio::test]
async fn without_a_free_buffer_messages_stay_as_they_are() {
    assert_eq!(handed_on(&[3, 2], 1).await, [vec![0, 1, 2], vec![3, 4]]);
}

#[tokio::test]
async fn batches_are_offered_only_while_there_is_bulk() {
    let (_, batcher) = scene();
    let one = |size| {
        let contents = vec![0; size];
        let destination = HERE.parse().unwrap();
        let transmit =
            Transmit { destination, ecn: None, contents: &contents, segment_size: None, src_ip: None };
        batcher.try_send(&transmit).unwrap();
    };
    let handshake = || [1200, 1200, 700, 60].map(one);
    for _ in 0..100 {
        handshake();
        assert_eq!(batcher.max_transmit_segments(), 1);
    }
    for _ in 0..20 {
        one(1200);
    }
    assert_eq!(batcher.max_transmit_segments(), 64);
    for _ in 0..4 {
        handshake();
    }
    assert_eq!(batcher.max_transmit_segments(), 64, "others' handshakes do not hold bulk up");
    for _ in 0..20 {
        one(60);
    }
    assert_eq!(batcher.max_transmit_segments(), 1);
}
