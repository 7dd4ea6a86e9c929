//! Sums of products of integers: one block of `k`, a few rows, a few panels of weights.
//!
//! ```text
//! for r, p, lane:
//!     sums[r][p * 16 + lane] = sum over g, i of q[r][4 * g + i] * w[p][64 * g + 4 * lane + i]
//! ```
//!
//! They are exact, so every version computes the same numbers, and may add them in any order:
//!
//! - [`text`]: plain Rust, everywhere.
//! - [`avx2`]: `vpmaddubsw` adds two products in 16 bits, which is exact unless two neighbouring weights are large and of
//!   one sign. Weights that [`Weights::quantize`](crate::tensor::Weights::quantize) makes never are. Others go
//!   to [`text`].
//! - [`vnni`]: `vpdpbusd` adds four products in 32 bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod vnni;

use crate::matmul::K_BLOCK;
use crate::simd::{LANES, Simd, kernel};
use crate::tensor::{GROUP, Known, LINE};
use std::array::from_fn;

/// Panels that are multiplied together.
pub const PANELS: usize = 4;

/// Their outputs.
pub const WIDTH: usize = PANELS * LANES;

/// Rows whose sums stay in registers: 6 * 4 of the 32 registers of AVX-512.
pub const TILE_ROWS: usize = 6;

/// The sums of a tile.
pub type Sums = [[i32; WIDTH]; TILE_ROWS];

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

    /// What products need to know of a block of a panel's weights.
    pub fn known(self, w: &[i8]) -> Known {
        let mut sums = [[0; WIDTH]; TILE_ROWS];
        self.sums(&[&[1; K_BLOCK][..w.len() / LANES]], &[w], true, None, &mut sums); // two weights always fit
        Known { sums: from_fn(|lane| sums[0][lane]), pairs_fit: pairs_fit(w) }
    }

    /// The sums of up to [`TILE_ROWS`] rows and up to [`PANELS`] panels, of which `pairs_fit` is [`Known`]. The places of others
    /// do not change. `next`: what to prefetch meanwhile.
    ///
    /// # Panics
    /// If the rows are not equally long, a multiple of four up to [`K_BLOCK`], or the panels do not fit them.
    pub fn sums(self, x: &[&[u8]], w: &[&[i8]], pairs_fit: bool, next: Option<&Next>, sums: &mut Sums) {
        let depth = x.first().map_or(0, |row| row.len());
        assert!(depth <= K_BLOCK && depth.is_multiple_of(GROUP), "groups of a block");
        assert!(x.iter().all(|row| row.len() == depth), "rows of one length");
        assert!(w.iter().all(|panel| panel.len() == depth / GROUP * LINE), "panels of that depth");
        assert!(x.len() <= TILE_ROWS && w.len() <= PANELS, "a tile");
        match *x {
            [a, b, c, d, e, f] => self.rows([a, b, c, d, e, f], w, pairs_fit, next, sums),
            [a, b, c, d, e] => self.rows([a, b, c, d, e], w, pairs_fit, next, sums),
            [a, b, c, d] => self.rows([a, b, c, d], w, pairs_fit, next, sums),
            [a, b, c] => self.rows([a, b, c], w, pairs_fit, next, sums),
            [a, b] => self.rows([a, b], w, pairs_fit, next, sums),
            [a] => self.rows([a], w, pairs_fit, next, sums),
            _ => {}
        }
    }

    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "for the kernels of x86-64"))]
    fn rows<const R: usize>(
        self,
        x: [&[u8]; R],
        w: &[&[i8]],
        pairs_fit: bool,
        next: Option<&Next>,
        sums: &mut Sums,
    ) {
        match self {
            // SAFETY: `current` and the tests ask the processor first.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if pairs_fit => unsafe { avx2::sums(x, w, next, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { vnni::sums(x, w, next, sums) },
            _ => text(&x, w, sums),
        }
    }
}

kernel! {
    /// Whether the sum of two products of neighbours with numbers up to 255 always fits in 16 bits: it does up to 255 * 128.
    fn pairs_fit(w: &[i8]) -> bool {
        let mut largest = 0;
        for pair in w.as_chunks::<2>().0 {
            largest = (i16::from(pair[0]) + i16::from(pair[1])).abs().max(largest);
        }
        largest <= 128
    }
}

/// Computes the sums of a full tile, `rounds` times, with numbers that stay in the L1 cache: what a core can do at
/// best. Returns the number of operations. A multiplication and an addition are two.
pub fn busy(rounds: usize) -> usize {
    let kernel = Kernel::current();
    let (x, w) = ([[1u8; K_BLOCK]; TILE_ROWS], [[[1i8; LINE]; K_BLOCK / GROUP]; PANELS]);
    let panels = w.each_ref().map(|w| w.as_flattened());
    let mut sums = [[0; WIDTH]; TILE_ROWS];
    for _ in 0..rounds {
        let x: [&[u8]; TILE_ROWS] = std::hint::black_box(x.each_ref().map(|x| &x[..]));
        kernel.sums(&x, &panels, true, None, &mut sums);
        std::hint::black_box(&mut sums);
    }
    2 * rounds * TILE_ROWS * WIDTH * K_BLOCK
}

kernel! {
    fn text(x: &[&[u8]], w: &[&[i8]], sums: &mut Sums) {
        for (x, sums) in x.iter().zip(sums) {
            let (x, _) = x.as_chunks::<GROUP>();
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
            let q: Vec<Vec<u8>> = [255, 255, 0, 1, 128, 254].map(|q| vec![q; depth]).into();
            let panel = |of: &dyn Fn(usize) -> i8| (0..depth * LANES).map(of).collect::<Vec<i8>>();
            let mixed = panel(&|i| [127, -127, -128, 127][i % 4]); // neighbours of two signs do not saturate
            let panels = [-128, -127, 127, 64, -64, 65].map(|w| panel(&|_| w));
            for panel in panels.into_iter().chain([mixed, panel(&|i| (i % 256) as u8 as i8)]) {
                for (rows, count) in [(1, 1), (2, 3), (3, 4), (4, 2), (5, 4), (6, 4), (6, 1)] {
                    let (w, x) = (vec![&panel[..]; count], q.iter().map(|q| &q[..]).collect::<Vec<_>>());
                    let mut expected = [[7; WIDTH]; TILE_ROWS];
                    text(&x[..rows], &w, &mut expected);
                    let mut of_weights = [[0; WIDTH]; TILE_ROWS];
                    text(&[&vec![1; depth]], &w[..1], &mut of_weights);
                    let pairs = panel.chunks(2).map(|w| (i32::from(w[0]) + i32::from(w[1])).abs());
                    let fit = pairs.max() <= Some(128);
                    for kernel in kernels() {
                        let known = kernel.known(&panel);
                        assert_eq!(
                            (&known.sums[..], known.pairs_fit),
                            (&of_weights[0][..LANES], fit),
                            "{kernel:?}"
                        );
                        let mut got = [[7; WIDTH]; TILE_ROWS];
                        kernel.sums(&x[..rows], &w, fit, None, &mut got);
                        assert_eq!(got, expected, "{kernel:?} {depth} {rows} {count} {:?}", &panel[..4]);
                    }
                }
            }
        }
    }
}
