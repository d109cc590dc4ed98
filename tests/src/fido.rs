//! A security key of software: an agent for `ssh` that signs as a FIDO key does which was touched.
//!
//! To `ssh`, to the gate and to the box there is no difference; only the metal is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::scene::Scene;

/// What ssh-keygen names as the place that a key is for.
const APPLICATION: &[u8] = b"ssh:";

/// The only flag that a signature needs: somebody touched the key.
const TOUCHED: u8 = 1;

/// The kinds of FIDO keys that SSH knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FidoKind {
    /// `sk-ssh-ed25519@openssh.com`
    Ed25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`
    Ecdsa,
}

/// A key in an agent, which listens until it is dropped.
#[derive(Debug)]
pub struct FidoKey {
    agent: PathBuf,
    /// Where `ssh` would look for the private key, and finds the public one beside it.
    path: PathBuf,
    serving: JoinHandle<()>,
}

impl FidoKey {
    /// Makes one.
    pub fn new(scene: &Scene, kind: FidoKind) -> Self {
        let dir = scene.new_dir("fido");
        let (agent, path) = (dir.join("agent"), dir.join("id_sk"));
        let token = Token::new(kind);
        let line = format!("{} {} visitor@test\n", token.type_name(), BASE64.encode(&token.public()));
        fs::write(path.with_added_extension("pub"), line).expect("a new folder can be written");
        let listener = UnixListener::bind(&agent).expect("a new folder has no socket");
        let token = Arc::new(token);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, token.clone()));
            }
        });
        Self { agent, path, serving }
    }

    /// The agent's socket.
    pub fn agent(&self) -> &Path {
        &self.agent
    }

    /// Where `ssh` would look for the private key.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public key's line.
    pub fn public(&self) -> String {
        fs::read_to_string(self.path.with_added_extension("pub")).expect("it was written")
    }
}

impl Drop for FidoKey {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The agent's side of `draft-ietf-sshm-ssh-agent`: which keys there are, and signatures.
async fn serve(mut stream: UnixStream, token: Arc<Token>) {
    const REQUEST_IDENTITIES: u8 = 11;
    const SIGN_REQUEST: u8 = 13;
    while let Ok(length) = stream.read_u32().await {
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.expect("ssh says all that it began to say");
        let answer = match request.split_first() {
            Some((&REQUEST_IDENTITIES, _)) => {
                [&[12][..], &1_u32.to_be_bytes(), &string(&token.public()), &string(b"fido")].concat()
            }
            Some((&SIGN_REQUEST, rest)) => {
                let (_key, rest) = next_string(rest);
                [&[14][..], &string(&token.sign(next_string(rest).0))].concat()
            }
            _ => vec![5],
        };
        stream.write_all(&string(&answer)).await.expect("ssh listens");
    }
}

/// What is inside a security key.
enum Token {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl Token {
    fn new(kind: FidoKind) -> Self {
        let random = SystemRandom::new();
        match kind {
            FidoKind::Ed25519 => {
                let seed: [u8; 32] = rand::random();
                Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&seed).expect("any seed makes a key"))
            }
            FidoKind::Ecdsa => {
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key can be made");
                let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random);
                Self::Ecdsa(key.expect("it was just made"))
            }
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "sk-ssh-ed25519@openssh.com",
            Self::Ecdsa(_) => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn public(&self) -> Vec<u8> {
        let name = string(self.type_name().as_bytes());
        let key = match self {
            Self::Ed25519(key) => string(key.public_key().as_ref()),
            Self::Ecdsa(key) => [string(b"nistp256"), string(key.public_key().as_ref())].concat(),
        };
        [name, key, string(APPLICATION)].concat()
    }

    /// What OpenSSH's PROTOCOL.u2f says: the key signs digests, its flags and its counter.
    fn sign(&self, data: &[u8]) -> Vec<u8> {
        let counter = 7_u32.to_be_bytes();
        let (application, data) = (digest(&SHA256, APPLICATION), digest(&SHA256, data));
        let signed = [application.as_ref(), &[TOUCHED], &counter, data.as_ref()].concat();
        let signature = match self {
            Self::Ed25519(key) => key.sign(&signed).as_ref().to_vec(),
            Self::Ecdsa(key) => {
                let fixed = key.sign(&SystemRandom::new(), &signed).expect("it signs");
                let (r, s) = fixed.as_ref().split_at(32);
                [number(r), number(s)].concat()
            }
        };
        [&string(self.type_name().as_bytes())[..], &string(&signature), &[TOUCHED], &counter].concat()
    }
}

/// RFC 4251, section 5: a string is its length and its bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a string is short");
    [&length.to_be_bytes(), bytes].concat()
}

/// The same section: a positive number has no leading zeros, but one where it would seem negative.
fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = &bytes[zeros..];
    match digits.first() {
        Some(first) if *first >= 0x80 => string(&[&[0], digits].concat()),
        _ => string(digits),
    }
}

fn next_string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first_chunk().expect("a string begins with its length");
    rest.split_at(u32::from_be_bytes(*length) as usize)
}
