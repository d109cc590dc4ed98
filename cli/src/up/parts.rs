//! The parts that run in this one process, and their end.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::failure::Failure;

/// Parts, in the order in which they were started.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<Part>);

#[derive(Debug)]
struct Part {
    name: &'static str,
    stop: CancellationToken,
    /// Cancelled when the part has ended, by itself or not.
    ended: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Parts {
    /// Starts a part that runs until its future is over.
    pub(super) fn start<F>(
        &mut self,
        name: &'static str,
        run: impl FnOnce(WaitForCancellationFutureOwned) -> F,
    ) where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let running = run(stop.clone().cancelled_owned());
        let guard = ended.clone().drop_guard();
        let task = tokio::spawn(async move {
            let _guard = guard;
            running.await
        });
        self.0.push(Part { name, stop, ended, task });
    }

    /// Waits until a part ends that nobody told to, and says which.
    pub(super) async fn failed(&mut self) -> Failure {
        let ends = self.0.iter().map(|part| Box::pin(part.ended.cancelled()));
        let (_, place, _) = futures_util::future::select_all(ends).await;
        self.0.remove(place).fate().await
    }

    /// Why a part has ended already, if one has.
    pub(super) fn why(&mut self) -> Option<Failure> {
        let place = self.0.iter().position(|part| part.task.is_finished())?;
        let part = self.0.remove(place);
        futures_util::FutureExt::now_or_never(part.fate())
    }

    /// Stops them, the last first: a relay has visits to report while the API still listens.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        let mut worst = Ok(());
        for part in self.0.into_iter().rev() {
            part.stop.cancel();
            let stopped = match part.task.await {
                Ok(result) => {
                    result.map_err(|error| Failure::Here(error.context(format!("stopping {}", part.name))))
                }
                Err(panic) => Err(broke_down(part.name, &panic)),
            };
            worst = worst.and(stopped);
        }
        worst
    }
}

impl Part {
    /// What became of a part that ended by itself.
    async fn fate(self) -> Failure {
        match self.task.await {
            Ok(Ok(())) => Failure::Here(anyhow::anyhow!("{} stopped by itself", self.name)),
            Ok(Err(error)) => Failure::Here(error.context(format!("{} stopped", self.name))),
            Err(panic) => broke_down(self.name, &panic),
        }
    }
}

fn broke_down(name: &str, panic: &tokio::task::JoinError) -> Failure {
    Failure::Here(anyhow::anyhow!("{name} broke down: {panic}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn the_part_that_fails_is_named_with_its_reason() {
        let mut parts = Parts::default();
        parts.start("the relay", |stop| async move {
            stop.await;
            Ok(())
        });
        parts.start("the control API", |_| async {
            Err(anyhow::anyhow!("the disk is full").context("writing"))
        });
        let failure = parts.failed().await.to_string();
        assert_eq!(failure, "the control API stopped: writing: the disk is full");
        parts.stop().await.unwrap();
    }

    #[tokio::test]
    async fn parts_stop_in_the_reverse_order() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut parts = Parts::default();
        for name in ["first", "second", "third"] {
            let order = order.clone();
            parts.start(name, |stop| async move {
                stop.await;
                order.lock().unwrap().push(name);
                Ok(())
            });
        }
        parts.stop().await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["third", "second", "first"]);
    }
}
