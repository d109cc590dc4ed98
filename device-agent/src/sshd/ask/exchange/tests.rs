//! Against servers that are made for it; the real ones are met in `sshd::tests`.

use tokio::io::duplex;

use super::*;

/// What a server says first that has these exchanges and kinds of keys.
fn offer(exchanges: &str, keys: &str) -> Vec<u8> {
    let others = ["aes128-ctr", "aes128-ctr", "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""];
    let lists = [exchanges, keys].into_iter().chain(others);
    [[7; COOKIE].to_vec(), lists.flat_map(|list| string(list.as_bytes())).collect(), TAIL.to_vec()].concat()
}

#[test]
fn a_server_is_agreed_with_but_for_the_kind_of_key() {
    let (answer, _) =
        accept(&offer("new,ecdh-sha2-nistp256,curve25519-sha256", "b,a,c"), &["a", "b", "x"]).unwrap();
    assert_eq!(answer[COOKIE..], offer("curve25519-sha256", "a,b")[COOKIE..]);
    assert_ne!(answer[..COOKIE], [7; COOKIE]);
}

#[test]
fn what_cannot_be_agreed_upon_is_left() {
    assert!(accept(&offer("new", "a"), &["a"]).is_none());
    assert!(accept(&offer("curve25519-sha256", "a"), &["b"]).is_none());
    let whole = offer("curve25519-sha256", "a");
    for cut in 0..COOKIE + 4 + 17 + 4 + 1 + TAIL.len() {
        assert!(accept(&whole[..cut], &["a"]).is_none(), "{cut}");
    }
}

#[tokio::test]
async fn packets_are_padded_and_bounded() {
    for size in 0..40 {
        let (mut here, mut there) = duplex(100);
        send(&mut here, IGNORE, b"well").await.unwrap();
        send(&mut here, KEXINIT, &vec![1; size]).await.unwrap();
        assert_eq!(receive(&mut there, KEXINIT).await.unwrap(), vec![1; size]);
    }
    for packet in [&[0, 0, 0xff, 0xff, 0][..], &[0, 0, 0, 0], &[0, 0, 0, 2, 9, 9], &[0, 0, 0, 2, 0, SHARE]] {
        let refused = receive(&mut &packet[..], KEXINIT).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData, "{packet:?}");
    }
}

/// The agent's own server has what OpenSSH 9.2 has not.
#[cfg(feature = "shell")]
#[tokio::test]
async fn a_server_that_wants_an_exchange_of_lattices_has_it() {
    use std::sync::Arc;

    use russh::keys::{Algorithm, PrivateKey};
    use russh::{Preferred, kex, server};
    use tokio::io::{AsyncBufReadExt, BufReader};

    struct Nobody;
    impl server::Handler for Nobody {
        type Error = russh::Error;
    }

    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let expected = key.public_key().to_bytes().unwrap();
    let preferred = Preferred { kex: (&[kex::MLKEM768X25519_SHA256][..]).into(), ..Preferred::DEFAULT };
    let config = server::Config { keys: vec![key], preferred, ..server::Config::default() };
    let (there, here) = duplex(100_000);
    let serving = tokio::spawn(server::run_stream(Arc::new(config), there, Nobody));
    let mut here = BufReader::new(here);
    here.read_line(&mut String::new()).await.unwrap();
    assert_eq!(host_key(&mut here, &["ssh-ed25519"]).await.unwrap(), Some(expected));
    serving.abort();
}
