//! Rounding, the layout, and the ends of the range.

use super::*;
use crate::simd::tests::under_each;

/// Numbers of very different sizes.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 1.7).sin() * 10f32.powi(i as i32 % 7 - 3)).collect()
}

#[test]
fn no_number_is_off_by_more_than_half_a_step() {
    for (rows, cols) in [(1, 1), (5, 3), (16, 16), (33, 18), (7, 130)] {
        let wide = numbers(rows * cols);
        for outputs in [Outputs::Rows, Outputs::Cols] {
            let w = Weights::from_f32(rows, cols, &wide).quantize(outputs);
            assert_eq!(w.dtype(), Dtype::I8);
            let scales = w.scales().expect("int8").to_vec();
            for (i, (got, truth)) in w.to_f32().iter().zip(&wide).enumerate() {
                let scale = scales[if outputs == Outputs::Rows { i / cols } else { i % cols }];
                assert!((got - truth).abs() <= 0.5001 * scale, "{outputs:?} {i}: {got} for {truth}");
            }
            let again = w.quantize(outputs);
            assert_eq!(again.stored().as_ptr(), w.stored().as_ptr(), "nothing is done twice");
        }
    }
}

#[test]
fn the_layout_is_the_one_that_is_written_down() {
    let (k, n) = (6, 18);
    let wide: Vec<f32> = (0..k * n).map(|i| i as f32 - 40.0).collect();
    let w = Weights::from_f32(k, n, &wide).quantize(Outputs::Cols);
    let [panels, groups, lanes, group] = Weights::int8_shape(n, k);
    assert_eq!([panels, groups, lanes, group], [2, 2, 16, 4]);
    let stored: &[i8] = bytemuck::cast_slice(w.stored());
    for p in 0..panels {
        for g in 0..groups {
            for (lane, i) in (0..lanes).flat_map(|lane| (0..group).map(move |i| (lane, i))) {
                let (row, col) = (g * group + i, p * lanes + lane);
                let q = stored[((p * groups + g) * lanes + lane) * group + i];
                let expected = match (row < k, w.scales().expect("int8").get(col)) {
                    (true, Some(scale)) => (wide[row * n + col] / scale).round_ties_even(),
                    _ => 0.0,
                };
                assert_eq!(f32::from(q), expected, "k {row}, n {col}");
            }
        }
    }
}

#[test]
fn the_same_bytes_under_every_instruction_set() {
    let w = Weights::from_f32(100, 37, &numbers(3700));
    let mut seen: Option<(Vec<u8>, Vec<f32>)> = None;
    under_each(|simd| {
        let q = w.quantize(Outputs::Cols);
        let got = (q.stored().to_vec(), q.scales().expect("int8").to_vec());
        assert!(*seen.get_or_insert_with(|| got.clone()) == got, "{simd:?}");
    });
}

#[test]
fn channels_at_the_ends_of_the_range() {
    let tiny = f32::from_bits(3);
    let wide = [0.0, 3e38, tiny, f32::NAN, f32::INFINITY, -0.0, -3e38, -tiny, 1.0, 2.0];
    let w = Weights::from_f32(2, 5, &wide).quantize(Outputs::Cols);
    let scales = w.scales().expect("int8");
    assert_eq!((scales[0], scales[1], scales[2]), (0.0, 3e38 / 127.0, 0.0));
    assert!(scales[3].is_nan() && scales[4].is_nan());
    let back = w.to_f32();
    assert_eq!((back[0], back[2], back[7]), (0.0, 0.0, 0.0));
    assert!(back[1] > 2.99e38 && back[1].is_finite() && back[6] == -back[1] && back[3].is_nan());
}
