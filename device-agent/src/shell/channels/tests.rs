//! Queues of what came.

use super::*;

#[test]
fn the_fuller_the_fullest_queue_the_smaller_the_next_credit() {
    let window = WINDOW as usize;
    for (fullest, expected) in [
        (0, WINDOW),
        (window / 4, WINDOW),
        (window / 4 + 1, WINDOW - WINDOW / 4 - 1),
        (window - 64 * 1024, 64 * 1024),
        (window - 64 * 1024 + 1, TRICKLE),
        (3 * window, TRICKLE),
    ] {
        assert_eq!(credit(fullest), expected, "{fullest}");
    }
}

#[tokio::test]
async fn bytes_come_out_as_they_went_in_and_then_the_end() {
    let inbound = Arc::new(Inbound::default());
    let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    for part in sent.chunks(977).chain(sent.chunks(31_000)) {
        inbound.push(part).unwrap();
    }
    inbound.end();
    let mut came = Vec::new();
    while let Some(piece) = inbound.next().await {
        came.extend_from_slice(&piece);
    }
    assert_eq!(came, [sent.clone(), sent].concat());
    assert_eq!(inbound.waiting(), 0);
}

#[tokio::test]
async fn a_piece_counts_as_waiting_until_it_is_written() {
    let inbound = Arc::new(Inbound::default());
    inbound.push(&[0; 10_000]).unwrap();
    let piece = inbound.next().await.unwrap();
    assert_eq!(inbound.waiting(), 10_000);
    drop(piece);
    assert_eq!(inbound.waiting(), 0);
}

#[test]
fn a_trickle_of_bytes_is_gathered() {
    let inbound = Inbound::default();
    for _ in 0..GATHERED {
        inbound.push(&[0]).unwrap();
    }
    assert_eq!(inbound.lock().pieces.len(), 1);
}

#[test]
fn a_client_that_ignores_its_window_is_told_from_one_that_does_not() {
    let inbound = Inbound::default();
    for _ in 0..MOST / 32_768 {
        inbound.push(&[0; 32_768]).unwrap();
    }
    assert_eq!(inbound.push(&[0]), Err(Overrun));
}

#[test]
fn what_nobody_reads_is_dropped_and_does_not_wait() {
    let inbound = Inbound::default();
    inbound.push(&[0; 1000]).unwrap();
    inbound.refuse();
    inbound.push(&[0; 1000]).unwrap();
    assert_eq!(inbound.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_trickling_packet_is_held_up_until_the_reader_moves_on() {
    let channels = Channels::default();
    let inbound = Arc::new(Inbound::default());
    inbound.push(&vec![0; FULL as usize]).unwrap();
    channels.lock().insert(id(7), Arc::clone(&inbound));
    let begun = tokio::time::Instant::now();
    channels.data(id(7), &[1, 2]).await.unwrap();
    assert_eq!(begun.elapsed(), NAP);

    let read = inbound.next().await.unwrap();
    let (sent, ()) = tokio::join!(channels.data(id(7), &[3, 4]), async { drop(read) });
    sent.unwrap();
    assert_eq!(begun.elapsed(), NAP);
}

/// russh gives out ids only on the wire.
fn id(number: u32) -> ChannelId {
    use russh::keys::ssh_encoding::Decode;
    ChannelId::decode(&mut number.to_be_bytes().as_slice()).unwrap()
}
