//! What a full queue does to its channel.

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
