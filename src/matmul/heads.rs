//! Attention's two products, for one head and a few rows.
//!
//! ```text
//! scores[r, s] = scale * (q[r] · key[s])
//! out[r]       = sum over s of weights[r, s] * value[s]
//! ```
//!
//! Both are sums in the order of [`super`]: over the head's dimensions, and over the positions. The cache is
//! laid out for them: 16 neighbouring positions advance together through a key's dimensions, 16 neighbouring
//! dimensions of a value through the positions. Each key and value that is read serves all rows.

use super::K_BLOCK;
use crate::kv_cache::{Head, PAGE};
use crate::math::LANES;
use crate::simd::kernel;
use crate::tensor::Matrix;

/// Rows that share what is read.
pub const ROWS: usize = 8;

/// scale * q · keysᵀ: `rows` queries of `[D]` against the first `positions` keys -> `[rows, S]`, where S is
/// `positions` rounded up to 16; what is behind `positions` means nothing.
pub fn scores<'a>(
    rows: usize,
    query: impl Fn(usize) -> &'a [f32],
    head: Head<'_>,
    scale: f32,
    positions: usize,
) -> Matrix {
    let mut scores = Matrix::scratch(rows, positions.next_multiple_of(LANES));
    if rows == ROWS {
        score_rows::<ROWS>(std::array::from_fn(query), head, scale, &mut scores, 0);
    } else {
        (0..rows).for_each(|r| score_rows::<1>([query(r)], head, scale, &mut scores, r));
    }
    scores
}

kernel! {
    fn score_rows[const R: usize](q: [&[f32]; R], head: Head<'_>, scale: f32, scores: &mut Matrix, first: usize) {
        for panel in 0..scores.cols() / LANES {
            let mut y = [[0.0f32; LANES]; R];
            for (block, keys) in head.keys(panel).chunks(K_BLOCK).enumerate() {
                let mut part: [&[f32]; R] = [&[]; R];
                for r in 0..R {
                    part[r] = &q[r][block * K_BLOCK..][..keys.len()];
                }
                let mut p = [[0.0f32; LANES]; R];
                for (i, key) in keys.iter().enumerate() {
                    for r in 0..R {
                        for lane in 0..LANES {
                            p[r][lane] = part[r][i].mul_add(key[lane], p[r][lane]);
                        }
                    }
                }
                for r in 0..R {
                    for lane in 0..LANES {
                        y[r][lane] += p[r][lane];
                    }
                }
            }
            for r in 0..R {
                for lane in 0..LANES {
                    scores.row_mut(first + r)[panel * LANES + lane] = y[r][lane] * scale;
                }
            }
        }
    }
}

/// weights `[rows, S]` · values of the first `positions` positions; `out` gives each row's place, `[D]`.
pub fn mix<'a>(weights: &Matrix, head: Head<'_>, positions: usize, out: impl Fn(usize) -> &'a mut [f32]) {
    let mut r = 0;
    while r < weights.rows() {
        if r + 4 <= weights.rows() {
            mix_rows::<4>(weights, r, head, positions, std::array::from_fn(|i| out(r + i)));
            r += 4;
        } else {
            mix_rows::<1>(weights, r, head, positions, [out(r)]);
            r += 1;
        }
    }
}

fn mix_rows<const R: usize>(
    w: &Matrix,
    r: usize,
    head: Head<'_>,
    positions: usize,
    mut out: [&mut [f32]; R],
) {
    let w: [&[f32]; R] = std::array::from_fn(|i| &w.row(r + i)[..positions]);
    let groups = head.groups();
    let mut g = 0;
    while g < groups {
        match groups - g {
            4.. => g += mix_groups::<R, 4>(w, head, g, &mut out),
            2.. => g += mix_groups::<R, 2>(w, head, g, &mut out),
            _ => g += mix_groups::<R, 1>(w, head, g, &mut out),
        }
    }
}

kernel! {
    /// `G` groups of 16 dimensions from group `g` on; gives `G`.
    fn mix_groups[const R: usize, const G: usize](
        w: [&[f32]; R], head: Head<'_>, g: usize, out: &mut [&mut [f32]; R],
    ) -> usize {
        let positions = w[0].len();
        let mut y = [[[0.0f32; LANES]; G]; R];
        for block in (0..positions).step_by(K_BLOCK) {
            let mut p = [[[0.0f32; LANES]; G]; R];
            // pages divide blocks: 4 x 64 = 256
            for page in (block..(block + K_BLOCK).min(positions)).step_by(PAGE) {
                let end = (page + PAGE).min(positions);
                let mut part: [&[f32]; R] = [&[]; R];
                for r in 0..R {
                    part[r] = &w[r][page..end];
                }
                for (s, values) in head.values(page / PAGE).chunks_exact(head.groups()).take(end - page).enumerate() {
                    let values: &[[f32; LANES]; G] = values[g..g + G].try_into().expect("G groups");
                    for r in 0..R {
                        for i in 0..G {
                            for lane in 0..LANES {
                                p[r][i][lane] = part[r][s].mul_add(values[i][lane], p[r][i][lane]);
                            }
                        }
                    }
                }
            }
            for r in 0..R {
                for i in 0..G {
                    for lane in 0..LANES {
                        y[r][i][lane] += p[r][i][lane];
                    }
                }
            }
        }
        for r in 0..R {
            let out = &mut out[r][g * LANES..];
            let width = out.len().min(G * LANES);
            out[..width].copy_from_slice(&y[r].as_flattened()[..width]);
        }
        G
    }
}
