//! Parts of the model that can be switched off.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::Gpt2;
use crate::trace::{Place, Stage};
use std::{fmt, ops::Range};

/// A part of the model that is switched off: zeros replace its output, so the residual stream bypasses it.
///
/// What the model writes without a part shows what the part contributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// One attention head: zeros its columns of `attn.heads`.
    Head {
        /// The block of the head.
        block: usize,
        /// The index of the head in its block.
        head: usize,
    },
    /// The attention of a block: zeros `attn.c_proj`.
    Attention {
        /// The block of the attention.
        block: usize,
    },
    /// The MLP of a block: zeros `mlp.c_proj`.
    Mlp {
        /// The block of the MLP.
        block: usize,
    },
    /// The token embeddings: zeros `wte`.
    Tokens,
    /// The position embeddings: zeros `wpe`.
    Positions,
    /// The bias of a block's `attn.c_proj`, which belongs to no head: taken from `attn.c_proj`.
    AttentionBias {
        /// The block of the attention.
        block: usize,
    },
    /// The bias of the last layer norm: taken from `ln_f`.
    LastBias,
}

impl Edit {
    /// Checks that the model has this part.
    ///
    /// # Errors
    /// [`Error::Input`] if it does not; the message says which blocks and heads it has.
    pub fn check(self, config: &Config) -> Result<()> {
        let (block, head) = match self {
            Self::Head { block, head } => (block, head),
            Self::Attention { block } | Self::AttentionBias { block } | Self::Mlp { block } => (block, 0),
            Self::Tokens | Self::Positions | Self::LastBias => return Ok(()),
        };
        for (what, i, n) in [("block", block, config.n_layer), ("head", head, config.n_head)] {
            if i >= n {
                let last = n.max(1) - 1;
                return Err(Error::input(format!("there is no {what} {i}; the model has {n}, 0 to {last}")));
            }
        }
        Ok(())
    }

    /// The stage where the part's output appears.
    pub(super) fn place(self) -> Place {
        let (stage, block) = match self {
            Self::Head { block, .. } => (Stage::AttnHeads, Some(block)),
            Self::Attention { block } | Self::AttentionBias { block } => (Stage::AttnCProj, Some(block)),
            Self::Mlp { block } => (Stage::MlpCProj, Some(block)),
            Self::Tokens => (Stage::Wte, None),
            Self::Positions => (Stage::Wpe, None),
            Self::LastBias => (Stage::LnF, None),
        };
        Place::new(stage, block)
    }

    /// Replaces the part's output by zeros, or takes a bias from the sum it is in. `values` `[T, C]`
    fn apply(self, model: &Gpt2, values: &mut [f32]) {
        let Config { n_embd: c, n_head, .. } = model.config;
        let bias = match self {
            Self::AttentionBias { block } => Some(&model.h[block].attn.c_proj.bias),
            Self::LastBias => Some(&model.ln_f.bias),
            _ => None,
        };
        let columns = self.columns(c, n_head);
        for row in values.chunks_mut(c) {
            match bias {
                Some(bias) => row.iter_mut().zip(bias).for_each(|(x, b)| *x -= b),
                None => row[columns.clone()].fill(0.0),
            }
        }
    }

    /// The columns of its [place](Self::place) that it owns. C = `c`, H = `n_head`
    pub(super) fn columns(self, c: usize, n_head: usize) -> Range<usize> {
        match self {
            Self::Head { head, .. } => head * c / n_head..(head + 1) * c / n_head,
            _ => 0..c,
        }
    }
}

/// Applies those of the edits that belong to this place.
pub(super) fn apply(edits: &[Edit], model: &Gpt2, place: Place, values: &mut [f32]) {
    edits.iter().filter(|edit| edit.place() == place).for_each(|edit| edit.apply(model, values));
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head { block, head } => write!(f, "head {block} {head}"),
            Self::Attention { block } => write!(f, "attention {block}"),
            Self::Mlp { block } => write!(f, "mlp {block}"),
            Self::Tokens => f.write_str("wte"),
            Self::Positions => f.write_str("wpe"),
            Self::AttentionBias { block } => write!(f, "attention bias {block}"),
            Self::LastBias => f.write_str("ln_f bias"),
        }
    }
}
