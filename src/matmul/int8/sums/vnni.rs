//! AVX-512 VNNI: `vpdpbusd` multiplies 64 unsigned bytes by 64 signed ones, and adds four products to each of 16 sums.

use super::{GROUP, LANES, LINE, Next, Sums};
use crate::simd::lanes::prefetch;
use bytemuck::must_cast;
use std::arch::x86_64::*;

/// As [`Kernel::sums`](super::Kernel::sums), for `R` rows.
#[target_feature(enable = "avx512f,avx512vnni")]
pub fn sums<const R: usize>(x: [&[u8]; R], w: &[&[i8]], next: Option<&Next>, sums: &mut Sums) {
    match *w {
        [a, b, c, d] => tile(x, [a, b, c, d], next, sums, 0),
        _ => w.iter().enumerate().for_each(|(p, w)| tile(x, [w], next, sums, p)),
    }
}

/// `P` panels, from number `first` on.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn tile<const R: usize, const P: usize>(
    x: [&[u8]; R],
    w: [&[i8]; P],
    next: Option<&Next>,
    sums: &mut Sums,
    first: usize,
) {
    // lists of one length: their indices need no check
    let groups = x[0].len() / GROUP;
    let mut q: [&[[u8; GROUP]]; R] = [&[]; R];
    for r in 0..R {
        q[r] = &x[r].as_chunks().0[..groups];
    }
    let mut lines: [&[[i8; LINE]]; P] = [&[]; P];
    for p in 0..P {
        lines[p] = &w[p].as_chunks().0[..groups];
    }
    let mut y = [[_mm512_setzero_si512(); P]; R];
    for g in 0..groups {
        let mut line = [_mm512_setzero_si512(); P];
        for p in 0..P {
            line[p] = must_cast(lines[p][g]);
            if let Some(next) = next {
                prefetch(next[first + p].wrapping_add(g * LINE));
            }
        }
        for r in 0..R {
            let four = _mm512_set1_epi32(i32::from_ne_bytes(q[r][g]));
            for p in 0..P {
                y[r][p] = _mm512_dpbusd_epi32(y[r][p], four, line[p]);
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            sums[r].as_chunks_mut::<LANES>().0[first + p] = must_cast(y[r][p]);
        }
    }
}
