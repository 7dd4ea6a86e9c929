//! Reads the numbers of a tensor of any type as f64, one piece at a time, so that a large stage is never copied whole.

use crate::format::safetensors::Tensor;
use crate::tensor::{Bf16, F16, Number};
use byteorder::{ByteOrder, LE};
use std::slice::ChunksExact;

/// How many numbers a piece has.
const PIECE: usize = 4096;

/// The number type of a tensor, as written, if it cannot be compared.
pub fn unreadable(tensor: &Tensor) -> Option<&str> {
    (width(&tensor.dtype).is_none()).then_some(&*tensor.dtype)
}

/// Whether the numbers are integers, which have no rounding errors.
pub fn is_integer(tensor: &Tensor) -> bool {
    tensor.dtype.starts_with(['I', 'U'])
}

/// Calls `look` for each piece with the index of its first number and the numbers of `a` and `b`.
pub fn for_each_piece(a: &Tensor, b: &Tensor, mut look: impl FnMut(usize, &[f64], &[f64])) {
    let (Some(width_a), Some(width_b)) = (width(&a.dtype), width(&b.dtype)) else { return };
    let (mut wide_a, mut wide_b) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
    let pieces = a.bytes.chunks(PIECE * width_a).zip(b.bytes.chunks(PIECE * width_b));
    for (i, (piece_a, piece_b)) in pieces.enumerate() {
        widen(&a.dtype, piece_a, &mut wide_a);
        widen(&b.dtype, piece_b, &mut wide_b);
        look(i * PIECE, &wide_a, &wide_b);
    }
}

/// The size of a number in bytes; `None` for types that cannot be compared.
fn width(dtype: &str) -> Option<usize> {
    match dtype {
        "F64" | "I64" | "U64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "I8" | "U8" => Some(1),
        _ => None,
    }
}

/// Converts little-endian bytes to numbers. Integers above 2^53 are rounded; no id is that large.
fn widen(dtype: &str, bytes: &[u8], wide: &mut Vec<f64>) {
    fn each(numbers: ChunksExact<'_, u8>, wide: &mut Vec<f64>, number: impl Fn(&[u8]) -> f64) {
        wide.extend(numbers.map(number));
    }
    wide.clear();
    let numbers = bytes.chunks_exact(width(dtype).unwrap_or(1));
    match dtype {
        "F64" => each(numbers, wide, LE::read_f64),
        "I64" => each(numbers, wide, |x| LE::read_i64(x) as f64),
        "U64" => each(numbers, wide, |x| LE::read_u64(x) as f64),
        "F32" => each(numbers, wide, |x| LE::read_f32(x).into()),
        "I32" => each(numbers, wide, |x| LE::read_i32(x).into()),
        "U32" => each(numbers, wide, |x| LE::read_u32(x).into()),
        "F16" => each(numbers, wide, |x| F16::widen(LE::read_u16(x)).into()),
        "BF16" => each(numbers, wide, |x| Bf16::widen(LE::read_u16(x)).into()),
        "I16" => each(numbers, wide, |x| LE::read_i16(x).into()),
        "U16" => each(numbers, wide, |x| LE::read_u16(x).into()),
        "I8" => each(numbers, wide, |x| (x[0] as i8).into()),
        _ => each(numbers, wide, |x| x[0].into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Bytes;

    #[test]
    fn every_type_is_widened_by_value() {
        for (dtype, bytes) in [
            ("F64", (-2f64).to_le_bytes().to_vec()),
            ("F32", (-2f32).to_le_bytes().to_vec()),
            ("F16", 0xc000u16.to_le_bytes().to_vec()),
            ("BF16", 0xc000u16.to_le_bytes().to_vec()),
            ("I64", (-2i64).to_le_bytes().to_vec()),
            ("I32", (-2i32).to_le_bytes().to_vec()),
            ("I16", (-2i16).to_le_bytes().to_vec()),
            ("I8", (-2i8).to_le_bytes().to_vec()),
        ] {
            let mut wide = Vec::new();
            widen(dtype, &bytes, &mut wide);
            assert_eq!(wide, [-2.0], "{dtype}");
            assert_eq!(width(dtype), Some(bytes.len()));
        }
        for dtype in ["U64", "U32", "U16", "U8"] {
            let (mut wide, mut bytes) = (Vec::new(), vec![0; width(dtype).expect("a width")]);
            bytes[0] = 200;
            widen(dtype, &bytes, &mut wide);
            assert_eq!(wide, [200.0], "{dtype}");
        }
        let tensor =
            |dtype: &str| Tensor { dtype: dtype.into(), shape: vec![], bytes: Bytes::from_static(&[]) };
        assert_eq!(unreadable(&tensor("BOOL")), Some("BOOL"));
        assert!(is_integer(&tensor("U8")) && !is_integer(&tensor("BF16")));
    }

    #[test]
    fn pieces_of_two_types_stay_side_by_side() {
        let n = 2 * PIECE + 5;
        let a: Vec<u8> = (0..n).flat_map(|i| (i as f64).to_le_bytes()).collect();
        let b: Vec<u8> = (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let tensor = |dtype: &str, bytes: &[u8]| Tensor {
            dtype: dtype.into(),
            shape: vec![n],
            bytes: Bytes::aligned_copy(bytes),
        };
        let mut seen = 0;
        for_each_piece(&tensor("F64", &a), &tensor("F32", &b), |start, a, b| {
            assert!(a == b && a[0] == start as f64);
            seen += a.len();
        });
        assert_eq!(seen, n);
    }
}
