//! What sftp tells of a file, and how an `ls -l` line shows it.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use chrono::{DateTime, Utc};
use nix::unistd::{Gid, Group, Uid, User};
use russh_sftp::protocol::FileAttributes;

/// The attributes of version 3 of the protocol.
pub(super) fn of(metadata: &Metadata) -> FileAttributes {
    // Times have 32 bits here; what does not fit is shown as the nearest that does.
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: Some(seconds(metadata.atime())),
        mtime: Some(seconds(metadata.mtime())),
        ..FileAttributes::empty()
    }
}

/// The names of owners, looked up once each.
#[derive(Default)]
pub(super) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// A line as `ls -l` prints it.
    pub(super) fn line(&mut self, name: &str, metadata: &Metadata) -> String {
        let (uid, gid) = (metadata.uid(), metadata.gid());
        let user = self.users.entry(uid).or_insert_with(|| user_name(uid));
        let group = self.groups.entry(gid).or_insert_with(|| group_name(gid));
        let time = DateTime::from_timestamp(metadata.mtime(), 0).unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
        format!(
            "{} {:>3} {user:<8} {group:<8} {:>8} {} {name}",
            letters(metadata.mode()),
            metadata.nlink(),
            metadata.len(),
            time.format("%b %e  %Y"),
        )
    }
}

fn user_name(uid: u32) -> String {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: u32) -> String {
    let known = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    known.map_or_else(|| gid.to_string(), |group| group.name)
}

/// A mode as `drwxr-xr-x`.
fn letters(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o010_000 => 'p',
        0o140_000 => 's',
        0o020_000 => 'c',
        0o060_000 => 'b',
        _ => '-',
    };
    let execute = |bits: u32, special: u32, letter: char| match (bits & 1 != 0, mode & special != 0) {
        (true, true) => letter,
        (false, true) => letter.to_ascii_uppercase(),
        (true, false) => 'x',
        (false, false) => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(execute(bits, special, letter));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        for (mode, text) in [
            (0o040_755, "drwxr-xr-x"),
            (0o100_640, "-rw-r-----"),
            (0o120_777, "lrwxrwxrwx"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_644, "-rw-r-Sr--"),
            (0o041_777, "drwxrwxrwt"),
            (0o041_776, "drwxrwxrwT"),
            (0o140_600, "srw-------"),
        ] {
            assert_eq!(letters(mode), text, "{mode:o}");
        }
    }
}
