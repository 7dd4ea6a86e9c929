//! llm.c's debug state: a batch of ids, and the logits that `train_gpt2.py` computed for it.
//!
//! ```text
//! header: 256 i32    magic 20240327, version 1 or 2, B, T
//! ids: [B, T] i32 | targets: [B, T] i32 | logits: [B, T, V] f32 | loss: f32 | gradients
//! ```
//!
//! Source: llm.c, `train_gpt2.py`, `write_state`.

use super::Bytes;
use super::safetensors::{SafeTensors, Tensor};
use byteorder::{ByteOrder, LittleEndian};

/// The first number of the header.
const MAGIC: i32 = 20_240_327;

/// Bytes of the header.
const HEADER: usize = 1024;

/// The first text of a debug state, as the stages `input_ids` and `lm_head` of a trace; `None` for another file. V is
/// `vocab_size`, which the file does not say.
///
/// # Errors
/// A message if the file is of another version or too short.
pub fn trace(file: &Bytes, vocab_size: usize) -> Option<Result<SafeTensors, String>> {
    let number = |i: usize| file.get(4 * i..4 * i + 4).map(LittleEndian::read_i32);
    (number(0) == Some(MAGIC)).then(|| {
        let at = |i| number(i).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let (version, b, t) = (at(1), at(2), at(3));
        if ![1, 2].contains(&version) {
            return Err(format!("a debug state of llm.c of version {version}; versions 1 and 2 are read"));
        }
        let sizes = || {
            let rows = b.checked_mul(t)?.checked_mul(8)?.checked_add(HEADER)?; // ids and targets of all texts
            let end = t.checked_mul(vocab_size)?.checked_mul(4)?.checked_add(rows)?;
            (b > 0 && t > 0 && end <= file.len()).then_some((rows, end))
        };
        let Some((begin, end)) = sizes() else {
            let length = file.len();
            return Err(format!(
                "a debug state of llm.c of {b} texts of {t} tokens, but only {length} bytes; is it cut?"
            ));
        };
        let tensor =
            |dtype: &str, shape, range| Tensor { dtype: dtype.into(), shape, bytes: file.slice(range) };
        let mut found = SafeTensors::default();
        found.tensors.insert("input_ids".into(), tensor("I32", vec![t], HEADER..HEADER + 4 * t));
        found.tensors.insert("lm_head".into(), tensor("F32", vec![t, vocab_size], begin..end));
        Ok(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_text_is_read() {
        let mut header = [0i32; 256];
        header[..4].copy_from_slice(&[MAGIC, 2, 2, 3]);
        let ids: Vec<i32> = (1..=12).collect(); // ids and targets of two texts of three tokens
        let logits: Vec<f32> = (0..2 * 3 * 5).map(|i| i as f32).collect();
        let mut bytes: Vec<u8> = header.iter().chain(&ids).flat_map(|x| x.to_le_bytes()).collect();
        bytes.extend(logits.iter().flat_map(|x| x.to_le_bytes()));
        let read = |bytes: &[u8], v| trace(&Bytes::aligned_copy(bytes), v);
        let found = read(&bytes, 5).expect("a state").expect("sound");
        assert_eq!(found.tensors["input_ids"].bytes[..], bytes[HEADER..HEADER + 12]);
        assert_eq!(
            (&found.tensors["lm_head"].shape[..], found.tensors["lm_head"].bytes[56]),
            (&[3, 5][..], 0)
        );
        assert_eq!(LittleEndian::read_f32(&found.tensors["lm_head"].bytes[56..]), 14.0);
        assert!(
            read(&bytes[..bytes.len() - 61], 5).expect("a state").expect_err("cut").contains("is it cut?")
        );
        for (i, wrong) in [(1, 3), (2, -1), (3, i32::MAX), (3, 0)] {
            let mut odd = bytes.clone();
            odd[4 * i..4 * i + 4].copy_from_slice(&i32::to_le_bytes(wrong));
            assert!(read(&odd, 5).expect("a state").is_err(), "{i}: {wrong}");
        }
        assert!(read(&bytes, usize::MAX).expect("a state").is_err());
        assert!(read(&bytes[1..], 5).is_none() && read(&[], 5).is_none());
    }
}
