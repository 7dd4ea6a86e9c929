//! AVX-512 VNNI: `vpdpbusd` multiplies 64 unsigned bytes by 64 signed ones, and adds four products to each of 16 sums.

use super::{GROUP, LANES, LINE, Row, Sums};
use bytemuck::must_cast;
use std::arch::x86_64::*;

/// As [`Kernel::sums`](super::Kernel::sums).
#[target_feature(enable = "avx512f,avx512vnni")]
pub fn sums(x: &[Row<'_>], w: &[&[i8]], sums: &mut Sums) {
    match *w {
        [a, b, c, d] => rows([a, b, c, d], x, sums, 0),
        _ => w.iter().enumerate().for_each(|(p, w)| rows([w], x, sums, p)),
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn rows<const P: usize>(w: [&[i8]; P], x: &[Row<'_>], sums: &mut Sums, p: usize) {
    match *x {
        [a, b, c, d, e, f] => tile([a, b, c, d, e, f], w, sums, p),
        [a, b, c, d, e] => tile([a, b, c, d, e], w, sums, p),
        [a, b, c, d] => tile([a, b, c, d], w, sums, p),
        [a, b, c] => tile([a, b, c], w, sums, p),
        [a, b] => tile([a, b], w, sums, p),
        [a] => tile([a], w, sums, p),
        _ => {}
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn tile<const R: usize, const P: usize>(x: [Row<'_>; R], w: [&[i8]; P], sums: &mut Sums, first: usize) {
    // lists of one length: their indices need no check
    let groups = x[0].bytes.len() / GROUP;
    let mut q: [&[[u8; GROUP]]; R] = [&[]; R];
    for r in 0..R {
        q[r] = &x[r].bytes.as_chunks().0[..groups];
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
