//! Each stage from the stages before it, right or with a mistake.

use super::layers::{activation, head, linear, norm};
use super::mistakes::Mistake;
use crate::block::Block;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::generate::check_ids;
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::{Place, Stage};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Query, key and value of earlier positions, as `c_attn` gives them: `[P, 3C]` for each block.
pub type Past = Vec<Matrix>;

/// Values of stages.
pub type Values = BTreeMap<Place, Arc<Matrix>>;

/// One step of a port: what it reads, and the stages that it gives.
pub struct Step<'m> {
    pub model: &'m Gpt2,
    /// `[T]`
    pub ids: Vec<TokenId>,
    pub past: Past,
    /// Scores and weights are `[H T, S]`, all others `[T, ..]`.
    pub given: Values,
}

impl Step<'_> {
    /// Positions before those of this step.
    pub fn before(&self) -> usize {
        self.past.first().map_or(0, Matrix::rows)
    }

    /// Checks that its ids and positions are the model's.
    pub fn check(&self) -> Result<()> {
        let (past, new, most) = (self.before(), self.ids.len(), self.model.config.n_positions);
        if new == 0 || past + new > most {
            let problem = format!("{past} earlier and {new} new ids; the model has {most} positions");
            return Err(Error::input(problem));
        }
        check_ids(self.model, &self.ids)
    }

    /// The block of a stage.
    pub fn block(&self, place: Place) -> &Block {
        &self.model.h[place.block.expect("a stage of a block")]
    }
}

/// Computes stages of a step, each from what is given before it.
pub struct Run<'s, 'm> {
    pub step: &'s Step<'m>,
    /// This stage is computed although it is given.
    target: Option<Place>,
    /// At every stage of this kind that is computed, this mistake is made.
    mistake: Option<(Stage, Mistake)>,
    computed: Values,
}

impl<'s, 'm> Run<'s, 'm> {
    /// Takes whatever is given.
    pub fn new(step: &'s Step<'m>) -> Self {
        Self { step, target: None, mistake: None, computed: Values::new() }
    }

    /// Computes `target`.
    pub fn without(step: &'s Step<'m>, target: Place) -> Self {
        Self { target: Some(target), ..Self::new(step) }
    }

    /// The same with a mistake.
    pub fn with(step: &'s Step<'m>, target: Place, stage: Stage, mistake: Mistake) -> Self {
        Self { mistake: Some((stage, mistake)), ..Self::without(step, target) }
    }

    /// What was computed so far.
    pub fn computed(&self) -> Vec<Place> {
        self.computed.keys().copied().collect()
    }

    /// A stage: as it is given, or else computed.
    pub fn value(&mut self, place: Place) -> Arc<Matrix> {
        let given = self.step.given.get(&place).filter(|_| self.target != Some(place));
        if let Some(value) = given.or_else(|| self.computed.get(&place)) {
            return Arc::clone(value);
        }
        let value = Arc::new(self.compute(place));
        self.computed.insert(place, Arc::clone(&value));
        value
    }

    /// The past of the next step.
    pub fn past_after(&mut self) -> Past {
        let blocks = 0..self.step.model.config.n_layer;
        blocks.map(|i| self.all_qkv(Place::new(Stage::AttnCAttn, Some(i)))).collect()
    }

    /// Query, key and value of all positions so far. `[S, 3C]`
    pub fn all_qkv(&mut self, place: Place) -> Matrix {
        let new = self.value(place);
        match place.block.and_then(|i| self.step.past.get(i)) {
            Some(past) => below(past, &new),
            None => (*new).clone(),
        }
    }

    /// The mistake to make at this stage. Who finds queries in the wrong columns finds values there too.
    fn mistake_at(&self, stage: Stage) -> Option<Mistake> {
        let (at, mistake) = self.mistake?;
        let too = (at, stage) == (Stage::AttnScores, Stage::AttnHeads) && mistake.layout().is_some();
        (at == stage || too).then_some(mistake)
    }

    fn compute(&mut self, place: Place) -> Matrix {
        let (step, model, mistake) = (self.step, self.step.model, self.mistake_at(place.stage));
        let here = |stage| Place::new(stage, place.block);
        let entering = place.entering(model.config.n_layer);
        match place.stage {
            Stage::Wte => self.tokens(mistake),
            Stage::Wpe => self.positions(mistake),
            Stage::Drop => {
                let (wte, wpe) = (self.value(here(Stage::Wte)), self.value(here(Stage::Wpe)));
                if mistake == Some(Mistake::Left) { (*wte).clone() } else { (*wte).clone() + (*wpe).clone() }
            }
            Stage::Ln1 => norm(&self.value(entering), &step.block(place).ln_1, mistake),
            Stage::Ln2 => {
                let of_block = mistake == Some(Mistake::OfBlockInput);
                let from = if of_block { entering } else { here(Stage::AttnResidual) };
                norm(&self.value(from), &step.block(place).ln_2, mistake)
            }
            Stage::LnF => norm(&self.value(entering), &model.ln_f, mistake),
            Stage::AttnCAttn => {
                linear(&self.value(here(Stage::Ln1)), &step.block(place).attn.c_attn, mistake)
            }
            Stage::AttnScores => self.scores(place, mistake),
            Stage::AttnWeights => self.weights(place, mistake),
            Stage::AttnHeads => self.heads(place, mistake),
            Stage::AttnCProj => {
                linear(&self.value(here(Stage::AttnHeads)), &step.block(place).attn.c_proj, mistake)
            }
            Stage::AttnResidual => {
                self.sum([entering, here(Stage::Ln1), entering], here(Stage::AttnCProj), mistake)
            }
            Stage::MlpCFc => linear(&self.value(here(Stage::Ln2)), &step.block(place).mlp.c_fc, mistake),
            Stage::MlpAct => activation(&self.value(here(Stage::MlpCFc)), step.block(place).mlp.act, mistake),
            Stage::MlpCProj => {
                linear(&self.value(here(Stage::MlpAct)), &step.block(place).mlp.c_proj, mistake)
            }
            Stage::Block => self.sum(
                [here(Stage::AttnResidual), here(Stage::Ln2), entering],
                here(Stage::MlpCProj),
                mistake,
            ),
            Stage::LmHead => {
                let from = if mistake == Some(Mistake::Skipped) { entering } else { here(Stage::LnF) };
                head(&self.value(from), model, mistake)
            }
            Stage::InputIds | Stage::Probs | Stage::NextId => Matrix::zeros(0, 0),
        }
    }

    /// A residual connection: `stream + part`, or with a mistake one that begins at another stage.
    fn sum(&mut self, [stream, norm, of_block]: [Place; 3], part: Place, mistake: Option<Mistake>) -> Matrix {
        let part = (*self.value(part)).clone();
        let from = match mistake {
            Some(Mistake::Right) => return part,
            Some(Mistake::OfNorm) => norm,
            Some(Mistake::OfBlockInput) => of_block,
            _ => stream,
        };
        (*self.value(from)).clone() + part
    }
}

/// The rows of `a`, then those of `b`.
fn below(a: &Matrix, b: &Matrix) -> Matrix {
    Matrix::from_vec(a.rows() + b.rows(), b.cols(), [a.data(), b.data()].concat())
}
