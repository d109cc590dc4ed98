//! Only one `postern up` runs on a folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

/// Held for as long as it lives; a crash gives it up too, for the kernel keeps it.
#[derive(Debug)]
pub(super) struct Claim {
    _file: File,
}

impl Claim {
    /// Takes a folder, or says who has it.
    pub(super) fn take(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("lock");
        let what = || format!("locking {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(what)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder is only mentioned: the lock is what counts.
                let _ = file.read_to_string(&mut holder);
                bail!(
                    "another 'postern up' runs on {} (process {}): stop it first, or name another folder: --dir DIR",
                    dir.display(),
                    holder.trim()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).with_context(what)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_by_one_and_free_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Claim::take(dir.path()).unwrap();
        let second = Claim::take(dir.path()).unwrap_err().to_string();
        assert!(second.contains(&format!("(process {})", std::process::id())), "{second}");
        drop(first);
        Claim::take(dir.path()).unwrap();
    }
}
