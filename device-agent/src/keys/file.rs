//! Rewrites a keys file as a whole or not at all, with owner, group and mode kept.
//!
//! The agent is often root and the file often lies in a user's own directory, where that user may
//! put links. So the path is walked one step at a time, each step from the directory that the last
//! one opened, and a file is written only if it belongs to whoever could have bent the path.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

/// The largest keys file that is read.
const MAX_SIZE: u64 = 1024 * 1024;

/// The most links on one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Between the name of a file and the name of its successor before the exchange.
const UNFINISHED: &str = ".postern-new";

/// Replaces the contents of a keys file by what `change` makes of them. A file that is not there is
/// made only if there is something to say.
pub(crate) fn rewrite(path: &Path, change: impl FnOnce(&[u8]) -> Vec<u8>) -> io::Result<()> {
    let place = Place::find(path)?;
    let old = place.read()?;
    let new = change(old.as_deref().unwrap_or_default());
    match new == old.unwrap_or_default() {
        true => Ok(()),
        false => place.replace(&new),
    }
}

/// Where a keys file is or will be, held by its directory so that nothing moves it meanwhile.
struct Place {
    dir: OwnedFd,
    name: OsString,
    owner: u32,
    group: u32,
    mode: u32,
}

impl Place {
    fn find(path: &Path) -> io::Result<Self> {
        let mut walk = Walk::begin(path)?;
        while let Some(name) = walk.ahead.pop_front() {
            let last = walk.ahead.is_empty();
            match fstatat(&walk.dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(found) if kind(&found) == SFlag::S_IFLNK => walk.follow(&name, &found)?,
                Ok(_) if !last => walk.enter(&name)?,
                Ok(found) => return walk.arrive(name, &found),
                Err(Errno::ENOENT) if last => return walk.arrive_at_nothing(name),
                Err(error) => return Err(error.into()),
            }
        }
        Err(refusal("it is a directory"))
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.dir, self.name.as_os_str(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let opened = fstat(&file)?;
        if kind(&opened) != SFlag::S_IFREG || opened.st_uid != self.owner {
            return Err(refusal("it was exchanged while it was looked at"));
        }
        let mut contents = Vec::new();
        file.take(MAX_SIZE + 1).read_to_end(&mut contents)?;
        match contents.len() as u64 > MAX_SIZE {
            true => Err(refusal("it is larger than any keys file")),
            false => Ok(Some(contents)),
        }
    }

    fn replace(&self, contents: &[u8]) -> io::Result<()> {
        let mut unfinished = OsString::from(".");
        unfinished.push(&self.name);
        unfinished.push(UNFINISHED);
        let written = self.write(&unfinished, contents).and_then(|()| {
            renameat(&self.dir, unfinished.as_os_str(), &self.dir, self.name.as_os_str())?;
            self.sync()
        });
        if written.is_err() {
            let _left_behind = unlinkat(&self.dir, unfinished.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    fn write(&self, name: &OsStr, contents: &[u8]) -> io::Result<()> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.dir, name, flags, Mode::from_bits_truncate(0o600))?);
        file.write_all(contents)?;
        fchown(&file, Some(self.owner), Some(self.group))?;
        file.set_permissions(Permissions::from_mode(self.mode))?;
        file.sync_all()
    }

    /// Makes the exchange survive a loss of power, where the directory may be opened at all.
    fn sync(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match openat(&self.dir, ".", flags, Mode::empty()) {
            Ok(dir) => File::from(dir).sync_all(),
            Err(Errno::EACCES) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A walk along a path, and who could have bent it.
struct Walk {
    dir: OwnedFd,
    ahead: VecDeque<OsString>,
    links: usize,
    /// Owners of directories and links on the way, besides root and the agent's own user.
    others: BTreeSet<u32>,
}

impl Walk {
    fn begin(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            return Err(refusal("its path does not begin at the root"));
        }
        Ok(Self { dir: open_dir(None)?, ahead: steps(path), links: 0, others: BTreeSet::new() })
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let dir = open_dir(Some((&self.dir, name)))?;
        let found = fstat(&dir)?;
        let shared = found.st_mode & 0o022 != 0 && found.st_mode & Mode::S_ISVTX.bits() == 0;
        if shared {
            return Err(refusal("a directory on its path can be changed by others"));
        }
        self.meet(found.st_uid);
        self.dir = dir;
        Ok(())
    }

    fn follow(&mut self, name: &OsStr, link: &FileStat) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP.into());
        }
        self.meet(link.st_uid);
        let target = readlinkat(&self.dir, name)?;
        let target = Path::new(&target);
        if target.is_absolute() {
            self.dir = open_dir(None)?;
        }
        for step in steps(target).into_iter().rev() {
            self.ahead.push_front(step);
        }
        Ok(())
    }

    fn meet(&mut self, owner: u32) {
        if owner != 0 && owner != geteuid().as_raw() {
            self.others.insert(owner);
        }
    }

    fn arrive(self, name: OsString, found: &FileStat) -> io::Result<Place> {
        if kind(found) != SFlag::S_IFREG {
            return Err(refusal("it is not a file"));
        }
        self.place(name, found.st_uid, found.st_gid, found.st_mode & 0o7777)
    }

    fn arrive_at_nothing(self, name: OsString) -> io::Result<Place> {
        let dir = fstat(&self.dir)?;
        self.place(name, dir.st_uid, dir.st_gid, 0o600)
    }

    fn place(self, name: OsString, owner: u32, group: u32, mode: u32) -> io::Result<Place> {
        match self.others.iter().all(|other| *other == owner) {
            true => Ok(Place { dir: self.dir, name, owner, group, mode }),
            false => Err(refusal("somebody other than its owner decides where its path leads")),
        }
    }
}

fn open_dir(at: Option<(&OwnedFd, &OsStr)>) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(match at {
        Some((dir, name)) => openat(dir, name, flags, Mode::empty())?,
        None => nix::fcntl::open("/", flags, Mode::empty())?,
    })
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(step).collect()
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

fn refusal(why: &'static str) -> io::Error {
    io::Error::other(why)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};

    use super::*;

    /// A user that is neither root nor whoever runs the tests.
    const ALICE: u32 = 54_321;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str, contents: &str) -> std::path::PathBuf {
            fs::write(self.path(name), contents).unwrap();
            self.path(name)
        }

        fn entries(&self) -> usize {
            fs::read_dir(self.0.path()).unwrap().count()
        }
    }

    fn say(path: &Path, contents: &str) -> io::Result<()> {
        rewrite(path, |_| contents.into())
    }

    #[test]
    fn contents_change_and_owner_group_and_mode_do_not() {
        let home = Home::new();
        let file = home.file("keys", "old");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        if geteuid().is_root() {
            chown(&file, Some(ALICE), Some(ALICE)).unwrap();
        }
        let before = fs::metadata(&file).unwrap();
        rewrite(&file, |old| [old, b" and new"].concat()).unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "old and new");
        assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
        assert_ne!(after.ino(), before.ino());
        assert_eq!(home.entries(), 1);
    }

    #[test]
    fn nothing_is_written_when_nothing_changes() {
        let home = Home::new();
        let file = home.file("keys", "same");
        let before = fs::metadata(&file).unwrap().ino();
        say(&file, "same").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().ino(), before);
        say(&home.path("absent"), "").unwrap();
        assert!(!home.path("absent").exists());
    }

    #[test]
    fn a_new_file_is_for_the_owner_of_its_directory_alone() {
        let home = Home::new();
        if geteuid().is_root() {
            chown(home.0.path(), Some(ALICE), Some(ALICE)).unwrap();
        }
        say(&home.path("keys"), "new").unwrap();
        let (dir, file) = (fs::metadata(home.0.path()).unwrap(), fs::metadata(home.path("keys")).unwrap());
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (dir.uid(), dir.gid(), 0o600));
    }

    #[test]
    fn links_of_ones_own_are_followed_and_stay_links() {
        let home = Home::new();
        fs::create_dir(home.path("real")).unwrap();
        let target = home.file("real/keys", "old");
        symlink("real", home.path("dir")).unwrap();
        symlink("../real/keys", home.path("real/link")).unwrap();
        say(&home.path("dir/link"), "new").unwrap();
        assert_eq!(fs::read_to_string(target).unwrap(), "new");
        assert!(home.path("real/link").is_symlink());
    }

    #[test]
    fn a_circle_of_links_ends() {
        let home = Home::new();
        symlink("b", home.path("a")).unwrap();
        symlink("a", home.path("b")).unwrap();
        assert_eq!(say(&home.path("a"), "").unwrap_err().raw_os_error(), Some(Errno::ELOOP as i32));
    }

    #[test]
    fn a_user_cannot_lead_the_agent_to_anothers_file() {
        if !geteuid().is_root() {
            return;
        }
        let home = Home::new();
        let secret = home.file("roots", "old");
        fs::create_dir(home.path("alice")).unwrap();
        chown(home.path("alice"), Some(ALICE), Some(ALICE)).unwrap();
        symlink("../roots", home.path("alice/keys")).unwrap();
        lchown(home.path("alice/keys"), Some(ALICE), Some(ALICE)).unwrap();
        fs::hard_link(&secret, home.path("alice/hard")).unwrap();
        for name in ["alice/keys", "alice/hard"] {
            let refusal = say(&home.path(name), "new").unwrap_err().to_string();
            assert!(refusal.contains("decides where its path leads"), "{refusal}");
        }
        assert_eq!(fs::read_to_string(secret).unwrap(), "old");
    }

    #[test]
    fn what_is_not_a_keys_file_is_refused() {
        let home = Home::new();
        fs::create_dir(home.path("open")).unwrap();
        fs::set_permissions(home.path("open"), Permissions::from_mode(0o777)).unwrap();
        home.file("large", &"x".repeat(MAX_SIZE as usize + 1));
        nix::unistd::mkfifo(&home.path("pipe"), Mode::S_IRWXU).unwrap();
        for (name, why) in [
            ("open/keys", "changed by others"),
            ("large", "larger"),
            ("pipe", "not a file"),
            ("", "not a file"),
        ] {
            let refusal = say(&home.path(name), "new").unwrap_err().to_string();
            assert!(refusal.contains(why), "{name}: {refusal}");
        }
        assert!(say(Path::new("keys"), "new").is_err());
    }

    #[test]
    fn a_crash_before_the_exchange_does_no_harm() {
        let home = Home::new();
        let file = home.file("keys", "old");
        home.file(".keys.postern-new", "half");
        say(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "new");
        assert_eq!(home.entries(), 1);
    }
}
