//! Why does a token have its score?
//!
//! The residual stream is a sum: the embeddings, and what each head and each MLP added. The last layer norm subtracts a mean and
//! multiplies by a scale; with its actual scale, a logit is a sum over the same parts:
//!
//! ```text
//! x      = wte + wpe + heads and biases of attention + MLPs             # [C], the last position
//! logit  = ((x - mean(x)) * scale * ln_f.weight + ln_f.bias) · head     # head: the token's row of lm_head
//!        = sum over parts of ((part - mean(part)) * scale * ln_f.weight) · head + ln_f.bias · head
//! ```
//!
//! So each part has a value, and the values add up to the logit, up to rounding. This is *direct logit attribution* (Elhage et
//! al., "A Mathematical Framework for Transformer Circuits", 2021). It counts what a part writes, not what later parts make of
//! it: an early head may matter only because a later one reads it. [`Why::switch_off`] measures the whole effect: the logit when
//! zeros replace the part's output at every position of the pass.
//!
//! ```
//! use gpt2::{generate::Options, inspect::{Pass, why}};
//!
//! let lm = gpt2::checkpoint::bundled();
//! let pass = Pass::of_prompt(&lm.model, &lm.bpe.encode("Once upon a"), Options::default())?;
//! let time = lm.bpe.encode(" time")[0];
//! let why = why(&pass, time, None)?;
//! let sum: f64 = why.parts.iter().map(|part| part.value).sum();
//! assert!((sum - why.logit).abs() < 1e-4);
//! # Ok::<(), gpt2::error::Error>(())
//! ```

use super::edit::Edit;
use super::json::finite_or_text;
use super::largest::largest;
use super::moments::Moments;
use super::pass::Pass;
use crate::bpe::Bpe;
use crate::config::{Config, TokenId};
use crate::error::Result;
use crate::generate::check_ids;
use crate::tensor::Weights;
use crate::trace::{Place, Stage};
use serde_json::{Value, json};

/// A logit, or the difference of two, as a sum over the parts of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// The position that is read last: its logits score the next token.
    pub position: usize,
    /// The token.
    pub token: TokenId,
    /// The token's logit, less that of `against`.
    pub logit: f64,
    /// The token it is compared with.
    pub against: Option<TokenId>,
    /// The parts, in forward order.
    pub parts: Vec<Part>,
    /// The sum of their values.
    pub sum: f64,
    /// `logit - sum`: what rounding makes of it. Rows that are rounded to eight bits make it larger.
    pub rounding: f64,
}

/// A part of the model, and what it adds to a logit.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// `transformer.wte`, `transformer.h.0.attn.head.2`, `transformer.h.0.mlp`, ...
    pub name: String,
    /// What switches it off.
    pub edit: Edit,
    /// What it adds to the logit directly.
    pub value: f64,
    /// The logit without it, if it was [switched off](Why::switch_off).
    pub without: Option<f64>,
}

/// Why `token` has its logit after a pass; with `against`, why its logit differs from that token's.
///
/// # Errors
/// [`Error::Input`](crate::error::Error::Input) if a token is unknown.
pub fn why(pass: &Pass<'_>, token: TokenId, against: Option<TokenId>) -> Result<Why> {
    let model = pass.model;
    check_ids(model, &[token])?;
    check_ids(model, against.as_slice())?;
    let parts = parts(&model.config);
    let last = Place::new(Stage::LnF, None).entering(model.config.n_layer);
    let mut places: Vec<Place> = parts.iter().map(|(_, edit)| edit.place()).collect();
    places.push(last);
    places.dedup();
    let (keep, _) = pass.keep(&places);
    let row = |place| keep.row(place, pass.read - 1);

    // the direction of the stream that the logit reads
    let x = row(last);
    let scale = f64::from(Moments::of(x, model.ln_f.eps).scale);
    let head = difference(&model.lm_head, token, against);
    let mut g: Vec<f64> =
        model.ln_f.weight.iter().zip(&head).map(|(w, head)| scale * f64::from(*w) * head).collect();
    let middle = g.iter().sum::<f64>() / x.len() as f64;
    g.iter_mut().for_each(|g| *g -= middle); // (part - mean(part)) · g = part · (g - mean(g))

    let dot = |a: &[f32], b: &[f64]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
    // the same direction, seen through c_proj from the heads' results of each block
    let through: Vec<Vec<f64>> = model.h.iter().map(|block| by_row(&block.attn.c_proj.weight, &g)).collect();
    let value = |edit: Edit| match edit {
        Edit::Head { block, .. } => {
            let own = edit.columns(x.len(), model.config.n_head);
            dot(&row(edit.place())[own.clone()], &through[block][own])
        }
        Edit::AttentionBias { block } if !pass.edits.contains(&Edit::Attention { block }) => {
            dot(&model.h[block].attn.c_proj.bias, &g)
        }
        Edit::LastBias => dot(&model.ln_f.bias, &head),
        Edit::Attention { .. } | Edit::AttentionBias { .. } => 0.0,
        _ => dot(row(edit.place()), &g),
    };
    let off = |edit: Edit| match edit {
        Edit::Head { block, .. } => pass.edits.contains(&Edit::Attention { block }),
        _ => false,
    };
    let value = |edit| if off(edit) { 0.0 } else { value(edit) };
    let parts: Vec<Part> = parts
        .into_iter()
        .map(|(name, edit)| Part { name, edit, value: value(edit), without: None })
        .collect();
    let sum = parts.iter().map(|part| part.value).sum();
    let logit = logit(pass, &[], token, against);
    let position = pass.past() + pass.read - 1;
    Ok(Why { position, token, logit, against, parts, sum, rounding: logit - sum })
}

impl Why {
    /// Measures the logit without each part, in as many passes as there are parts. `progress` is called after each.
    pub fn switch_off(&mut self, pass: &Pass<'_>, mut progress: impl FnMut()) {
        for part in &mut self.parts {
            part.without = Some(logit(pass, &[part.edit], self.token, self.against));
            progress();
        }
    }

    /// The explanation as JSON, with all parts in forward order. Numbers that are not finite are strings.
    pub fn json(&self, bpe: &Bpe) -> Value {
        let text = |id: TokenId| bpe.decode_lossy(&[id]).unwrap_or_default();
        let part = |part: &Part| {
            let (value, without) = (finite_or_text(part.value), part.without.map(finite_or_text));
            json!({"name": part.name, "value": value, "without": without})
        };
        json!({
            "position": self.position,
            "token": {"id": self.token, "text": text(self.token), "logit": finite_or_text(self.logit)},
            "against": self.against.map(|id| json!({"id": id, "text": text(id)})),
            "parts": self.parts.iter().map(part).collect::<Value>(),
            "sum": finite_or_text(self.sum), "rounding": finite_or_text(self.rounding),
        })
    }

    /// The `n` parts of the largest values, the largest first; the number of all others, and their sum.
    pub fn largest(&self, n: usize) -> (Vec<&Part>, usize, f64) {
        largest(&self.parts, |part| part.value, n)
    }
}

/// The parts of a model, with their names.
fn parts(config: &Config) -> Vec<(String, Edit)> {
    let mut parts =
        vec![("transformer.wte".into(), Edit::Tokens), ("transformer.wpe".into(), Edit::Positions)];
    for block in 0..config.n_layer {
        let name = format!("transformer.h.{block}");
        let head = |head| (format!("{name}.attn.head.{head}"), Edit::Head { block, head });
        parts.extend((0..config.n_head).map(head));
        parts.push((format!("{name}.attn.bias"), Edit::AttentionBias { block }));
        parts.push((format!("{name}.mlp"), Edit::Mlp { block }));
    }
    parts.push(("transformer.ln_f.bias".into(), Edit::LastBias));
    parts
}

/// The logit of a token without these parts, less that of `against`.
fn logit(pass: &Pass<'_>, without: &[Edit], token: TokenId, against: Option<TokenId>) -> f64 {
    let logits = pass.last_logits(without);
    let of = |id: TokenId| f64::from(logits.row(0)[id as usize]);
    of(token) - against.map_or(0.0, of)
}

/// A token's row of a table, less that of `against`. `[C]`
fn difference(table: &Weights, token: TokenId, against: Option<TokenId>) -> Vec<f64> {
    let row = |id: TokenId| {
        let mut row = vec![0.0; table.cols()];
        table.read_row(id as usize, &mut row);
        row
    };
    let other = against.map_or_else(|| vec![0.0; table.cols()], row);
    row(token).iter().zip(&other).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
}

/// Weights `[K, C]` times g `[C]` -> `[K]`
fn by_row(weights: &Weights, g: &[f64]) -> Vec<f64> {
    let mut row = vec![0.0; weights.cols()];
    let dot = |k| {
        weights.read_row(k, &mut row);
        row.iter().zip(g).map(|(w, g)| f64::from(*w) * g).sum()
    };
    (0..weights.rows()).map(dot).collect()
}

#[cfg(test)]
mod tests;
