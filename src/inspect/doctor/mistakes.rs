//! Known mistakes of ports. Each is tried in place of the right computation.

use super::layout::Layout;
use super::round::Round;
use crate::activation::Activation;
use crate::model::Gpt2;
use crate::trace::{Stage, number};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mistake {
    /// Token embeddings are multiplied by the root of their length, as in the Transformer of 2017.
    TimesRoot,
    /// Positions are shifted.
    Shifted(isize),
    /// Positions begin at 0 in each step, without the length of the cache.
    NoPast,
    /// Only the left side of a sum: no position embeddings.
    Left,
    /// Only the right side of a sum: no residual connection.
    Right,
    /// The residual connection begins at the layer norm's result.
    OfNorm,
    /// It, or a layer norm, takes what entered the block.
    OfBlockInput,
    /// The stage gives what it gets.
    Skipped,
    /// Another epsilon in a layer norm.
    Epsilon(f32),
    /// Epsilon is added to the standard deviation.
    EpsilonOutside,
    /// The variance is divided by n - 1.
    Bessel,
    /// The mean is not subtracted.
    NoMean,
    /// A layer norm without weight and bias.
    NoGain,
    /// No bias.
    NoBias,
    /// Weights are read as if they were stored `[out, in]`.
    Transposed,
    /// Weights are transposed, and reshaped to their old shape.
    Reshaped,
    /// Query, key and value are found in other columns.
    Split(Layout),
    /// Another factor for the scores.
    Scale(f32),
    /// No mask.
    NoMask,
    /// So many positions more are visible.
    Mask(isize),
    /// The mask is applied after the softmax.
    MaskAfter,
    /// The softmax runs over the queries.
    AxisQueries,
    /// The softmax runs over the heads.
    AxisHeads,
    /// `[H, T, D]` is reshaped to `[T, C]` without exchanging the first two axes.
    NotMerged,
    /// Heads are merged `[D, H]`.
    MergedStrided,
    /// They are split and merged `[D, H]`.
    BothStrided,
    /// Another activation function.
    Act(Activation),
    /// The head is `wte` although the model has its own.
    Tied,
    /// Operands are rounded before a product.
    Coarse(Round),
}

impl Mistake {
    /// Where it looks for query, key and value.
    pub fn layout(self) -> Option<Layout> {
        match self {
            Self::Split(layout) => Some(layout),
            Self::BothStrided => Some(Layout::Strided),
            _ => None,
        }
    }

    /// The mistakes to try at a stage.
    pub(super) fn candidates(stage: Stage, model: &Gpt2, past: usize) -> Vec<Self> {
        let coarse = Round::ALL.map(Self::Coarse);
        let config = &model.config;
        match stage {
            Stage::Wte => vec![Self::TimesRoot],
            Stage::Wpe => [-2, -1, 1, 2]
                .map(Self::Shifted)
                .into_iter()
                .chain((past > 0).then_some(Self::NoPast))
                .collect(),
            Stage::Drop => vec![Self::Left],
            Stage::Ln1 | Stage::Ln2 | Stage::LnF => {
                let eps = [0.0, 1e-12, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2].into_iter();
                let mut all: Vec<Self> =
                    eps.filter(|eps| *eps != config.layer_norm_epsilon).map(Self::Epsilon).collect();
                all.extend([
                    Self::EpsilonOutside,
                    Self::Bessel,
                    Self::NoMean,
                    Self::NoGain,
                    Self::NoBias,
                    Self::Skipped,
                ]);
                all.extend((stage == Stage::Ln2).then_some(Self::OfBlockInput));
                all
            }
            Stage::AttnCAttn | Stage::AttnCProj | Stage::MlpCFc | Stage::MlpCProj => {
                [&[Self::NoBias, Self::Transposed, Self::Reshaped][..], &coarse].concat()
            }
            Stage::AttnScores => {
                let (d, c) = (config.head_size() as f32, config.n_embd as f32);
                let scales = [1.0, 1.0 / d, 1.0 / c.sqrt(), 1.0 / c, d.sqrt()];
                let own = model.h.first().map_or(1.0, |block| block.attn.scale);
                let scales = scales.into_iter().filter(|scale| *scale != own).map(Self::Scale);
                let layouts = layouts(&[[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]);
                let masks = [Self::NoMask, Self::Mask(1), Self::Mask(-1)];
                scales.chain(layouts).chain(masks).chain(coarse).collect()
            }
            Stage::AttnWeights => vec![Self::AxisQueries, Self::AxisHeads, Self::NoMask, Self::MaskAfter],
            Stage::AttnHeads => {
                let layouts = layouts(&[[0, 2, 1], [2, 1, 0]]); // v is where k or q belongs
                layouts
                    .chain([Self::NotMerged, Self::MergedStrided, Self::BothStrided])
                    .chain(coarse)
                    .collect()
            }
            Stage::AttnResidual => vec![Self::Right, Self::OfNorm],
            Stage::Block => vec![Self::Right, Self::OfNorm, Self::OfBlockInput],
            Stage::MlpAct => {
                use Activation::{GeluErf, GeluTanh, QuickGelu, Relu, Silu, Tanh};
                let all = [GeluTanh, GeluErf, QuickGelu, Relu, Silu, Tanh].into_iter();
                all.filter(|act| *act != config.activation).map(Self::Act).chain([Self::Skipped]).collect()
            }
            Stage::LmHead => {
                let tied = (!config.tie_word_embeddings).then_some(Self::Tied);
                tied.into_iter().chain([Self::Skipped]).chain(coarse).collect()
            }
            Stage::InputIds | Stage::Probs | Stage::NextId => vec![],
        }
    }

    /// The mistake in words.
    pub(super) fn words(self, stage: Stage, model: &Gpt2) -> String {
        let own = match stage {
            Stage::AttnScores => model.h.first().map_or(1.0, |block| block.attn.scale),
            _ => 0.0,
        };
        match self {
            Self::TimesRoot => "embeddings multiplied by sqrt(n_embd)".into(),
            Self::Shifted(by) => format!("positions shifted by {by}"),
            Self::NoPast => "positions that begin at 0 in each step, without the length of the cache".into(),
            Self::Left => "no position embeddings".into(),
            Self::Right => "no residual connection".into(),
            Self::OfNorm => "a residual connection from the layer norm's result instead of its input".into(),
            Self::OfBlockInput if stage == Stage::Ln2 => {
                "ln_2 of the block's input instead of attn_residual".into()
            }
            Self::OfBlockInput => {
                "a residual connection from the block's input instead of attn_residual".into()
            }
            Self::Skipped if stage == Stage::LmHead => "no ln_f before the head".into(),
            Self::Skipped if stage == Stage::MlpAct => "no activation function".into(),
            Self::Skipped => "no layer norm".into(),
            Self::Epsilon(eps) => format!("epsilon {eps:e} instead of {:e}", model.config.layer_norm_epsilon),
            Self::EpsilonOutside => "epsilon added to the standard deviation instead of the variance".into(),
            Self::Bessel => "a variance divided by n - 1 instead of n".into(),
            Self::NoMean => "no mean subtracted (RMS norm)".into(),
            Self::NoGain => "a layer norm without weight and bias".into(),
            Self::NoBias => "no bias".into(),
            Self::Transposed | Self::Reshaped => "transposed weights (they are stored [in, out])".into(),
            Self::Split(layout) => layout.words(),
            Self::Scale(1.0) => "scores that are not divided by sqrt(D)".into(),
            Self::Scale(by) => {
                format!("scores multiplied by {} instead of {}", number(by.into()), number(own.into()))
            }
            Self::NoMask => "no mask".into(),
            Self::Mask(1) => "a mask that shows one later position".into(),
            Self::Mask(_) => "a mask that hides the position itself".into(),
            Self::MaskAfter => "a mask after the softmax, without dividing again".into(),
            Self::AxisQueries => "a softmax over the queries instead of the keys".into(),
            Self::AxisHeads => "a softmax over the heads instead of the keys".into(),
            Self::NotMerged => "[H, T, D] reshaped to [T, C] without exchanging H and T".into(),
            Self::BothStrided => "heads split and merged as [D, H] instead of [H, D]".into(),
            Self::MergedStrided => "heads merged as [D, H] instead of [H, D]".into(),
            Self::Act(act) => format!("{} instead of {}", act.name(), model.config.activation.name()),
            Self::Tied => "wte as the output head, although the model has its own lm_head".into(),
            Self::Coarse(round) => format!("operands rounded to {}", round.name()),
        }
    }
}

/// Ways to split `c_attn`: these orders of its thirds, and two others.
fn layouts(orders: &[[usize; 3]]) -> impl Iterator<Item = Mistake> {
    let orders = orders.iter().map(|order| Layout::Order(*order));
    orders.chain([Layout::ByHead, Layout::Strided]).map(Mistake::Split)
}
