//! What has arrived for a connection and waits for its task.

use std::sync::Mutex;
use std::task::Waker;

use quinn_proto::ConnectionEvent;

use super::lock;

/// The most datagrams that wait; more are dropped, as a kernel drops what does not fit its buffer.
const MOST: usize = 2048;

/// Costs nothing while nothing waits.
#[derive(Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    events: Vec<ConnectionEvent>,
    task: Option<Waker>,
}

impl Inbox {
    /// Puts in what was received, if there is room, and wakes the task.
    pub(super) fn receive(&self, datagrams: &mut Vec<ConnectionEvent>) {
        let mut waiting = lock(&self.0);
        if waiting.events.is_empty() {
            std::mem::swap(&mut waiting.events, datagrams);
        } else if waiting.events.len() < MOST {
            waiting.events.append(datagrams);
        }
        datagrams.clear();
        let task = waiting.task.take();
        drop(waiting);
        task.into_iter().for_each(Waker::wake);
    }

    /// Puts in what the endpoint has to say, which is little and must not be lost, and wakes the task.
    pub(super) fn put(&self, events: Vec<ConnectionEvent>) {
        lock(&self.0).events.extend(events);
        self.wake();
    }

    /// Wakes the task: something else has changed.
    pub(super) fn wake(&self) {
        let task = lock(&self.0).task.take();
        task.into_iter().for_each(Waker::wake);
    }

    /// Takes what is there; this task is woken when there is more.
    pub(super) fn take(&self, task: &Waker) -> Vec<ConnectionEvent> {
        let mut waiting = lock(&self.0);
        waiting.task = Some(task.clone());
        std::mem::take(&mut waiting.events)
    }
}
