//! Shared bytes: of a mapped file, of the program itself, or of a copy.
//!
//! # If a mapped file changes
//!
//! A map is not a copy: it shows the file. What happens while it is in use depends on how the file changes:
//!
//! | the file is | what happens |
//! |---|---|
//! | replaced or removed, as this library, downloads and most editors do | nothing: the map keeps the old file |
//! | cut, so that mapped bytes are gone | reading one of them is a signal, SIGBUS; the program `gpt2` ends with an error that names the file ([`mapped_file`] finds it) |
//! | rewritten in place | the numbers change while they are used, and so does the output |
//!
//! A `&[u8]` promises that nobody writes, and Rust cannot keep another process from it: this is the one promise that a
//! map takes from the user. What follows is limited. Only weights are read from the map after a file is opened, and all
//! bits are a number; names, shapes and offsets are copied and checked before, so no index depends on the map. A file
//! that others may cut or rewrite is read with [`Access::Read`] instead.

use crate::error::{Error, Result};
use memmap2::{Mmap, MmapMut};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::{fs::File, ops::Deref, ops::Range};

/// A shared, read-only range of bytes. Cloning it copies nothing.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

/// A cache line: what copies are aligned to, for every number type and for vector loads.
pub(crate) const LINE: usize = 64;

/// How a file comes into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Mapped: each part is read when it is first used, and programs that map the same file share the memory. Nobody may
    /// cut or rewrite it meanwhile.
    #[default]
    Mapped,
    /// Read at once, into memory of its own.
    Read,
}

impl Bytes {
    /// The whole file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, mapped or read; [`Error::File`] if it is not a plain file.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        match access {
            Access::Mapped => Self::map(path),
            Access::Read => Self::read(path),
        }
    }

    /// The whole file at `path`, mapped. The system reads a part when it is first used.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn map(path: &Path) -> Result<Self> {
        let file = plain_file(path)?;
        // SAFETY: the map is read-only. That nobody cuts or rewrites the file is what the module's text asks of the user.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        // A hint: a file that is not in memory yet is read into large pages, which are found and mapped faster, by
        // later runs as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let range = 0..map.len();
        Ok(Self { owner: Arc::new(Mapped::new(map, path)), range })
    }

    /// The whole file at `path`, read into memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = plain_file(path)?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        let len = usize::try_from(len).map_err(|_| Error::file(path, "is larger than any memory"))?;
        Self::filled(len, |bytes| file.read_exact(bytes)).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::file(path, "was cut while it was read"),
            _ => Error::io(path)(error),
        })
    }

    /// Bytes that are part of the program.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self { owner: Arc::new(bytes), range: 0..bytes.len() }
    }

    /// A copy that begins with a cache line, and so is aligned for every number type.
    pub fn aligned_copy(bytes: &[u8]) -> Self {
        let copied = Self::filled(bytes.len(), |copy| {
            copy.copy_from_slice(bytes);
            Ok(())
        });
        copied.expect("memory for a copy")
    }

    /// `len` bytes that `fill` writes, from the beginning of a cache line on.
    fn filled(len: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Self> {
        if len >= LARGE
            && let Ok(mut map) = MmapMut::map_anon(len)
        {
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage); // a hint, as above
            fill(&mut map)?;
            return Ok(Self { range: 0..len, owner: Arc::new(map.make_read_only()?) });
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len.saturating_add(LINE)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.resize(len + LINE, 0);
        let start = bytes.as_ptr().align_offset(LINE);
        let range = start..start + len;
        fill(&mut bytes[range.clone()])?;
        Ok(Self { owner: Arc::new(bytes), range })
    }

    /// A part of these bytes.
    ///
    /// # Panics
    /// If `range` is not inside, or ends before it begins.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {self:?}");
        let start = self.range.start;
        Self { owner: self.owner.clone(), range: start + range.start..start + range.end }
    }
}

/// A copy of at least this size gets pages of its own: the processor finds the 2 MiB of a large page as fast as the 4 KiB
/// of a small one.
const LARGE: usize = 8 << 20;

/// Opens a file that has an end.
fn plain_file(path: &Path) -> Result<File> {
    // Before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Err(Error::file(path, "is not a plain file"));
    }
    File::open(path).map_err(Error::io(path))
}

/// A map, listed with its file as long as it lives.
struct Mapped(Mmap);

/// Where files are mapped.
static MAPPED: Mutex<Vec<(Range<usize>, PathBuf)>> = Mutex::new(Vec::new());

impl Mapped {
    fn new(map: Mmap, path: &Path) -> Self {
        let addresses = map.as_ptr_range();
        let entry = (addresses.start.addr()..addresses.end.addr(), path.to_path_buf());
        MAPPED.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        Self(map)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let begin = self.0.as_ptr().addr();
        let mut all = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = all.iter().position(|(addresses, _)| addresses.start == begin) {
            all.swap_remove(i);
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The file that is mapped at this address, for the handler of a signal: it takes no memory, and does not wait for long.
pub fn mapped_file<T>(address: usize, found: impl FnOnce(&Path) -> T) -> Option<T> {
    for _ in 0..1 << 24 {
        let all = match MAPPED.try_lock() {
            Ok(all) => all,
            Err(TryLockError::Poisoned(all)) => all.into_inner(),
            Err(TryLockError::WouldBlock) => {
                std::hint::spin_loop(); // another thread maps or unmaps a file
                continue;
            }
        };
        let (_, path) = all.iter().find(|(addresses, _)| addresses.contains(&address))?;
        return Some(found(path));
    }
    None
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { range: 0..bytes.len(), owner: Arc::new(bytes) }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_mapped_and_read() {
        let folder = tempfile::tempdir().expect("a folder");
        for len in [0, 1, 1000, LARGE + 5] {
            let path = folder.path().join(len.to_string());
            let content: Vec<u8> = (0..len).map(|i| i as u8).collect();
            std::fs::write(&path, &content).expect("a file");
            let [mapped, read] =
                [Access::Mapped, Access::Read].map(|access| Bytes::open(&path, access).expect("a file"));
            assert!(mapped[..] == content && read[..] == content, "{len}");
            assert_eq!(read.as_ptr().align_offset(LINE), 0);
            if len > 0 {
                let at = mapped.as_ptr().addr();
                assert_eq!(mapped_file(at, Path::to_path_buf), Some(path.clone()));
                assert_eq!(mapped_file(read.as_ptr().addr(), Path::to_path_buf), None);
                drop(mapped);
                assert_ne!(mapped_file(at, Path::to_path_buf), Some(path));
            }
        }
    }
}
