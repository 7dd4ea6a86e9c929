//! Parts of the model that can be switched off.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::trace::{Place, Stage};
use std::fmt;

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
}

impl Edit {
    /// Checks that the model has this part.
    ///
    /// # Errors
    /// [`Error::Input`] if it does not; the message says which blocks and heads it has.
    pub fn check(self, config: &Config) -> Result<()> {
        let (block, head) = match self {
            Self::Head { block, head } => (block, head),
            Self::Attention { block } | Self::Mlp { block } => (block, 0),
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
            Self::Head { block, .. } => (Stage::AttnHeads, block),
            Self::Attention { block } => (Stage::AttnCProj, block),
            Self::Mlp { block } => (Stage::MlpCProj, block),
        };
        Place::new(stage, Some(block))
    }

    /// Replaces the part's output by zeros. `values` `[T, C]`, with C = `c` and H = `n_head`
    pub(super) fn apply(self, n_head: usize, c: usize, values: &mut [f32]) {
        let columns = match self {
            Self::Head { head, .. } => head * c / n_head..(head + 1) * c / n_head,
            Self::Attention { .. } | Self::Mlp { .. } => 0..c,
        };
        values.chunks_mut(c).for_each(|row| row[columns.clone()].fill(0.0));
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head { block, head } => write!(f, "head {block} {head}"),
            Self::Attention { block } => write!(f, "attention {block}"),
            Self::Mlp { block } => write!(f, "mlp {block}"),
        }
    }
}
