//! WebAssembly's vectors. They have no fused multiply-add: `simd/fused.rs` tells what is computed instead.

use super::Lanes;
use crate::simd::{LANES, fused};
use std::arch::wasm32::*;
use std::array::from_fn;

/// Four registers of 4 lanes.
#[derive(Clone, Copy, Debug)]
pub struct Simd128([v128; 4]);

impl Lanes for Simd128 {
    const REGISTERS: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([f32x4_splat(x); 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: sixteen f32 by the caller's promise.
        Self(from_fn(|i| unsafe { v128_load(from.add(4 * i).cast()) }))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: sixteen u16 by the caller's promise.
        Self(from_fn(|i| u32x4_shl(unsafe { load_u16(from.add(4 * i)) }, 16)))
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: as above.
        Self(from_fn(|i| widen_f16(unsafe { load_u16(from.add(4 * i)) })))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for i in 0..4 {
            // SAFETY: sixteen f32 to write by the caller's promise.
            unsafe { v128_store(to.add(4 * i).cast(), self.0[i]) };
        }
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        let (mut sums, mut least) = ([self.0[0]; 4], u32x4_splat(u32::MAX));
        for i in 0..4 {
            let [low, high] = [0, 1].map(|half| wide_sum(half, self.0[i], b.0[i], c.0[i]).2);
            // the bits that tell whether a sum may lie halfway
            let bits = u32x4_shl(u32x4_shuffle::<0, 2, 4, 6>(low, high), u32::BITS - fused::HALFWAY);
            least = u32x4_min(least, bits);
            sums[i] = narrow(low, high);
        }
        if u32x4_all_true(least) { Self(sums) } else { mul_add_odd(&self, &b, &c) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(from_fn(|i| f32x4_add(self.0[i], b.0[i])))
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(from_fn(|i| f32x4_mul(self.0[i], b.0[i])))
    }

    /// Sixteen tiles of 4 x 4, two riffles each.
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        let mut turned = rows;
        for i in 0..4 {
            for j in 0..4 {
                let mut tile = [rows[0].0[0]; 4];
                for r in 0..4 {
                    tile[r] = rows[4 * i + r].0[j];
                }
                for _ in 0..2 {
                    tile = [
                        u32x4_shuffle::<0, 4, 1, 5>(tile[0], tile[2]),
                        u32x4_shuffle::<2, 6, 3, 7>(tile[0], tile[2]),
                        u32x4_shuffle::<0, 4, 1, 5>(tile[1], tile[3]),
                        u32x4_shuffle::<2, 6, 3, 7>(tile[1], tile[3]),
                    ];
                }
                for r in 0..4 {
                    turned[4 * j + r].0[i] = tile[r];
                }
            }
        }
        turned
    }
}

/// Four u16, each in 32 bits.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn load_u16(from: *const u16) -> v128 {
    // SAFETY: the caller's promise.
    unsafe { u32x4_load_extend_u16x4(from) }
}

/// As [`widen_f16`](crate::simd::widen_f16), of four numbers in 32 bits each.
#[inline(always)]
fn widen_f16(bits: v128) -> v128 {
    let rebias = u32x4_splat((127 + 112) << 23);
    let sign = u32x4_shl(v128_and(bits, u32x4_splat(0x8000)), 16);
    let rest = u32x4_shl(v128_and(bits, u32x4_splat(0x7fff)), 13);
    let infinite = i32x4_ge(rest, i32x4_splat(0x7c00 << 13));
    let whole = v128_or(f32x4_mul(rest, rebias), v128_and(infinite, u32x4_splat(0x7f80_0000)));
    v128_or(sign, whole)
}

/// Two lanes of a, b and c, the lower or the upper ones: the product, c, and their sum, in f64.
#[inline(always)]
fn wide_sum(half: usize, a: v128, b: v128, c: v128) -> (v128, v128, v128) {
    let wide = |x| f64x2_promote_low_f32x4(if half == 0 { x } else { u64x2_shuffle::<1, 1>(x, x) });
    let (p, c) = (f64x2_mul(wide(a), wide(b)), wide(c));
    (p, c, f64x2_add(p, c))
}

/// Two and two f64, rounded to f32.
#[inline(always)]
fn narrow(low: v128, high: v128) -> v128 {
    u64x2_shuffle::<0, 2>(f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high))
}

/// As [`Lanes::mul_add`], with every sum rounded to odd.
#[cold]
#[inline(never)]
fn mul_add_odd(a: &Simd128, b: &Simd128, c: &Simd128) -> Simd128 {
    Simd128(from_fn(|i| {
        let [low, high] = [0, 1].map(|half| {
            let (p, c, s) = wide_sum(half, a.0[i], b.0[i], c.0[i]);
            let rest = f64x2_sub(s, p);
            let error = f64x2_add(f64x2_sub(p, f64x2_sub(s, rest)), f64x2_sub(c, rest));
            let (side, zero) = (f64x2_mul(s, error), f64x2_splat(0.0));
            let (farther, nearer) = (f64x2_gt(side, zero), f64x2_lt(side, zero)); // -1 where it is so
            let odd = v128_and(v128_or(farther, nearer), u64x2_splat(1));
            v128_or(i64x2_add(s, nearer), odd)
        });
        narrow(low, high)
    }))
}
