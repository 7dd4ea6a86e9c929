//! Many rows of `x`: tiles that stay in the caches, by `matrixmultiply`.
//!
//! Its loops are those of Goto and van de Geijn's paper ("Anatomy of High-Performance Matrix
//! Multiplication", 2008). Every element is summed in the order that [`super`] states, whatever the shape.

use super::{Disjoint, K_BLOCK, pieces};
use crate::tensor::{F32, Matrix, Number, widen};
use rayon::prelude::*;
use std::{any::TypeId, ops::Range};

/// Sixteen-bit weights are widened a tile of [`K_BLOCK`] x this many at a time.
const TILE_COLUMNS: usize = 512;

/// y `[T, N]` = x `[T, K]` · w `[K, N]` + bias `[N]`
pub fn affine<N: Number>(x: &Matrix, w: &[N::Bits], bias: &[f32], y: &mut Matrix) {
    let n = y.cols();
    y.data_mut().chunks_exact_mut(n).for_each(|y| y.copy_from_slice(bias));
    product::<N>(x, Steps { data: w, row: n, col: 1 }, y);
}

/// y `[T, V]` = x `[T, C]` · wᵀ, w `[V, C]`
pub fn product_by_rows<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
    y.data_mut().fill(0.0);
    product::<N>(x, Steps { data: w, row: 1, col: x.cols() }, y);
}

/// A matrix as steps through memory: element (i, j) is `data[i * row + j * col]`.
struct Steps<'a, T> {
    data: &'a [T],
    row: usize,
    col: usize,
}

/// y `[T, N]` += x `[T, K]` · w `[K, N]`, each thread a range of rows or of columns of `y`.
fn product<N: Number>(x: &Matrix, w: Steps<'_, N::Bits>, y: &mut Matrix) {
    let (rows, n) = (y.rows(), y.cols());
    let out = Disjoint::new(y.data_mut());
    // Each thread copies its part of x and of w into tiles: cut the longer of the two.
    let by_columns = n > rows;
    pieces(n.max(rows), 16).for_each(|piece| {
        let [rows, columns] = if by_columns { [0..rows, piece] } else { [piece, 0..n] };
        match as_f32::<N>(w.data) {
            Some(data) => {
                let w = Steps { data: &data[columns.start * w.col..], row: w.row, col: w.col };
                // SAFETY: no two jobs share an element of y.
                unsafe { sgemm(x, rows, 0..x.cols(), w, &out, n, columns) }
            }
            None => {
                let mut tile = Vec::new();
                for start in columns.clone().step_by(TILE_COLUMNS) {
                    let columns = start..(start + TILE_COLUMNS).min(columns.end);
                    for start in (0..x.cols()).step_by(K_BLOCK) {
                        let block = start..(start + K_BLOCK).min(x.cols());
                        let w = widen_tile::<N>(&w, block.clone(), columns.clone(), &mut tile);
                        // SAFETY: as above.
                        unsafe { sgemm(x, rows.clone(), block, w, &out, n, columns.clone()) }
                    }
                }
            }
        }
    });
}

/// The weights themselves where they are f32 already.
fn as_f32<N: Number>(w: &[N::Bits]) -> Option<&[f32]> {
    (TypeId::of::<N>() == TypeId::of::<F32>()).then(|| bytemuck::cast_slice(w))
}

/// w[k, n] for a range of k and of n, as f32 in `tile`.
fn widen_tile<'a, N: Number>(
    w: &Steps<'_, N::Bits>,
    k: Range<usize>,
    n: Range<usize>,
    tile: &'a mut Vec<f32>,
) -> Steps<'a, f32> {
    tile.resize(k.len() * n.len(), 0.0);
    if w.col == 1 {
        for (k, line) in k.zip(tile.chunks_exact_mut(n.len())) {
            widen::<N>(&w.data[k * w.row + n.start..][..n.len()], line);
        }
        Steps { data: tile, row: n.len(), col: 1 }
    } else {
        let depth = k.len();
        for (n, line) in n.zip(tile.chunks_exact_mut(depth)) {
            widen::<N>(&w.data[n * w.col + k.start..][..depth], line);
        }
        Steps { data: tile, row: 1, col: depth }
    }
}

/// y[rows, columns] += x[rows, k] · w, where `y` has `n` columns.
///
/// # Safety
/// As long as this runs, no other thread may hold one of these elements of `y`.
unsafe fn sgemm(
    x: &Matrix,
    rows: Range<usize>,
    k: Range<usize>,
    w: Steps<'_, f32>,
    y: &Disjoint<'_>,
    n: usize,
    columns: Range<usize>,
) {
    if rows.is_empty() || k.is_empty() || columns.is_empty() {
        return;
    }
    let last = (k.len() - 1) * w.row + (columns.len() - 1) * w.col;
    assert!(rows.end <= x.rows() && k.end <= x.cols() && last < w.data.len() && columns.end <= n);
    let x_start = &x.data()[rows.start * x.cols() + k.start..];
    let y_start = y.pointer(rows.start * n + columns.start, (rows.end - 1) * n + columns.end);
    // SAFETY: x, w and y are inside their memory by the assertion and by `pointer`; nobody else holds these
    // elements of y, by the caller's promise; the steps of matrices in memory fit isize.
    unsafe {
        let (step_x, step_y) = (x.cols() as isize, n as isize);
        let (w, row, col) = (w.data.as_ptr(), w.row as isize, w.col as isize);
        let [m, k, n] = [rows.len(), k.len(), columns.len()];
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            x_start.as_ptr(),
            step_x,
            1,
            w,
            row,
            col,
            1.0,
            y_start,
            step_y,
            1,
        );
    }
}
