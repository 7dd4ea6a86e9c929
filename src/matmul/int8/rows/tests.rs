//! Rounding as defined, under every instruction set.

use super::*;
use crate::simd::tests::under_each;

/// The lines at the head of this file.
fn by_definition(x: &[f32]) -> (f32, f32, Vec<u8>) {
    let low = x.iter().fold(0.0f32, |m, x| m.min(*x));
    let high = x.iter().fold(0.0f32, |m, x| m.max(*x));
    let scale = high / 255.0 - low / 255.0;
    let zero = (-low * (1.0 / scale)).round_ties_even();
    let q = x.iter().map(|x| ((x * (1.0 / scale)).round_ties_even() + zero).clamp(0.0, 255.0) as u8);
    (scale, zero, q.collect())
}

#[test]
fn every_instruction_set_rounds_as_defined() {
    for (len, seed) in [(1, 1u32), (3, 2), (16, 3), (100, 4), (255, 5), (256, 6), (700, 7)] {
        let lopsided = |i: usize| (((i as u32 + seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6) - 3.0;
        // wide, one-sided, and of halves that are ties
        for map in [|x: f32| x, |x: f32| x.abs(), |x: f32| -x.abs(), |x: f32| (x * 4.0).round() * 0.5] {
            let x: Vec<f32> = (0..len).map(|i| map(lopsided(i))).collect();
            let x = Matrix::from_vec(1, len, x);
            under_each(|simd| {
                let got = Rows::quantize(&x);
                for (b, block) in x.row(0).chunks(BLOCK).enumerate() {
                    let (scale, zero, q) = by_definition(block);
                    let (got_scale, got_zero) = got.step(0, b);
                    assert_eq!((got_scale, got_zero as f32), (scale, zero), "{simd:?} {len}");
                    assert_eq!(got.block(0, b * BLOCK..b * BLOCK + block.len()), q, "{simd:?} {len}");
                    for (x, q) in block.iter().zip(&q) {
                        let back = scale * (f32::from(*q) - zero);
                        assert!((back - x).abs() <= 1.001 * scale, "{x} became {back}, step {scale}");
                    }
                }
            });
        }
    }
}

#[test]
fn numbers_at_the_ends_of_the_range() {
    let quantized = |x: &[f32]| {
        let rows = Rows::quantize(&Matrix::from_vec(1, x.len(), x.to_vec()));
        let (scale, zero) = rows.step(0, 0);
        (scale, zero, rows.row(0).to_vec())
    };
    under_each(|_| {
        let (scale, zero, q) = quantized(&[f32::MAX, f32::MIN, 0.0]);
        assert!(scale.is_finite() && (127..=128).contains(&zero) && i32::from(q[2]) == zero);
        assert_eq!((q[0], q[1]), (255, 0));
        assert_eq!(quantized(&[0.0, -0.0, 0.0, 0.0]), (0.0, 0, vec![0; 4]));
        assert_eq!(quantized(&[f32::from_bits(9), 0.0, 0.0, 0.0]).0, 0.0);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(quantized(&[1.0, bad, 2.0]).0.is_nan());
        }
        assert_eq!(quantized(&[255.0, 1.0, 3.0, 254.0, 2.0]).2, [255, 1, 3, 254, 2, 0, 0, 0]);
        assert_eq!(quantized(&[-255.0, -1.0, -3.0]).2, [0, 254, 252, 255]); // 255 stands for 0
    });
}
