//! Opening a state directory: its keys, its database, and whether they belong together.

use anyhow::Context;
use data_encoding::HEXLOWER;
use postern_protocol::grant::GrantSigner;
use zeroize::Zeroizing;

use crate::ca::{Authority, sha256};
use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::entropy;
use crate::state_dir::StateDir;
use crate::store::Store;

/// The authority's key and certificate.
const AUTHORITY: &str = "authority.pem";

/// The seed of the key that signs grants.
const GRANT_KEY: &str = "grants.key";

/// The database. Its journals beside it get the same permissions from it.
const DATABASE: &str = "postern.db";

/// What a state directory holds, opened.
pub(crate) struct Installation {
    pub(crate) dir: StateDir,
    pub(crate) authority: Authority,
    pub(crate) signer: GrantSigner,
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
        let database = dir.reserve(DATABASE).context(DATABASE)?;
        let store = Store::open(&database, now).await.context(DATABASE)?;
        let grant_key = serde_json::to_vec(&signer.verifier()).context("the grant key as JSON")?;
        store
            .belong_to(&HEXLOWER.encode(&authority.fingerprint()), &HEXLOWER.encode(&sha256(&grant_key)))
            .await?;
        Ok(Self { dir, authority, signer, store })
    }
}
