//! The state directory: readable by its owner alone, each file replaced as a whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// How the names of unfinished files end.
const UNFINISHED: &str = ".new";

/// The file whose lock says that an agent runs here.
const LOCK: &str = "lock";

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct State {
    dir: PathBuf,
}

/// The claim to be the one agent that runs with a state directory; it ends with the process at the latest.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: File,
}

impl State {
    /// The directory as it is, for those who only read.
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The directory, made if it is not there, and closed to others.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let state = Self::at(dir);
        match fs::metadata(dir) {
            Ok(found) if found.permissions().mode() & 0o077 == 0 => {}
            Ok(_) => state.close_to_others()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .with_context(|| format!("making the state directory {}", dir.display()))?,
            Err(error) => {
                return Err(error).with_context(|| format!("the state directory {}", dir.display()));
            }
        }
        Ok(state)
    }

    /// An empty directory, such as a fresh volume, is closed; one in which others already keep
    /// things is not ours to close.
    fn close_to_others(&self) -> anyhow::Result<()> {
        let dir = self.dir.display();
        let empty = fs::read_dir(&self.dir).with_context(|| format!("reading {dir}"))?.next().is_none();
        if !empty {
            bail!("{dir} is open to others: give the agent a directory of its own, or chmod 700 {dir}");
        }
        fs::set_permissions(&self.dir, Permissions::from_mode(0o700))
            .with_context(|| format!("closing {dir} to others"))
    }

    /// Claims the directory for a running agent, and clears what a crash left unfinished.
    pub(crate) fn claim(&self) -> anyhow::Result<Claim> {
        let path = self.path(LOCK);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.with_context(|| format!("opening {}", path.display()))?;
        if lock.try_lock().is_err() {
            bail!("another agent runs with the state directory {}", self.dir.display());
        }
        self.clear_unfinished().with_context(|| format!("clearing {}", self.dir.display()))?;
        Ok(Claim { _lock: lock })
    }

    fn clear_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(UNFINISHED)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Where a file is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A file, if it is there.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        absent_is_none(fs::read(self.path(name)))
    }

    /// Replaces a file; when this returns, the new one survives a loss of power.
    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let unfinished = self.path(&format!(".{name}.{}{UNFINISHED}", std::process::id()));
        absent_is_none(fs::remove_file(&unfinished))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path(name))?;
        self.sync()
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match absent_is_none(fs::remove_file(self.path(name)))? {
            Some(()) => self.sync(),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// Gives `None` for what is not there.
fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_directory_and_its_files_are_for_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(&home.path().join("var/agent")).unwrap();
        state.write("key", b"secret").unwrap();
        assert_eq!(mode(&state.dir), 0o700);
        assert_eq!(mode(&state.path("key")), 0o600);
    }

    #[test]
    fn an_empty_directory_is_closed_and_a_used_one_is_not_touched() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        State::open(home.path()).unwrap();
        assert_eq!(mode(home.path()), 0o700);

        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(home.path().join("somebody's"), "").unwrap();
        let refusal = State::open(home.path()).unwrap_err().to_string();
        assert!(refusal.contains("chmod 700"), "{refusal}");
        assert_eq!(mode(home.path()), 0o755);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_behind() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        state.write("a", b"one").unwrap();
        state.write("a", b"two").unwrap();
        assert_eq!(state.read("a").unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        state.remove("a").unwrap();
        state.remove("a").unwrap();
        assert_eq!(state.read("a").unwrap(), None);
    }

    #[test]
    fn a_crash_leaves_nothing_for_long() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        fs::write(state.path(".a.1.new"), "half").unwrap();
        let _claim = state.claim().unwrap();
        assert!(!state.path(".a.1.new").exists());
    }

    #[test]
    fn two_agents_cannot_share_a_directory() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let claim = state.claim().unwrap();
        assert!(state.claim().unwrap_err().to_string().contains("another agent"));
        drop(claim);
        assert!(state.claim().is_ok());
    }
}
