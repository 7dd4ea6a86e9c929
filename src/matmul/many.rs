//! Many rows of `x`: panels of `w` that stay in the cache while rows pass by.
//!
//! ```text
//! for each group of columns n, for each block of 256 k:
//!     panels = a copy of w[block, columns], as f32
//!     for each stretch of rows t, for each panel of the group:
//!         for each few rows of the stretch:
//!             p = x[rows, block] · panel             # all sums in registers
//!             y[rows, columns] += p                  # y begins as bias
//! ```
//!
//! The copy puts a panel's rows side by side, widens 16-bit weights once for all rows, and for the output head turns
//! rows into columns. With narrow registers, the next panels are copied between the products of those before, so that they
//! come from memory while sums are computed ([`Coming`]). The loops are those of Goto and van de
//! Geijn's "Anatomy of High-Performance Matrix Multiplication" (2008). How much is taken at a time says [`Blocking`];
//! where rows go by in stretches, `x` is copied as well, once ([`XBlocks`]).

mod coming;
mod x_blocks;

use super::tile::{self, Factors, Rows, Turned};
use super::{Disjoint, K_BLOCK};
use crate::simd::LANES;
use crate::simd::kernel;
use crate::simd::lanes::Lanes;
use crate::tensor::{F32, Matrix, Number};
use coming::Coming;
use rayon::prelude::*;
use std::ops::Range;
use x_blocks::{NARROW, XBlocks, XPart};

/// y `[T, N]` = x `[T, K]` · w `[K, N]` + bias `[N]`
pub fn affine<N: Number>(x: &Matrix, w: &[N::Bits], bias: &[f32], y: &mut Matrix) {
    let n = bias.len();
    product(x, y, Some(bias), |step, k, panels| copy_columns::<N>(w, n, step, k, panels));
}

/// y `[T, V]` = x `[T, C]` · wᵀ, w `[V, C]`
pub fn product_by_rows<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
    let c = x.cols();
    product(x, y, None, |step, k, panels| turn_rows::<N>(w, c, step, k, panels));
}

/// How much is taken at a time.
#[derive(Clone, Copy)]
struct Blocking {
    /// Columns of a panel.
    panel: usize,
    /// Columns whose panels are made together.
    group: usize,
    /// Rows that pass by a panel before the next one is taken; all of them, if there is no number.
    rows: Option<usize>,
}

/// Registers of columns in a panel. With 32 registers of 16 lanes, 8 rows by 3 registers are 24 sums; with 16 registers
/// of 8 lanes, 6 rows by a pair are 12.
const fn panel_width<L: Lanes>() -> usize {
    if L::REGISTERS == 1 { 3 } else { 1 }
}

kernel! {
    /// Of wide registers: a panel of 48 KiB fills an L1 cache of that size, and all rows pass by. Of narrower ones: a
    /// panel of 16 KiB fills half of an L1 cache; a group of panels and a stretch of rows share an L2 cache.
    fn blocking() -> Blocking {
        let panel = panel_width::<L>() * LANES;
        if L::REGISTERS == 1 {
            Blocking { panel, group: panel, rows: None }
        } else {
            Blocking { panel, group: 8 * panel, rows: Some(96) }
        }
    }
}

/// The panels of some columns and one block of `k`.
#[derive(Clone)]
struct Step {
    columns: Range<usize>,
    k: Range<usize>,
}

/// The loop above; a task of a thread is some groups of columns, and each of their blocks is a [`Step`]. `copy` writes the
/// rows `k` of a step's panels, each `[K_BLOCK, panel]`.
fn product(
    x: &Matrix,
    y: &mut Matrix,
    bias: Option<&[f32]>,
    copy: impl Fn(&Step, Range<usize>, &mut [f32]) + Sync,
) {
    let (rows, n, depth) = (y.rows(), y.cols(), x.cols());
    let out = Disjoint::new(y.data_mut());
    let blocking = blocking().for_columns(n);
    let x = &XBlocks::new(x, blocking.rows.is_some());
    let stretch = blocking.rows.unwrap_or(rows);
    let task = blocking.columns_of_a_task(n);
    (0..n.div_ceil(task)).into_par_iter().with_max_len(1).for_each(|i| {
        let columns = i * task..((i + 1) * task).min(n);
        let mut steps = columns.clone().step_by(blocking.group).flat_map(|first| {
            let columns = first..(first + blocking.group).min(columns.end);
            let blocks = (0..depth).step_by(K_BLOCK).map(|k| k..(k + K_BLOCK).min(depth));
            blocks.map(move |k| Step { columns: columns.clone(), k })
        });
        let mut panels = Matrix::scratch(K_BLOCK, blocking.group);
        let mut next_panels = Matrix::scratch(K_BLOCK, blocking.group);
        let mut now = steps.next();
        if let Some(step) = &now {
            copy(step, step.k.clone(), panels.data_mut());
        }
        while let Some(step) = now {
            let next = steps.next();
            let mut coming = Coming::new(
                next.as_ref().map_or(0..0, |next| next.k.clone()),
                rows * step.columns.len().div_ceil(blocking.panel),
            );
            let mut rows_went_by = |count| {
                if let (Some(step), Some(k)) = (&next, coming.due(count)) {
                    copy(step, k, next_panels.data_mut());
                }
            };
            for t in (0..rows).step_by(stretch) {
                let t = t..(t + stretch).min(rows);
                for (panel, first) in step.columns.clone().step_by(blocking.panel).enumerate() {
                    let columns = first..(first + blocking.panel).min(step.columns.end);
                    let panel = &panels.data()[panel * K_BLOCK * blocking.panel..];
                    let start = match bias {
                        _ if step.k.start > 0 => Start::Sum,
                        Some(bias) => Start::Bias(&bias[columns.clone()]),
                        None => Start::Zero,
                    };
                    let y = out.pointer(t.start * n + columns.start, (t.end - 1) * n + columns.end);
                    let y = Rows { start: y, step: n };
                    let shape = [t.len(), step.k.len(), columns.len()];
                    panel_product(x.part(t.start, step.k.start), shape, panel, start, y, &mut rows_went_by);
                }
            }
            if let Some(step) = &next {
                copy(step, coming.rest(), next_panels.data_mut());
            }
            std::mem::swap(&mut panels, &mut next_panels);
            now = next;
        }
    });
}

impl Blocking {
    /// No more columns in a group than a thread's share of `n`.
    fn for_columns(self, n: usize) -> Self {
        let share = n.div_ceil(rayon::current_num_threads()).next_multiple_of(self.panel);
        Self { group: self.group.min(share), ..self }
    }

    /// Up to three groups, and for each thread the same number of tasks: fewer would not balance, and the first panels of
    /// every task are copied while nothing is computed.
    fn columns_of_a_task(self, n: usize) -> usize {
        let groups = n.div_ceil(self.group).div_ceil(rayon::current_num_threads());
        groups.div_ceil(groups.div_ceil(3)) * self.group
    }
}

/// What a product is added to.
#[derive(Clone, Copy)]
enum Start<'a> {
    Zero,
    Bias(&'a [f32]),
    Sum,
}

/// So many rows of `w` before a row is copied it is asked for, with narrow registers.
const AHEAD: usize = 24;

kernel! {
    /// Rows `k` of a step: `panel[i][j] = w[step.k + i, columns + j]`, and zeros behind the last column. w `[K, N]`
    fn copy_columns<N: Number>(w: &[N::Bits], n: usize, step: &Step, k: Range<usize>, panels: &mut [f32]) {
        let panel = panel_width::<L>() * LANES;
        for k in k {
            let (i, from) = (k - step.k.start, &w[k * n..][step.columns.clone()]);
            for j in (0..from.len()).step_by(LANES) {
                let to = &mut panels[(j / panel * K_BLOCK + i) * panel + j % panel..][..LANES];
                if let Some(from) = from[j..].first_chunk::<LANES>() {
                    // SAFETY: sixteen columns, here and there.
                    unsafe { N::load::<L>(from.as_ptr()).store(to.as_mut_ptr()) };
                    let ahead = if L::REGISTERS == 1 { step.columns.len() } else { AHEAD * n };
                    L::prefetch(from.as_ptr().wrapping_add(ahead).cast());
                } else {
                    to.fill(0.0);
                    to.iter_mut().zip(&from[j..]).for_each(|(to, w)| *to = N::widen(*w));
                }
            }
        }
    }
}

kernel! {
    /// As above, where w `[V, C]` holds the columns as rows.
    fn turn_rows<N: Number>(w: &[N::Bits], c: usize, step: &Step, k: Range<usize>, panels: &mut [f32]) {
        let (panel, columns) = (panel_width::<L>() * LANES, step.columns.clone());
        for j in (0..columns.len()).step_by(LANES) {
            let to = &mut panels[(j / panel * K_BLOCK + k.start - step.k.start) * panel + j % panel..];
            let outputs = columns.start + j..(columns.start + j + LANES).min(columns.end);
            let whole = if outputs.len() == LANES { k.len() / LANES * LANES } else { 0 };
            for i in (0..whole).step_by(LANES) {
                let rows = &w[outputs.start * c + k.start + i..][..(LANES - 1) * c + LANES];
                for r in 0..LANES {
                    L::prefetch(rows.as_ptr().wrapping_add((r + LANES) * c).cast());
                }
                // SAFETY: sixteen of sixteen rows.
                let tile = unsafe { N::turned::<L>(rows.as_ptr(), c) };
                for (r, row) in tile.into_iter().enumerate() {
                    // SAFETY: sixteen of a row of the panel.
                    unsafe { row.store(to[(i + r) * panel..][..LANES].as_mut_ptr()) };
                }
            }
            for i in whole..k.len() {
                let to = &mut to[i * panel..][..LANES];
                to.fill(0.0);
                to.iter_mut().zip(outputs.clone()).for_each(|(to, v)| *to = N::widen(w[v * c + k.start + i]));
            }
        }
    }
}

kernel! {
    /// `y[t][j] = start + x[t, ..] · panel[.., j]`; `shape` says how many rows, consecutive `k`, and columns. With narrow
    /// registers, `rows_went_by` is told after each few rows.
    fn panel_product(
        x: XPart<'_>, shape: [usize; 3], panel: &[f32], start: Start<'_>, y: Rows<*mut f32>,
        rows_went_by: &mut dyn FnMut(usize),
    ) {
        let [rows, depth, width] = shape;
        let mut bias = [0.0f32; 3 * LANES];
        if let Start::Bias(b) = start {
            bias[..width].copy_from_slice(b);
        }
        let bias = (!matches!(start, Start::Sum)).then_some(&bias);
        let columns = panel_width::<L>() * LANES;
        assert!(panel.len() >= depth * columns && width <= columns);
        let wide = L::REGISTERS == 1;
        assert!(x.x.len() >= if wide { (rows - 1) * x.step + depth } else { rows.div_ceil(NARROW) * x.step });
        assert!(wide || x.step == K_BLOCK * NARROW && depth <= K_BLOCK);
        let mut r = 0;
        while r < rows {
            // SAFETY: as many rows of x and y as the constants say; the panel's columns of y belong to one thread.
            r += unsafe {
                let y = Rows { start: y.start.add(r * y.step), ..y };
                if wide {
                    let x = Rows { start: x.x.as_ptr().add(r * x.step), step: x.step };
                    match rows - r {
                        8.. => rows_product::<L, 8, 3>(x, panel, depth, bias, y, width),
                        4.. => rows_product::<L, 4, 3>(x, panel, depth, bias, y, width),
                        _ => rows_product::<L, 1, 3>(x, panel, depth, bias, y, width),
                    }
                } else {
                    let x = Turned::<NARROW>(x.x.as_ptr().add(r / NARROW * x.step + r % NARROW));
                    let done = match rows - r {
                        NARROW.. => rows_product::<L, NARROW, 1>(x, panel, depth, bias, y, width),
                        4.. => rows_product::<L, 4, 1>(x, panel, depth, bias, y, width),
                        2.. => rows_product::<L, 2, 1>(x, panel, depth, bias, y, width),
                        _ => rows_product::<L, 1, 1>(x, panel, depth, bias, y, width),
                    };
                    rows_went_by(done);
                    done
                }
            };
        }
    }
}

/// `R` rows of a [`panel_product`] by the `V` registers of a panel's row; gives `R`.
///
/// # Safety
/// `x` has `R` rows of `depth` numbers to read, `panel` has `depth` rows; `y` has `R` rows of `width` numbers to write,
/// which nobody else uses.
#[inline(always)]
unsafe fn rows_product<L: Lanes, const R: usize, const V: usize>(
    x: impl Factors,
    panel: &[f32],
    depth: usize,
    bias: Option<&[f32; 3 * LANES]>,
    y: Rows<*mut f32>,
    width: usize,
) -> usize {
    for r in 0..R {
        L::prefetch(y.start.wrapping_add(r * y.step).cast()); // wanted when the sums are ready
    }
    let w = Rows { start: panel.as_ptr(), step: V * LANES };
    // SAFETY: the caller's promise; a row of the panel has 16 V columns.
    let p = unsafe { tile::columns::<L, F32, R, V>(x, w, depth, [[L::splat(0.0); V]; R]) };
    if width < V * LANES {
        let mut sums = [[[0.0f32; LANES]; V]; R];
        for r in 0..R {
            for v in 0..V {
                // SAFETY: sixteen numbers of an array.
                unsafe { p[r][v].store(sums[r][v].as_mut_ptr()) };
            }
        }
        for r in 0..R {
            // SAFETY: `width` columns of row r of y.
            unsafe { add_narrow(sums[r].as_flattened(), bias, y.start.add(r * y.step), width) };
        }
        return R;
    }
    for r in 0..R {
        for v in 0..V {
            // SAFETY: register v of row r of y; sixteen numbers of the bias.
            unsafe {
                let place = y.start.add(r * y.step + v * LANES);
                let start = match bias {
                    Some(bias) => L::load(bias.as_ptr().add(v * LANES)),
                    None => L::load(place),
                };
                start.add(p[r][v]).store(place);
            }
        }
    }
    R
}

/// Adds sums to the first `width` columns of a row of y, or to the bias.
///
/// # Safety
/// `y` has `width` numbers to write, which nobody else uses.
#[cold]
unsafe fn add_narrow(sums: &[f32], bias: Option<&[f32; 3 * LANES]>, y: *mut f32, width: usize) {
    for (j, sum) in sums.iter().enumerate().take(width) {
        // SAFETY: column j of y.
        unsafe { *y.add(j) = bias.map_or(*y.add(j), |b| b[j]) + sum };
    }
}
