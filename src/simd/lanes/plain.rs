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
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: sixteen f32 by the caller's promise; an array needs no more alignment than its elements,
        // and `read_unaligned` not even that.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: as above.
        Self(unsafe { from.cast::<[u16; LANES]>().read_unaligned() }.map(widen_bf16))
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: as above.
        Self(unsafe { from.cast::<[u16; LANES]>().read_unaligned() }.map(widen_f16))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: sixteen f32 to write, by the caller's promise.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
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
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        from_fn(|j| Self(from_fn(|i| rows[i].0[j])))
    }
}
