//! A key exchange, as far as the server's host key (RFC 4253, sections 6 to 8).
//!
//! The key comes in the clear, in the server's answer to the client's share, and nobody goes on from there. So the
//! share is whatever the server takes for one, and the server's signature is not looked at: whoever answers here is
//! whom visitors meet, and their clients have it prove the key.

use std::io::{Error, ErrorKind, Result};

use ring::agreement::{Algorithm, ECDH_P256, ECDH_P384, EphemeralPrivateKey, X25519};
use ring::rand::SystemRandom;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How the agent introduces itself.
const IDENTIFICATION: &str = concat!("SSH-2.0-Postern_", env!("CARGO_PKG_VERSION"), "\r\n");

/// The longest packet that every implementation takes (RFC 4253, section 6.1), and the longest that is read.
const MAX_PACKET: usize = 35_000;

// Messages (RFC 4253, section 12; RFC 4419, section 5).
const IGNORE: u8 = 2;
const UNIMPLEMENTED: u8 = 3;
const DEBUG: u8 = 4;
const KEXINIT: u8 = 20;
const SHARE: u8 = 30;
const REPLY: u8 = 31;
const GROUP_SHARE: u8 = 32;
const GROUP_REPLY: u8 = 33;
const GROUP_REQUEST: u8 = 34;

/// The random bytes at the beginning of a KEXINIT, which make the exchange unlike any other.
const COOKIE: usize = 16;

/// What stands at its end: no guessed share follows, and four bytes that are reserved.
const TAIL: [u8; 5] = [0; 5];

/// What a client sends to have an exchange.
#[derive(Clone, Copy)]
enum Share {
    /// A point on a curve.
    Point(&'static Algorithm),
    /// A point on a curve with which nobody here calculates.
    Constant(&'static str),
    /// A number below the modulus of any group.
    Number,
    /// The same, once the server has told its group.
    NumberInGroup,
    /// A key for encapsulation of so many bytes, and a point. All zeros are such a key.
    Capsule(usize),
}

/// The base point of P-521 (FIPS 186-4, D.1.2.5), uncompressed.
const BASE_OF_P521: &str = "04\
    00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66\
    011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650";

/// The exchanges, those first that are known longest or cost a small box least.
const EXCHANGES: [(&str, Share); 17] = [
    ("curve25519-sha256", Share::Point(&X25519)),
    ("curve25519-sha256@libssh.org", Share::Point(&X25519)),
    ("ecdh-sha2-nistp256", Share::Point(&ECDH_P256)),
    ("ecdh-sha2-nistp384", Share::Point(&ECDH_P384)),
    ("ecdh-sha2-nistp521", Share::Constant(BASE_OF_P521)),
    ("diffie-hellman-group14-sha256", Share::Number),
    ("diffie-hellman-group14-sha1", Share::Number),
    ("diffie-hellman-group15-sha512", Share::Number),
    ("diffie-hellman-group16-sha512", Share::Number),
    ("diffie-hellman-group17-sha512", Share::Number),
    ("diffie-hellman-group18-sha512", Share::Number),
    ("diffie-hellman-group-exchange-sha256", Share::NumberInGroup),
    ("diffie-hellman-group-exchange-sha1", Share::NumberInGroup),
    ("diffie-hellman-group1-sha1", Share::Number),
    ("mlkem768x25519-sha256", Share::Capsule(1184)),
    ("sntrup761x25519-sha512", Share::Capsule(1158)),
    ("sntrup761x25519-sha512@openssh.com", Share::Capsule(1158)),
];

/// The host key (in its wire form) that a server has for one of these algorithms, if it has one.
pub(super) async fn host_key<S>(stream: &mut S, algorithms: &[&str]) -> Result<Option<Vec<u8>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(IDENTIFICATION.as_bytes()).await?;
    let offer = receive(stream, KEXINIT).await?;
    let Some((answer, share)) = accept(&offer, algorithms) else { return Ok(None) };
    send(stream, KEXINIT, &answer).await?;
    let reply = offer_share(stream, share).await?;
    Ok(take_string(&mut &reply[..]).map(<[u8]>::to_vec))
}

/// The answer to a server's KEXINIT, and the share of the exchange that it chooses. All that follows the keys is
/// agreed to as the server has it, because it comes into force too late to matter.
fn accept(offer: &[u8], algorithms: &[&str]) -> Option<(Vec<u8>, Share)> {
    let mut rest = offer.get(COOKIE..)?;
    let exchanges = names(take_string(&mut rest)?)?;
    let keys = names(take_string(&mut rest)?)?;
    let (exchange, share) = EXCHANGES.into_iter().find(|(name, _)| exchanges.contains(name))?;
    let keys: Vec<_> = algorithms.iter().copied().filter(|name| keys.contains(name)).collect();
    let agreed = rest.len().checked_sub(TAIL.len()).filter(|_| !keys.is_empty())?;
    let cookie: [u8; COOKIE] = rand::random();
    let answer =
        [&cookie, &*string(exchange.as_bytes()), &string(keys.join(",").as_bytes()), &rest[..agreed], &TAIL];
    Some((answer.concat(), share))
}

/// Sends a share; what the server answers begins with its host key.
async fn offer_share<S>(stream: &mut S, share: Share) -> Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Below the modulus of 1024 bits, positive, and of enough bits that servers take it.
    let number = [0x55; 127];
    let share = match share {
        Share::Point(curve) => point(curve)?,
        Share::Constant(point) => base16ct::lower::decode_vec(point).map_err(Error::other)?,
        Share::Capsule(size) => [vec![0; size], point(&X25519)?].concat(),
        Share::Number => number.to_vec(),
        Share::NumberInGroup => {
            let sizes = [2048_u32, 2048, 8192].map(u32::to_be_bytes);
            send(stream, GROUP_REQUEST, sizes.as_flattened()).await?;
            receive(stream, REPLY).await?;
            send(stream, GROUP_SHARE, &string(&number)).await?;
            return receive(stream, GROUP_REPLY).await;
        }
    };
    send(stream, SHARE, &string(&share)).await?;
    receive(stream, REPLY).await
}

fn point(curve: &'static Algorithm) -> Result<Vec<u8>> {
    let private = EphemeralPrivateKey::generate(curve, &SystemRandom::new());
    let public = private.and_then(|private| private.compute_public_key());
    public.map(|public| public.as_ref().to_vec()).map_err(|_| Error::other("no random numbers"))
}

/// Sends a packet, which is not encrypted yet: length, padding's length, message, padding to a multiple of eight.
async fn send(to: &mut (impl AsyncWrite + Unpin), number: u8, message: &[u8]) -> Result<()> {
    const LEAST: usize = 4;
    const BLOCK: usize = 8;
    let bare = 4 + 1 + 1 + message.len();
    let padding = (bare + LEAST).next_multiple_of(BLOCK) - bare;
    let length = u32::try_from(bare - 4 + padding).expect("packets are short");
    let padding = &[0; LEAST + BLOCK][..padding];
    let head = [u8::try_from(padding.len()).expect("less than two blocks"), number];
    to.write_all(&[&length.to_be_bytes(), &head[..], message, padding].concat()).await
}

/// Waits for a message; those that mean nothing may come before it.
async fn receive(from: &mut (impl AsyncRead + Unpin), wanted: u8) -> Result<Vec<u8>> {
    loop {
        let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
        if length > MAX_PACKET {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut packet = vec![0; length];
        from.read_exact(&mut packet).await?;
        match message(&packet) {
            Some((number, message)) if number == wanted => return Ok(message.to_vec()),
            Some((IGNORE | UNIMPLEMENTED | DEBUG, _)) => {}
            _ => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// The number of the message in a packet, and the rest of it.
fn message(packet: &[u8]) -> Option<(u8, &[u8])> {
    let (padding, rest) = packet.split_first()?;
    let payload = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    payload.split_first().map(|(number, message)| (*number, message))
}

/// A string, as RFC 4251 has it in section 5.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("strings are short");
    [&length.to_be_bytes(), bytes].concat()
}

fn take_string<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let (string, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *from = rest;
    Some(string)
}

fn names(list: &[u8]) -> Option<Vec<&str>> {
    Some(std::str::from_utf8(list).ok()?.split(',').collect())
}

#[cfg(test)]
mod tests;
