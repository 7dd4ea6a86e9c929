//! How likely is a text under the model?
//!
//! `logprob[i] = ln softmax(logits after ids[..i])[ids[i]]`; perplexity = e^-(mean of logprob)
//!
//! ```text
//! logits = forward(ids[:-1])
//! logprob[i] = log_softmax(logits[i - 1])[ids[i]]       # row i - 1 predicts token i
//! ```
//!
//! The first token has nothing before it and is not scored. A text longer than the model's window is scored by a
//! window that moves by `stride`; each token is scored once, with the most context that any window gives it.
//! This is HF's method ("Perplexity of fixed-length models" in its documentation).

use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::generate::check_ids;
use crate::kv_cache::KvCache;
use crate::model::{Gpt2, Sequence};
use crate::softmax::log_softmax;
use crate::tensor::Matrix;
use crate::trace::NoTrace;
use rayon::prelude::*;

/// Rows whose logits exist at once: 50,257 scores each.
const ROWS: usize = 64;

/// The window and how far it moves, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Tokens that are read together, at most `n_positions`.
    pub window: usize,
    /// Tokens from one window's begin to the next.
    pub stride: usize,
}

impl Windows {
    /// The model's whole window, moved by half of it.
    pub fn of(model: &Gpt2) -> Self {
        let window = model.config.n_positions;
        Self { window, stride: (window / 2).max(1) }
    }

    /// Checks both against the model.
    ///
    /// # Errors
    /// [`Error::Input`] that names the range.
    pub fn check(self, model: &Gpt2) -> Result<()> {
        let most = model.config.n_positions;
        if self.window < 2 || self.window > most {
            return Err(Error::input(format!(
                "window {} must be from 2 to the model's n_positions, {most}",
                self.window
            )));
        }
        if self.stride == 0 || self.stride >= self.window {
            return Err(Error::input(format!(
                "stride {} must be from 1 to below the window, {}",
                self.stride, self.window
            )));
        }
        Ok(())
    }
}

/// The logarithm of each token's probability, given those before it; `None` for the first.
///
/// `progress` is called after each window with the number of tokens done.
///
/// # Errors
/// [`Error::Input`] if there is no token, an id is unknown, or the windows do not fit the model.
pub fn score(
    model: &Gpt2,
    ids: &[TokenId],
    windows: Windows,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Option<f64>>> {
    check_ids(model, ids)?;
    windows.check(model)?;
    if ids.is_empty() {
        return Err(Error::input("there is no text to score"));
    }
    let mut logprobs = vec![None]; // the first token is not scored
    let mut begin = 0;
    while logprobs.len() < ids.len() {
        let end = (begin + windows.window).min(ids.len());
        let first = logprobs.len(); // the first token that this window scores
        let mut cache = KvCache::new(&model.config);
        let mut batch = [Sequence { ids: &ids[begin..end - 1], cache: &mut cache }];
        let hidden = model.hidden(&mut batch, &mut NoTrace); // [end - 1 - begin, C]
        for start in (first..end).step_by(ROWS) {
            let scored = start..(start + ROWS).min(end);
            let mut x = Matrix::zeros(scored.len(), hidden.cols());
            for (row, i) in scored.clone().enumerate() {
                x.row_mut(row).copy_from_slice(hidden.row(i - 1 - begin)); // what stands before token i
            }
            let logits = model.head(&x, &mut NoTrace); // [rows, V]
            let scored_first = scored.start;
            let rows = scored.into_par_iter().enumerate();
            let found: Vec<f64> =
                rows.map(|(row, i)| log_softmax(logits.row(row), ids[i] as usize)).collect();
            if let Some(i) = found.iter().position(|l| !l.is_finite()) {
                let token = scored_first + i;
                return Err(Error::input(format!(
                    "the score of token {token} is not a finite number; the model's weights are damaged"
                )));
            }
            logprobs.extend(found.into_iter().map(Some));
        }
        progress(end);
        begin += windows.stride;
    }
    Ok(logprobs)
}

/// The mean negative log-probability in nats over the scored tokens; `None` if none is scored.
pub fn mean_nll(logprobs: &[Option<f64>]) -> Option<f64> {
    let scored: Vec<f64> = logprobs.iter().flatten().copied().collect();
    (!scored.is_empty()).then(|| -scored.iter().sum::<f64>() / scored.len() as f64)
}
