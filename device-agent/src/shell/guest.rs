//! One visitor, as the agent's own decision lets them in.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_protocol::access::Denial;
use postern_protocol::id::{AccessId, Login};
use postern_protocol::ssh_key::PublicKey;
use tokio_util::sync::CancellationToken;

/// One visitor, as the agent's own decision lets them in.
pub struct Guest {
    /// The access.
    pub access: AccessId,
    /// Who they are on this box.
    pub login: Login,
    /// The key that they must prove.
    pub key: PublicKey,
    /// Where they come from, as the relay saw it.
    pub visitor: SocketAddr,
    /// Whether the access still lets them in, now.
    pub allowed: Arc<dyn Fn() -> Result<(), Denial> + Send + Sync>,
    /// Cancelled when the visit is over, whatever goes on in it.
    pub ended: CancellationToken,
}
