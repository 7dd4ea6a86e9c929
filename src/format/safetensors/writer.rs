//! Writing the format: the header first, then each tensor into its place, in any order.
//!
//! The header says where every tensor lies, so names, number types and shapes must be known before the first number
//! is. In return nothing is gathered in memory: a tensor is written as soon as it exists, and forgotten.
//!
//! The file appears under its name when it is whole, never before: it grows beside its place under another name and
//! is then renamed, which every system does in one step.

use super::{LONGEST_HEADER, bits};
use crate::error::{Error, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A tensor that a file will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name in the file.
    pub name: String,
    /// As the format spells it: `F32`, `I64`, ...
    pub dtype: &'static str,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

/// A safetensors file in the making. Dropped before [`finish`](Writer::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    file: File,
    unfinished: Unfinished,
    /// Where it will lie.
    path: PathBuf,
    spans: BTreeMap<String, Span>,
}

/// What eight-bit weights are aligned to.
const CACHE_LINE: usize = 64;

/// The bytes of one tensor.
#[derive(Debug)]
struct Span {
    /// Where they lie in the file.
    offset: u64,
    length: u64,
    written: bool,
}

/// A file that is removed unless it gets its final name.
#[derive(Debug)]
pub(super) struct Unfinished(PathBuf);

/// All that there are, for a process that is told to end at once.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl Unfinished {
    fn new(path: PathBuf) -> Self {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Self(path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // renamed by now, or half a file that nobody wants
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.0);
    }
}

/// Removes every file in the making. Only for a process that is about to end: whoever writes them finds them gone.
pub fn remove_unfinished() {
    for path in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_file(path);
    }
}

impl Writer {
    /// Begins a file with these tensors, in this order, and this `__metadata__`.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] if the file cannot be made, or `path` is not a place for one.
    ///
    /// # Panics
    /// If two tensors share a name, or a number type is not one of the format's.
    pub fn create(path: &Path, slots: &[Slot], metadata: &BTreeMap<String, String>) -> Result<Self> {
        let path = destination(path)?;
        let (header, spans) = layout(slots, metadata);
        if header.len() as u64 > LONGEST_HEADER {
            let problem = format!("{} tensors need a longer header than safetensors allows", slots.len());
            return Err(Error::file(&path, problem));
        }
        let (mut file, unfinished) = beside(&path).map_err(Error::io(&path))?;
        let length = (header.len() as u64).to_le_bytes();
        file.write_all(&length).and_then(|()| file.write_all(&header)).map_err(Error::io(&path))?;
        Ok(Self { file, unfinished, path, spans })
    }

    /// Whether the file has a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.spans.contains_key(name)
    }

    /// Whether the tensor of this name has been written.
    pub fn is_written(&self, name: &str) -> bool {
        self.spans.get(name).is_some_and(|span| span.written)
    }

    /// Writes one tensor: little-endian, row-major.
    ///
    /// # Errors
    /// [`Error::Io`] if the bytes cannot be written.
    ///
    /// # Panics
    /// If the file has no such tensor, or one of another size.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let span = self.spans.get_mut(name).expect("a tensor of the header");
        assert_eq!(span.length, bytes.len() as u64, "bytes of {name}");
        span.written = true;
        (self.file.seek(SeekFrom::Start(span.offset)))
            .and_then(|_| self.file.write_all(bytes))
            .map_err(Error::io(&self.path))
    }

    /// Writes one tensor with the next bytes of `from`, as many as it needs.
    ///
    /// # Errors
    /// [`Error::Io`] if the bytes cannot be read or written.
    ///
    /// # Panics
    /// If the file has no such tensor.
    pub fn write_from(&mut self, name: &str, from: &mut impl Read) -> Result<()> {
        let span = self.spans.get_mut(name).expect("a tensor of the header");
        span.written = true;
        let mut part = from.take(span.length);
        (self.file.seek(SeekFrom::Start(span.offset)))
            .and_then(|_| io::copy(&mut part, &mut self.file))
            .and_then(|n| if n == span.length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) })
            .map_err(Error::io(&self.path))
    }

    /// Gives the file its name, in place of an older one.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk or the folder refuses.
    ///
    /// # Panics
    /// If a tensor has not been written.
    pub fn finish(self) -> Result<()> {
        let missing = self.spans.iter().find(|(_, span)| !span.written);
        assert_eq!(missing.map(|(name, _)| name), None, "a tensor was announced and never written");
        self.file.sync_data().map_err(Error::io(&self.path))?; // on the disk before it is under its name
        fs::rename(&self.unfinished.0, &self.path).map_err(Error::io(&self.path))
    }
}

/// The header, and where each tensor lies in the file.
///
/// As in the reference implementation, the header is filled up with spaces to a multiple of 8, and the widest numbers
/// come first, so that every tensor is aligned for its numbers. Before all others come panels of eight-bit weights
/// ([`Dtype::I8`](crate::tensor::Dtype::I8)): whole cache lines, which begin with one if the file is mapped.
fn layout(slots: &[Slot], metadata: &BTreeMap<String, String>) -> (Vec<u8>, BTreeMap<String, Span>) {
    let width = |slot: &Slot| bits(slot.dtype).expect("a number type of the format");
    let mut order: Vec<&Slot> = slots.iter().collect();
    let panels = |slot: &Slot| slot.dtype == "I8";
    order.sort_by_key(|slot| (!panels(slot), std::cmp::Reverse(width(slot)))); // stable
    let unit = if slots.iter().any(panels) { CACHE_LINE } else { 8 };
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        entries.push(format!("\"__metadata__\":{}", json!(metadata)));
    }
    let mut spans = BTreeMap::new();
    let mut end = 0u64;
    for slot in order {
        let bits = slot.shape.iter().fold(width(slot) as u64, |n, dimension| n * *dimension as u64);
        let (offset, length) = (end, bits.div_ceil(8));
        end += length;
        let entry = json!({"dtype": slot.dtype, "shape": slot.shape, "data_offsets": [offset, end]});
        entries.push(format!("{}:{entry}", json!(slot.name)));
        let twin = spans.insert(slot.name.clone(), Span { offset, length, written: false });
        assert!(twin.is_none(), "two tensors named {}", slot.name);
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize((8 + header.len()).next_multiple_of(unit) - 8, b' ');
    spans.values_mut().for_each(|span| span.offset += 8 + header.len() as u64);
    (header, spans)
}

/// Writes a small file, which appears under its name when it is whole.
///
/// # Errors
/// As [`Writer::create`] and [`Writer::finish`].
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = destination(path)?;
    let (mut file, unfinished) = beside(&path).map_err(Error::io(&path))?;
    file.write_all(bytes).and_then(|()| file.sync_data()).map_err(Error::io(&path))?;
    fs::rename(&unfinished.0, &path).map_err(Error::io(&path))
}

/// The file that `path` means: what a link points to, and nothing that is there and is no file. A rename would put a
/// file in the place of a device.
pub(super) fn destination(path: &Path) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(about) if about.is_file() => path.canonicalize().map_err(Error::io(path)),
        Ok(about) if about.is_dir() => Err(Error::file(path, "is a folder; give the name of a file")),
        Ok(_) => Err(Error::file(path, "is not a regular file; the tensors are written in any order")),
        Err(_) if path.file_name().is_none() => Err(Error::file(path, "is not the name of a file")),
        Err(_) => Ok(path.to_path_buf()),
    }
}

/// A new file in the same folder, where a rename moves no bytes.
pub(super) fn beside(path: &Path) -> io::Result<(File, Unfinished)> {
    let mut number = 0u32;
    loop {
        let name = path.with_file_name(format!(".gpt2-{}-{number}.unfinished", std::process::id()));
        match File::create_new(&name) {
            Ok(file) => return Ok((file, Unfinished::new(name))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Bytes, safetensors::SafeTensors};

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
            assert!(writer.is_written("odd") && !writer.is_written("ids") && !writer.has("other"));
            assert_eq!(path.exists(), round == 1, "nothing before it is whole");
            writer.write("ids", &[3; 16]).expect("ids");
            writer.finish().expect("a file");
            let file = Bytes::map(&path).expect("a file");
            assert!(u64::from_le_bytes(file[..8].try_into().expect("8 bytes")).is_multiple_of(8));
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

    #[test]
    fn what_is_not_finished_leaves_no_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        fs::write(&path, "older").expect("a file");
        let mut writer =
            Writer::create(&path, &[slot("x", "F32", &[1])], &BTreeMap::new()).expect("a writer");
        writer.write("x", &[0; 4]).expect("x");
        assert!(writer.unfinished.0.exists());
        drop(writer);
        assert_eq!(fs::read(&path).expect("a file"), b"older");
        assert_eq!(files(folder.path()), ["a"]);
    }

    #[test]
    fn a_place_that_is_none_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let create = |path: &Path| Writer::create(path, &[], &BTreeMap::new()).map(|_| ());
        assert!(create(folder.path()).expect_err("a folder").to_string().contains("is a folder"));
        assert!(create(Path::new("")).expect_err("no name").to_string().contains("not the name"));
        let missing = folder.path().join("no/such");
        assert!(create(&missing).expect_err("no folder").to_string().contains("such"));
        #[cfg(unix)]
        assert!(create(Path::new("/dev/null")).expect_err("a device").to_string().contains("regular"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "older").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        Writer::create(&link, &[], &BTreeMap::new()).expect("a writer").finish().expect("a file");
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).expect("a file")[8..], *b"{}      ");
    }
}
