//! Waiting for what another process does: the only place that sleeps.

use std::time::{Duration, Instant};

/// Long enough for anything that should happen soon on a busy machine; nothing waits this long when
/// all is well.
pub const SOON: Duration = Duration::from_secs(20);

/// Long enough for a box to be back after its relay was killed: an idle one notices by its next
/// keep-alive, at most 20 s later.
pub const RETURN: Duration = Duration::from_secs(40);

/// Between two looks: short against a second, which is the promise that is measured with it.
const INTERVAL: Duration = Duration::from_millis(15);

/// What `check` finds, as soon as it finds it. Fails the test at the deadline.
pub async fn eventually<T>(what: &str, deadline: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < deadline, "{what}: not within {deadline:?}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The result of something that must end by itself. Fails the test at the deadline.
pub async fn within<T>(what: &str, deadline: Duration, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, event).await {
        Ok(result) => result,
        Err(_) => panic!("{what}: not within {deadline:?}"),
    }
}
