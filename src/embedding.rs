//! How does a token id become a vector, and how does the model know the order of the tokens?
//!
//! `x[t] = wte[ids[t]] + wpe[past + t]`, where `past` tokens are in the cache already
//!
//! ```text
//! for t, id in enumerate(ids):
//!     x[t] = wte[id] + wpe[past + t]     # [C]
//! ```
//!
//! Training fills two tables: `wte` has one row per token of the vocabulary, `wpe` one row per position. The layers that
//! follow see only the sum. Without `wpe`, the attention of block 0 gives the last token of "The dog saw the old man near"
//! and of "The old man saw the dog near" the same result, up to rounding (notebook 2). The model adds the two
//! ([`model`](crate::model)). Next: [`layer_norm`](crate::layer_norm).
//!
//! # Example
//!
//! The row of ` dog` that enters block 0:
//!
//! ```
//! use gpt2::trace::Recorder;
//!
//! let (lm, mut trace) = (gpt2::checkpoint::bundled(), Recorder::new());
//! let ids = lm.bpe.encode("The little dog");
//! lm.model.forward(&ids, &mut lm.model.new_cache(), &mut trace);
//!
//! let (mut token, mut position) = (vec![0.0; 128], vec![0.0; 128]); // C = 128
//! lm.model.wte.read_row(ids[2] as usize, &mut token);
//! lm.model.wpe.read_row(2, &mut position);
//! let drop = &trace.get("transformer.drop").unwrap().values; // [T, C]
//! assert!((0..128).all(|i| drop[2 * 128 + i] == token[i] + position[i]));
//! ```

use crate::config::TokenId;
use crate::tensor::{Matrix, Weights};

/// `wte[ids]`: `[T] -> [T, C]`
///
/// # Panics
/// If an id has no row.
pub fn tokens(wte: &Weights, ids: impl Iterator<Item = TokenId> + Clone) -> Matrix {
    rows(wte, ids.map(|id| id as usize))
}

/// `wpe[positions]`: `[T] -> [T, C]`
///
/// # Panics
/// If a position has no row.
pub fn positions(wpe: &Weights, positions: impl Iterator<Item = usize> + Clone) -> Matrix {
    rows(wpe, positions)
}

/// The row of the table for each index: `[T] -> [T, C]`
fn rows(table: &Weights, indices: impl Iterator<Item = usize> + Clone) -> Matrix {
    let mut x = Matrix::scratch(indices.clone().count(), table.cols());
    for (t, i) in indices.enumerate() {
        assert!(i < table.rows(), "row {i} of a table with {} rows", table.rows());
        table.read_row(i, x.row_mut(t));
    }
    x // [T, C]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_id() {
        let wte = Weights::from_f32(3, 2, &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
        assert_eq!(tokens(&wte, [2, 0, 2].into_iter()).data(), [20.0, 21.0, 0.0, 1.0, 20.0, 21.0]);
        assert_eq!(positions(&wte, 1..3).data(), [10.0, 11.0, 20.0, 21.0]);
    }
}
