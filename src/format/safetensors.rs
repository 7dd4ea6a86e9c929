//! The safetensors format: eight bytes of length, a JSON header, and the numbers.
//!
//! ```text
//! n: u64 little-endian | header: n bytes of JSON | data
//! header = {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ..., "__metadata__": {..}}
//! ```
//!
//! Everything the header says is checked before it is used: a file may be cut, damaged or hostile.
//! Source: <https://huggingface.co/docs/safetensors>.

mod growing;
mod writer;

pub use super::unfinished::remove_unfinished;
pub(crate) use super::unfinished::{write_whole, write_whole_with};
pub use growing::Growing;
pub use writer::Writer;

use super::{Bytes, Pairs, foreign, json::from_json};
use crate::error::{Error, Result};
use byteorder::{LittleEndian, ReadBytesExt};
use serde_json::Value;
use std::{cmp::Ordering, collections::BTreeMap, fmt, path::Path};

/// The format's own limit on the header's length.
const LONGEST_HEADER: u64 = 100_000_000;

/// The key of the header that does not name a tensor.
const METADATA: &str = "__metadata__";

/// A tensor that a file will hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its name in the file.
    pub name: String,
    /// As the format spells it: `F32`, `I64`, ...
    pub dtype: &'static str,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

impl Slot {
    /// Its bytes in the file.
    fn length(&self) -> usize {
        size(self.dtype, &self.shape).unwrap_or_else(|problem| panic!("tensor {:?}: {problem}", self.name))
    }
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// As written: `F32`, `BF16`, `U8`, ...
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its numbers, little-endian, row-major, not copied.
    pub bytes: Bytes,
}

/// The tensors of a file, by name.
#[derive(Clone, Default)]
pub struct SafeTensors {
    /// In order of their names.
    pub tensors: BTreeMap<String, Tensor>,
    /// What `__metadata__` says.
    pub metadata: BTreeMap<String, String>,
}

impl fmt::Debug for SafeTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SafeTensors [{} tensors]", self.tensors.len())
    }
}

/// Bits of one element; `None` for a type that the format does not have.
fn bits(dtype: &str) -> Option<usize> {
    Some(match dtype {
        "F64" | "I64" | "U64" | "C64" => 64,
        "F32" | "I32" | "U32" => 32,
        "F16" | "BF16" | "I16" | "U16" => 16,
        "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "I8" | "U8" | "BOOL" => 8,
        "F6_E2M3" | "F6_E3M2" => 6,
        "F4" => 4,
        _ => return None,
    })
}

/// The bytes of a tensor of this type and shape; or why there is none.
fn size(dtype: &str, shape: &[usize]) -> Result<usize, String> {
    let bits = bits(dtype).ok_or_else(|| format!("unknown dtype {dtype:?}"))?;
    let bits = shape.iter().try_fold(bits as u64, |n, dimension| n.checked_mul(*dimension as u64));
    // on a machine of 32 bits, a memory has fewer bytes than a tensor may have bits
    let bytes = bits.and_then(|bits| usize::try_from(bits / 8).ok());
    let (bits, bytes) =
        bits.zip(bytes).ok_or_else(|| format!("shape {shape:?} is larger than any memory"))?;
    if bits % 8 == 0 { Ok(bytes) } else { Err(format!("shape {shape:?} of {dtype} ends inside a byte")) }
}

impl SafeTensors {
    /// Maps a file and reads its header.
    ///
    /// # Errors
    /// As [`Bytes::map`] and [`parse`](Self::parse).
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(path, &Bytes::map(path)?)
    }

    /// Reads the header of a file, and says what it is if it is of another kind.
    pub(crate) fn of(path: &Path, file: &Bytes) -> Result<Self> {
        match foreign::file(path, file) {
            Some(problem) => Err(Error::file(path, problem)),
            None => Self::parse(path, file),
        }
    }

    /// Reads the header of a file; the numbers stay where they are.
    ///
    /// # Errors
    /// [`Error::File`] that names `path` and what is wrong with it.
    pub fn parse(path: &Path, file: &Bytes) -> Result<Self> {
        Self::read(file).map_err(|problem| Error::file(path, problem))
    }

    fn read(file: &Bytes) -> Result<Self, String> {
        let mut rest: &[u8] = file;
        let length = rest.read_u64::<LittleEndian>().map_err(|_| {
            format!("not a safetensors file: {} bytes, shorter than the length of a header", file.len())
        })?;
        if length > LONGEST_HEADER {
            return Err(format!(
                "not a safetensors file: it announces a header of {length} bytes, the limit is {LONGEST_HEADER}"
            ));
        }
        let header = rest.get(..length as usize).ok_or_else(|| {
            format!("cut short: the header should have {length} bytes, only {} are there", rest.len())
        })?;
        let data = file.slice(8 + header.len()..file.len());
        let header = header.to_vec(); // a text must not change while it is read, and a mapped file may
        let Pairs(entries): Pairs<Value> = serde_json::from_slice(&header)
            .map_err(|e| format!("not a safetensors file: the header is not JSON ({e})"))?;

        let mut found = Self::default();
        let mut parts = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            if name == METADATA {
                let metadata: Option<_> = serde_json::from_value(value)
                    .map_err(|e| format!("{METADATA} is not text to text: {e}"))?;
                found.metadata = metadata.unwrap_or_default();
                continue;
            }
            let (tensor, [begin, end]) =
                tensor(value, &data).map_err(|problem| format!("tensor {name:?}: {problem}"))?;
            if begin < end {
                parts.push(([begin, end], name.clone()));
            }
            if found.tensors.insert(name.clone(), tensor).is_some() {
                return Err(format!("tensor {name:?} is there twice"));
            }
        }
        // The tensors lie side by side, and nothing else does: otherwise header and data do not belong together.
        parts.sort();
        let (mut covered, mut before) = (0, String::new());
        for ([begin, end], name) in parts {
            match begin.cmp(&covered) {
                Ordering::Less => return Err(format!("tensors {before:?} and {name:?} overlap")),
                Ordering::Equal => (covered, before) = (end, name),
                Ordering::Greater => {
                    let gap = begin - covered;
                    return Err(format!("{gap} bytes before tensor {name:?} belong to no tensor"));
                }
            }
        }
        match data.len() - covered {
            0 => Ok(found),
            rest => Err(format!("the last {rest} bytes of the file belong to no tensor")),
        }
    }
}

/// The tensor that an entry of the header describes, if it can be true, and where it lies in the data.
fn tensor(entry: Value, data: &Bytes) -> Result<(Tensor, [usize; 2]), String> {
    struct Entry {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: [usize; 2],
    }
    from_json!(Entry { "dtype" dtype, "shape" shape, "data_offsets" data_offsets });
    let Entry { dtype, shape, data_offsets } = serde_json::from_value(entry).map_err(|e| e.to_string())?;
    let [begin, end] = data_offsets;
    if begin > end || end > data.len() {
        let len = data.len();
        return Err(format!(
            "data_offsets [{begin}, {end}] outside the {len} bytes of data; is the file cut?"
        ));
    }
    let (size, given) = (size(&dtype, &shape)?, end - begin);
    if size != given {
        return Err(format!("shape {shape:?} of {dtype} needs {size} bytes, data_offsets give {given}"));
    }
    Ok((Tensor { dtype, shape, bytes: data.slice(begin..end) }, data_offsets))
}

#[cfg(test)]
mod tests;
