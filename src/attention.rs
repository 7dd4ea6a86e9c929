//! How does a position learn from the positions before it?
//!
//! `heads = softmax(mask(q · kᵀ / sqrt(D))) · v`, for each head on its own
//!
//! ```text
//! q, k, v = split(x @ c_attn.weight + c_attn.bias)     # x = ln_1(stream): [T, C] -> 3 of [T, C]
//! for h in heads:                                      # columns h*D .. (h+1)*D
//!     scores = q[h] @ k[h].T / sqrt(D)                 # [T, S]
//!     scores[t, s] = -inf where s comes after t        # the mask
//!     heads[h] = softmax(scores) @ v[h]                # [T, D]
//! y = concat(heads) @ c_proj.weight + c_proj.bias      # [T, C] -> [T, C]
//! ```
//!
//! `S` counts the positions that are known: those in the cache and the `T` new ones.
//!
//! A *query* is compared with the *key* of each position; the better they fit, the more of that position's *value* is
//! passed on. This is the only layer that moves information from one position to another, and the mask lets it flow
//! forward only. What a position computes does not depend on later ones, so its key and value can be kept
//! ([`kv_cache`](crate::kv_cache)). Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.
//! Next: [`mlp`](crate::mlp).
//!
//! # Why
//!
//! *Why divide by sqrt(D)?* The dot product of two random vectors with D independent numbers of mean 0 and variance 1 is
//! about sqrt(D) in size.
//! Softmax of large scores gives most of the weight to one position; a small change of a score then changes little.
//! *Why several heads?* A head takes one weighted mean of the values; several heads take several. *Why the mask?* In
//! training, each row predicts the token of the next row; without the mask it could copy that token. Notebook 3 shows each
//! of these by experiment.
//!
//! One head, two positions, D = 2:
//!
//! ```
//! use gpt2::{attention::plain, tensor::Matrix};
//!
//! let qkv = Matrix::from_vec(2, 6, vec![
//!     // q       k         v
//!     0.0, 0.0, 1.0, 0.0, 10.0, 0.0,
//!     2.0, 0.0, 0.0, 1.0, 0.0, 10.0,
//! ]);
//! let y = plain(&qkv, 1, 1.0 / 2f32.sqrt());
//! assert_eq!(y.row(0), [10.0, 0.0]); // position 0 sees only itself
//! // position 1: scores 2 / sqrt(2) and 0, weights 0.804 and 0.196
//! assert!((y.row(1)[0] - 8.04).abs() < 0.01 && (y.row(1)[1] - 1.96).abs() < 0.01);
//! ```

mod parts;
mod show;

use crate::kv_cache::LayerCache;
use crate::linear::Linear;
use crate::matmul;
use crate::softmax::softmax;
use crate::tensor::{Matrix, Weights};
use crate::trace::{Stage, Trace};
use parts::each_head;

/// Causal self-attention with several heads.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Heads, H.
    pub n_head: usize,
    /// What scores are multiplied by: 1 / sqrt(D) in GPT-2.
    pub scale: f32,
    /// `[C, 3C]`: query, key and value in one product
    pub c_attn: Linear,
    /// `[C, C]`
    pub c_proj: Linear,
}

impl Attention {
    /// x `[T, C] -> [T, C]`
    ///
    /// # Panics
    /// If a shape does not fit, or the cache's heads are not these.
    pub fn forward(&self, x: &Matrix, cache: &mut LayerCache, trace: &mut impl Trace) -> Matrix {
        let qkv = trace.tap(Stage::AttnCAttn, self.c_attn.forward(x)); // [T, 3C]
        assert_eq!(qkv.cols(), 3 * x.cols(), "x [T, C] gives q, k, v [T, 3C]");
        assert!(cache.fits(self.n_head, x.cols()), "the cache keeps H heads of D numbers, H D = C");
        cache.append(&qkv); // from here on, S includes the new positions
        show::scores_and_weights(self, &qkv, cache, trace); // only for a trace that wants them
        let heads = trace.tap(Stage::AttnHeads, self.heads(&qkv, cache)); // [T, C]
        trace.tap(Stage::AttnCProj, self.c_proj.forward(&heads)) // [T, C]
    }

    /// The weighted values of all heads, side by side. qkv `[T, 3C] -> [T, C]`
    fn heads(&self, qkv: &Matrix, cache: &LayerCache) -> Matrix {
        // a part is one head and r of the T positions
        each_head(qkv, cache, self.n_head, |part| {
            let mut scores = part.scores(self.scale); // [r, S]
            part.visible(&mut scores, softmax); // later positions get weight 0
            part.mix(&scores); // [r, D]
        })
    }
}

/// The heads of one text from its beginning, head after head and without a cache. qkv `[T, 3C] -> [T, C]`
///
/// It gives the bits of [`Attention::forward`], slowly: the tests compare the two.
///
/// # Panics
/// If `qkv` is not `[T, 3C]`, or H does not divide C.
pub fn plain(qkv: &Matrix, n_head: usize, scale: f32) -> Matrix {
    let (t, c) = (qkv.rows(), qkv.cols() / 3);
    let d = c.checked_div(n_head).unwrap_or(0);
    assert_eq!(3 * n_head * d, qkv.cols(), "qkv [T, 3C], C = H * D");
    let mut heads = Matrix::zeros(t, c);
    for h in 0..n_head {
        let [q, k, v] = [h * d, c + h * d, 2 * c + h * d].map(|start| qkv.columns(start..start + d)); // [T, D]
        let mut scores = matmul::plain::by_rows(&q, &Weights::from_f32(t, d, k.data())); // [T, T]
        for i in 0..t {
            let row = scores.row_mut(i);
            row.iter_mut().for_each(|score| *score *= scale);
            row[i + 1..].fill(f32::NEG_INFINITY); // the mask
            softmax(row);
        }
        let mixed = matmul::plain::affine(&scores, &Weights::from_f32(t, d, v.data()), &vec![0.0; d]); // [T, D]
        for i in 0..t {
            heads.row_mut(i)[h * d..][..d].copy_from_slice(mixed.row(i));
        }
    }
    heads // [T, C]
}

#[cfg(test)]
mod tests;
