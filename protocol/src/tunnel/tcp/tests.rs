//! Two ends of a connection over a pipe in memory.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::tunnel::{Connection as Either, ReadError, RecvStream, SendStream, WriteError};

fn pair() -> (Either, Either) {
    let (here, there) = duplex(64 * 1024);
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    (
        Either::Tcp(Connection::over(here, End::Dialled, nowhere)),
        Either::Tcp(Connection::over(there, End::Listened, nowhere)),
    )
}

async fn stream(from: &Either, to: &Either) -> ((SendStream, RecvStream), (SendStream, RecvStream)) {
    let (mut send, recv) = from.open().await.unwrap();
    // The other side learns of it by the first bytes.
    send.write_all(b"!").await.unwrap();
    send.flush().await.unwrap();
    let mut there = to.accept().await.unwrap();
    assert_eq!(there.1.read_u8().await.unwrap(), b'!');
    ((send, recv), there)
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let (here, there) = pair();
    let ((mut send, mut recv), (mut answer, mut question)) = stream(&here, &there).await;
    send.send(Bytes::from_static(b"question")).await.unwrap();
    send.finish().await;
    assert_eq!(question.next().await.unwrap().unwrap(), "question");
    assert_eq!(question.next().await, Ok(None));
    answer.send(Bytes::from_static(b"answer")).await.unwrap();
    answer.finish().await;
    drop((answer, question));
    let mut text = String::new();
    recv.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");
}

#[tokio::test]
async fn what_was_broken_off_does_not_look_like_an_end() {
    let (here, there) = pair();
    let ((mut send, mut recv), (answer, question)) = stream(&here, &there).await;
    send.finish().await;
    drop((answer, question));
    assert_eq!(recv.next().await, Err(ReadError::BrokenOff));
    let ((_send, mut recv), (_answer, _question)) = stream(&here, &there).await;
    there.close(0, "");
    assert_eq!(recv.next().await, Err(ReadError::Lost));
}

#[tokio::test]
async fn a_side_that_leaves_is_noticed_even_if_it_said_all_before() {
    let (here, there) = pair();
    let ((mut send, recv), (answer, mut question)) = stream(&here, &there).await;
    send.finish().await;
    assert_eq!(question.next().await, Ok(None));
    let unwanted = answer.unwanted();
    drop((send, recv));
    assert_eq!(unwanted.await, WriteError::Unwanted);
}

#[tokio::test]
async fn a_side_that_wants_no_more_does_not_make_the_other_wait() {
    let (here, there) = pair();
    let ((mut send, _recv), (_answer, mut question)) = stream(&here, &there).await;
    question.stop();
    for _ in 0..64 {
        send.send(Bytes::from(vec![0; 64 * 1024])).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_sent_arrives_to_the_last_byte_although_nothing_follows() {
    const WHOLE: usize = 3_000_001;
    let (here, there) = pair();
    let ((mut send, _recv), (_answer, mut question)) = stream(&here, &there).await;
    let sending = tokio::spawn(async move {
        send.send(Bytes::from(vec![7; WHOLE])).await.unwrap();
        send
    });
    let mut bytes = vec![0; WHOLE];
    question.read_exact(&mut bytes).await.unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    sending.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other() {
    let (here, there) = pair();
    let ((mut stalled, _kept), (_also, _unread)) = stream(&here, &there).await;
    let stalling = tokio::spawn(async move {
        loop {
            stalled.send(Bytes::from(vec![0; 64 * 1024])).await.unwrap();
        }
    });
    for _ in 0..8 {
        let ((mut send, _recv), (_answer, mut question)) = stream(&here, &there).await;
        let sending = tokio::spawn(async move {
            send.send(Bytes::from(vec![7; 1_000_000])).await.unwrap();
            send.finish().await;
            send
        });
        let mut bytes = Vec::new();
        question.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes.len(), 1_000_000);
        sending.await.unwrap();
    }
    assert!(!stalling.is_finished());
    stalling.abort();
}

#[tokio::test]
async fn a_connection_that_is_dropped_ends_the_other_side() {
    let (here, there) = pair();
    drop(here);
    there.closed().await;
    assert!(there.open().await.is_err() && there.accept().await.is_err());
}

#[tokio::test]
async fn what_more_a_box_opens_than_it_needs_is_not_kept() {
    let (here, there) = pair();
    let _control = stream(&here, &there).await;
    let mut more = Vec::new();
    for _ in 0..3 {
        let (mut send, recv) = here.open().await.unwrap();
        send.write_all(b"!").await.unwrap();
        send.flush().await.unwrap();
        more.push((send, recv));
    }
    // The first of them may still be asked for.
    for (_send, mut recv) in more.drain(1..) {
        assert_eq!(recv.next().await, Err(ReadError::BrokenOff));
    }
}
