//! A port's file: its stages as matrices, step by step.

use super::super::diff::numbers;
use super::compute::Values;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::format::safetensors::{SafeTensors, Tensor};
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::{Place, Stage};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The steps of a generation, or of one pass.
pub struct Port {
    pub steps: Vec<PortStep>,
}

/// One step.
pub struct PortStep {
    pub ids: Vec<TokenId>,
    pub given: Values,
    /// Stages of the wrong shape.
    pub odd: Vec<Shape>,
    /// The rounding of the file's number types, as a fraction of a number.
    pub rounding: f64,
}

/// A shape that does not fit.
pub struct Shape {
    pub place: Place,
    pub found: Vec<usize>,
    pub expected: Vec<usize>,
}

impl Port {
    /// Reads the steps of the first text in the file. Ids that it does not have are those of `ours`; the prompt must be the same.
    pub fn read(model: &Gpt2, file: &SafeTensors, ours: Option<&SafeTensors>) -> Result<Self> {
        let mut steps: BTreeMap<usize, BTreeMap<Place, &Tensor>> = BTreeMap::new();
        for (name, tensor) in &file.tensors {
            let place = Place::parse(name).or_else(|| foreign(name, model.config.n_layer));
            if let Some(place) = place.filter(|place| place.sequence == 0) {
                steps.entry(place.step).or_default().entry(place.at(0)).or_insert(tensor);
            }
        }
        let (mut seen, mut found) = (0, Vec::new());
        for (number, tensors) in steps {
            if number != found.len() {
                break; // a gap: what comes after it has no known past
            }
            let place = Place::new(Stage::InputIds, None).at(number);
            let ids_of = |tensor: Option<&Tensor>| tensor.map(ids_of).transpose();
            let own = ids_of(tensors.get(&place.at(0)).copied())?;
            let other = ids_of(ours.and_then(|ours| ours.tensors.get(&place.to_string())))?;
            // a generation may go its own way after the prompt
            if number == 0 && own.is_some() && other.is_some() && own != other {
                return Err(Error::input("input_ids are not those of our trace"));
            }
            let ids = own.or(other).ok_or_else(|| {
                Error::input(format!("there is no {place}; write the ids that the port reads"))
            })?;
            let past = if number > 0 && ids.len() == 1 { seen } else { 0 };
            seen = past + ids.len();
            found.push(PortStep::read(model, ids, seen, &tensors)?);
        }
        if found.is_empty() {
            return Err(Error::input("the port's file has no stage; gpt2 trace --list shows their names"));
        }
        Ok(Self { steps: found })
    }
}

impl PortStep {
    fn read(model: &Gpt2, ids: Vec<TokenId>, s: usize, tensors: &BTreeMap<Place, &Tensor>) -> Result<Self> {
        let (mut given, mut odd, mut rounding) = (Values::new(), Vec::new(), 0f64);
        let t = ids.len();
        let inside = |place: &Place| place.block.is_none_or(|i| i < model.config.n_layer);
        for (place, tensor) in tensors.iter().filter(|(place, _)| inside(place)) {
            if matches!(place.stage, Stage::InputIds | Stage::Probs | Stage::NextId) {
                continue;
            }
            let expected = place.stage.shape(&model.config, t, s);
            let width = *expected.last().expect("a stage has a width");
            let count: usize = expected.iter().product();
            let shape = numbers::without_batch(&tensor.shape);
            let size: usize = shape.iter().product();
            let heads = place.stage == Stage::AttnHeads && shape.len() == 3 && shape[0] == t;
            let last = place.stage == Stage::LmHead && size == width; // of the last position only
            if !(shape == numbers::without_batch(&expected) || heads && size == count || last) {
                odd.push(Shape { place: *place, found: tensor.shape.clone(), expected });
                continue;
            }
            rounding = rounding.max(match &*tensor.dtype {
                "F16" => 2f64.powi(-9),
                "BF16" => 2f64.powi(-6),
                _ => 0.0,
            });
            let values = floats(tensor)?;
            given.insert(*place, Arc::new(Matrix::from_vec(values.len() / width, width, values)));
        }
        if let ([Shape { place, found, expected }, ..], true) = (&odd[..], given.is_empty()) {
            let problem =
                format!("no stage has the shape that {t} ids give: {place} is {found:?}, not {expected:?}");
            return Err(Error::input(problem));
        }
        Ok(Self { ids, given, odd, rounding })
    }
}

/// Stages under the names of other tools: TransformerLens's hooks, and the hidden states of Hugging Face's
/// `output_hidden_states`, of which the last is after `ln_f`.
fn foreign(name: &str, n_layer: usize) -> Option<Place> {
    const HOOKS: [(&str, Stage); 14] = [
        ("hook_embed", Stage::Wte),
        ("hook_pos_embed", Stage::Wpe),
        ("ln1.hook_normalized", Stage::Ln1),
        ("attn.hook_attn_scores", Stage::AttnScores),
        ("attn.hook_pattern", Stage::AttnWeights),
        ("attn.hook_z", Stage::AttnHeads),
        ("hook_attn_out", Stage::AttnCProj),
        ("hook_resid_mid", Stage::AttnResidual),
        ("ln2.hook_normalized", Stage::Ln2),
        ("mlp.hook_pre", Stage::MlpCFc),
        ("mlp.hook_post", Stage::MlpAct),
        ("hook_mlp_out", Stage::MlpCProj),
        ("hook_resid_post", Stage::Block),
        ("ln_final.hook_normalized", Stage::LnF),
    ];
    if let Some(number) = name.strip_prefix("hidden_states.").and_then(|number| number.parse::<usize>().ok())
    {
        return Some(match number {
            0 => Place::new(Stage::Drop, None),
            last if last == n_layer => Place::new(Stage::LnF, None),
            number => Place::new(Stage::Block, Some(number - 1)),
        });
    }
    let (block, hook) = match name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
        Some((block, hook)) => (Some(block.parse().ok()?), hook),
        None => (None, name),
    };
    let stage = HOOKS.iter().find(|(known, stage)| *known == hook && stage.in_block() == block.is_some())?.1;
    Some(Place::new(stage, block))
}

/// The ids of a tensor, which may have any number type.
fn ids_of(tensor: &Tensor) -> Result<Vec<TokenId>> {
    let mut all = Vec::new();
    numbers::for_each_piece(tensor, tensor, |_, numbers, _| all.extend_from_slice(numbers));
    let id = |x: f64| (x >= 0.0 && x.fract() == 0.0 && x <= f64::from(TokenId::MAX)).then_some(x as TokenId);
    let odd = |x: f64| Error::input(format!("input_ids holds {x}, which is no id"));
    all.into_iter().map(|x| id(x).ok_or_else(|| odd(x))).collect()
}

/// The numbers of a tensor.
fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    if let Some(dtype) = numbers::unreadable(tensor) {
        return Err(Error::input(format!("a stage has the number type {dtype}, which cannot be read")));
    }
    let mut all = Vec::new();
    numbers::for_each_piece(tensor, tensor, |_, numbers, _| all.extend(numbers.iter().map(|x| *x as f32)));
    Ok(all)
}
