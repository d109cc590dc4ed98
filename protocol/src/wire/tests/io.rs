//! Messages over a pipe that is far too narrow for them.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::super::greeting::Greeting;
use super::super::io::{ReceiveError, receive, receive_first, send};
use super::*;

/// Narrower than any message, so that each arrives in many pieces.
fn narrow() -> (DuplexStream, DuplexStream) {
    duplex(8)
}

#[tokio::test]
async fn messages_arrive_whole_and_in_order_however_small_the_pieces() {
    let (mut here, mut there) = narrow();
    let sending = tokio::spawn(async move {
        for revision in 0..100 {
            send(&mut here, &ToRelay::Holding { revision }).await.unwrap();
            send(&mut here, &ToRelay::Renew { csr: vec![9; 1000] }).await.unwrap();
        }
    });
    for revision in 0..100 {
        assert_eq!(receive::<_, ToRelay>(&mut there, SMALL).await.unwrap(), ToRelay::Holding { revision });
        let renewal = receive::<_, ToRelay>(&mut there, SMALL).await.unwrap();
        assert_eq!(renewal, ToRelay::Renew { csr: vec![9; 1000] });
    }
    sending.await.unwrap();
    assert!(matches!(receive::<_, ToRelay>(&mut there, SMALL).await, Err(ReceiveError::Ended)));
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_before_its_body_comes() {
    let (mut here, mut there) = narrow();
    here.write_all(&[0xff; HEADER]).await.unwrap();
    let refused = receive::<_, ToRelay>(&mut there, SMALL).await;
    assert!(matches!(refused, Err(ReceiveError::Malformed(Malformed::TooLong { limit: SMALL, .. }))));
}

#[tokio::test]
async fn a_message_that_is_none_is_called_so() {
    let (mut here, mut there) = narrow();
    here.write_all(&[0, 0, 0, 1, 0xff]).await.unwrap();
    let refused = receive::<_, ToRelay>(&mut there, SMALL).await;
    assert!(matches!(refused, Err(ReceiveError::Malformed(Malformed::Unreadable))));
}

#[tokio::test]
async fn an_end_within_a_message_is_not_an_end_between_messages() {
    let frame = encode(&ToRelay::Holding { revision: 300 });
    for length in 0..frame.len() {
        let (mut here, mut there) = narrow();
        here.write_all(&frame[..length]).await.unwrap();
        drop(here);
        let received = receive::<_, ToRelay>(&mut there, SMALL).await;
        match length {
            0 => assert!(matches!(received, Err(ReceiveError::Ended))),
            _ => assert!(matches!(received, Err(ReceiveError::Io(_))), "{length}"),
        }
    }
}

#[tokio::test]
async fn what_follows_a_message_is_left_for_its_reader() {
    let (mut here, mut there) = narrow();
    let sending = tokio::spawn(async move {
        send(&mut here, &Opening::Opened).await.unwrap();
        here.write_all(b"SSH-2.0-OpenSSH").await.unwrap();
    });
    assert_eq!(receive::<_, Opening>(&mut there, SMALL).await.unwrap(), Opening::Opened);
    let mut rest = Vec::new();
    there.read_to_end(&mut rest).await.unwrap();
    sending.await.unwrap();
    assert_eq!(rest, b"SSH-2.0-OpenSSH");
}

#[tokio::test]
async fn a_peer_of_another_version_is_understood_that_far() {
    let (mut here, mut there) = narrow();
    here.write_all(&[0, 0, 0, 4, 0, 99, 0xff, 0xff]).await.unwrap();
    let greeting = receive_first::<_, ToRelay>(&mut there, SMALL).await.unwrap();
    assert_eq!(greeting, Greeting::Foreign { version: 99 });
}
