//! The agent's own sftp-server: version 3 of the protocol with the extensions that OpenSSH's client
//! uses (draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4).
//!
//! It is alone in its process and answers in order, so it simply waits for the disk.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

use bytes::Bytes;
use russh_sftp::de::from_bytes;
use russh_sftp::extensions::{self, FsyncExtension, HardlinkExtension, LimitsExtension};
use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status,
    StatusCode, Version,
};
use russh_sftp::server::{Handler, StatusReply};
use tokio::sync::oneshot;

use super::attributes::{self, Owners};
use super::files;

/// Files and directories that a client may have open.
const MAX_HANDLES: usize = 256;

/// The most that one request reads or writes, with room for its header within [`MAX_PACKET`].
const MAX_DATA: usize = 255 * 1024;

/// The crate's own limit of a packet.
const MAX_PACKET: u64 = 256 * 1024;

/// Entries that one answer lists.
const BATCH: usize = 64;

/// Replaces what is there, which the protocol's own rename does not.
const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// What of the protocol is OpenSSH's, with its version.
const EXTENSIONS: [(&str, &str); 4] =
    [(POSIX_RENAME, "1"), (extensions::HARDLINK, "1"), (extensions::FSYNC, "1"), (extensions::LIMITS, "1")];

/// One client's open files.
pub(super) struct Server {
    open: HashMap<String, Open>,
    next: u64,
    owners: Owners,
    _lives: oneshot::Sender<Infallible>,
}

enum Open {
    File(File),
    Directory(std::vec::IntoIter<(String, Metadata)>),
}

/// Why a request failed, in the protocol's few words and the system's many.
pub(super) struct Failed(StatusCode, String);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        let is = |kind| error.kind() == kind;
        let code = match () {
            () if is(io::ErrorKind::NotFound) => StatusCode::NoSuchFile,
            () if is(io::ErrorKind::PermissionDenied) => StatusCode::PermissionDenied,
            () => StatusCode::Failure,
        };
        Self(code, error.to_string())
    }
}

impl From<StatusCode> for Failed {
    fn from(code: StatusCode) -> Self {
        Self(code, code.to_string())
    }
}

impl From<Failed> for StatusReply {
    fn from(Failed(code, message): Failed) -> Self {
        code.with_message(message)
    }
}

impl Server {
    /// A server that holds on to `lives` for as long as it has a client.
    pub(super) fn new(lives: oneshot::Sender<Infallible>) -> Self {
        Self { open: HashMap::new(), next: 0, owners: Owners::default(), _lives: lives }
    }

    fn keep(&mut self, id: u32, open: Open) -> Result<Handle, Failed> {
        if self.open.len() >= MAX_HANDLES {
            return Err(Failed(StatusCode::Failure, "too many open files".to_owned()));
        }
        let handle = self.next.to_string();
        self.next += 1;
        self.open.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Result<&File, Failed> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(file),
            Some(Open::Directory(_)) | None => Err(unknown_handle()),
        }
    }

    fn entry(&mut self, name: String, metadata: &Metadata) -> Entry {
        let longname = self.owners.line(&name, metadata);
        Entry { filename: name, longname, attrs: attributes::of(metadata) }
    }
}

fn unknown_handle() -> Failed {
    Failed(StatusCode::Failure, "no such handle".to_owned())
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: String::new(), language_tag: String::new() }
}

/// One path, in the form of a list, as the protocol has it.
fn one_path(id: u32, path: &Path) -> Name {
    let path = path.to_string_lossy().into_owned();
    Name { id, files: vec![Entry { longname: path.clone(), ..Entry::dummy(path) }] }
}

fn parse<'de, T: serde::Deserialize<'de>>(data: &'de mut Bytes) -> Result<T, Failed> {
    from_bytes(data).map_err(|_| StatusCode::BadMessage.into())
}

impl Handler for Server {
    type Error = Failed;

    fn unimplemented(&self) -> Failed {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, Failed> {
        let extensions = EXTENSIONS.map(|(name, version)| (name.to_owned(), version.to_owned()));
        Ok(Version { extensions: extensions.into(), ..Version::new() })
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, Failed> {
        let file = files::open_file(Path::new(&path), flags, &attributes)?;
        self.keep(id, Open::File(file))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Failed> {
        self.open.remove(&handle).map(|_| done(id)).ok_or_else(unknown_handle)
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, length: u32) -> Result<Data, Failed> {
        let length = usize::try_from(length).unwrap_or(MAX_DATA).min(MAX_DATA);
        let data = files::read_at(self.file(&handle)?, offset, length)?;
        match data.is_empty() && length > 0 {
            true => Err(StatusCode::Eof.into()),
            false => Ok(Data { id, data }),
        }
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Result<Status, Failed> {
        self.file(&handle)?.write_all_at(&data, offset)?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Failed> {
        Ok(Attrs { id, attrs: attributes::of(&fs::symlink_metadata(path)?) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Failed> {
        Ok(Attrs { id, attrs: attributes::of(&self.file(&handle)?.metadata()?) })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Failed> {
        Ok(Attrs { id, attrs: attributes::of(&fs::metadata(path)?) })
    }

    async fn setstat(&mut self, id: u32, path: String, wanted: FileAttributes) -> Result<Status, Failed> {
        files::set_by_path(Path::new(&path), &wanted)?;
        Ok(done(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, wanted: FileAttributes) -> Result<Status, Failed> {
        files::set_by_handle(self.file(&handle)?, &wanted)?;
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Failed> {
        let entries = files::entries(Path::new(&path))?;
        self.keep(id, Open::Directory(entries.into_iter()))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Failed> {
        let batch: Vec<_> = match self.open.get_mut(&handle) {
            Some(Open::Directory(entries)) => entries.take(BATCH).collect(),
            Some(Open::File(_)) | None => return Err(unknown_handle()),
        };
        if batch.is_empty() {
            return Err(StatusCode::Eof.into());
        }
        let files = batch.into_iter().map(|(name, metadata)| self.entry(name, &metadata)).collect();
        Ok(Name { id, files })
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, Failed> {
        fs::remove_file(path)?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attributes: FileAttributes) -> Result<Status, Failed> {
        fs::DirBuilder::new().mode(attributes.permissions.unwrap_or(0o777) & 0o7777).create(path)?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Failed> {
        fs::remove_dir(path)?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Failed> {
        Ok(one_path(id, &files::real_path(Path::new(&path))?))
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, Failed> {
        files::rename_to_new(Path::new(&from), Path::new(&to))?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Failed> {
        Ok(one_path(id, &fs::read_link(path)?))
    }

    /// Clients send the target first: OpenSSH once took the draft the wrong way round, and stayed so.
    async fn symlink(&mut self, id: u32, target: String, link: String) -> Result<Status, Failed> {
        std::os::unix::fs::symlink(target, link)?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, Failed> {
        let mut data = Bytes::from(data);
        match request.as_str() {
            POSIX_RENAME => {
                let HardlinkExtension { oldpath, newpath } = parse(&mut data)?;
                fs::rename(oldpath, newpath)?;
            }
            extensions::HARDLINK => {
                let HardlinkExtension { oldpath, newpath } = parse(&mut data)?;
                fs::hard_link(oldpath, newpath)?;
            }
            extensions::FSYNC => {
                let FsyncExtension { handle } = parse(&mut data)?;
                self.file(&handle)?.sync_all()?;
            }
            extensions::LIMITS => return Ok(ExtendedReply { id, data: limits()? }.into()),
            _ => return Err(self.unimplemented()),
        }
        Ok(done(id).into())
    }
}

fn limits() -> Result<Vec<u8>, Failed> {
    let limits = LimitsExtension {
        max_packet_len: MAX_PACKET,
        max_read_len: MAX_DATA as u64,
        max_write_len: MAX_DATA as u64,
        max_open_handles: MAX_HANDLES as u64,
    };
    let limits = russh_sftp::ser::to_bytes(&limits).map_err(|_| StatusCode::Failure)?;
    Ok(limits.to_vec())
}
