//! Every type of lanes computes the same.

use super::*;
use crate::simd::tests::under_each;
use crate::simd::{kernel, widen_bf16, widen_f16};

kernel! {
    fn turned(from: &[f32]) -> Vec<f32> {
        let mut rows = [L::splat(0.0); LANES];
        for (row, from) in rows.iter_mut().zip(from.as_chunks::<LANES>().0) {
            // SAFETY: sixteen elements of a slice.
            *row = unsafe { L::load(from.as_ptr()) };
        }
        let mut to = vec![0.0f32; LANES * LANES];
        for (row, to) in L::transpose(rows).into_iter().zip(to.as_chunks_mut::<LANES>().0) {
            // SAFETY: as above.
            unsafe { row.store(to.as_mut_ptr()) };
        }
        to
    }
}

kernel! {
    /// The sixteen rows of sixteen that begin at the third number of `from`, 19 apart, turned, in each number type.
    fn turned_from(wide: &[f32], half: &[u16]) -> Vec<u32> {
        assert!(wide.len() == 3 + 19 * LANES && half.len() == wide.len());
        let mut to = vec![0.0f32; 3 * LANES * LANES];
        // SAFETY: the last row ends at 3 + 15 * 19 + 16, inside by the assertion.
        let tiles = unsafe {
            let half = half[3..].as_ptr();
            [L::turned(wide[3..].as_ptr(), 19), L::turned_bf16(half, 19), L::turned_f16(half, 19)]
        };
        for (row, to) in tiles.into_iter().flatten().zip(to.as_chunks_mut::<LANES>().0) {
            // SAFETY: sixteen elements of a slice.
            unsafe { row.store(to.as_mut_ptr()) };
        }
        to.into_iter().map(f32::to_bits).collect()
    }
}

kernel! {
    /// bf16, f16 and `f32 * 3 + 1` of the same sixteen places.
    fn loaded(half: &[u16], wide: &[f32]) -> Vec<u32> {
        assert!(half.len() == LANES && wide.len() == LANES);
        let mut to = vec![0.0f32; 5 * LANES];
        // SAFETY: sixteen elements of each slice, by the assertion and the line above.
        unsafe {
            let wide = L::load(wide.as_ptr());
            L::load_bf16(half.as_ptr()).store(to.as_mut_ptr());
            L::load_f16(half.as_ptr()).store(to[LANES..].as_mut_ptr());
            wide.mul_add(L::splat(3.0), L::splat(1.0)).store(to[2 * LANES..].as_mut_ptr());
            wide.add(L::splat(0.1)).store(to[3 * LANES..].as_mut_ptr());
            wide.mul(L::splat(0.1)).store(to[4 * LANES..].as_mut_ptr());
        }
        to.into_iter().map(f32::to_bits).collect()
    }
}

#[test]
fn rows_become_columns() {
    let from: Vec<f32> = (0..LANES * LANES).map(|i| i as f32).collect();
    under_each(|simd| {
        let to = turned(&from);
        for i in 0..LANES {
            for j in 0..LANES {
                assert_eq!(to[j * LANES + i], from[i * LANES + j], "{simd:?} {i} {j}");
            }
        }
    });
}

#[test]
fn rows_become_columns_on_the_way_from_memory() {
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
