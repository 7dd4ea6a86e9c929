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

pub use growing::Growing;
pub(crate) use writer::write_whole;
pub use writer::{Slot, Writer, remove_unfinished};

use super::Bytes;
use crate::error::{Error, Result};
use byteorder::{ByteOrder, LittleEndian};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// The format's own limit on the header's length.
const LONGEST_HEADER: u64 = 100_000_000;

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
#[derive(Clone, Debug, Default)]
pub struct SafeTensors {
    /// In order of their names.
    pub tensors: BTreeMap<String, Tensor>,
    /// What `__metadata__` says.
    pub metadata: BTreeMap<String, String>,
}

/// An entry of the header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The header's entries in its order. A map would hide a name that is there twice.
struct Header(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object from name to tensor")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
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

impl SafeTensors {
    /// Reads the header of a file; the numbers stay where they are.
    ///
    /// # Errors
    /// [`Error::File`] that names `path` and what is wrong with it.
    pub fn parse(path: &Path, file: &Bytes) -> Result<Self> {
        Self::parse_bytes(file).map_err(|problem| Error::file(path, problem))
    }

    fn parse_bytes(file: &Bytes) -> std::result::Result<Self, String> {
        if file.len() < 8 {
            return Err(format!(
                "not a safetensors file: {} bytes, shorter than the length of a header",
                file.len()
            ));
        }
        let length = LittleEndian::read_u64(file);
        if length > LONGEST_HEADER {
            return Err(format!(
                "not a safetensors file: it announces a header of {length} bytes, the limit is {LONGEST_HEADER}"
            ));
        }
        let data_start = 8 + length as usize;
        if data_start > file.len() {
            let rest = file.len() - 8;
            return Err(format!("cut short: the header should have {length} bytes, only {rest} are there"));
        }
        let Header(header) = serde_json::from_slice(&file[8..data_start])
            .map_err(|e| format!("not a safetensors file: the header is not JSON ({e})"))?;
        let data = file.slice(data_start..file.len());

        let mut found = Self::default();
        let mut parts = Vec::with_capacity(header.len());
        for (name, value) in header {
            if name == "__metadata__" {
                found.metadata = serde_json::from_value(value)
                    .map_err(|e| format!("__metadata__ is not text to text: {e}"))?;
                continue;
            }
            let entry: Entry = serde_json::from_value(value).map_err(|e| format!("tensor {name:?}: {e}"))?;
            let tensor = check(&entry, &data).map_err(|problem| format!("tensor {name:?}: {problem}"))?;
            if entry.data_offsets[0] < entry.data_offsets[1] {
                parts.push((entry.data_offsets, name.clone()));
            }
            if found.tensors.insert(name.clone(), tensor).is_some() {
                return Err(format!("tensor {name:?} is there twice"));
            }
        }
        // The tensors lie side by side, and nothing else does: otherwise header and data do not belong together.
        parts.sort();
        let mut covered = 0;
        let mut before = "the begin of the data".to_string();
        for ([begin, end], name) in parts {
            if begin < covered {
                return Err(format!("tensors {before} and {name:?} overlap"));
            }
            if begin > covered {
                return Err(format!(
                    "{} bytes between {before} and tensor {name:?} belong to no tensor",
                    begin - covered
                ));
            }
            (covered, before) = (end, format!("{name:?}"));
        }
        if covered < data.len() {
            return Err(format!("the last {} bytes of the file belong to no tensor", data.len() - covered));
        }
        Ok(found)
    }
}

/// The tensor that an entry of the header describes, if it can be true.
fn check(entry: &Entry, data: &Bytes) -> std::result::Result<Tensor, String> {
    let Entry { dtype, shape, data_offsets: [begin, end] } = entry;
    let bits = bits(dtype).ok_or_else(|| format!("unknown dtype {dtype:?}"))?;
    if begin > end || *end > data.len() {
        return Err(format!(
            "data_offsets [{begin}, {end}] outside the {} bytes of data; is the file cut?",
            data.len()
        ));
    }
    let size = (shape.iter().try_fold(bits, |n, dimension| n.checked_mul(*dimension)))
        .ok_or_else(|| format!("shape {shape:?} is larger than any memory"))?;
    if size != (end - begin).saturating_mul(8) {
        return Err(format!(
            "shape {shape:?} of {dtype} needs {} bytes, data_offsets give {}",
            size / 8,
            end - begin
        ));
    }
    Ok(Tensor { dtype: dtype.clone(), shape: shape.clone(), bytes: data.slice(*begin..*end) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Bytes {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        Bytes::aligned_copy(&bytes)
    }

    fn problem(bytes: &Bytes) -> String {
        SafeTensors::parse(Path::new("model"), bytes).expect_err("a problem").to_string()
    }

    #[test]
    fn a_good_file() {
        let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},
            "empty":{"dtype":"F16","shape":[0,7],"data_offsets":[8,8]}}"#;
        let found = SafeTensors::parse(Path::new("m"), &file(header, &[1; 8])).expect("a good file");
        assert_eq!(found.tensors["a"].shape, [1, 2]);
        assert_eq!(&*found.tensors["a"].bytes, [1; 8]);
        assert_eq!(found.metadata["format"], "pt");
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        for (header, part) in [
            ("", "header is not JSON"),
            ("[]", "header is not JSON"),
            (r#"{"a": 3}"#, "tensor \"a\""),
            (r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, "F31"),
            (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, "needs 12 bytes"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "outside"),
            (r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, "cut"),
            (
                r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
                "larger than any",
            ),
            (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}"#, "tensor \"a\""),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
                "overlap",
            ),
        ] {
            let problem = problem(&file(header, &[0; 8]));
            assert!(problem.contains(part), "{header}: {problem}");
        }
        assert!(problem(&Bytes::aligned_copy(&[1, 2, 3])).contains("3 bytes"));
        assert!(problem(&Bytes::aligned_copy(&(1u64 << 60).to_le_bytes())).contains("limit"));
        assert!(problem(&Bytes::aligned_copy(&100u64.to_le_bytes())).contains("cut short"));
    }
}
