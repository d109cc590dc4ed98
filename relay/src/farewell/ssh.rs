//! The little of SSH that is spoken in the clear: a line of introduction, and a goodbye with a reason.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a server says first (RFC 4253, section 4.2).
pub(super) const IDENTIFICATION: &[u8] =
    concat!("SSH-2.0-Postern_", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes();

/// The longest line by which a client may introduce itself.
const MAX_IDENTIFICATION: usize = 255;

/// Waits for the end of the client's line, of which this much was heard already.
pub(super) async fn hear_out(from: &mut (impl AsyncRead + Unpin), began: &[u8]) -> io::Result<()> {
    let mut ended = began.contains(&b'\n');
    let mut heard = began.len();
    let mut piece = [0; MAX_IDENTIFICATION];
    while !ended {
        let length = from.read(&mut piece).await?;
        heard += length;
        if length == 0 || heard > MAX_IDENTIFICATION {
            return Err(io::ErrorKind::InvalidData.into());
        }
        ended = piece[..length].contains(&b'\n');
    }
    Ok(())
}

/// The packet by which a server leaves, unencrypted, as it is before keys are exchanged (RFC 4253, sections
/// 6 and 11.1).
pub(super) fn disconnect(words: &str) -> Vec<u8> {
    const DISCONNECT: u8 = 1;
    const BY_APPLICATION: u32 = 11;
    const BLOCK: usize = 8;
    const LEAST_PADDING: usize = 4;
    let text = |text: &str| [&length(text.len()), text.as_bytes()].concat();
    let payload = [&[DISCONNECT][..], &BY_APPLICATION.to_be_bytes(), &text(words), &text("en")].concat();
    let unpadded = 4 + 1 + payload.len();
    let padding = LEAST_PADDING + BLOCK - 1 - (unpadded + LEAST_PADDING + BLOCK - 1) % BLOCK;
    let padding_length = u8::try_from(padding).expect("padding is shorter than two blocks");
    [&length(1 + payload.len() + padding)[..], &[padding_length], &payload, &vec![0; padding]].concat()
}

fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).expect("nobody is told that much").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_goodbye_is_a_whole_packet_with_its_words(words: String) {
            let packet = disconnect(&words);
            let (length, rest) = packet.split_first_chunk::<4>().unwrap();
            prop_assert_eq!(u32::from_be_bytes(*length) as usize, rest.len());
            prop_assert_eq!(packet.len() % 8, 0);
            let padding = usize::from(rest[0]);
            prop_assert!((4..12).contains(&padding));
            let payload = &rest[1..rest.len() - padding];
            prop_assert_eq!(&payload[..5], &[1, 0, 0, 0, 11]);
            prop_assert_eq!(&payload[9..9 + words.len()], words.as_bytes());
            prop_assert_eq!(&payload[9 + words.len()..], &[0, 0, 0, 2, b'e', b'n']);
        }
    }

    #[tokio::test]
    async fn a_client_is_heard_to_the_end_of_its_line_and_no_longer() {
        assert!(hear_out(&mut &b".0-x\r\nmore"[..], b"SSH-2").await.is_ok());
        assert!(hear_out(&mut tokio::io::empty(), b"SSH-2.0-x\r\n").await.is_ok());
        assert!(hear_out(&mut tokio::io::empty(), b"SSH-2.0-x").await.is_err(), "it left");
        assert!(hear_out(&mut tokio::io::repeat(b'x'), b"SSH-").await.is_err(), "a line without end");
    }
}
