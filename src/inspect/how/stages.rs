//! Each stage, for one number.

use super::super::code::code;
use super::super::pass::{Keep, Pass};
use super::sums::{Sum, product, products, step, term};
use super::{How, Step, Value, at};
use crate::activation::Activation;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::kv_cache::KvCache;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::math;
use crate::sampling::{Choice, Watch};
use crate::tensor::Matrix;
use crate::trace::{NoTrace, Place, Stage};

/// A pass that was run, and the stages that the number depends on.
struct Run<'p, 'm> {
    pass: &'p Pass<'m>,
    keep: Keep,
    cache: KvCache,
    block: Option<usize>,
}

/// How the number at `index`, which exists, came about.
pub fn of(pass: &Pass<'_>, place: Place, index: &[usize]) -> Result<How> {
    let off = pass.edits.iter().find(|edit| {
        let columns = edit.columns(pass.model.config.n_embd, pass.model.config.n_head);
        edit.place() == place && columns.contains(&index[index.len() - 1])
    });
    let mut places = inputs(place, pass.model.config.n_layer);
    places.extend(off.map(|_| place));
    let (keep, cache) = pass.keep(&places);
    let run = Run { pass, keep, cache, block: place.block };
    let (mut formula, sum) = match place.stage {
        Stage::InputIds => {
            return Ok(ids(place, index, pass.read_ids()[index[0]], "encode(text)".into(), Vec::new()));
        }
        Stage::NextId => return run.next_id(place, index),
        Stage::Probs => run.probs(index[0])?,
        _ => run.numbers(place, index),
    };
    let mut how = How {
        place,
        index: index.to_vec(),
        value: Value::Number(sum.value),
        formula: String::new(),
        terms: sum.terms,
        steps: sum.steps,
        code: code(place.stage),
    };
    if let Some(edit) = off {
        formula += &format!(", but {edit} is switched off");
        how.value = Value::Number(run.keep.row(place, index[0])[index[1]]);
    }
    how.formula = formula;
    Ok(how)
}

/// An id as an answer.
fn ids(place: Place, index: &[usize], id: TokenId, formula: String, steps: Vec<Step>) -> How {
    let (value, index) = (Value::Id(id), index.to_vec());
    How { place, index, value, formula, terms: Vec::new(), steps, code: code(place.stage) }
}

/// The stages that a stage is computed from, beside keys and values.
fn inputs(place: Place, n_layer: usize) -> Vec<Place> {
    use Stage::{
        AttnCAttn, AttnCProj, AttnHeads, AttnResidual, AttnScores, AttnWeights, LmHead, Ln1, Ln2, LnF,
    };
    use Stage::{Block, Drop, MlpAct, MlpCFc, MlpCProj, Wpe, Wte};
    let here = |stage| Place::new(stage, place.block);
    match place.stage {
        Stage::InputIds | Wte | Wpe => vec![],
        Drop => vec![here(Wte), here(Wpe)],
        Ln1 => vec![entering(place.block)],
        AttnCAttn => vec![here(Ln1)],
        AttnScores => vec![here(AttnCAttn)],
        AttnWeights => vec![here(AttnScores)],
        AttnHeads => vec![here(AttnWeights)],
        AttnCProj => vec![here(AttnHeads)],
        AttnResidual => vec![entering(place.block), here(AttnCProj)],
        Ln2 => vec![here(AttnResidual)],
        MlpCFc => vec![here(Ln2)],
        MlpAct => vec![here(MlpCFc)],
        MlpCProj => vec![here(MlpAct)],
        Block => vec![here(AttnResidual), here(MlpCProj)],
        LnF => vec![entering(Some(n_layer))],
        LmHead => vec![here(LnF)],
        Stage::Probs | Stage::NextId => vec![here(LmHead)],
    }
}

/// What enters a block: what the block before it gives.
fn entering(block: Option<usize>) -> Place {
    match block.and_then(|i| i.checked_sub(1)) {
        Some(before) => Place::new(Stage::Block, Some(before)),
        None => Place::new(Stage::Drop, None),
    }
}

impl Run<'_, '_> {
    /// Row `t` of a stage of this block, or of one outside the blocks.
    fn row(&self, stage: Stage, t: usize) -> &[f32] {
        self.keep.row(Place::new(stage, self.block), t)
    }

    /// The name of a number of such a stage.
    fn name(&self, stage: Stage, index: &[usize]) -> String {
        at(Place::new(stage, self.block), index)
    }

    /// The formula and the sum of a number that only depends on the forward pass.
    fn numbers(&self, place: Place, index: &[usize]) -> (String, Sum) {
        let model = self.pass.model;
        let block = place.block.map(|i| &model.h[i]);
        let block = || block.expect("a stage of a block");
        match place.stage {
            Stage::Wte => {
                let (t, j) = (index[0], index[1]);
                let id = self.pass.read_ids()[t] as usize;
                let mut row = vec![0.0; model.config.n_embd];
                model.wte.read_row(id, &mut row);
                one(at("transformer.wte.weight", &[id, j]), row[j], &format!("input_ids[{t}] is {id}"))
            }
            Stage::Wpe => {
                let (t, j) = (index[0], index[1]);
                let position = self.pass.past.len() + t;
                let mut row = vec![0.0; model.config.n_embd];
                model.wpe.read_row(position, &mut row);
                one(
                    at("transformer.wpe.weight", &[position, j]),
                    row[j],
                    &format!("row {t} is position {position}"),
                )
            }
            Stage::Drop => self.sum_of(Place::new(Stage::Wte, None), Place::new(Stage::Wpe, None), index),
            Stage::Ln1 => self.norm(&block().ln_1, entering(place.block), place, index),
            Stage::Ln2 => self.norm(&block().ln_2, Place::new(Stage::AttnResidual, self.block), place, index),
            Stage::LnF => self.norm(&model.ln_f, entering(Some(model.config.n_layer)), place, index),
            Stage::AttnCAttn => self.linear(&block().attn.c_attn, Stage::Ln1, place, index),
            Stage::AttnScores => self.score(block().attn.scale, index),
            Stage::AttnWeights => self.weight(index),
            Stage::AttnHeads => self.head(index),
            Stage::AttnCProj => self.linear(&block().attn.c_proj, Stage::AttnHeads, place, index),
            Stage::AttnResidual => {
                self.sum_of(entering(place.block), Place::new(Stage::AttnCProj, self.block), index)
            }
            Stage::MlpCFc => self.linear(&block().mlp.c_fc, Stage::Ln2, place, index),
            Stage::MlpAct => self.activation(block().mlp.act, index),
            Stage::MlpCProj => self.linear(&block().mlp.c_proj, Stage::MlpAct, place, index),
            Stage::Block => {
                let [a, b] =
                    [Stage::AttnResidual, Stage::MlpCProj].map(|stage| Place::new(stage, self.block));
                self.sum_of(a, b, index)
            }
            Stage::LmHead => self.logit(index),
            Stage::InputIds | Stage::Probs | Stage::NextId => unreachable!("these depend on more"),
        }
    }

    /// `a + b`
    fn sum_of(&self, a: Place, b: Place, index: &[usize]) -> (String, Sum) {
        let terms = [a, b].map(|place| term([(at(place, index), self.keep.row(place, index[0])[index[1]])]));
        let value = terms[0].factors[0].value + terms[1].factors[0].value;
        let formula = format!("{} + {}", terms[0].factors[0].name, terms[1].factors[0].name);
        (formula, Sum { value, terms: terms.into(), steps: Vec::new() })
    }

    /// A layer norm of stage `x`.
    fn norm(&self, ln: &LayerNorm, x: Place, place: Place, index: &[usize]) -> (String, Sum) {
        let (t, j) = (index[0], index[1]);
        let row = self.keep.row(x, t);
        let c = row.len() as f64;
        let mean = (math::sum(row) / c) as f32;
        let squares: Vec<f32> = row.iter().map(|x| (x - mean) * (x - mean)).collect();
        let variance = (math::sum(&squares) / c) as f32;
        let scale = 1.0 / (variance + ln.eps).sqrt();
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
    fn linear(&self, layer: &Linear, x: Stage, place: Place, index: &[usize]) -> (String, Sum) {
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
    fn logit(&self, index: &[usize]) -> (String, Sum) {
        let (t, id) = (index[0], index[1]);
        let model = self.pass.model;
        let table =
            if model.config.tie_word_embeddings { "transformer.wte.weight" } else { "lm_head.weight" };
        let names = |k: usize| [at(Place::new(Stage::LnF, None), &[t, k]), at(table, &[id, k])];
        let sum = product(None, self.row(Stage::LnF, t), &model.lm_head, id, true, names);
        (format!("sum over k of transformer.ln_f[{t}, k] * {table}[{id}, k]"), sum)
    }

    /// A score: a query times a key.
    fn score(&self, scale: f32, index: &[usize]) -> (String, Sum) {
        let (h, t, s) = (index[0], index[1], index[2]);
        let position = self.pass.past.len() + t;
        if s > position {
            let formula = format!("-inf: position {s} comes after position {position}, so the mask hides it");
            return (formula, Sum { value: f32::NEG_INFINITY, ..Sum::default() });
        }
        let d = self.pass.model.config.head_size();
        let query = &self.row(Stage::AttnCAttn, t)[h * d..][..d];
        let key = self.cache.head(self.block.unwrap_or(0), h).key(s);
        let names = |i: usize| [format!("q[{position}, {i}]"), format!("k[{s}, {i}]")];
        let mut sum = products(None, query, &key, "i", names);
        sum.value *= scale;
        sum.steps.push(step("scale", scale));
        let c = self.pass.model.config.n_embd;
        let columns = format!("q and k: {d} columns of c_attn, from {} and {} on", h * d, c + h * d);
        (format!("scale * sum over i of q[{position}, i] * k[{s}, i]; {columns}"), sum)
    }

    /// The weight of a position: softmax over the positions that are not masked.
    fn weight(&self, index: &[usize]) -> (String, Sum) {
        let (h, t, s) = (index[0], index[1], index[2]);
        let position = self.pass.past.len() + t;
        if s > position {
            return (
                format!("0: position {s} comes after position {position}, so the mask hides it"),
                Sum::default(),
            );
        }
        let scores = &self.row(Stage::AttnScores, h * self.pass.read + t)[..=position];
        let name = |s: usize| self.name(Stage::AttnScores, &[h, t, s]);
        let scores_name = Place::new(Stage::AttnScores, self.block);
        let formula = format!("exp({} - max) / sum over s of exp({scores_name}[{h}, {t}, s] - max)", name(s));
        (formula, quotient(scores, s, name))
    }

    /// A number of a head's result: weighted values.
    fn head(&self, index: &[usize]) -> (String, Sum) {
        let (t, column) = (index[0], index[1]);
        let d = self.pass.model.config.head_size();
        let (h, j, position) = (column / d, column % d, self.pass.past.len() + t);
        let weights = &self.row(Stage::AttnWeights, h * self.pass.read + t)[..=position];
        let head = self.cache.head(self.block.unwrap_or(0), h);
        let values: Vec<f32> = (0..=position).map(|s| head.value(s)[j]).collect();
        let names = |s: usize| [self.name(Stage::AttnWeights, &[h, t, s]), format!("v[{s}, {j}]")];
        let c = self.pass.model.config.n_embd;
        let weights_name = Place::new(Stage::AttnWeights, self.block);
        let columns = format!("v: {d} columns of c_attn, from {} on", 2 * c + h * d);
        let formula = format!("sum over s of {weights_name}[{h}, {t}, s] * v[s, {j}]; {columns}");
        (formula, products(None, weights, &values, "s", names))
    }

    /// The nonlinearity.
    fn activation(&self, act: Activation, index: &[usize]) -> (String, Sum) {
        let x = self.row(Stage::MlpCFc, index[0])[index[1]];
        let name = self.name(Stage::MlpCFc, index);
        let value = act.forward(Matrix::from_vec(1, 1, vec![x])).data()[0];
        let own = |x| (name.clone(), x);
        let half = || ("0.5".to_string(), 0.5);
        let sigmoid = |by: f32, text: &str| {
            let e = math::exp(by * x);
            let factors = [own(x), (format!("1 / (1 + {text})"), 1.0 / (1.0 + e))];
            (format!("x / (1 + {text}), x = {name}"), term(factors), vec![step(text, e)])
        };
        let (formula, term, steps) = match act {
            Activation::GeluTanh => {
                let inner = 0.797_884_6 * (0.044_715 * x * x).mul_add(x, x);
                let tanh = math::tanh(inner);
                let formula = format!("0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), x = {name}");
                let steps = vec![step("sqrt(2 / pi) * (x + 0.044715 x^3)", inner), step("tanh of it", tanh)];
                (formula, term([half(), own(x), ("(1 + tanh)".into(), 1.0 + tanh)]), steps)
            }
            Activation::GeluErf => {
                let erf = math::erf(x * std::f32::consts::FRAC_1_SQRT_2);
                let formula = format!("0.5 * x * (1 + erf(x / sqrt(2))), x = {name}");
                (
                    formula,
                    term([half(), own(x), ("(1 + erf)".into(), 1.0 + erf)]),
                    vec![step("erf(x / sqrt(2))", erf)],
                )
            }
            Activation::QuickGelu => sigmoid(-1.702, "exp(-1.702 x)"),
            Activation::Silu => sigmoid(-1.0, "exp(-x)"),
            Activation::Relu => (format!("max(x, 0), x = {name}"), term([own(x)]), Vec::new()),
            Activation::Tanh => (format!("tanh(x), x = {name}"), term([own(x)]), Vec::new()),
        };
        (formula, Sum { value, terms: vec![term], steps })
    }

    /// A probability, after all steps of the choice.
    fn probs(&self, id: usize) -> Result<(String, Sum)> {
        let logits = self.row(Stage::LmHead, self.pass.read - 1);
        let mut watch =
            Scores { id, scores: logits.to_vec(), steps: vec![step(format!("logit of {id}"), logits[id])] };
        self.pass.choose(logits, &mut NoTrace, &mut watch);
        let mut sum = quotient(&watch.scores, id, |i| format!("x[{i}]"));
        sum.steps.splice(0..0, watch.steps);
        Ok((
            format!("exp(x[{id}] - max) / sum over i of exp(x[i] - max), x: the logits after all steps"),
            sum,
        ))
    }

    /// The next id.
    fn next_id(&self, place: Place, index: &[usize]) -> Result<How> {
        if let Some(id) = self.pass.forced {
            return Ok(ids(place, index, id, "forced".into(), Vec::new()));
        }
        let logits = self.row(Stage::LmHead, self.pass.read - 1);
        let mut watch = Draw::default();
        let chosen = self.pass.choose(logits, &mut NoTrace, &mut watch);
        let id = chosen.ok_or_else(|| Error::input("no next token can be chosen; probs has the reason"))?;
        let (p, i) = (&watch.probabilities, id as usize);
        let (formula, steps) = match watch.uniform {
            None => (
                "the id with the largest score; of equals, the lowest".into(),
                vec![step(format!("probs[{id}]"), p[i])],
            ),
            Some(_) if self.pass.options.sampler.is_some() => {
                ("chosen by the custom sampler".into(), Vec::new())
            }
            Some(u) => {
                let sum = |p: &[f32]| p.iter().filter(|p| **p > 0.0).map(|p| f64::from(*p)).sum::<f64>();
                let whole: f64 = sum(p);
                let steps = vec![
                    step("the number drawn, u", u),
                    step("the sum of probs", whole),
                    step("u * the sum", u * whole),
                    step(format!("the sum before id {id}"), sum(&p[..i])),
                    step(format!("the sum with id {id}"), sum(&p[..=i])),
                ];
                ("the first id at which the running sum of probs exceeds u * their sum".into(), steps)
            }
        };
        Ok(ids(place, index, id, formula, steps))
    }
}

/// A number that is read from a table.
fn one(name: String, value: f32, why: &str) -> (String, Sum) {
    let formula = format!("{name}: {why}");
    (formula, Sum { value, terms: vec![term([(name, value)])], steps: Vec::new() })
}

/// Element `i` of a softmax; its terms are those of the denominator.
fn quotient(x: &[f32], i: usize, name: impl Fn(usize) -> String) -> Sum {
    let max = math::max(x);
    if max == f32::NEG_INFINITY {
        return Sum { steps: vec![step("max", max)], ..Sum::default() };
    }
    let exps: Vec<f32> = x.iter().map(|x| math::exp(x - max)).collect();
    let sum = math::sum(&exps) as f32;
    let all = exps.iter().enumerate().filter(|(_, e)| **e != 0.0);
    let terms = all.map(|(i, e)| term([(format!("exp({} - max)", name(i)), *e)])).collect();
    let steps =
        vec![step("max", max), step(format!("exp({} - max)", name(i)), exps[i]), step("sum of all exp", sum)];
    Sum { value: exps[i] / sum, terms, steps }
}

/// Watches the score of one token, and keeps all scores after the last step.
struct Scores {
    id: usize,
    scores: Vec<f32>,
    steps: Vec<Step>,
}

impl Watch for Scores {
    fn saw(&mut self, name: &str, _: &[f32], after: &[f32]) {
        self.steps.push(step(format!("after {name}"), after[self.id]));
        self.scores = after.to_vec();
    }
}

/// Keeps the choice.
#[derive(Default)]
struct Draw {
    probabilities: Vec<f32>,
    uniform: Option<f64>,
}

impl Watch for Draw {
    fn saw(&mut self, _: &str, _: &[f32], _: &[f32]) {}

    fn chose(&mut self, choice: &Choice<'_>) {
        self.probabilities = choice.probabilities.to_vec();
        self.uniform = choice.uniform;
    }
}
