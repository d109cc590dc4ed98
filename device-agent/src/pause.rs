//! The owner's switch: while it is thrown nothing comes in, whatever the cloud says.

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::state::State;

/// The file in the state directory. That it is there is what counts; it says since when.
const FILE: &str = "paused";

/// The switch, kept over restarts.
#[derive(Debug)]
pub(crate) struct Pause {
    state: State,
    since: watch::Sender<Option<DateTime<Utc>>>,
}

impl Pause {
    /// The switch as it was left.
    pub(crate) fn load(state: &State) -> Self {
        Self { state: state.clone(), since: watch::Sender::new(paused_since(state)) }
    }

    /// Whether the box is paused and since when, now and whenever it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<DateTime<Utc>>> {
        self.since.subscribe()
    }

    /// Lets nobody in any more. It takes effect even if it cannot be kept.
    pub(crate) fn pause(&self, now: DateTime<Utc>) -> std::io::Result<()> {
        self.since.send_if_modified(|since| {
            let changed = since.is_none();
            since.get_or_insert(now);
            changed
        });
        let since = self.since.borrow().unwrap_or(now);
        self.state.write(FILE, since.to_rfc3339().as_bytes())
    }

    /// Lets those in who may come in. It takes effect only if it can be kept.
    pub(crate) fn resume(&self) -> std::io::Result<()> {
        self.state.remove(FILE)?;
        self.since.send_if_modified(|since| since.take().is_some());
        Ok(())
    }
}

/// Whether a box is paused, and since when. What cannot be read counts as paused.
pub(crate) fn paused_since(state: &State) -> Option<DateTime<Utc>> {
    let text = match state.read(FILE) {
        Ok(text) => text?,
        Err(_) => return Some(DateTime::UNIX_EPOCH),
    };
    let moment = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    Some(moment.unwrap_or(DateTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        (home, state)
    }

    #[test]
    fn the_switch_survives_a_restart() {
        let (_home, state) = state();
        let now = Utc::now();
        Pause::load(&state).pause(now).unwrap();
        assert_eq!(*Pause::load(&state).watch().borrow(), Some(now));
        Pause::load(&state).resume().unwrap();
        assert_eq!(*Pause::load(&state).watch().borrow(), None);
    }

    #[test]
    fn a_damaged_switch_is_thrown() {
        let (_home, state) = state();
        state.write(FILE, b"\xff\x00").unwrap();
        assert!(Pause::load(&state).watch().borrow().is_some());
    }

    #[test]
    fn pausing_takes_effect_even_if_it_cannot_be_kept() {
        let (home, state) = state();
        let pause = Pause::load(&state);
        drop(home);
        assert!(pause.pause(Utc::now()).is_err());
        assert!(pause.watch().borrow().is_some());
    }
}
