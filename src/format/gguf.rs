//! The GGUF format of llama.cpp: named values, then named tensors.
//!
//! ```text
//! "GGUF" | version: u32 | tensors: u64 | values: u64 | value ... | tensor ... | padding | data
//! value  = name: text | type: u32 | value            text = length: u64 | bytes
//! tensor = name: text | n: u32 | n sizes: u64, the innermost first | type: u32 | offset in data: u64
//! ```
//!
//! Everything is checked before it is used: a file may be cut, damaged or hostile.
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

mod writer;

pub use writer::{Entry, Writer};

use super::Bytes;
use super::safetensors::Tensor;
use crate::error::{Error, Result};
use byteorder::{LittleEndian, ReadBytesExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::{fmt, io, path::Path};

/// The first bytes of a file.
pub const MAGIC: &[u8; 4] = b"GGUF";

/// The key of the unit in which tensors lie, and the unit where it is missing.
const ALIGNMENT: (&str, usize) = ("general.alignment", 32);

/// Number types: name, code, and how many bytes hold how many numbers. `Q8_0` is an f16 scale and 32 numbers of 8 bits.
const TYPES: [(&str, u32, usize, usize); 6] = [
    ("F32", 0, 4, 1),
    ("F16", 1, 2, 1),
    ("Q8_0", 8, 34, 32),
    ("I8", 24, 1, 1),
    ("F64", 28, 8, 1),
    ("BF16", 30, 2, 1),
];

/// Names of types that are not read, for messages.
const OTHERS: [(u32, &str); 12] = [
    (2, "Q4_0"),
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (20, "IQ4_NL"),
    (23, "IQ4_XS"),
];

/// A longer list is not a vocabulary, and would take far more memory than its file.
const LONGEST: usize = 1 << 24;

/// A file that was read.
#[derive(Clone, Default)]
pub struct Gguf {
    /// The named values; numbers and texts as JSON has them.
    pub values: BTreeMap<String, Value>,
    /// The tensors, by name; the innermost size is the last of a shape.
    pub tensors: BTreeMap<String, Tensor>,
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gguf [{} values, {} tensors]", self.values.len(), self.tensors.len())
    }
}

impl Gguf {
    /// Reads a file; the numbers stay where they are.
    ///
    /// # Errors
    /// [`Error::File`] that names `path` and what is wrong with it.
    pub fn parse(path: &Path, file: &Bytes) -> Result<Self> {
        Self::read(file).map_err(|problem| Error::file(path, problem))
    }

    fn read(file: &Bytes) -> Result<Self, String> {
        let mut rest: &[u8] = file.strip_prefix(MAGIC).ok_or("not a GGUF file")?;
        let version = rest.read_u32::<LittleEndian>().map_err(cut)?;
        if !matches!(version, 2 | 3) {
            return Err(format!(
                "GGUF version {version}; versions 2 and 3 are read: convert the model again"
            ));
        }
        let [tensors, values] = [count(&mut rest)?, count(&mut rest)?];
        let mut found = Self::default();
        for _ in 0..values {
            let (name, kind) = (text(&mut rest)?, rest.read_u32::<LittleEndian>().map_err(cut)?);
            let value = value(&mut rest, kind, true).map_err(|problem| format!("{name:?}: {problem}"))?;
            found.values.insert(name, value);
        }
        let mut slots = Vec::new();
        for _ in 0..tensors {
            let name = text(&mut rest)?;
            let slot = slot(&mut rest).map_err(|problem| format!("tensor {name:?}: {problem}"))?;
            slots.push((name, slot));
        }
        let unit = found.values.get(ALIGNMENT.0).map_or(Some(ALIGNMENT.1 as u64), Value::as_u64);
        let unit = unit.filter(|unit| unit.is_power_of_two() && *unit <= 1 << 20);
        let unit = unit.ok_or_else(|| format!("{} is not a power of two", ALIGNMENT.0))? as usize;
        let begin = (file.len() - rest.len()).next_multiple_of(unit);
        for (name, Place { dtype, shape, offset, len }) in slots {
            let begin = usize::try_from(offset).ok().and_then(|offset| begin.checked_add(offset));
            let end = begin.and_then(|begin| begin.checked_add(len)).filter(|end| *end <= file.len());
            let (Some(begin), Some(end)) = (begin, end) else {
                return Err(format!(
                    "tensor {name:?} lies outside the {} bytes of the file; is it cut?",
                    file.len()
                ));
            };
            let tensor = Tensor { dtype, shape, bytes: file.slice(begin..end) };
            if found.tensors.insert(name.clone(), tensor).is_some() {
                return Err(format!("tensor {name:?} is there twice"));
            }
        }
        Ok(found)
    }
}

fn cut(_: io::Error) -> String {
    "cut short: the file ends within its header".into()
}

/// A number of things that each take a byte or more.
fn count(rest: &mut &[u8]) -> Result<usize, String> {
    let count = rest.read_u64::<LittleEndian>().map_err(cut)?;
    let most = usize::try_from(count).ok().filter(|count| *count <= rest.len());
    most.ok_or_else(|| format!("cut short: it announces {count} parts, only {} bytes are left", rest.len()))
}

fn text(rest: &mut &[u8]) -> Result<String, String> {
    let len = count(rest)?;
    let (text, after) = rest.split_at(len);
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|_| "a text is not UTF-8".into())
}

/// A value of this type; a list may not be in another.
fn value(rest: &mut &[u8], kind: u32, list: bool) -> Result<Value, String> {
    type Le = LittleEndian;
    Ok(match kind {
        0 => json!(rest.read_u8().map_err(cut)?),
        1 => json!(rest.read_i8().map_err(cut)?),
        2 => json!(rest.read_u16::<Le>().map_err(cut)?),
        3 => json!(rest.read_i16::<Le>().map_err(cut)?),
        4 => json!(rest.read_u32::<Le>().map_err(cut)?),
        5 => json!(rest.read_i32::<Le>().map_err(cut)?),
        6 => json!(rest.read_f32::<Le>().map_err(cut)?),
        7 => json!(rest.read_u8().map_err(cut)? != 0),
        8 => json!(text(rest)?),
        9 if list => {
            let (kind, len) = (rest.read_u32::<Le>().map_err(cut)?, count(rest)?);
            if len > LONGEST {
                return Err(format!("a list of {len} values; the limit is {LONGEST}"));
            }
            (0..len).map(|_| value(rest, kind, false)).collect::<Result<_, _>>()?
        }
        10 => json!(rest.read_u64::<Le>().map_err(cut)?),
        11 => json!(rest.read_i64::<Le>().map_err(cut)?),
        12 => json!(rest.read_f64::<Le>().map_err(cut)?),
        9 => return Err("a list of lists, which is not read".into()),
        _ => return Err(format!("values of type {kind} are unknown")),
    })
}

/// Where a tensor lies, and what it holds.
struct Place {
    dtype: String,
    shape: Vec<usize>,
    offset: u64,
    len: usize,
}

fn slot(rest: &mut &[u8]) -> Result<Place, String> {
    let n = rest.read_u32::<LittleEndian>().map_err(cut)?;
    if n > 4 {
        return Err(format!("{n} dimensions; there are at most 4"));
    }
    let sizes = (0..n).map(|_| rest.read_u64::<LittleEndian>().map_err(cut));
    let mut sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    sizes.reverse();
    let code = rest.read_u32::<LittleEndian>().map_err(cut)?;
    let offset = rest.read_u64::<LittleEndian>().map_err(cut)?;
    let shape = sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<usize>>>();
    let huge = || format!("shape {sizes:?} is larger than any memory");
    let shape = shape.ok_or_else(huge)?;
    let Some((name, _, bytes, numbers)) = TYPES.iter().find(|(_, known, ..)| *known == code) else {
        let other = OTHERS.iter().find(|(other, _)| *other == code).map(|(_, name)| name.to_string());
        let dtype = other.unwrap_or_else(|| format!("type {code}"));
        return Ok(Place { dtype, shape, offset: 0, len: 0 }); // refused by name if it is used
    };
    if !shape.last().unwrap_or(&1).is_multiple_of(*numbers) {
        return Err(format!(
            "rows of {:?} are no whole blocks of {name}, which hold {numbers} numbers",
            shape.last()
        ));
    }
    let len = shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    let len = len.and_then(|n| (n / numbers).checked_mul(*bytes)).ok_or_else(huge)?;
    Ok(Place { dtype: (*name).into(), shape, offset, len })
}

#[cfg(test)]
mod tests;
