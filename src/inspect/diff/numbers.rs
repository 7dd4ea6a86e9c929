//! Reads the numbers of a tensor of any type as f64, one piece at a time, so that a large stage is never copied whole.

use crate::format::safetensors::Tensor;
use crate::tensor::{Bf16, F16, Number};

/// How many numbers a piece has.
const PIECE: usize = 4096;

/// The number type of a tensor, as written, if it cannot be compared.
pub fn unreadable(tensor: &Tensor) -> Option<&str> {
    reader(&tensor.dtype).is_none().then_some(&*tensor.dtype)
}

/// Whether the numbers are integers, which have no rounding errors.
pub fn is_integer(tensor: &Tensor) -> bool {
    tensor.dtype.starts_with(['I', 'U'])
}

/// Calls `look` for each piece with the index of its first number and the numbers of `a` and `b`.
pub fn for_each_piece(a: &Tensor, b: &Tensor, mut look: impl FnMut(usize, &[f64], &[f64])) {
    let (Some((width_a, widen_a)), Some((width_b, widen_b))) = (reader(&a.dtype), reader(&b.dtype)) else {
        return;
    };
    let (mut wide_a, mut wide_b) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
    let pieces = a.bytes.chunks(PIECE * width_a).zip(b.bytes.chunks(PIECE * width_b));
    for (i, (piece_a, piece_b)) in pieces.enumerate() {
        widen_a(piece_a, &mut wide_a);
        widen_b(piece_b, &mut wide_b);
        look(i * PIECE, &wide_a, &wide_b);
    }
}

/// The shape without its leading axes of size 1.
pub fn without_batch(shape: &[usize]) -> &[usize] {
    let batch = shape.iter().take_while(|n| **n == 1).count();
    &shape[batch..]
}

/// Converts the numbers in some bytes.
type Widen = fn(&[u8], &mut Vec<f64>);

/// The size of a number in bytes, and how little-endian numbers are read; `None` for types that cannot be compared.
/// Integers above 2^53 are rounded; no id is that large.
fn reader(dtype: &str) -> Option<(usize, Widen)> {
    fn each<const WIDTH: usize>(bytes: &[u8], wide: &mut Vec<f64>, number: impl Fn([u8; WIDTH]) -> f64) {
        wide.clear();
        wide.extend(bytes.as_chunks().0.iter().map(|x| number(*x)));
    }
    Some(match dtype {
        "F64" => (8, |bytes, wide| each(bytes, wide, f64::from_le_bytes)),
        "I64" => (8, |bytes, wide| each(bytes, wide, |x| i64::from_le_bytes(x) as f64)),
        "U64" => (8, |bytes, wide| each(bytes, wide, |x| u64::from_le_bytes(x) as f64)),
        "F32" => (4, |bytes, wide| each(bytes, wide, |x| f32::from_le_bytes(x).into())),
        "I32" => (4, |bytes, wide| each(bytes, wide, |x| i32::from_le_bytes(x).into())),
        "U32" => (4, |bytes, wide| each(bytes, wide, |x| u32::from_le_bytes(x).into())),
        "F16" => (2, |bytes, wide| each(bytes, wide, |x| F16::widen(u16::from_le_bytes(x)).into())),
        "BF16" => (2, |bytes, wide| each(bytes, wide, |x| Bf16::widen(u16::from_le_bytes(x)).into())),
        "I16" => (2, |bytes, wide| each(bytes, wide, |x| i16::from_le_bytes(x).into())),
        "U16" => (2, |bytes, wide| each(bytes, wide, |x| u16::from_le_bytes(x).into())),
        "I8" => (1, |bytes, wide| each(bytes, wide, |x| i8::from_le_bytes(x).into())),
        "U8" => (1, |bytes, wide| each(bytes, wide, |x| u8::from_le_bytes(x).into())),
        _ => return None,
    })
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
            let ((width, widen), mut wide) = (reader(dtype).expect("a type"), Vec::new());
            widen(&bytes, &mut wide);
            assert_eq!((width, &wide[..]), (bytes.len(), &[-2.0][..]), "{dtype}");
        }
        for dtype in ["U64", "U32", "U16", "U8"] {
            let ((width, widen), mut wide) = (reader(dtype).expect("a type"), Vec::new());
            let mut bytes = vec![0; width];
            bytes[0] = 200;
            widen(&bytes, &mut wide);
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
