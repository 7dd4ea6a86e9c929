//! Shared bytes: of a mapped file, of the program itself, or of a copy.

use crate::error::{Error, Result};
use memmap2::{Mmap, MmapMut};
use std::{fs::File, ops::Deref, ops::Range, path::Path, sync::Arc};

/// A shared, read-only range of bytes. Cloning it copies nothing.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

/// A cache line: what copies are aligned to, for every number type and for vector loads.
const LINE: usize = 64;

impl Bytes {
    /// The whole file at `path`, mapped. The system reads a part when it is first used.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or mapped; [`Error::File`] if it is not a plain file.
    pub fn map(path: &Path) -> Result<Self> {
        // Before it is opened: opening a pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
            return Err(Error::file(path, "is not a plain file"));
        }
        let file = File::open(path).map_err(Error::io(path))?;
        // SAFETY: the map is read-only. Another program that cuts or rewrites the file while it is in use would
        // break it; like every program that maps its weights, this one requires that none does.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        // A hint: a file that is not in memory yet is read into large pages, which are found and mapped faster, by
        // later runs as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let range = 0..map.len();
        Ok(Self { owner: Arc::new(map), range })
    }

    /// Bytes that are part of the program.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self { owner: Arc::new(bytes), range: 0..bytes.len() }
    }

    /// A copy that begins with a cache line, and so is aligned for every number type.
    pub fn aligned_copy(bytes: &[u8]) -> Self {
        if bytes.len() >= LARGE
            && let Ok(map) = in_large_pages(bytes)
        {
            return Self { range: 0..map.len(), owner: Arc::new(map) };
        }
        let mut copy = vec![0; bytes.len() + LINE];
        let start = copy.as_ptr().align_offset(LINE);
        let range = start..start + bytes.len();
        copy[range.clone()].copy_from_slice(bytes);
        Self { owner: Arc::new(copy), range }
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

fn in_large_pages(bytes: &[u8]) -> std::io::Result<Mmap> {
    let mut map = MmapMut::map_anon(bytes.len())?;
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage); // a hint, as above
    map.copy_from_slice(bytes);
    map.make_read_only()
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
