//! The stepper's [`Trace`]: applies the edits and keeps the requested numbers.

use super::super::Lens;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::trace::{Digest, Place, Recorded, Stage, Trace};

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
        let (Self::Head { block, .. } | Self::Attention { block } | Self::Mlp { block }) = self;
        let within = |what: &str, i: usize, n: usize| match i < n {
            true => Ok(()),
            false => {
                Err(Error::input(format!("there is no {what} {i}; the model has {n}, 0 to {}", n.max(1) - 1)))
            }
        };
        within("block", block, config.n_layer)?;
        if let Self::Head { head, .. } = self { within("head", head, config.n_head) } else { Ok(()) }
    }

    /// Replaces the part's output by zeros if `place` is where it appears. `values` `[T, width]`
    fn apply(self, n_head: usize, place: Place, width: usize, values: &mut [f32]) {
        let Place { stage, block: here, .. } = place;
        match (self, stage) {
            (Self::Head { block, head }, Stage::AttnHeads) if here == Some(block) => {
                let size = width / n_head;
                for row in values.chunks_mut(width) {
                    row[head * size..][..size].fill(0.0);
                }
            }
            (Self::Attention { block }, Stage::AttnCProj) | (Self::Mlp { block }, Stage::MlpCProj)
                if here == Some(block) =>
            {
                values.fill(0.0);
            }
            _ => (),
        }
    }
}

impl std::fmt::Display for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head { block, head } => write!(f, "head {block} {head}"),
            Self::Attention { block } => write!(f, "attention {block}"),
            Self::Mlp { block } => write!(f, "mlp {block}"),
        }
    }
}

/// What to keep of a turn.
#[derive(Clone)]
pub(super) enum Look<'m> {
    /// Nothing at all.
    Nothing,
    /// The digest of every stage.
    Digests,
    /// All numbers of one stage.
    Stage(Place),
    /// The residual stream of the last position, after each block.
    Lens(Lens<'m>),
}

/// Traces one turn.
#[derive(Clone, Default)]
pub(super) struct Eye<'m> {
    edits: Vec<Edit>,
    /// H, the number of heads in a block.
    n_head: usize,
    block: Option<usize>,
    keeps_digests: bool,
    keeps: Option<Place>,
    pub digests: Vec<(Place, Digest)>,
    pub kept: Option<Recorded>,
    pub lens: Option<Lens<'m>>,
}

impl<'m> Eye<'m> {
    /// Prepares for the next turn: which edits to apply and what to keep.
    pub fn begin(&mut self, n_head: usize, edits: Vec<Edit>, look: Look<'m>) {
        *self = Self { edits, n_head, ..Self::default() };
        match look {
            Look::Nothing => (),
            Look::Digests => self.keeps_digests = true,
            Look::Stage(place) => self.keeps = Some(place),
            Look::Lens(lens) => self.lens = Some(lens),
        }
    }
}

impl Trace for Eye<'_> {
    fn wants(&self, stage: Stage) -> bool {
        self.keeps_digests || self.keeps == Some(Place::new(stage, self.block))
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
    }

    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        let place = Place::new(stage, self.block);
        for edit in &self.edits {
            edit.apply(self.n_head, place, shape[shape.len() - 1], values);
        }
        if self.keeps_digests {
            self.digests.push((place, Digest::of_values(place.to_string(), shape, values)));
        }
        if self.keeps == Some(place) {
            let (shape, values) = (shape.to_vec(), values.to_vec());
            self.kept = Some(Recorded { stage, block: place.block, shape, values, ids: Vec::new() });
        }
        if let (Stage::Block, Some(lens)) = (stage, &mut self.lens) {
            lens.read(&values[values.len() - shape[1]..]); // the last position
        }
    }

    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        let place = Place::new(stage, None);
        if self.keeps_digests {
            self.digests.push((place, Digest::of_ids(place, ids)));
        }
        if self.keeps == Some(place) {
            let (shape, ids) = (vec![ids.len()], ids.to_vec());
            self.kept = Some(Recorded { stage, block: None, shape, values: Vec::new(), ids });
        }
    }
}
