//! Work for which the one thread that carries bytes is too good.

use std::thread;

use tokio::sync::oneshot;

/// Does this on another thread; or here, if the system gives none: a box that is short of them keeps its visits.
///
/// Tokio's own threads for such work are no help there: without one it panics.
pub(crate) async fn aside<T: Default + Send + 'static>(work: impl Fn() -> T + Clone + Send + 'static) -> T {
    let (tell, told) = oneshot::channel();
    let there = work.clone();
    let begun = thread::Builder::new().name("aside".into()).spawn(move || drop(tell.send(there())));
    match begun {
        Ok(_) => told.await.unwrap_or_default(),
        Err(_) => work(),
    }
}
