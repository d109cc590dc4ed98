//! What sftp does to files, in terms of the system's calls.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use russh_sftp::protocol::{FileAttributes, OpenFlags};

/// What a client may set of a mode: permissions, not the kind of a file.
const PERMISSIONS: u32 = 0o7777;

/// The mode of a new file, less the umask, unless the client says otherwise.
const NEW_FILE: u32 = 0o666;

/// Opens a file as the client wishes, flag by flag.
pub(super) fn open_file(path: &Path, wishes: OpenFlags, attributes: &FileAttributes) -> io::Result<File> {
    let mut flags = match (wishes.contains(OpenFlags::READ), wishes.contains(OpenFlags::WRITE)) {
        (true, true) => OFlag::O_RDWR,
        (false, true) => OFlag::O_WRONLY,
        (_, false) => OFlag::O_RDONLY,
    };
    for (wish, flag) in [
        (OpenFlags::APPEND, OFlag::O_APPEND),
        (OpenFlags::CREATE, OFlag::O_CREAT),
        (OpenFlags::TRUNCATE, OFlag::O_TRUNC),
        (OpenFlags::EXCLUDE, OFlag::O_EXCL),
    ] {
        flags.set(flag, wishes.contains(wish));
    }
    let mode = Mode::from_bits_truncate(attributes.permissions.unwrap_or(NEW_FILE) & PERMISSIONS);
    Ok(open(path, flags | OFlag::O_CLOEXEC, mode)?.into())
}

/// Reads at an offset until as much is there as was asked for, or the file ends.
pub(super) fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut data[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(filled);
    Ok(data)
}

/// Sets what the client names of a file by its path.
pub(super) fn set_by_path(path: &Path, wanted: &FileAttributes) -> io::Result<()> {
    if let Some(size) = wanted.size {
        File::options().write(true).open(path)?.set_len(size)?;
    }
    if let Some(mode) = wanted.permissions {
        fs::set_permissions(path, Permissions::from_mode(mode & PERMISSIONS))?;
    }
    if let (Some(accessed), Some(modified)) = (wanted.atime, wanted.mtime) {
        let time = |seconds| TimeSpec::from_duration(Duration::from_secs(u64::from(seconds)));
        let follow = UtimensatFlags::FollowSymlink;
        utimensat(AT_FDCWD, path, &time(accessed), &time(modified), follow)?;
    }
    match (wanted.uid, wanted.gid) {
        (None, None) => Ok(()),
        (uid, gid) => chown(path, uid, gid),
    }
}

/// Sets what the client names of an open file.
pub(super) fn set_by_handle(file: &File, wanted: &FileAttributes) -> io::Result<()> {
    if let Some(size) = wanted.size {
        file.set_len(size)?;
    }
    if let Some(mode) = wanted.permissions {
        file.set_permissions(Permissions::from_mode(mode & PERMISSIONS))?;
    }
    if let (Some(accessed), Some(modified)) = (wanted.atime, wanted.mtime) {
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(u64::from(seconds));
        let times = fs::FileTimes::new().set_accessed(time(accessed)).set_modified(time(modified));
        file.set_times(times)?;
    }
    match (wanted.uid, wanted.gid) {
        (None, None) => Ok(()),
        (uid, gid) => fchown(file, uid, gid),
    }
}

/// Renames, unless something is there already: version 3 of the protocol never replaces.
pub(super) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// A path without links and dots; its last part need not exist.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match (fs::canonicalize(path), path.file_name(), path.parent()) {
        (Err(error), Some(name), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(fs::canonicalize(parent)?.join(name))
        }
        (found, _, _) => found,
    }
}

/// The entries of a directory, the two dots among them; one that is gone by now is left out.
pub(super) fn entries(path: &Path) -> io::Result<Vec<(String, Metadata)>> {
    let dots = [".", ".."].map(|dot| (dot.to_owned(), path.join(dot)));
    let listed = fs::read_dir(path)?.flatten().map(|entry| {
        // The protocol crate carries names as text; a name that is none is shown, but cannot be asked for.
        (entry.file_name().to_string_lossy().into_owned(), entry.path())
    });
    let known = |(name, path): (String, PathBuf)| Some((name, fs::symlink_metadata(path).ok()?));
    Ok(dots.into_iter().chain(listed).filter_map(known).collect())
}
