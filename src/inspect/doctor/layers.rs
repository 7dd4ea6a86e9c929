//! Embeddings and layers, right or with a mistake.

use super::compute::Run;
use super::mistakes::Mistake;
use super::round::Round;
use crate::activation::Activation;
use crate::embedding;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::matmul;
use crate::model::Gpt2;
use crate::tensor::{Matrix, Weights};

impl Run<'_, '_> {
    /// Token embeddings `[T, C]`.
    pub fn tokens(&self, mistake: Option<Mistake>) -> Matrix {
        let model = self.step.model;
        let x = embedding::tokens(&model.wte, self.step.ids.iter().copied());
        match mistake {
            Some(Mistake::TimesRoot) => map(x, |x| x * (model.config.n_embd as f32).sqrt()),
            _ => x,
        }
    }

    /// Position embeddings `[T, C]`.
    pub fn positions(&self, mistake: Option<Mistake>) -> Matrix {
        let (step, model) = (self.step, self.step.model);
        let (first, last) = (step.before(), model.config.n_positions - 1);
        let place = |t: usize| match mistake {
            Some(Mistake::Shifted(by)) => (first + t).saturating_add_signed(by).min(last),
            Some(Mistake::NoPast) => t,
            _ => first + t,
        };
        embedding::positions(&model.wpe, (0..step.ids.len()).map(place))
    }
}

/// A linear layer. `[T, in] -> [T, out]`
pub fn linear(x: &Matrix, layer: &Linear, mistake: Option<Mistake>) -> Matrix {
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
        Some(Mistake::Coarse(to)) => matmul::affine(&operand(x.clone(), mistake), &coarse(w, to), bias),
        _ => matmul::affine(x, w, bias),
    }
}

/// A layer norm. `[T, C] -> [T, C]`
pub fn norm(x: &Matrix, ln: &LayerNorm, mistake: Option<Mistake>) -> Matrix {
    match mistake {
        None | Some(Mistake::OfBlockInput) => ln.forward(x),
        Some(Mistake::Skipped) => x.clone(),
        Some(mistake) => odd_norm(ln, x, mistake),
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

/// The nonlinearity.
pub fn activation(x: &Matrix, own: Activation, mistake: Option<Mistake>) -> Matrix {
    match mistake {
        Some(Mistake::Act(act)) => act.forward(x.clone()),
        Some(Mistake::Skipped) => x.clone(),
        _ => own.forward(x.clone()),
    }
}

/// The output head. `[T, C] -> [T, V]`
pub fn head(x: &Matrix, model: &Gpt2, mistake: Option<Mistake>) -> Matrix {
    match mistake {
        Some(Mistake::Tied) => matmul::by_rows(x, &model.wte),
        Some(Mistake::Coarse(to)) => {
            matmul::by_rows(&operand(x.clone(), mistake), &coarse(&model.lm_head, to))
        }
        _ => matmul::by_rows(x, &model.lm_head),
    }
}

/// An operand of a product, rounded if that is the mistake.
pub fn operand(x: Matrix, mistake: Option<Mistake>) -> Matrix {
    match mistake {
        Some(Mistake::Coarse(to)) => map(x, to.apply()),
        _ => x,
    }
}

/// Weights that are rounded further.
fn coarse(w: &Weights, to: Round) -> Weights {
    let numbers: Vec<f32> = w.to_f32().into_iter().map(to.apply()).collect();
    Weights::from_f32(w.rows(), w.cols(), &numbers)
}

fn map(mut x: Matrix, f: impl Fn(f32) -> f32) -> Matrix {
    x.data_mut().iter_mut().for_each(|x| *x = f(*x));
    x
}
