//! Opening a state directory: its keys, its database, and whether they belong together; and how its
//! first user gets in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use data_encoding::HEXLOWER;
use postern_protocol::grant::GrantSigner;
use postern_protocol::secret::Secret;
use zeroize::Zeroizing;

use crate::author::Author;
use crate::ca::{Authority, sha256};
use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::{entropy, secret};
use crate::http::{INVITATION, INVITATION_LASTS};
use crate::record::InvitationRecord;
use crate::state_dir::StateDir;
use crate::store::{Store, StoreError};
use crate::webhooks::WebhookKey;

/// The authority's key and certificate.
const AUTHORITY: &str = "authority.pem";

/// The seed of the key that signs grants.
const GRANT_KEY: &str = "grants.key";

/// The database. Its journals beside it get the same permissions from it.
const DATABASE: &str = "postern.db";

/// Makes the invitation by which an installation's first owner makes themselves known, in place of any
/// older one.
pub(crate) async fn invite_an_owner(store: &Store, clock: &Clock) -> Result<Secret, StoreError> {
    let token = secret(INVITATION);
    let expires_at = clock.now() + INVITATION_LASTS;
    store
        .own_account(Author::machine(clock.now()))
        .invite_an_owner(&InvitationRecord { hash: token.hash(), expires_at })
        .await?;
    Ok(token)
}

/// The link by which somebody chooses a password. The token stands where browsers do not send it to any
/// server, so that it gets into no log.
pub(crate) fn link(config: &Config, address: SocketAddr, token: &Secret) -> Secret {
    Secret::from_text(format!("{}/setup#{}", base(config, address), token.reveal()))
}

/// Where browsers come in.
pub(crate) fn base(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let own = || format!("{scheme}://{}", from_here(address));
    config.public_url.as_ref().map_or_else(own, |url| url.as_str().to_owned())
}

/// The address by which this very machine reaches one that is listened on.
fn from_here(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// What a state directory holds, opened.
pub(crate) struct Installation {
    pub(crate) dir: StateDir,
    pub(crate) authority: Authority,
    pub(crate) signer: GrantSigner,
    pub(crate) webhook_key: WebhookKey,
    pub(crate) store: Store,
}

impl Installation {
    /// Opens a state directory; at first, makes everything in it.
    pub(crate) async fn open(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        let path = config.state_dir.clone();
        let opening = format!("opening the state directory {}", path.display());
        let dir = StateDir::open(&path).with_context(|| opening.clone())?;
        // Another program may be making the same files; its turn is a matter of milliseconds, but it
        // is waited for off the runtime's threads.
        let waiting = dir.clone();
        let lock =
            tokio::task::spawn_blocking(move || waiting.lock()).await?.with_context(|| opening.clone())?;
        let now = clock.now();
        let authority = dir.secret(&lock, AUTHORITY, || Authority::generate(now)).context(AUTHORITY)?;
        let authority = Authority::from_pem(&authority).context(AUTHORITY)?;
        let seed = || Zeroizing::new(entropy::<32>().to_vec());
        let seed = dir.secret(&lock, GRANT_KEY, seed).context(GRANT_KEY)?;
        let seed =
            Zeroizing::new(<[u8; 32]>::try_from(seed.as_slice()).context("grants.key has not 32 bytes")?);
        let signer = GrantSigner::from_seed(&seed);
        let webhook_key = WebhookKey::from_seed(&seed);
        let database = dir.reserve(DATABASE).context(DATABASE)?;
        let store = Store::open(&database, now).await.context(DATABASE)?;
        let grant_key = serde_json::to_vec(&signer.verifier()).context("the grant key as JSON")?;
        store
            .belong_to(&HEXLOWER.encode(&authority.fingerprint()), &HEXLOWER.encode(&sha256(&grant_key)))
            .await?;
        Ok(Self { dir, authority, signer, webhook_key, store })
    }
}
