//! The directory that holds keys and the database.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;
use zeroize::Zeroizing;

/// Who may read a key: its owner.
const PRIVATE: u32 = 0o600;

/// Says where the API listens, for whoever started it on port 0.
const LISTENING: &str = "listening.json";

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// Holds other programs back from setting the same directory up; ends when dropped.
pub(crate) struct SetupLock {
    _file: File,
}

impl StateDir {
    /// Opens the directory, and makes it, closed to others, if it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits until no other program is setting the directory up, and keeps others waiting.
    pub(crate) fn lock(&self) -> io::Result<SetupLock> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(PRIVATE).open(self.file("lock"))?;
        file.lock()?;
        Ok(SetupLock { _file: file })
    }

    /// The secret in a file, made there if it is not; the lock is the proof that nobody else makes
    /// it at the same time.
    pub(crate) fn secret(
        &self,
        _lock: &SetupLock,
        name: &str,
        make: impl FnOnce() -> Zeroizing<Vec<u8>>,
    ) -> io::Result<Zeroizing<Vec<u8>>> {
        let path = self.file(name);
        match fs::read(&path) {
            Ok(secret) => {
                close_to_others(&path)?;
                Ok(Zeroizing::new(secret))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = make();
                write_whole(&path, PRIVATE, &secret)?;
                Ok(secret)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a file that only its owner may read, for a program that would make it with fewer cares.
    pub(crate) fn reserve(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.file(name);
        OpenOptions::new().append(true).create(true).mode(PRIVATE).open(&path)?;
        close_to_others(&path)?;
        Ok(path)
    }

    /// Says where the API listens.
    pub(crate) fn announce(&self, listening: &serde_json::Value) -> io::Result<()> {
        write_whole(&self.file(LISTENING), 0o644, listening.to_string().as_bytes())
    }

    /// Says that it listens no longer.
    pub(crate) fn withdraw(&self) {
        if let Err(error) = fs::remove_file(self.file(LISTENING)) {
            warn!(%error, "removing {LISTENING}");
        }
    }
}

/// Puts a whole file in place at once: after a crash there is the old one or the new one. The mode is
/// set apart from the creation, because a umask would narrow it.
pub(crate) fn write_whole(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&new)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Takes away what others may do with a file, as volumes of some orchestrators hand it to a group.
fn close_to_others(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        warn!(path = %path.display(), "others could read this file; closing it to them");
        fs::set_permissions(path, Permissions::from_mode(PRIVATE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn secret(dir: &StateDir, made: &[u8]) -> Vec<u8> {
        let lock = dir.lock().unwrap();
        dir.secret(&lock, "key", || Zeroizing::new(made.to_vec())).unwrap().to_vec()
    }

    #[test]
    fn a_secret_is_made_once_and_closed_to_others() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&temp.path().join("state")).unwrap();
        assert_eq!(secret(&dir, b"first"), b"first");
        assert_eq!(secret(&dir, b"second"), b"first");
        assert_eq!(mode(&dir.path), 0o700);
        assert_eq!(mode(&dir.file("key")), 0o600);
    }

    #[test]
    fn a_secret_that_others_could_read_is_closed_to_them() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        secret(&dir, b"first");
        fs::set_permissions(dir.file("key"), Permissions::from_mode(0o660)).unwrap();
        secret(&dir, b"second");
        assert_eq!(mode(&dir.file("key")), 0o600);
    }

    #[test]
    fn where_it_listens_is_for_everybody_to_read() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        dir.announce(&serde_json::json!({ "http": "127.0.0.1:1" })).unwrap();
        assert_eq!(mode(&dir.file(LISTENING)), 0o644);
        dir.withdraw();
        assert!(!dir.file(LISTENING).exists());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "nothing half-written is left");
    }
}
