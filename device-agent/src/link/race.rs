//! Several attempts at the same, of which the first that succeeds is taken (as RFC 8305 does it).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

/// Begins each attempt so long after the one before, or as soon as one has failed. Those that did not win
/// are dropped.
pub(super) async fn race<T, E, F>(
    attempts: impl IntoIterator<Item = F>,
    head_start: Duration,
) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting: VecDeque<F> = attempts.into_iter().collect();
    let (mut running, mut failures) = (FuturesUnordered::new(), Vec::new());
    running.extend(waiting.pop_front());
    while !running.is_empty() {
        tokio::select! {
            Some(done) = running.next() => match done {
                Ok(winner) => return Ok(winner),
                Err(failure) => failures.push(failure),
            },
            () = sleep(head_start), if !waiting.is_empty() => {}
        }
        running.extend(waiting.pop_front());
    }
    Err(failures)
}

/// Both families by turns, beginning with that of the first: one that leads nowhere costs one head start.
pub(super) fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut queues, mut turns) = ([first, second], Vec::new());
    while queues.iter().any(|queue| !queue.is_empty()) {
        turns.extend(queues.iter_mut().filter_map(VecDeque::pop_front));
    }
    turns
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const HEAD_START: Duration = Duration::from_millis(250);

    /// Succeeds or fails after so many milliseconds.
    async fn runner(name: &'static str, after: u64, wins: bool) -> Result<&'static str, &'static str> {
        sleep(Duration::from_millis(after)).await;
        if wins { Ok(name) } else { Err(name) }
    }

    /// Who wins, or who failed, and after how long.
    async fn raced(
        runners: Vec<(&'static str, u64, bool)>,
    ) -> (Result<&'static str, Vec<&'static str>>, u128) {
        let start = Instant::now();
        let runners = runners.into_iter().map(|(name, after, wins)| runner(name, after, wins));
        (race(runners, HEAD_START).await, start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_has_a_head_start_and_no_more() {
        assert_eq!(raced(vec![("a", 200, true), ("b", 1, true)]).await, (Ok("a"), 200));
        assert_eq!(raced(vec![("a", 900, true), ("b", 1, true)]).await, (Ok("b"), 251));
        assert_eq!(raced(vec![("a", 400, true), ("b", 900, true), ("c", 900, true)]).await, (Ok("a"), 400));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_makes_the_next_begin_at_once() {
        assert_eq!(raced(vec![("a", 10, false), ("b", 10, true)]).await, (Ok("b"), 20));
        assert_eq!(raced(vec![("a", 300, false), ("b", 10, false)]).await, (Err(vec!["b", "a"]), 300));
        assert_eq!(raced(vec![]).await, (Err(vec![]), 0));
    }

    #[test]
    fn families_take_turns() {
        let addresses = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        let turns: Vec<SocketAddr> =
            by_turns(addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "192.0.2.1:1", "192.0.2.2:1"]));
        let expected: Vec<SocketAddr> =
            addresses(&["[::1]:1", "192.0.2.1:1", "[::2]:1", "192.0.2.2:1", "[::3]:1"]);
        assert_eq!(turns, expected);
    }
}
