//! Every type of lanes computes the same.

use super::*;
use crate::simd::tests::under_each;
use crate::simd::{kernel, widen_bf16, widen_f16};
use std::array::from_fn;

kernel! {
    /// The sixteen rows of sixteen that begin at the third number of `from`, 19 apart, turned, in each number type.
    fn turned_from(wide: &[f32], half: &[u16]) -> Vec<u32> {
        assert!(wide.len() == 3 + 19 * LANES && half.len() == wide.len());
        let mut to = vec![0.0f32; 3 * LANES * LANES];
        fn rows<T>(from: &[T]) -> [&[T; LANES]; LANES] {
            from_fn(|j| from[3 + 19 * j..].first_chunk().expect("sixteen"))
        }
        let tiles = [L::turned(rows(wide)), L::turned_bf16(rows(half)), L::turned_f16(rows(half))];
        for (row, to) in tiles.into_iter().flatten().zip(to.as_chunks_mut::<LANES>().0) {
            row.store(to);
        }
        to.into_iter().map(f32::to_bits).collect()
    }
}

kernel! {
    /// bf16, f16 and `f32 * 3 + 1` of the same sixteen places.
    fn loaded(half: &[u16], wide: &[f32]) -> Vec<u32> {
        let (half, wide) = (half.first_chunk().expect("sixteen"), wide.first_chunk().expect("sixteen"));
        let (three, tenth) = (L::splat(3.0), L::splat(0.1));
        let wide: L = L::load(wide);
        let results = [
            L::load_bf16(half),
            L::load_f16(half),
            wide.mul_add(three, L::splat(1.0)),
            wide.add(tenth),
            wide.mul(tenth),
        ];
        let mut to = [[0.0f32; LANES]; 5];
        results.into_iter().zip(&mut to).for_each(|(lanes, to)| lanes.store(to));
        to.into_iter().flatten().map(f32::to_bits).collect()
    }
}

#[test]
fn rows_become_columns() {
    let half: Vec<u16> = (0..3 + 19 * LANES).map(|i| (i * 199 % 0x7c00) as u16).collect();
    let wide: Vec<f32> = half.iter().map(|h| f32::from(*h)).collect();
    let at = |i: usize, j: usize| 3 + 19 * j + i;
    under_each(|simd| {
        let to = turned_from(&wide, &half);
        for (i, j) in (0..LANES).flat_map(|i| (0..LANES).map(move |j| (i, j))) {
            let from = half[at(i, j)];
            let expected = [wide[at(i, j)], widen_bf16(from), widen_f16(from)];
            for (tile, expected) in expected.into_iter().enumerate() {
                let got = to[(tile * LANES + i) * LANES + j];
                assert_eq!(got, expected.to_bits(), "{simd:?}: tile {tile}, row {i}, lane {j}");
            }
        }
    });
}

#[test]
fn every_instruction_set_computes_the_same() {
    for first in (0..0x7c00u16).step_by(LANES) {
        let half: Vec<u16> = (first..).take(LANES).map(|h| h | (h & 1) << 15).collect();
        let wide: Vec<f32> = half.iter().map(|h| widen_bf16(*h)).collect();
        let mut expected: Vec<f32> = wide.clone();
        expected.extend(half.iter().map(|h| widen_f16(*h)));
        expected.extend(wide.iter().map(|x| x.mul_add(3.0, 1.0)));
        expected.extend(wide.iter().map(|x| x + 0.1));
        expected.extend(wide.iter().map(|x| x * 0.1));
        let expected: Vec<u32> = expected.into_iter().map(f32::to_bits).collect();
        under_each(|simd| assert_eq!(loaded(&half, &wide), expected, "{simd:?} from {first:#x}"));
    }
}
