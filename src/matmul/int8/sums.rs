//! Sums of products of whole numbers: one block of `k`, a few rows, a few panels of weights.
//!
//! ```text
//! for r, p, lane:
//!     sums[r][p * 16 + lane] = sum over g, i of (q[r][4 * g + i] - zero[r]) * w[p][64 * g + 4 * lane + i]
//! ```
//!
//! They are exact, so every version gives the same numbers, and each may add them in the order that suits it:
//!
//! - [`text`]: plain Rust, everywhere.
//! - [`avx2`]: both factors in 16 bits, where `q - zero` has its place; `vpmaddwd` multiplies them and adds two products.
//! - [`vnni`]: `vpdpbusd` multiplies 64 bytes by 64, unsigned by signed, and adds four products to each of 16 sums. It leaves
//!   `zero` to its caller.
//!
//! AVX2's `vpmaddubsw` would multiply bytes, but its sums of two products saturate at 32,767; 2 * 255 * 127 is more.

use crate::matmul::K_BLOCK;
use crate::simd::LANES;
use crate::simd::Simd;
use crate::tensor::{GROUP, LINE};

/// Panels that are multiplied with together.
pub const PANELS: usize = 4;

/// Outputs of so many panels.
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
    /// q - zero, for those who [subtract it](Kernel::subtracts_zero).
    pub wide: &'a [i16],
}

/// For each panel, where the weights begin that are read after it: a hint, which may lead anywhere.
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

    /// Whether the sums are those of `q - zero`; else they are those of `q`.
    pub fn subtracts_zero(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => false,
            _ => true,
        }
    }

    /// The sums of up to [`TILE_ROWS`] rows with up to [`PANELS`] panels. Places for others stay as they are.
    ///
    /// # Panics
    /// If the rows are not equally long, a multiple of four up to [`K_BLOCK`], or the panels do not fit them.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(unused_variables, reason = "only AVX2's version asks ahead")
    )]
    pub fn sums(self, x: &[Row<'_>], w: &[&[i8]], next: &Next, sums: &mut Sums) {
        let len = |row: &Row<'_>| if self.subtracts_zero() { row.wide.len() } else { row.bytes.len() };
        let depth = x.first().map_or(0, len);
        assert!(depth <= K_BLOCK && depth.is_multiple_of(GROUP), "groups of a block");
        assert!(x.iter().all(|row| len(row) == depth), "rows of one length");
        assert!(w.iter().all(|panel| panel.len() == depth / GROUP * LINE), "panels of that depth");
        assert!(x.len() <= TILE_ROWS && w.len() <= PANELS, "a tile");
        match self {
            Self::Text => text(x, w, sums),
            // SAFETY: `current` and the tests ask the processor first; the lengths are as asserted.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::sums(x, w, next, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { vnni::sums(x, w, sums) },
        }
    }
}

/// The sums of a full tile, `rounds` times, with numbers that stay in the L1 cache: what a core can do at best. Gives
/// the number of operations, where a multiplication and an addition are two.
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

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;
    use std::arch::x86_64::*;

    /// # Safety
    /// The processor has AVX2; all rows have one length, a multiple of four, and all panels 16 times that.
    #[target_feature(enable = "avx2")]
    pub unsafe fn sums(x: &[Row<'_>], w: &[&[i8]], next: &Next, sums: &mut Sums) {
        for (p, w) in w.iter().enumerate() {
            // SAFETY: as promised by the caller. Sums of 6 rows and 2 registers, or of 2 and 4, stay in the 16 registers.
            unsafe {
                match *x {
                    [a, b, c, d, e, f] => tile::<6, 2>([a, b, c, d, e, f], w, next[p], sums, p),
                    [a, b, c, d, e] => tile::<5, 2>([a, b, c, d, e], w, next[p], sums, p),
                    [a, b, c, d] => tile::<4, 2>([a, b, c, d], w, next[p], sums, p),
                    [a, b, c] => tile::<3, 2>([a, b, c], w, next[p], sums, p),
                    [a, b] => tile::<2, 4>([a, b], w, next[p], sums, p),
                    [a] => tile::<1, 4>([a], w, next[p], sums, p),
                    _ => {}
                }
            }
        }
    }

    /// `R` rows with panel `w`, `V` registers of four outputs at a time.
    ///
    /// # Safety
    /// As [`sums`].
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn tile<const R: usize, const V: usize>(
        x: [Row<'_>; R],
        w: &[i8],
        next: *const i8,
        sums: &mut Sums,
        p: usize,
    ) {
        for first in (0..4).step_by(V) {
            // partial[r][v]: four outputs, each as two partial sums side by side
            let mut partial = [[_mm256_setzero_si256(); V]; R];
            for g in 0..w.len() / LINE {
                if first == 0 {
                    _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(g * LINE));
                }
                let mut weights = [_mm256_setzero_si256(); V];
                for v in 0..V {
                    // SAFETY: line g of 64 bytes lies in the panel.
                    let bytes =
                        unsafe { _mm_loadu_si128(w.as_ptr().add(g * LINE + (first + v) * 16).cast()) };
                    weights[v] = _mm256_cvtepi8_epi16(bytes);
                }
                for r in 0..R {
                    // SAFETY: group g of four numbers lies in the row.
                    let four = unsafe { x[r].wide.as_ptr().add(g * GROUP).cast::<i64>().read_unaligned() };
                    let four = _mm256_set1_epi64x(four);
                    for v in 0..V {
                        partial[r][v] = _mm256_add_epi32(partial[r][v], _mm256_madd_epi16(four, weights[v]));
                    }
                }
            }
            for r in 0..R {
                for half in 0..V / 2 {
                    // neighbours are added; the permutation puts outputs 0 1 4 5 2 3 6 7 in order
                    let pairs = _mm256_hadd_epi32(partial[r][2 * half], partial[r][2 * half + 1]);
                    let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                    let place = &mut sums[r][p * LANES + 4 * first + 8 * half..][..8];
                    // SAFETY: the place is that of eight i32.
                    unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), ordered) };
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vnni {
    use super::*;
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
