//! Any processor: an array, which the compiler may or may not turn into registers.

use super::Lanes;
use crate::simd::{LANES, widen_bf16, widen_f16};
use std::array::from_fn;

/// An array of 16 lanes.
#[derive(Clone, Copy, Debug)]
pub struct Plain([f32; LANES]);

impl Lanes for Plain {
    /// As if an array were a register. So the loops for wide registers are tested on machines that have none.
    const REGISTERS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(*from)
    }
    #[inline(always)]
    fn load_bf16(from: &[u16; LANES]) -> Self {
        Self(from.map(widen_bf16))
    }
    #[inline(always)]
    fn load_f16(from: &[u16; LANES]) -> Self {
        Self(from.map(widen_f16))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(from_fn(|i| self.0[i] + b.0[i]))
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(from_fn(|i| self.0[i] * b.0[i]))
    }
    #[inline(always)]
    fn turned(rows: [&[f32; LANES]; LANES]) -> [Self; LANES] {
        from_fn(|j| Self(from_fn(|i| rows[i][j])))
    }
}
