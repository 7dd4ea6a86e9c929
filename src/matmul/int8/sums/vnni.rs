//! AVX-512 VNNI: `vpdpbusd` multiplies 64 unsigned bytes by 64 signed ones, and adds four products to each of 16 sums.

use super::{GROUP, LANES, LINE, Row, Sums};
use std::arch::x86_64::*;

/// # Safety
/// The processor has AVX-512 F and VNNI; all rows have one length, and all panels 16 times that.
#[target_feature(enable = "avx512f,avx512vnni")]
pub unsafe fn sums(x: &[Row<'_>], w: &[&[i8]], sums: &mut Sums) {
    // SAFETY: as promised by the caller.
    unsafe {
        match *w {
            [a, b, c, d] => rows([a, b, c, d], x, sums, 0),
            _ => w.iter().enumerate().for_each(|(p, w)| rows([w], x, sums, p)),
        }
    }
}

/// # Safety
/// As [`sums`].
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn rows<const P: usize>(w: [&[i8]; P], x: &[Row<'_>], sums: &mut Sums, p: usize) {
    // SAFETY: as promised by the caller.
    unsafe {
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
}

/// # Safety
/// As [`sums`].
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn tile<const R: usize, const P: usize>(
    x: [Row<'_>; R],
    w: [&[i8]; P],
    sums: &mut Sums,
    first: usize,
) {
    let mut y = [[_mm512_setzero_si512(); P]; R];
    for g in 0..x[0].bytes.len() / GROUP {
        let mut line = [_mm512_setzero_si512(); P];
        for p in 0..P {
            // SAFETY: line g of 64 bytes lies in the panel.
            line[p] = unsafe { _mm512_loadu_si512(w[p].as_ptr().add(g * LINE).cast()) };
        }
        for r in 0..R {
            // SAFETY: group g of four bytes lies in the row.
            let four = unsafe { x[r].bytes.as_ptr().add(g * GROUP).cast::<i32>().read_unaligned() };
            let four = _mm512_set1_epi32(four);
            for p in 0..P {
                y[r][p] = _mm512_dpbusd_epi32(y[r][p], four, line[p]);
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            let place = &mut sums[r][(first + p) * LANES..][..LANES];
            // SAFETY: the place is that of sixteen i32.
            unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), y[r][p]) };
        }
    }
}
