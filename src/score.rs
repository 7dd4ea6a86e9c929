//! How likely is a text under the model?
//!
//! `logprob[i] = ln softmax(logits after ids[..i])[ids[i]]`; perplexity = e^-(mean of logprob)
//!
//! ```text
//! logits = forward(ids[:-1])
//! logprob[i] = log_softmax(logits[i - 1])[ids[i]]       # row i - 1 predicts token i
//! ```
//!
//! The first token has nothing before it and is not scored, unless an end-of-text token is put before the text
//! ([`leading_eot`]): GPT-2 saw one before every document. A text longer than the model's window is scored by a
//! window that moves by `stride`; each token is scored once, with the most context that any window gives it. Where the
//! stride is the whole window, windows do not overlap, and the first token of each has nothing before it.
//!
//! This is HF's method ("Perplexity of fixed-length models" in its documentation), but that every scored token counts
//! once in the mean: the code there weighs each later window by one token less than it scores, where windows overlap.

use crate::checkpoint::LanguageModel;
use crate::config::TokenId;
use crate::error::{Error, Result, ensure};
use crate::generate::check_ids;
use crate::generate::text::{Text, read_to_end};
use crate::model::Gpt2;
use crate::softmax::log_softmax;
use crate::trace::NoTrace;
use rayon::prelude::*;
use std::ops::ControlFlow;

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
        let (Self { window, stride }, most) = (self, model.config.n_positions);
        ensure((2..=most).contains(&window), Error::Input, || {
            format!("window {window} must be from 2 to the model's n_positions, {most}")
        })?;
        ensure((1..=window).contains(&stride), Error::Input, || {
            format!("stride {stride} must be from 1 to the window, {window}")
        })
    }
}

/// The logarithm of each token's probability, given those before it; `None` for what has none before it in its window.
///
/// `progress` is called after each token with the number of tokens done.
///
/// # Errors
/// As [`score_each`].
pub fn score(
    model: &Gpt2,
    ids: &[TokenId],
    windows: Windows,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Option<f64>>> {
    let mut logprobs = vec![None]; // the first token is not scored
    score_each(model, ids, windows, |i, logprob| {
        logprobs.push(logprob);
        progress(i + 1);
        ControlFlow::Continue(())
    })?;
    Ok(logprobs)
}

/// The same, shown as it is found: `each(i, logprob)` for the tokens `i = 1, 2, ...` in order, until it breaks off.
/// Memory does not grow with the text.
///
/// # Errors
/// [`Error::Input`] if there is no token, an id is unknown, or the windows do not fit the model.
pub fn score_each(
    model: &Gpt2,
    ids: &[TokenId],
    windows: Windows,
    mut each: impl FnMut(usize, Option<f64>) -> ControlFlow<()>,
) -> Result<()> {
    check_ids(model, ids)?;
    windows.check(model)?;
    ensure(!ids.is_empty(), Error::Input, || "there is no text to score".into())?;
    let mut begin = 0;
    let mut next = 1; // the first token that is not scored yet
    while next < ids.len() {
        let end = (begin + windows.window).min(ids.len());
        if next == begin {
            if each(next, None).is_break() || next + 1 == end {
                return Ok(());
            }
            next += 1;
        }
        let mut text = Text::new(model, &ids[begin..end - 1]);
        text.whole();
        let hidden = read_to_end(model, &mut text, &mut NoTrace); // [end - 1 - begin, C]
        for start in (next..end).step_by(ROWS) {
            let scored = start..(start + ROWS).min(end);
            let before = scored.clone().map(|i| i - 1 - begin); // row i - 1 predicts token i
            let logits = model.head(&hidden.select(&before.collect::<Vec<_>>()), &mut NoTrace); // [rows, V]
            let logprob = |(row, i): (usize, usize)| (i, log_softmax(logits.row(row), ids[i] as usize));
            let found: Vec<(usize, f64)> = scored.into_par_iter().enumerate().map(logprob).collect();
            for (i, logprob) in found {
                ensure(logprob.is_finite(), Error::Input, || {
                    format!("the score of token {i} is not a finite number; the model's weights are damaged")
                })?;
                if each(i, Some(logprob)).is_break() {
                    return Ok(());
                }
            }
        }
        next = end;
        begin += windows.stride;
    }
    Ok(())
}

/// The end-of-text token to put before a text, so that its first token has something before it and is scored too.
///
/// # Errors
/// [`Error::Input`] if neither the model nor its tokenizer has one.
pub fn leading_eot(lm: &LanguageModel) -> Result<TokenId> {
    let config = &lm.model.config;
    let mut candidates = config.eos_token_ids.iter().copied().chain(lm.bpe.end_of_text());
    candidates.find(|id| (*id as usize) < config.vocab_size).ok_or_else(|| {
        Error::input("leading-eot: the model has no end-of-text token in its vocabulary; score without it")
    })
}

/// The mean negative log-probability in nats over the scored tokens; `None` if none is scored.
pub fn mean_nll(logprobs: &[Option<f64>]) -> Option<f64> {
    let mut mean = MeanNll::default();
    logprobs.iter().flatten().for_each(|logprob| mean.add(*logprob));
    mean.get()
}

/// [`mean_nll`] in the making.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanNll {
    sum: f64,
    tokens: usize,
}

impl MeanNll {
    /// One more scored token.
    pub fn add(&mut self, logprob: f64) {
        self.sum += logprob;
        self.tokens += 1;
    }

    /// So far, in nats; `None` before the first token. Perplexity is its exponential.
    pub fn get(&self) -> Option<f64> {
        (self.tokens > 0).then(|| -self.sum / self.tokens as f64)
    }

    /// How many tokens are in it.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}
