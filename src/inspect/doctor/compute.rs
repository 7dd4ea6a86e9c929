//! Each stage from the stages before it, right or with a mistake.

use super::mistakes::Mistake;
use crate::attention::Attention;
use crate::block::Block;
use crate::config::TokenId;
use crate::embedding;
use crate::error::{Error, Result};
use crate::generate::check_ids;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::matmul;
use crate::model::Gpt2;
use crate::softmax::softmax;
use crate::tensor::{Matrix, Weights};
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

/// Checks that a step's ids and positions are the model's.
pub fn check(model: &Gpt2, ids: &[TokenId], past: usize) -> Result<()> {
    let most = model.config.n_positions;
    if ids.is_empty() || past + ids.len() > most {
        let problem = format!("{past} earlier and {} new ids; the model has {most} positions", ids.len());
        return Err(Error::input(problem));
    }
    check_ids(model, ids)
}

impl Step<'_> {
    /// Positions before those of this step.
    pub fn before(&self) -> usize {
        self.past.first().map_or(0, Matrix::rows)
    }

    fn block(&self, place: Place) -> &Block {
        &self.model.h[place.block.expect("a stage of a block")]
    }
}

/// Computes stages of a step, each from what is given before it.
pub struct Run<'s, 'm> {
    step: &'s Step<'m>,
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
    fn all_qkv(&mut self, place: Place) -> Matrix {
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
        match place.stage {
            Stage::Wte => {
                let x = embedding::tokens(&model.wte, step.ids.iter().copied());
                match mistake {
                    Some(Mistake::TimesRoot) => map(x, |x| x * (model.config.n_embd as f32).sqrt()),
                    _ => x,
                }
            }
            Stage::Wpe => {
                let (first, last) = (step.before(), model.config.n_positions - 1);
                let place = |t: usize| match mistake {
                    Some(Mistake::Shifted(by)) => (first + t).saturating_add_signed(by).min(last),
                    Some(Mistake::NoPast) => t,
                    _ => first + t,
                };
                embedding::positions(&model.wpe, (0..step.ids.len()).map(place))
            }
            Stage::Drop => {
                let (wte, wpe) = (self.value(here(Stage::Wte)), self.value(here(Stage::Wpe)));
                if mistake == Some(Mistake::Left) { (*wte).clone() } else { (*wte).clone() + (*wpe).clone() }
            }
            Stage::Ln1 => self.norm(&step.block(place).ln_1, entering(place.block), mistake),
            Stage::Ln2 => {
                let from = if mistake == Some(Mistake::OfBlockInput) {
                    entering(place.block)
                } else {
                    here(Stage::AttnResidual)
                };
                self.norm(&step.block(place).ln_2, from, mistake)
            }
            Stage::LnF => self.norm(&model.ln_f, entering(Some(model.config.n_layer)), mistake),
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
                self.sum(entering(place.block), here(Stage::Ln1), here(Stage::AttnCProj), mistake, place)
            }
            Stage::MlpCFc => linear(&self.value(here(Stage::Ln2)), &step.block(place).mlp.c_fc, mistake),
            Stage::MlpAct => {
                let x = (*self.value(here(Stage::MlpCFc))).clone();
                match mistake {
                    Some(Mistake::Act(act)) => act.forward(x),
                    Some(Mistake::Skipped) => x,
                    _ => step.block(place).mlp.act.forward(x),
                }
            }
            Stage::MlpCProj => {
                linear(&self.value(here(Stage::MlpAct)), &step.block(place).mlp.c_proj, mistake)
            }
            Stage::Block => {
                self.sum(here(Stage::AttnResidual), here(Stage::Ln2), here(Stage::MlpCProj), mistake, place)
            }
            Stage::LmHead => {
                let from = match mistake {
                    Some(Mistake::Skipped) => entering(Some(model.config.n_layer)),
                    _ => Place::new(Stage::LnF, None),
                };
                let table = if mistake == Some(Mistake::Tied) { &model.wte } else { &model.lm_head };
                let x = self.value(from);
                match mistake {
                    Some(Mistake::Coarse(round)) => {
                        matmul::by_rows(&map((*x).clone(), round.apply()), &coarse(table, round.apply()))
                    }
                    _ => matmul::by_rows(&x, table),
                }
            }
            Stage::InputIds | Stage::Probs | Stage::NextId => Matrix::zeros(0, 0),
        }
    }

    /// A residual connection: `stream + part`.
    fn sum(
        &mut self,
        stream: Place,
        norm: Place,
        part: Place,
        mistake: Option<Mistake>,
        place: Place,
    ) -> Matrix {
        let part = (*self.value(part)).clone();
        let from = match mistake {
            Some(Mistake::Right) => return part,
            Some(Mistake::OfNorm) => norm,
            Some(Mistake::OfBlockInput) => entering(place.block),
            _ => stream,
        };
        (*self.value(from)).clone() + part
    }

    fn norm(&mut self, ln: &LayerNorm, x: Place, mistake: Option<Mistake>) -> Matrix {
        let x = self.value(x);
        match mistake {
            None | Some(Mistake::OfBlockInput) => ln.forward(&x),
            Some(Mistake::Skipped) => (*x).clone(),
            Some(mistake) => odd_norm(ln, &x, mistake),
        }
    }

    /// Scores `[H T, S]`, masked.
    fn scores(&mut self, place: Place, mistake: Option<Mistake>) -> Matrix {
        let qkv = self.all_qkv(Place::new(Stage::AttnCAttn, place.block)); // [S, 3C]
        let (s, t) = (qkv.rows(), self.step.ids.len());
        let Attention { n_head, scale, .. } = self.step.block(place).attn;
        let layout = mistake.and_then(Mistake::layout).unwrap_or_default();
        let d = qkv.cols() / 3 / n_head;
        let scale = match mistake {
            Some(Mistake::Scale(by)) => by,
            _ => scale,
        };
        let mut scores = Matrix::zeros(n_head * t, s);
        for h in 0..n_head {
            let [q, k, _] = layout.split(&qkv, n_head, h); // [S, D]
            let q = q.select(&(s - t..s).collect::<Vec<_>>()); // [T, D]
            let all = match mistake {
                Some(Mistake::Coarse(round)) => {
                    let k = map(k, round.apply());
                    matmul::by_rows(&map(q, round.apply()), &Weights::from_f32(s, d, k.data()))
                }
                _ => matmul::by_rows(&q, &Weights::from_f32(s, d, k.data())),
            };
            for i in 0..t {
                let row = scores.row_mut(h * t + i);
                row.iter_mut().zip(all.row(i)).for_each(|(score, x)| *score = x * scale);
                let visible = match mistake {
                    Some(Mistake::NoMask) => s,
                    Some(Mistake::Mask(by)) => (s - t + i + 1).saturating_add_signed(by).min(s),
                    _ => s - t + i + 1,
                };
                row[visible..].fill(f32::NEG_INFINITY);
            }
        }
        scores
    }

    /// Weights `[H T, S]`.
    fn weights(&mut self, place: Place, mistake: Option<Mistake>) -> Matrix {
        let scores = Place::new(Stage::AttnScores, place.block);
        let t = self.step.ids.len();
        if mistake == Some(Mistake::MaskAfter) {
            let mut weights = self.scores(scores, Some(Mistake::NoMask));
            let (rows, s) = (weights.rows(), weights.cols());
            for i in 0..rows {
                loose_softmax(weights.row_mut(i));
                weights.row_mut(i)[s - t + i % t + 1..].fill(0.0);
            }
            return weights;
        }
        let mut weights = (*self.value(scores)).clone();
        let (rows, s, n_head) = (weights.rows(), weights.cols(), self.step.model.config.n_head);
        // scores that are given without a mask are masked here
        let given = self.step.given.contains_key(&scores) && !weights.data().iter().any(|x| *x <= -1e4);
        for i in (0..rows).filter(|_| given && mistake != Some(Mistake::NoMask)) {
            weights.row_mut(i)[s - t + i % t + 1..].fill(f32::NEG_INFINITY);
        }
        // the softmax of a line of numbers that lie `step` apart
        let mut line = |first: usize, step: usize, n: usize| {
            let mut x: Vec<f32> = (0..n).map(|i| weights.data()[first + i * step]).collect();
            loose_softmax(&mut x);
            x.into_iter().enumerate().for_each(|(i, x)| weights.data_mut()[first + i * step] = x);
        };
        match mistake {
            Some(Mistake::AxisQueries) => {
                (0..n_head).for_each(|h| (0..s).for_each(|key| line(h * t * s + key, s, t)));
            }
            Some(Mistake::AxisHeads) => (0..t * s).for_each(|first| line(first, t * s, n_head)),
            _ => (0..rows).for_each(|row| line(row * s, 1, s)),
        }
        weights
    }

    /// The values of all heads, side by side. `[T, C]`
    fn heads(&mut self, place: Place, mistake: Option<Mistake>) -> Matrix {
        let weights = self.value(Place::new(Stage::AttnWeights, place.block));
        let qkv = self.all_qkv(Place::new(Stage::AttnCAttn, place.block)); // [S, 3C]
        let (s, t, n_head) = (qkv.rows(), self.step.ids.len(), self.step.model.config.n_head);
        let (c, d) = (qkv.cols() / 3, qkv.cols() / 3 / n_head);
        let layout = mistake.and_then(Mistake::layout).unwrap_or_default();
        let mut heads = Matrix::zeros(t, c);
        for h in 0..n_head {
            let [_, _, v] = layout.split(&qkv, n_head, h); // [S, D]
            let own = weights.select(&(h * t..(h + 1) * t).collect::<Vec<_>>()); // [T, S]
            let mixed = match mistake {
                Some(Mistake::Coarse(round)) => {
                    let v = map(v, round.apply());
                    matmul::affine(
                        &map(own, round.apply()),
                        &Weights::from_f32(s, d, v.data()),
                        &vec![0.0; d],
                    )
                }
                _ => matmul::affine(&own, &Weights::from_f32(s, d, v.data()), &vec![0.0; d]),
            }; // [T, D]
            for i in 0..t {
                for (j, x) in mixed.row(i).iter().enumerate() {
                    let place = match mistake {
                        Some(Mistake::NotMerged) => (h * t + i) * d + j,
                        Some(Mistake::MergedStrided | Mistake::BothStrided) => i * c + j * n_head + h,
                        _ => i * c + h * d + j,
                    };
                    heads.data_mut()[place] = *x;
                }
            }
        }
        heads
    }
}

/// A softmax without our care for rows that have none: NaN stays NaN, and a row of -inf becomes NaN.
fn loose_softmax(x: &mut [f32]) {
    let odd = x.iter().any(|x| x.is_nan()) || x.iter().all(|x| *x == f32::NEG_INFINITY);
    if odd { x.fill(f32::NAN) } else { softmax(x) }
}

/// What enters a block: what the block before it gives.
fn entering(block: Option<usize>) -> Place {
    match block.and_then(|i| i.checked_sub(1)) {
        Some(before) => Place::new(Stage::Block, Some(before)),
        None => Place::new(Stage::Drop, None),
    }
}

/// The rows of `a`, then those of `b`.
fn below(a: &Matrix, b: &Matrix) -> Matrix {
    Matrix::from_vec(a.rows() + b.rows(), b.cols(), [a.data(), b.data()].concat())
}

fn map(mut x: Matrix, f: impl Fn(f32) -> f32) -> Matrix {
    x.data_mut().iter_mut().for_each(|x| *x = f(*x));
    x
}

/// Weights that are rounded further.
fn coarse(w: &Weights, round: impl Fn(f32) -> f32) -> Weights {
    let numbers: Vec<f32> = w.to_f32().into_iter().map(round).collect();
    Weights::from_f32(w.rows(), w.cols(), &numbers)
}

/// A linear layer. `[T, in] -> [T, out]`
fn linear(x: &Matrix, layer: &Linear, mistake: Option<Mistake>) -> Matrix {
    let (w, bias) = (&layer.weight, &layer.bias);
    let turned = |from: &dyn Fn(usize, usize) -> usize| {
        let (numbers, rows, cols) = (w.to_f32(), w.rows(), w.cols());
        let all = (0..rows * cols).map(|at| numbers[from(at / cols, at % cols)]);
        Weights::from_f32(rows, cols, &all.collect::<Vec<_>>())
    };
    match mistake {
        Some(Mistake::NoBias) => matmul::affine(x, w, &vec![0.0; bias.len()]),
        Some(Mistake::Transposed) => matmul::affine(x, &turned(&|k, n| n * w.rows() + k), bias),
        Some(Mistake::Reshaped) => {
            let from = |k, n| {
                let at = k * w.cols() + n; // in the transposed matrix [out, in]
                at % w.rows() * w.cols() + at / w.rows()
            };
            matmul::affine(x, &turned(&from), bias)
        }
        Some(Mistake::Coarse(round)) => {
            matmul::affine(&map(x.clone(), round.apply()), &coarse(w, round.apply()), bias)
        }
        _ => matmul::affine(x, w, bias),
    }
}

/// A layer norm with a mistake.
fn odd_norm(ln: &LayerNorm, x: &Matrix, mistake: Mistake) -> Matrix {
    let (c, mut y) = (x.cols(), x.clone());
    for t in 0..x.rows() {
        let row = x.row(t);
        let mean = if mistake == Mistake::NoMean {
            0.0
        } else {
            row.iter().map(|x| f64::from(*x)).sum::<f64>() / c as f64
        };
        let squares: f64 = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
        let variance = squares / if mistake == Mistake::Bessel { c as f64 - 1.0 } else { c as f64 };
        let scale = match mistake {
            Mistake::Epsilon(eps) => 1.0 / (variance + f64::from(eps)).sqrt(),
            Mistake::EpsilonOutside => 1.0 / (variance.sqrt() + f64::from(ln.eps)),
            _ => 1.0 / (variance + f64::from(ln.eps)).sqrt(),
        };
        for (j, y) in y.row_mut(t).iter_mut().enumerate() {
            let w = if mistake == Mistake::NoGain { 1.0 } else { f64::from(ln.weight[j]) };
            let b = if matches!(mistake, Mistake::NoGain | Mistake::NoBias) {
                0.0
            } else {
                f64::from(ln.bias[j])
            };
            *y = ((f64::from(row[j]) - mean) * scale * w + b) as f32;
        }
    }
    y
}
