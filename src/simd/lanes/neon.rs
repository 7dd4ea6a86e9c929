//! NEON, which every arm64 processor has.

use super::{Lanes, turn_tiles};
use crate::simd::{LANES, widen_f16};
use std::arch::aarch64::*;

/// Four registers of 4 lanes.
#[derive(Clone, Copy, Debug)]
pub struct Neon([float32x4_t; 4]);

impl Lanes for Neon {
    const REGISTERS: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: NEON is part of every arm64 target. So below.
        Self([unsafe { vdupq_n_f32(x) }; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above, and sixteen f32 by the caller's promise.
        unsafe {
            Self([vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))])
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: as above, with four times four u16.
        unsafe {
            let wide = |i: usize| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.add(i))));
            Self([wide(0), wide(4), wide(8), wide(12)])
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // The conversion has an instruction, but stable Rust has no name for it yet.
        // SAFETY: sixteen u16 by the caller's promise, then sixteen f32 of an array.
        unsafe {
            let wide = from.cast::<[u16; LANES]>().read_unaligned().map(widen_f16);
            Self::load(wide.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above, and sixteen f32 to write by the caller's promise.
        unsafe {
            for i in 0..4 {
                vst1q_f32(to.add(4 * i), self.0[i]);
            }
        }
    }
    #[inline(always)]
    fn mul_add(mut self, b: Self, c: Self) -> Self {
        for i in 0..4 {
            // SAFETY: see `splat`.
            self.0[i] = unsafe { vfmaq_f32(c.0[i], self.0[i], b.0[i]) };
        }
        self
    }
    #[inline(always)]
    fn add(mut self, b: Self) -> Self {
        for i in 0..4 {
            // SAFETY: see `splat`.
            self.0[i] = unsafe { vaddq_f32(self.0[i], b.0[i]) };
        }
        self
    }
    #[inline(always)]
    fn mul(mut self, b: Self) -> Self {
        for i in 0..4 {
            // SAFETY: see `splat`.
            self.0[i] = unsafe { vmulq_f32(self.0[i], b.0[i]) };
        }
        self
    }

    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        // SAFETY: see `splat`.
        let riffle = |[a, b, c, d]: [float32x4_t; 4]| unsafe {
            [vzip1q_f32(a, c), vzip2q_f32(a, c), vzip1q_f32(b, d), vzip2q_f32(b, d)]
        };
        turn_tiles(rows.map(|row| row.0), riffle).map(Self)
    }
}
