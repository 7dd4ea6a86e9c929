//! Sums of products of integers: one block of `k`, a few rows, a few panels of weights.
//!
//! ```text
//! for r, p, lane:
//!     sums[r][p * 16 + lane] = sum over g, i of (q[r][4 * g + i] - zero[r]) * w[p][64 * g + 4 * lane + i]
//! ```
//!
//! They are exact, so every version computes the same numbers, and may add them in any order:
//!
//! - [`text`]: plain Rust, everywhere.
//! - [`avx2`]: both factors in 16 bits, so that `q - zero` fits.
//! - [`vnni`]: both factors in 8 bits, unsigned and signed. It leaves `zero` to its caller.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod vnni;

use crate::matmul::K_BLOCK;
use crate::simd::{LANES, Simd};
use crate::tensor::{GROUP, LINE};

/// Panels that are multiplied together.
pub const PANELS: usize = 4;

/// Their outputs.
pub const WIDTH: usize = PANELS * LANES;

/// Rows whose sums stay in registers: 6 * 4 of the 32 registers of AVX-512.
pub const TILE_ROWS: usize = 6;

/// The sums of a tile.
pub type Sums = [[i32; WIDTH]; TILE_ROWS];

/// A block of a row of `x`.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// q
    pub bytes: &'a [u8],
    /// q - zero, for kernels that [subtract it](Kernel::subtracts_zero).
    pub wide: &'a [i16],
}

/// For each panel, the address of the weights that are read next. It is a hint, so any address will do.
pub type Next = [*const i8; PANELS];

/// A way to compute [`Sums`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Plain Rust.
    Text,
    /// x86-64 with AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 F and VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl Kernel {
    /// The fastest for [`Simd::current`].
    pub fn current() -> Self {
        match Simd::current() {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 if is_x86_feature_detected!("avx512vnni") => Self::Vnni,
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 | Simd::Avx2 => Self::Avx2,
            _ => Self::Text,
        }
    }

    /// Whether the sums are of `q - zero`; else they are of `q`.
    pub fn subtracts_zero(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => false,
            _ => true,
        }
    }

    /// The sums of up to [`TILE_ROWS`] rows and up to [`PANELS`] panels. The places of others do not change.
    ///
    /// # Panics
    /// If the rows are not equally long, a multiple of four up to [`K_BLOCK`], or the panels do not fit them.
    pub fn sums(self, x: &[Row<'_>], w: &[&[i8]], next: &Next, sums: &mut Sums) {
        let _ = next; // only AVX2's version prefetches
        let len = |row: &Row<'_>| if self.subtracts_zero() { row.wide.len() } else { row.bytes.len() };
        let depth = x.first().map_or(0, len);
        assert!(depth <= K_BLOCK && depth.is_multiple_of(GROUP), "groups of a block");
        assert!(x.iter().all(|row| len(row) == depth), "rows of one length");
        assert!(w.iter().all(|panel| panel.len() == depth / GROUP * LINE), "panels of that depth");
        assert!(x.len() <= TILE_ROWS && w.len() <= PANELS, "a tile");
        match self {
            Self::Text => text(x, w, sums),
            // SAFETY: `current` and the tests ask the processor first.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::sums(x, w, next, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { vnni::sums(x, w, sums) },
        }
    }
}

/// Computes the sums of a full tile, `rounds` times, with numbers that stay in the L1 cache: what a core can do at
/// best. Returns the number of operations. A multiplication and an addition are two.
pub fn busy(rounds: usize) -> usize {
    let kernel = Kernel::current();
    let (bytes, wide) = ([[1u8; K_BLOCK]; TILE_ROWS], [[1i16; K_BLOCK]; TILE_ROWS]);
    let w = [[[1i8; LINE]; K_BLOCK / GROUP]; PANELS];
    let mut sums = [[0; WIDTH]; TILE_ROWS];
    for _ in 0..rounds {
        let x = std::array::from_fn(|r| Row { bytes: &bytes[r], wide: &wide[r] });
        let x: [Row<'_>; TILE_ROWS] = std::hint::black_box(x);
        kernel.sums(&x, &w.each_ref().map(|w| w.as_flattened()), &[std::ptr::null(); PANELS], &mut sums);
        std::hint::black_box(&mut sums);
    }
    2 * rounds * TILE_ROWS * WIDTH * K_BLOCK
}

fn text(x: &[Row<'_>], w: &[&[i8]], sums: &mut Sums) {
    for (x, sums) in x.iter().zip(sums) {
        let (x, _) = x.wide.as_chunks::<GROUP>();
        for (w, sums) in w.iter().zip(sums.as_chunks_mut::<LANES>().0) {
            let (lines, _) = w.as_chunks::<LINE>();
            *sums = [0; LANES];
            for (x, line) in x.iter().zip(lines) {
                for lane in 0..LANES {
                    for i in 0..GROUP {
                        sums[lane] += i32::from(x[i]) * i32::from(line[GROUP * lane + i]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Every kernel that this machine can run.
    pub fn kernels() -> Vec<Kernel> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "the others are for x86-64"))]
        let mut all = vec![Kernel::Text];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(is_x86_feature_detected!("avx2").then_some(Kernel::Avx2));
            let vnni = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
            all.extend(vnni.then_some(Kernel::Vnni));
        }
        all
    }

    /// The largest factors of every sign: nothing may saturate. -128 is never written, but a file may hold it.
    #[test]
    fn the_ends_of_the_range_are_exact() {
        for depth in [4, 8, 252, 256] {
            let q: Vec<Vec<u8>> =
                (0..TILE_ROWS).map(|r| vec![[255, 255, 0, 1, 128, 254][r]; depth]).collect();
            let zeros = [0i16, 255, 255, 1, 0, 77];
            let wide: Vec<Vec<i16>> = q
                .iter()
                .zip(zeros)
                .map(|(q, zero)| q.iter().map(|q| i16::from(*q) - zero).collect())
                .collect();
            let unshifted: Vec<Vec<i16>> =
                q.iter().map(|q| q.iter().map(|q| i16::from(*q)).collect()).collect();
            for value in [-128i8, -127, 127, 0] {
                let panel: Vec<i8> = (0..depth * LANES)
                    .map(|i| if value == 0 { (i % 256) as u8 as i8 } else { value })
                    .collect();
                for (rows, panels) in [(1, 1), (2, 3), (3, 4), (4, 2), (5, 4), (6, 4), (6, 1)] {
                    let w = vec![&panel[..]; panels];
                    for kernel in kernels() {
                        let wide = if kernel.subtracts_zero() { &wide } else { &unshifted };
                        let x: Vec<Row<'_>> =
                            q.iter().zip(wide).map(|(bytes, wide)| Row { bytes, wide }).collect();
                        let mut expected = [[7; WIDTH]; TILE_ROWS];
                        text(&x[..rows], &w, &mut expected);
                        let mut got = [[7; WIDTH]; TILE_ROWS];
                        kernel.sums(&x[..rows], &w, &[std::ptr::null(); PANELS], &mut got);
                        assert_eq!(got, expected, "{kernel:?} {depth} {value} {rows} {panels}");
                    }
                }
            }
        }
    }
}
