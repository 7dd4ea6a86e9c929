//! WebAssembly's vectors. They have no fused multiply-add: `simd/fused.rs` tells what is computed instead.

use super::{Lanes, turn_tiles};
use crate::simd::LANES;
use crate::simd::fused::HALFWAY;
use bytemuck::must_cast;
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
    fn load(from: &[f32; LANES]) -> Self {
        Self(must_cast(*from))
    }
    #[inline(always)]
    fn load_bf16(from: &[u16; LANES]) -> Self {
        let [a, b, c, d] = load_u16(from);
        Self([u32x4_shl(a, 16), u32x4_shl(b, 16), u32x4_shl(c, 16), u32x4_shl(d, 16)])
    }
    #[inline(always)]
    fn load_f16(from: &[u16; LANES]) -> Self {
        let [a, b, c, d] = load_u16(from);
        Self([widen_f16(a), widen_f16(b), widen_f16(c), widen_f16(d)])
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = must_cast(self.0);
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        let [a, b, c] = [self.0, b.0, c.0];
        let [(y0, bits0), (y1, bits1)] = [fused(a[0], b[0], c[0]), fused(a[1], b[1], c[1])];
        let [(y2, bits2), (y3, bits3)] = [fused(a[2], b[2], c[2]), fused(a[3], b[3], c[3])];
        match u32x4_all_true(u32x4_min(u32x4_min(bits0, bits1), u32x4_min(bits2, bits3))) {
            true => Self([y0, y1, y2, y3]),
            false => mul_add_odd(&self, &Self(b), &Self(c)),
        }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, b.0);
        Self([f32x4_add(a, e), f32x4_add(b, f), f32x4_add(c, g), f32x4_add(d, h)])
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, b.0);
        Self([f32x4_mul(a, e), f32x4_mul(b, f), f32x4_mul(c, g), f32x4_mul(d, h)])
    }

    #[inline(always)]
    fn turned(rows: [&[f32; LANES]; LANES]) -> [Self; LANES] {
        let riffle = |[a, b, c, d]: [v128; 4]| {
            [
                u32x4_shuffle::<0, 4, 1, 5>(a, c),
                u32x4_shuffle::<2, 6, 3, 7>(a, c),
                u32x4_shuffle::<0, 4, 1, 5>(b, d),
                u32x4_shuffle::<2, 6, 3, 7>(b, d),
            ]
        };
        turn_tiles(rows.map(|row| must_cast(*row)), riffle).map(Self)
    }
}

/// Sixteen u16, each in 32 bits.
#[inline(always)]
fn load_u16(from: &[u16; LANES]) -> [v128; 4] {
    let [low, high] = must_cast(*from);
    [
        u32x4_extend_low_u16x8(low),
        u32x4_extend_high_u16x8(low),
        u32x4_extend_low_u16x8(high),
        u32x4_extend_high_u16x8(high),
    ]
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

/// a * b + c, rounded first to f64 and then to f32; and bits, all 0 where that may be one rounding too many.
#[inline(always)]
fn fused(a: v128, b: v128, c: v128) -> (v128, v128) {
    let low = f64x2_add(f64x2_mul(lower(a), lower(b)), lower(c));
    let high = f64x2_add(f64x2_mul(upper(a), upper(b)), upper(c));
    (narrow(low, high), u32x4_shl(u32x4_shuffle::<0, 2, 4, 6>(low, high), u32::BITS - HALFWAY))
}

/// The two lower lanes, in f64.
#[inline(always)]
fn lower(x: v128) -> v128 {
    f64x2_promote_low_f32x4(x)
}

/// The two upper lanes, in f64.
#[inline(always)]
fn upper(x: v128) -> v128 {
    f64x2_promote_low_f32x4(u64x2_shuffle::<1, 1>(x, x))
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
        let (a, b, c) = (a.0[i], b.0[i], c.0[i]);
        narrow(odd(f64x2_mul(lower(a), lower(b)), lower(c)), odd(f64x2_mul(upper(a), upper(b)), upper(c)))
    }))
}

/// p + c, rounded to odd.
fn odd(p: v128, c: v128) -> v128 {
    let s = f64x2_add(p, c);
    let rest = f64x2_sub(s, p);
    let error = f64x2_add(f64x2_sub(p, f64x2_sub(s, rest)), f64x2_sub(c, rest));
    let (side, zero) = (f64x2_mul(s, error), f64x2_splat(0.0));
    let (farther, nearer) = (f64x2_gt(side, zero), f64x2_lt(side, zero)); // -1 where it is so
    v128_or(i64x2_add(s, nearer), v128_and(v128_or(farther, nearer), u64x2_splat(1)))
}
