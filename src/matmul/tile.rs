//! The loop that most of the time is spent in: some rows of `x` against a tile of `w`.
//!
//! ```text
//! for k, in order:
//!     for r, j:  p[r][j] = fma(x[r][k], w[k][j], p[r][j])
//! ```
//!
//! Eight `k` are taken together, so that a sum stays in its register for eight products; neighbouring `j` are the lanes
//! of a register. Each weight that is read serves all rows.

use crate::tensor::Number;

/// The `k` that are taken together.
const WALK: usize = 8;

/// `p[r] += x[r] · w` for `R` rows, each sum in the order of `k`. `x[r]` is `[K]`; row `k` of `w` begins at `w[k * step]` and
/// is as wide as the rows of `p`.
///
/// For use inside a kernel.
#[inline(always)]
pub fn add_product<N: Number, const R: usize>(
    x: &[&[f32]; R],
    w: &[N::Bits],
    step: usize,
    p: &mut [&mut [f32]; R],
) {
    let depth = x[0].len();
    let mut k = 0;
    while k + WALK <= depth {
        walk::<N, WALK, R>(x, k, &w[k * step..], step, p);
        k += WALK;
    }
    while k < depth {
        walk::<N, 1, R>(x, k, &w[k * step..], step, p);
        k += 1;
    }
}

#[inline(always)]
fn walk<N: Number, const W: usize, const R: usize>(
    x: &[&[f32]; R],
    k: usize,
    w: &[N::Bits],
    step: usize,
    p: &mut [&mut [f32]; R],
) {
    let width = p[0].len();
    let mut factors = [[0.0f32; W]; R];
    for r in 0..R {
        factors[r].copy_from_slice(&x[r][k..k + W]);
    }
    let mut rows: [&[N::Bits]; W] = [&[]; W];
    for i in 0..W {
        rows[i] = &w[i * step..][..width];
    }
    let p = p.each_mut().map(|p| &mut p[..width]); // one length for all: no bounds are checked below
    for j in 0..width {
        for r in 0..R {
            let mut sum = p[r][j];
            for i in 0..W {
                sum = factors[r][i].mul_add(N::widen(rows[i][j]), sum);
            }
            p[r][j] = sum;
        }
    }
}
