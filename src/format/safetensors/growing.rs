//! A safetensors file whose number of tensors is not known in advance.
//!
//! The header comes first and lists all tensors. So the numbers are collected in a second file; after the last of them,
//! the file itself is written: its header, then the numbers. For that moment the disk holds them twice; memory never
//! holds more than one tensor.

use super::{LONGEST_HEADER, Slot, Writer};
use crate::error::{Error, Result};
use crate::format::unfinished::Unfinished;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, Write};
use std::{fmt, path::Path};

/// Bytes of the header per tensor, beside its name: an upper bound.
const ENTRY: u64 = 160;

/// A safetensors file in the making. Dropped before [`finish`](Growing::finish), it is removed.
pub struct Growing {
    numbers: Unfinished,
    slots: Vec<Slot>,
    names: BTreeSet<String>,
    header: u64,
}

impl fmt::Debug for Growing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Growing [{} tensors to {}]", self.slots.len(), self.numbers.path().display())
    }
}

impl Growing {
    /// Begins a file at `path`.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn create(path: &Path) -> Result<Self> {
        let numbers = Unfinished::create(path)?; // in the same folder; it never gets the name
        Ok(Self { numbers, slots: Vec::new(), names: BTreeSet::new(), header: 0 })
    }

    /// Appends one tensor: little-endian, row-major.
    ///
    /// # Errors
    /// [`Error::Io`] if the bytes cannot be written; [`Error::File`] if the header grows too long for the format.
    ///
    /// # Panics
    /// If the name is taken, or the number of bytes is not that of the number type and shape.
    pub fn append(&mut self, slot: Slot, bytes: &[u8]) -> Result<()> {
        assert_eq!(slot.length(), bytes.len(), "bytes of {}", slot.name);
        assert!(self.names.insert(slot.name.clone()), "two tensors named {}", slot.name);
        self.lengthen_header(ENTRY + slot.name.len() as u64)?;
        self.slots.push(slot);
        self.numbers.with(|file| file.write_all(bytes))
    }

    /// Reserves bytes of the header.
    ///
    /// # Errors
    /// [`Error::File`] if fewer are left.
    pub fn lengthen_header(&mut self, bytes: u64) -> Result<()> {
        self.header = self.header.saturating_add(bytes);
        if self.header <= LONGEST_HEADER {
            return Ok(());
        }
        let tensors = self.slots.len();
        let problem =
            format!("{tensors} tensors need a longer header than safetensors allows; trace fewer tokens");
        Err(Error::file(self.numbers.path(), problem))
    }

    /// Writes the file and gives it its name, in place of an older one.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk or the folder refuses.
    pub fn finish(mut self, metadata: &BTreeMap<String, String>) -> Result<()> {
        let mut writer = Writer::create(self.numbers.path(), &self.slots, metadata)?;
        self.numbers.with(|file| {
            file.rewind()?;
            Ok(self.slots.iter().try_for_each(|slot| writer.write_from(&slot.name, &mut *file)))
        })??;
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Bytes, safetensors::SafeTensors};

    fn slot(name: &str, dtype: &'static str, shape: &[usize]) -> Slot {
        Slot { name: name.into(), dtype, shape: shape.to_vec() }
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.safetensors");
        let mut file = Growing::create(&path).expect("a file");
        file.append(slot("odd", "F32", &[3]), &[1; 12]).expect("odd");
        file.append(slot("ids", "I64", &[1]), &[2; 8]).expect("ids");
        file.append(slot("none", "F32", &[0]), &[]).expect("none");
        file.append(slot("more", "F32", &[1]), &[3; 4]).expect("more");
        assert!(!path.exists(), "nothing before it is whole");
        file.finish(&BTreeMap::from([("a".into(), "b".into())])).expect("a file");
        let found = SafeTensors::parse(&path, &Bytes::map(&path).expect("a file")).expect("tensors");
        for (name, bytes) in [("odd", &[1u8; 12][..]), ("ids", &[2; 8]), ("none", &[]), ("more", &[3; 4])] {
            assert_eq!(&*found.tensors[name].bytes, bytes, "{name}");
        }
        assert_eq!(found.metadata["a"], "b");
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1);
    }

    #[test]
    fn what_is_not_finished_leaves_no_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = Growing::create(&folder.path().join("a")).expect("a file");
        file.append(slot("x", "F32", &[1]), &[0; 4]).expect("x");
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1);
        assert!(file.lengthen_header(LONGEST_HEADER).expect_err("too long").to_string().contains("fewer"));
        drop(file);
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 0);
        assert!(Growing::create(folder.path()).is_err());
    }
}
