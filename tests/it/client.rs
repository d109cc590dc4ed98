//! An SSH client of our own, for what stock clients refuse to do.

use std::sync::Arc;

use postern_protocol::id::AccessId;
use postern_tests::{Key, Stack};
use russh::client::{AuthResult, Config, Handle, Handler, Msg, connect};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{Channel, Error, SendError};

/// A connection to the gate.
pub(crate) struct Client(Handle<Trusting>);

/// These tests are about what the gate believes, not about who it is.
struct Trusting;

impl Handler for Trusting {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

impl Client {
    /// Connects, and says nothing yet.
    pub(crate) async fn connect(stack: &Stack) -> Self {
        let gate = stack.relay.listening().gate;
        Self(connect(Arc::new(Config::default()), gate, Trusting).await.expect("the gate answers"))
    }

    /// Logs in by proving a key.
    pub(crate) async fn login(stack: &Stack, access: AccessId, key: &Key) -> Self {
        let mut client = Self::connect(stack).await;
        let key = PrivateKeyWithHashAlg::new(Arc::new(private(key)), None);
        let answer =
            client.0.authenticate_publickey(access.to_string(), key).await.expect("the gate answers");
        assert!(answer.success(), "{answer:?}");
        client
    }

    /// Claims a key, and signs with another.
    pub(crate) async fn claim(&mut self, access: AccessId, claimed: &Key, owned: &Key) -> AuthResult {
        let public = private(claimed).public_key().clone();
        let mut forger = Forger(private(owned));
        let answer = self.0.authenticate_publickey_with(access.to_string(), public, None, &mut forger);
        answer.await.expect("the gate answers")
    }

    /// Asks for a channel to a port of a box.
    pub(crate) async fn open(&self, host: &str, port: u32) -> Result<Channel<Msg>, Error> {
        self.0.channel_open_direct_tcpip(host, port, "127.0.0.1", 40_000).await
    }
}

fn private(key: &Key) -> PrivateKey {
    load_secret_key(key.path(), None).expect("ssh-keygen wrote it")
}

/// Signs with a key that is not the one that was offered.
struct Forger(PrivateKey);

impl russh::Signer for Forger {
    type Error = ForgerError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        _: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, ForgerError> {
        let signature: Vec<u8> =
            self.0.try_sign(&to_sign).expect("it signs").try_into().expect("it has bytes");
        let length = u32::try_from(signature.len()).expect("signatures are short");
        to_sign.extend(length.to_be_bytes());
        to_sign.extend(signature);
        Ok(to_sign)
    }
}

/// A gate that hung up before the signature was sent.
#[derive(Debug)]
pub(crate) struct ForgerError;

impl From<SendError> for ForgerError {
    fn from(_: SendError) -> Self {
        Self
    }
}
