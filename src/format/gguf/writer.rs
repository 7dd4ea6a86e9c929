//! Writing the format: all values and the places of all tensors first, then the tensors in their order.

use super::{ALIGNMENT, MAGIC, TYPES};
use crate::error::Result;
use crate::format::safetensors::Slot;
use crate::format::unfinished::Unfinished;
use byteorder::{LittleEndian, WriteBytesExt};
use std::io::{self, Write};
use std::path::Path;

/// A value to write.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A whole number.
    Number(u32),
    /// A number.
    Float(f32),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list of whole numbers.
    Numbers(Vec<i32>),
    /// A list of texts.
    Texts(Vec<String>),
}

/// A file in the making. Its tensors are written in the order of their slots. Dropped before [`finish`](Writer::finish), it
/// is removed.
#[derive(Debug)]
pub struct Writer {
    file: Unfinished,
    lengths: std::vec::IntoIter<usize>,
}

impl Writer {
    /// Begins a file with these values and tensors.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io) and [`Error::File`](crate::error::Error::File) if the file cannot be made.
    ///
    /// # Panics
    /// If a number type is not one of the format's.
    pub fn create(path: &Path, values: &[(String, Entry)], slots: &[Slot]) -> Result<Self> {
        let mut header = Vec::from(MAGIC);
        let lengths = write_header(&mut header, values, slots).expect("memory takes all bytes");
        let mut file = Unfinished::create(path)?;
        file.with(|file| file.write_all(&header))?;
        Ok(Self { file, lengths: lengths.into_iter() })
    }

    /// Writes the next tensor: little-endian, row-major.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io) if the bytes cannot be written.
    ///
    /// # Panics
    /// If all tensors are written, or the next one has another size.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        assert_eq!(self.lengths.next(), Some(bytes.len()), "bytes of the tensor");
        let padding = vec![0; bytes.len().next_multiple_of(ALIGNMENT.1) - bytes.len()];
        self.file.with(|file| file.write_all(bytes).and_then(|()| file.write_all(&padding)))
    }

    /// Gives the file its name, in place of an older one.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io) if the disk or the folder refuses.
    ///
    /// # Panics
    /// If a tensor has not been written.
    pub fn finish(self) -> Result<()> {
        assert_eq!(self.lengths.len(), 0, "a tensor was announced but never written");
        self.file.finish()
    }
}

/// Everything before the data; gives the length of each tensor.
fn write_header(out: &mut Vec<u8>, values: &[(String, Entry)], slots: &[Slot]) -> io::Result<Vec<usize>> {
    type Le = LittleEndian;
    let text = |out: &mut Vec<u8>, text: &str| {
        out.write_u64::<Le>(text.len() as u64)?;
        out.write_all(text.as_bytes())
    };
    out.write_u32::<Le>(3)?;
    out.write_u64::<Le>(slots.len() as u64)?;
    out.write_u64::<Le>(values.len() as u64)?;
    for (name, value) in values {
        text(out, name)?;
        let kind = match value {
            Entry::Number(_) => 4,
            Entry::Float(_) => 6,
            Entry::Bool(_) => 7,
            Entry::Text(_) => 8,
            Entry::Numbers(_) | Entry::Texts(_) => 9,
        };
        out.write_u32::<Le>(kind)?;
        match value {
            Entry::Number(number) => out.write_u32::<Le>(*number)?,
            Entry::Float(number) => out.write_f32::<Le>(*number)?,
            Entry::Bool(yes) => out.write_u8((*yes).into())?,
            Entry::Text(value) => text(out, value)?,
            Entry::Numbers(all) => {
                out.write_u32::<Le>(5)?;
                out.write_u64::<Le>(all.len() as u64)?;
                all.iter().try_for_each(|number| out.write_i32::<Le>(*number))?;
            }
            Entry::Texts(all) => {
                out.write_u32::<Le>(8)?;
                out.write_u64::<Le>(all.len() as u64)?;
                all.iter().try_for_each(|value| text(out, value))?;
            }
        }
    }
    let (mut lengths, mut offset) = (Vec::new(), 0);
    for Slot { name, dtype, shape } in slots {
        let known = TYPES.iter().find(|(known, ..)| known == dtype);
        let (_, code, bytes, numbers) = known.unwrap_or_else(|| panic!("GGUF has no type {dtype}"));
        text(out, name)?;
        out.write_u32::<Le>(shape.len() as u32)?;
        shape.iter().rev().try_for_each(|size| out.write_u64::<Le>(*size as u64))?;
        out.write_u32::<Le>(*code)?;
        out.write_u64::<Le>(offset as u64)?;
        let len = shape.iter().product::<usize>() / numbers * bytes;
        lengths.push(len);
        offset += len.next_multiple_of(ALIGNMENT.1);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT.1), 0);
    Ok(lengths)
}
