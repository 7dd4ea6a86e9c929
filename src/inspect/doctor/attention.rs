//! Attention of a step, right or with a mistake.

use super::super::diff::compare::MASKED;
use super::compute::Run;
use super::layers::operand;
use super::mistakes::Mistake;
use crate::attention::Attention;
use crate::matmul;
use crate::softmax::softmax;
use crate::tensor::{Matrix, Weights};
use crate::trace::{Place, Stage};

impl Run<'_, '_> {
    /// Scores `[H T, S]`, masked.
    pub fn scores(&mut self, place: Place, mistake: Option<Mistake>) -> Matrix {
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
            let [q, k] = [q, k].map(|x| operand(x, mistake));
            let all = matmul::by_rows(&q, &Weights::from_f32(s, d, k.data())); // [T, S]
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
    pub fn weights(&mut self, place: Place, mistake: Option<Mistake>) -> Matrix {
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
        let given =
            self.step.given.contains_key(&scores) && !weights.data().iter().any(|x| f64::from(*x) <= MASKED);
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
    pub fn heads(&mut self, place: Place, mistake: Option<Mistake>) -> Matrix {
        let weights = self.value(Place::new(Stage::AttnWeights, place.block));
        let qkv = self.all_qkv(Place::new(Stage::AttnCAttn, place.block)); // [S, 3C]
        let (s, t, n_head) = (qkv.rows(), self.step.ids.len(), self.step.model.config.n_head);
        let (c, d) = (qkv.cols() / 3, qkv.cols() / 3 / n_head);
        let layout = mistake.and_then(Mistake::layout).unwrap_or_default();
        let mut heads = Matrix::zeros(t, c);
        for h in 0..n_head {
            let [_, _, v] = layout.split(&qkv, n_head, h); // [S, D]
            let own = weights.select(&(h * t..(h + 1) * t).collect::<Vec<_>>()); // [T, S]
            let [own, v] = [own, v].map(|x| operand(x, mistake));
            let mixed = matmul::affine(&own, &Weights::from_f32(s, d, v.data()), &vec![0.0; d]); // [T, D]
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
