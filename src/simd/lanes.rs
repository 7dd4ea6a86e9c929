//! Sixteen f32 side by side, in the registers of one instruction set.
//!
//! The compiler turns most loops into vector code by itself. If it failed to do so for the inner loop of a product, the
//! product would be ten times slower. So that loop is written over [`Lanes`]: still one text, with these few
//! operations.
//!
//! | type | registers |
//! |---|---|
//! | `Avx512` | one of 16 lanes |
//! | `Avx2` | two of 8 |
//! | `Neon` | four of 4, arm64 |
//! | `Simd128` | four of 4, WebAssembly |
//! | [`Plain`] | an array, on any processor |

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(not(target_feature = "simd128"))]
mod plain;
#[cfg(target_feature = "simd128")]
mod simd128;

#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
#[cfg(not(target_feature = "simd128"))]
pub use plain::Plain;
#[cfg(target_feature = "simd128")]
pub use simd128::Simd128;
#[cfg(target_arch = "x86_64")]
pub use {avx2::Avx2, avx512::Avx512};

use super::LANES;

/// Sixteen f32, lane by lane.
///
/// A kernel's copy for an instruction set uses the type of that set and no other. So the processor has the instructions
/// of these methods wherever they are called.
pub trait Lanes: Copy {
    /// How many registers they take.
    const REGISTERS: usize;

    /// The same number in all lanes.
    fn splat(x: f32) -> Self;

    /// Sixteen f32.
    fn load(from: &[f32; LANES]) -> Self;

    /// Sixteen bf16, widened exactly.
    fn load_bf16(from: &[u16; LANES]) -> Self;

    /// Sixteen f16, widened exactly.
    fn load_f16(from: &[u16; LANES]) -> Self;

    /// Writes sixteen f32.
    fn store(self, to: &mut [f32; LANES]);

    /// self * b + c, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// self + b
    fn add(self, b: Self) -> Self;

    /// self * b
    fn mul(self, b: Self) -> Self;

    /// Sixteen rows in memory, turned: number `j` of row `i` becomes lane `i` of result `j`.
    fn turned(rows: [&[f32; LANES]; LANES]) -> [Self; LANES];

    /// The same, of rows of bf16, widened exactly.
    #[inline(always)]
    fn turned_bf16(rows: [&[u16; LANES]; LANES]) -> [Self; LANES] {
        turned_wide(rows, Self::load_bf16)
    }

    /// The same, of rows of f16, widened exactly.
    #[inline(always)]
    fn turned_f16(rows: [&[u16; LANES]; LANES]) -> [Self; LANES] {
        turned_wide(rows, Self::load_f16)
    }
}

/// Sixteen rows of 16-bit numbers, widened, then turned as rows of f32.
#[inline(always)]
fn turned_wide<L: Lanes>(rows: [&[u16; LANES]; LANES], widen: impl Fn(&[u16; LANES]) -> L) -> [L; LANES] {
    let mut wide = [[0.0; LANES]; LANES];
    for i in 0..LANES {
        widen(rows[i]).store(&mut wide[i]);
    }
    L::turned(wide.each_ref())
}

/// Prefetches a line of memory. It is a hint, so any address will do.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    // SAFETY: every x86-64 processor has the instruction, and a hint reads nothing.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Sixteen rows of four registers of 4 lanes, turned: sixteen tiles of 4 x 4. `riffle` makes of the registers a, b, c, d of a tile
/// the lanes a0 c0 a1 c1, a2 c2 a3 c3, b0 d0 b1 d1, b2 d2 b3 d3; twice, it turns the tile.
#[cfg(any(target_arch = "aarch64", target_feature = "simd128"))]
#[inline(always)]
fn turn_tiles<R: Copy>(rows: [[R; 4]; LANES], riffle: impl Fn([R; 4]) -> [R; 4]) -> [[R; 4]; LANES] {
    let mut turned = rows;
    for i in 0..4 {
        for j in 0..4 {
            let [a, b, c, d] = [rows[4 * i][j], rows[4 * i + 1][j], rows[4 * i + 2][j], rows[4 * i + 3][j]];
            let tile = riffle(riffle([a, b, c, d]));
            for r in 0..4 {
                turned[4 * j + r][i] = tile[r];
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests;
