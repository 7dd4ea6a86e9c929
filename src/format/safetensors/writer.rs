//! Writing the format: the header first, then each tensor into its place, in any order.
//!
//! The header says where every tensor lies, so all names, number types and shapes must be known first. In return, nothing
//! gathers in memory: a tensor is written as soon as it exists, and forgotten.

use super::{LONGEST_HEADER, METADATA, Slot, bits};
use crate::error::{Error, Result};
use crate::format::unfinished::Unfinished;
use byteorder::{LittleEndian, WriteBytesExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::{fmt, fs::File, path::Path};

/// A safetensors file in the making. Dropped before [`finish`](Writer::finish), it is removed.
pub struct Writer {
    file: Unfinished,
    /// The tensors that are not written yet.
    left: BTreeMap<String, Span>,
}

/// What eight-bit weights are aligned to.
const CACHE_LINE: usize = 64;

/// Where the bytes of a tensor lie in the file.
struct Span {
    offset: u64,
    length: u64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer [{} tensors left, to {}]", self.left.len(), self.file.path().display())
    }
}

impl Writer {
    /// Begins a file with these tensors, in this order, and this `__metadata__`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be made; [`Error::File`] if `path` cannot be a file, or the header is too long.
    ///
    /// # Panics
    /// If two tensors share a name, a number type is not one of the format's, or a shape is larger than any memory.
    pub fn create(path: &Path, slots: &[Slot], metadata: &BTreeMap<String, String>) -> Result<Self> {
        let (header, left) = layout(slots, metadata);
        let length = header.len() as u64;
        if length > LONGEST_HEADER {
            let problem = format!("{} tensors need a longer header than safetensors allows", slots.len());
            return Err(Error::file(path, problem));
        }
        let mut file = Unfinished::create(path)?;
        file.with(|file| {
            file.write_u64::<LittleEndian>(length)?;
            file.write_all(&header)
        })?;
        Ok(Self { file, left })
    }

    /// Writes one tensor: little-endian, row-major.
    ///
    /// # Errors
    /// [`Error::Io`] if the bytes cannot be written.
    ///
    /// # Panics
    /// If the file has no such tensor, or one of another size, or it is written.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.fill(name, |file, length| {
            assert_eq!(length, bytes.len() as u64, "bytes of {name}");
            file.write_all(bytes)
        })
    }

    /// Writes one tensor with as many bytes of `from` as it needs.
    ///
    /// # Errors
    /// [`Error::Io`] if the bytes cannot be read or written.
    ///
    /// # Panics
    /// If the file has no such tensor, or it is written.
    pub fn write_from(&mut self, name: &str, from: impl Read) -> Result<()> {
        self.fill(name, |file, length| {
            let copied = io::copy(&mut from.take(length), file)?;
            if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }

    /// Lets `work` write as many bytes as the tensor has, at its place in the file.
    fn fill(&mut self, name: &str, work: impl FnOnce(&mut File, u64) -> io::Result<()>) -> Result<()> {
        let left = self.left.get(name);
        let &Span { offset, length } = left.unwrap_or_else(|| panic!("the file has no tensor {name:?} left"));
        self.file.with(|file| file.seek(SeekFrom::Start(offset)).and_then(|_| work(file, length)))?;
        self.left.remove(name);
        Ok(())
    }

    /// Gives the file its name, in place of an older one.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk or the folder refuses.
    ///
    /// # Panics
    /// If a tensor has not been written.
    pub fn finish(self) -> Result<()> {
        assert_eq!(self.left.keys().next(), None, "a tensor was announced but never written");
        self.file.finish()
    }
}

/// The header, and where each tensor lies in the file.
///
/// As in the reference implementation, spaces fill the header up to a multiple of 8, and the widest numbers come first, so
/// that every tensor is aligned for its numbers. Panels of eight-bit weights ([`Dtype::I8`](crate::tensor::Dtype::I8))
/// come before all others: they are whole cache lines, and aligned as such in a mapped file.
fn layout(slots: &[Slot], metadata: &BTreeMap<String, String>) -> (Vec<u8>, BTreeMap<String, Span>) {
    let panels = |slot: &Slot| slot.dtype == "I8";
    let mut order: Vec<&Slot> = slots.iter().collect();
    order.sort_by_key(|slot| (!panels(slot), std::cmp::Reverse(bits(slot.dtype)))); // stable
    let unit = if slots.iter().any(panels) { CACHE_LINE } else { 8 };
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        entries.push(format!("{:?}:{}", METADATA, json!(metadata)));
    }
    let mut spans = BTreeMap::new();
    let mut end = 0u64;
    for slot in order {
        let (offset, length) = (end, slot.length() as u64);
        end += length;
        let entry = json!({"dtype": slot.dtype, "shape": slot.shape, "data_offsets": [offset, end]});
        entries.push(format!("{}:{entry}", json!(slot.name)));
        let twin = spans.insert(slot.name.clone(), Span { offset, length });
        assert!(twin.is_none(), "two tensors named {}", slot.name);
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize((8 + header.len()).next_multiple_of(unit) - 8, b' ');
    spans.values_mut().for_each(|span| span.offset += 8 + header.len() as u64);
    (header, spans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Bytes, safetensors::SafeTensors};
    use byteorder::ByteOrder;
    use std::fs;

    fn slot(name: &str, dtype: &'static str, shape: &[usize]) -> Slot {
        Slot { name: name.into(), dtype, shape: shape.to_vec() }
    }

    fn files(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").file_name());
        names.map(|name| name.into_string().expect("a name")).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.safetensors");
        let slots = [
            slot("odd", "F32", &[3]),
            slot("ids", "I64", &[1, 2]),
            slot("none", "F32", &[0, 7]),
            slot("half\n\"", "BF16", &[2]),
        ];
        let metadata = BTreeMap::from([("prompt".to_string(), "a \"b\"\n\u{1f600}".to_string())]);
        for round in 0..2u8 {
            let mut writer = Writer::create(&path, &slots, &metadata).expect("a writer");
            writer.write("half\n\"", &[round; 4]).expect("half"); // any order
            writer.write("none", &[]).expect("none");
            writer.write("odd", &[2; 12]).expect("odd");
            assert_eq!(path.exists(), round == 1, "nothing before it is whole");
            writer.write("ids", &[3; 16]).expect("ids");
            writer.finish().expect("a file");
            let file = Bytes::map(&path).expect("a file");
            assert!(LittleEndian::read_u64(&file).is_multiple_of(8));
            let found = SafeTensors::parse(&path, &file).expect("tensors");
            assert_eq!(found.metadata, metadata);
            assert_eq!(
                (&*found.tensors["odd"].bytes, &*found.tensors["ids"].bytes),
                (&[2; 12][..], &[3; 16][..])
            );
            assert_eq!(*found.tensors["half\n\""].bytes, [round; 4]);
            assert_eq!(found.tensors["none"].shape, [0, 7]);
            for tensor in found.tensors.values() {
                let size = bits(&tensor.dtype).expect("a type") / 8;
                assert!(tensor.bytes.as_ptr().addr().is_multiple_of(size), "{tensor:?} is aligned");
            }
            assert_eq!(files(folder.path()), ["a.safetensors"]);
        }
    }
}
