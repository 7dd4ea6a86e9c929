//! Files by their names: of a folder on the disk, or in memory, as a web page has them.

use super::{Access, Bytes};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder on the disk, or files in memory.
#[derive(Clone, Debug)]
pub enum Folder {
    /// On the disk.
    Disk(PathBuf, Access),
    /// In memory, by name.
    Memory(BTreeMap<String, Bytes>),
}

impl Folder {
    /// What messages call it.
    pub(crate) fn place(&self) -> PathBuf {
        match self {
            Self::Disk(folder, _) => folder.clone(),
            Self::Memory(_) => "the files".into(),
        }
    }

    /// Where the file of this name is, or would be; in memory, the name itself.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Disk(folder, _) => folder.join(name),
            Self::Memory(_) => name.into(),
        }
    }

    /// The paths of all files, in any order.
    pub fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Disk(folder, _) => {
                let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                entries.map(|entry| entry.path()).collect()
            }
            Self::Memory(files) => files.keys().map(PathBuf::from).collect(),
        }
    }

    /// Whether there is something of this name.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Disk(folder, _) => folder.join(name).exists(),
            Self::Memory(files) => files.contains_key(name),
        }
    }

    /// The bytes of a file. Those in memory are not copied.
    ///
    /// # Errors
    /// As [`Bytes::open`]; [`Error::File`] if there is no such file in memory.
    pub fn map(&self, name: &str) -> Result<Bytes> {
        match self {
            Self::Disk(folder, access) => Bytes::open(&folder.join(name), *access),
            Self::Memory(files) => files.get(name).cloned().ok_or_else(|| Error::file(name, "no such file")),
        }
    }

    /// A copy of a file: what `disk` reads, if it lies there.
    pub(crate) fn read(&self, name: &str, disk: fn(&Path) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        match self {
            Self::Disk(folder, _) => disk(&folder.join(name)),
            Self::Memory(_) => Ok(self.map(name)?.to_vec()),
        }
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Folder {
    fn from(folder: &P) -> Self {
        Self::Disk(folder.as_ref().into(), Access::Mapped)
    }
}

impl<N: Into<String>, B: Into<Bytes>> FromIterator<(N, B)> for Folder {
    fn from_iter<I: IntoIterator<Item = (N, B)>>(files: I) -> Self {
        Self::Memory(files.into_iter().map(|(name, bytes)| (name.into(), bytes.into())).collect())
    }
}
