//! Each stage, for one number.

use super::super::code::code;
use super::super::pass::{Keep, Pass};
use super::sums::{Sum, term};
use super::{How, Step, Value, at};
use crate::config::TokenId;
use crate::error::Result;
use crate::kv_cache::KvCache;
use crate::trace::{Place, Stage};

/// A pass that was run, and the stages that the number depends on.
pub struct Run<'p, 'm> {
    pub pass: &'p Pass<'m>,
    pub keep: Keep,
    pub cache: KvCache,
    pub block: Option<usize>,
}

/// How the number at `index`, which exists, came about.
pub fn of(pass: &Pass<'_>, place: Place, index: &[usize]) -> Result<How> {
    let off = pass.edits.iter().find(|edit| {
        let columns = edit.columns(pass.model.config.n_embd, pass.model.config.n_head);
        edit.place() == place && columns.contains(&index[index.len() - 1])
    });
    let mut places = inputs(place, place.entering(pass.model.config.n_layer));
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
pub fn ids(place: Place, index: &[usize], id: TokenId, formula: String, steps: Vec<Step>) -> How {
    let (value, index) = (Value::Id(id), index.to_vec());
    How { place, index, value, formula, terms: Vec::new(), steps, code: code(place.stage) }
}

/// The stages that a stage is computed from, beside keys and values. `entering`: the residual stream that enters its block.
fn inputs(place: Place, entering: Place) -> Vec<Place> {
    use Stage::{
        AttnCAttn, AttnCProj, AttnHeads, AttnResidual, AttnScores, AttnWeights, LmHead, Ln1, Ln2, LnF,
    };
    use Stage::{Block, Drop, MlpAct, MlpCFc, MlpCProj, Wpe, Wte};
    let here = |stage| Place::new(stage, place.block);
    match place.stage {
        Stage::InputIds | Wte | Wpe => vec![],
        Drop => vec![here(Wte), here(Wpe)],
        Ln1 => vec![entering],
        AttnCAttn => vec![here(Ln1)],
        AttnScores => vec![here(AttnCAttn)],
        AttnWeights => vec![here(AttnScores)],
        AttnHeads => vec![here(AttnWeights)],
        AttnCProj => vec![here(AttnHeads)],
        AttnResidual => vec![entering, here(AttnCProj)],
        Ln2 => vec![here(AttnResidual)],
        MlpCFc => vec![here(Ln2)],
        MlpAct => vec![here(MlpCFc)],
        MlpCProj => vec![here(MlpAct)],
        Block => vec![here(AttnResidual), here(MlpCProj)],
        LnF => vec![entering],
        LmHead => vec![here(LnF)],
        Stage::Probs | Stage::NextId => vec![here(LmHead)],
    }
}

impl Run<'_, '_> {
    /// Row `t` of a stage of this block, or of one outside the blocks.
    pub fn row(&self, stage: Stage, t: usize) -> &[f32] {
        self.keep.row(Place::new(stage, self.block), t)
    }

    /// The name of a number of such a stage.
    pub fn name(&self, stage: Stage, index: &[usize]) -> String {
        at(Place::new(stage, self.block), index)
    }

    /// The formula and the sum of a number that only depends on the forward pass.
    fn numbers(&self, place: Place, index: &[usize]) -> (String, Sum) {
        let model = self.pass.model;
        let entering = place.entering(model.config.n_layer);
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
            Stage::Ln1 => self.norm(&block().ln_1, entering, place, index),
            Stage::Ln2 => self.norm(&block().ln_2, Place::new(Stage::AttnResidual, self.block), place, index),
            Stage::LnF => self.norm(&model.ln_f, entering, place, index),
            Stage::AttnCAttn => self.linear(&block().attn.c_attn, Stage::Ln1, place, index),
            Stage::AttnScores => self.score(block().attn.scale, index),
            Stage::AttnWeights => self.weight(index),
            Stage::AttnHeads => self.head(index),
            Stage::AttnCProj => self.linear(&block().attn.c_proj, Stage::AttnHeads, place, index),
            Stage::AttnResidual => self.sum_of(entering, Place::new(Stage::AttnCProj, self.block), index),
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
}

/// A number that is read from a table.
fn one(name: String, value: f32, why: &str) -> (String, Sum) {
    let formula = format!("{name}: {why}");
    (formula, Sum { value, terms: vec![term([(name, value)])], steps: Vec::new() })
}
