//! Both ends over pipes of eight bytes, so that everything waits for everything.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::*;

struct From(ReadHalf<DuplexStream>);
struct To(WriteHalf<DuplexStream>);

impl Source for From {
    async fn next(&mut self) -> Result<Option<Bytes>, Halt> {
        let mut chunk = BytesMut::with_capacity(32 * 1024);
        match self.0.read_buf(&mut chunk).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(chunk.freeze())),
            Err(_) => Err(Halt::Gone),
        }
    }
}

impl Sink for To {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Halt> {
        self.0.write_all(&chunk).await.map_err(|_| Halt::Gone)
    }

    async fn finish(&mut self) -> Result<(), Halt> {
        self.0.shutdown().await.map_err(|_| Halt::Gone)
    }

    fn closed(&self) -> impl Future<Output = Halt> + Send + 'static {
        std::future::pending()
    }
}

/// A side of the splice, and who stands there.
fn side() -> ((From, To), DuplexStream) {
    let (near, far) = duplex(8);
    let (read, write) = split(near);
    ((From(read), To(write)), far)
}

#[tokio::test]
async fn each_direction_ends_by_itself_and_loses_nothing() {
    let (visitor_side, mut visitor) = side();
    let (tunnel_side, mut tunnel) = side();
    let tally = Tally::default();
    let spliced = splice(visitor_side, tunnel_side, &tally);
    let visit = async {
        visitor.write_all(b"a question longer than the pipe").await.unwrap();
        visitor.shutdown().await.unwrap();
        let mut answer = String::new();
        visitor.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "an answer that comes only after the question's end");
    };
    let service = async {
        let mut question = String::new();
        tunnel.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "a question longer than the pipe");
        tunnel.write_all(b"an answer that comes only after the question's end").await.unwrap();
        tunnel.shutdown().await.unwrap();
    };
    let (ended, (), ()) = tokio::join!(spliced, visit, service);
    assert_eq!(ended, Ok(()));
    assert_eq!((tally.up(), tally.down()), (31, 50));
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_stalls_makes_the_writer_wait() {
    let (visitor_side, mut visitor) = side();
    let (tunnel_side, _tunnel) = side();
    let tally = Tally::default();
    let mut sent = 0;
    let write = async {
        loop {
            visitor.write_all(&[0]).await.unwrap();
            sent += 1;
        }
    };
    // Paused time passes only once everybody waits.
    tokio::select! {
        _ = splice(visitor_side, tunnel_side, &tally) => panic!("nobody ended"),
        () = write => {}
        () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
    }
    assert!((8..=24).contains(&sent), "two pipes and one chunk hold at most 24 bytes, not {sent}");
}

struct Deafened(To);

impl Sink for Deafened {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Halt> {
        self.0.send(chunk).await
    }

    async fn finish(&mut self) -> Result<(), Halt> {
        self.0.finish().await
    }

    fn closed(&self) -> impl Future<Output = Halt> + Send + 'static {
        std::future::ready(Halt::Deaf)
    }
}

#[tokio::test]
async fn a_box_that_wants_no_more_may_still_speak() {
    let (visitor_side, mut visitor) = side();
    let ((from, to), mut tunnel) = side();
    let tally = Tally::default();
    let spliced = splice(visitor_side, (from, Deafened(to)), &tally);
    let both = async {
        tunnel.write_all(b"the last word").await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut heard = String::new();
        visitor.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "the last word");
    };
    assert_eq!(tokio::join!(spliced, both).0, Ok(()));
}

struct Lost;

impl Source for Lost {
    async fn next(&mut self) -> Result<Option<Bytes>, Halt> {
        Err(Halt::Refused(Refusal::TunnelLost))
    }
}

#[tokio::test]
async fn a_lost_tunnel_ends_the_visit_with_its_reason() {
    let (visitor_side, _visitor) = side();
    let ((_, to), _tunnel) = side();
    assert_eq!(splice(visitor_side, (Lost, to), &Tally::default()).await, Err(Refusal::TunnelLost));
}
