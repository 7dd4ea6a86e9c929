//! NEON, which every arm64 processor has.

use super::{Lanes, turn_tiles};
use crate::simd::{LANES, widen_f16};
use bytemuck::must_cast;
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
    fn load(from: &[f32; LANES]) -> Self {
        Self(must_cast(*from))
    }
    #[inline(always)]
    fn load_bf16(from: &[u16; LANES]) -> Self {
        let quarters: [uint16x4_t; 4] = must_cast(*from);
        // SAFETY: see `splat`.
        Self(quarters.map(|four| unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(four)) }))
    }
    #[inline(always)]
    fn load_f16(from: &[u16; LANES]) -> Self {
        // The conversion has an instruction, but stable Rust has no name for it yet.
        Self::load(&from.map(widen_f16))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = must_cast(self.0);
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
    fn turned(rows: [&[f32; LANES]; LANES]) -> [Self; LANES] {
        // SAFETY: see `splat`.
        let riffle = |[a, b, c, d]: [float32x4_t; 4]| unsafe {
            [vzip1q_f32(a, c), vzip2q_f32(a, c), vzip1q_f32(b, d), vzip2q_f32(b, d)]
        };
        turn_tiles(rows.map(|row| must_cast(*row)), riffle).map(Self)
    }
}
