//! Layer norms, linear layers and the nonlinearity, for one number.

use super::super::moments::Moments;
use super::at;
use super::stages::Run;
use super::sums::{Sum, product, step, term};
use crate::activation::Activation;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::math;
use crate::tensor::Matrix;
use crate::trace::{Place, Stage};

impl Run<'_, '_> {
    /// A layer norm of stage `x`.
    pub fn norm(&self, ln: &LayerNorm, x: Place, place: Place, index: &[usize]) -> (String, Sum) {
        let (t, j) = (index[0], index[1]);
        let row = self.keep.row(x, t);
        let Moments { mean, variance, scale } = Moments::of(row, ln.eps);
        let value = ((row[j] - mean) * scale).mul_add(ln.weight[j], ln.bias[j]);
        let of = at(x, index);
        let terms = vec![
            term([
                (format!("({of} - mean)"), row[j] - mean),
                ("scale".into(), scale),
                (at(format!("{place}.weight"), &[j]), ln.weight[j]),
            ]),
            term([(at(format!("{place}.bias"), &[j]), ln.bias[j])]),
        ];
        let steps = vec![
            step(of.clone(), row[j]),
            step("mean of the row", mean),
            step("variance of the row", variance),
            step(format!("scale = 1 / sqrt(variance + {:?})", ln.eps), scale),
        ];
        let formula = format!("({of} - mean) * scale * {place}.weight[{j}] + {place}.bias[{j}]");
        (formula, Sum { value, terms, steps })
    }

    /// A linear layer of stage `x`.
    pub fn linear(&self, layer: &Linear, x: Stage, place: Place, index: &[usize]) -> (String, Sum) {
        let (t, n) = (index[0], index[1]);
        let (x_name, bias) = (Place::new(x, self.block), format!("{place}.bias[{n}]"));
        let names = |k: usize| [at(x_name, &[t, k]), at(format!("{place}.weight"), &[k, n])];
        let sum =
            product(Some((bias.clone(), layer.bias[n])), self.row(x, t), &layer.weight, n, false, names);
        let mut formula = format!("{bias} + sum over k of {x_name}[{t}, k] * {place}.weight[k, {n}]");
        if place.stage == Stage::AttnCAttn {
            let (c, d) = (self.pass.model.config.n_embd, self.pass.model.config.head_size());
            let (part, head, i) = (["q", "k", "v"][n / c], n % c / d, n % d);
            formula += &format!("; column {n} is {part}[{i}] of head {head}");
        }
        (formula, sum)
    }

    /// A logit.
    pub fn logit(&self, index: &[usize]) -> (String, Sum) {
        let (t, id) = (index[0], index[1]);
        let model = self.pass.model;
        let table =
            if model.config.tie_word_embeddings { "transformer.wte.weight" } else { "lm_head.weight" };
        let names = |k: usize| [at(Place::new(Stage::LnF, None), &[t, k]), at(table, &[id, k])];
        let sum = product(None, self.row(Stage::LnF, t), &model.lm_head, id, true, names);
        (format!("sum over k of transformer.ln_f[{t}, k] * {table}[{id}, k]"), sum)
    }

    /// The nonlinearity. Relu and tanh are not products, so they have no terms: x and the result are steps.
    pub fn activation(&self, act: Activation, index: &[usize]) -> (String, Sum) {
        let x = self.row(Stage::MlpCFc, index[0])[index[1]];
        let name = self.name(Stage::MlpCFc, index);
        let value = act.forward(Matrix::from_vec(1, 1, vec![x])).data()[0];
        let own = || (name.clone(), x);
        let half = || ("0.5".to_string(), 0.5);
        let sigmoid = |by: f32, text: &str| {
            let e = math::exp(by * x);
            let factors = [own(), (format!("1 / (1 + {text})"), 1.0 / (1.0 + e))];
            (format!("x / (1 + {text})"), vec![term(factors)], vec![step(text, e)])
        };
        let direct = |text: &str| (text.to_string(), Vec::new(), vec![step("x", x), step(text, value)]);
        let (formula, terms, steps) = match act {
            Activation::GeluTanh => {
                let inner = 0.797_884_6 * (0.044_715 * x * x).mul_add(x, x);
                let tanh = math::tanh(inner);
                (
                    "0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))".into(),
                    vec![term([half(), own(), ("(1 + tanh)".into(), 1.0 + tanh)])],
                    vec![step("sqrt(2 / pi) * (x + 0.044715 x^3)", inner), step("tanh of it", tanh)],
                )
            }
            Activation::GeluErf => {
                let erf = math::erf(x * std::f32::consts::FRAC_1_SQRT_2);
                (
                    "0.5 * x * (1 + erf(x / sqrt(2)))".into(),
                    vec![term([half(), own(), ("(1 + erf)".into(), 1.0 + erf)])],
                    vec![step("erf(x / sqrt(2))", erf)],
                )
            }
            Activation::QuickGelu => sigmoid(-1.702, "exp(-1.702 x)"),
            Activation::Silu => sigmoid(-1.0, "exp(-x)"),
            Activation::Relu => direct("max(x, 0)"),
            Activation::Tanh => direct("tanh(x)"),
        };
        (format!("{formula}, x = {name}"), Sum { value, terms, steps })
    }
}
