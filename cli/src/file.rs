//! Files that hold secrets or must never be seen half written.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The largest file that is read: settings, tokens, keys and ssh's configuration are far smaller.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a file; nothing if there is none.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => read_open(file).with_context(|| format!("reading {}", path.display())).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Reads a text that only its owner may read; nothing if there is none. Others who can read it are a
/// mistake that is refused, not passed over.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let metadata = file.metadata().with_context(|| format!("looking at {}", path.display()))?;
    // A pipe, as a shell makes for <(…), belongs to whoever made it.
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        anyhow::bail!("{path} holds a secret and others can read it; run: chmod 600 {path}");
    }
    let text = read_open(file).with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8(text).ok().with_context(|| format!("{} is not text", path.display()))?;
    Ok(Some(text))
}

/// Reads to the end, if that is not too far.
pub(crate) fn read_open(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "this is larger than any such file")),
        false => Ok(bytes),
    }
}

/// Writes a file whole or not at all, readable by its owner alone unless it was there with another
/// mode, which is kept. A link is followed, so that it stays one.
pub(crate) fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = std::fs::metadata(&target).map_or(0o600, |metadata| metadata.permissions().mode() & 0o7777);
    write_whole(&target, mode, contents).with_context(|| format!("writing {}", path.display()))
}

fn write_whole(path: &Path, mode: u32, contents: &[u8]) -> io::Result<()> {
    let draft = draft(path);
    // One that a crash left behind: it was never the file.
    let _ = std::fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file
        .write_all(contents)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

/// Beside the file, so that a rename is all it takes; with the process in its name, so that two who
/// write at once do not share it.
fn draft(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

/// Makes a folder, and those above it, for its owner alone.
pub(crate) fn private_folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_private_and_an_old_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        write(&path, b"a").unwrap();
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write(&path, b"b").unwrap();
        assert_eq!((mode(&path), std::fs::read(&path).unwrap()), (0o644, b"b".to_vec()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("dotfiles"), dir.path().join("config"));
        std::fs::write(&real, "a").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, b"b").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"b");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert_eq!(read_secret(&path).unwrap(), None);
        std::fs::write(&path, "pst_x").unwrap();
        for (mode, fits) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o644, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match read_secret(&path) {
                Ok(text) => assert!(fits && text.as_deref() == Some("pst_x"), "{mode:o}"),
                Err(error) => assert!(!fits && error.to_string().contains("chmod 600"), "{mode:o}: {error}"),
            }
        }
    }

    #[test]
    fn a_file_that_never_ends_is_not_read_to_its_end() {
        assert!(read_open(io::repeat(0)).is_err());
    }
}
