//! What a page that replays a generation holds.

use super::super::progress;
use super::pack::Parts;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::error::Result;
use gpt2::generate::Options;
use gpt2::page::{Array, Recording, Step, search};
use gpt2::trace::{Place, Stage};
use serde_json::{Map, Value, json};

/// At most this many numbers, so that the page stays below 12 MB.
const NUMBERS: usize = 2_400_000;

/// At most this many numbers have their operands in the page.
const HOWS: usize = 6000;

/// How many of the other candidates the chosen token is compared with.
const AGAINST: usize = 3;

/// How many tokens a beam search writes.
const BEAM_STEPS: usize = 10;

/// The stages in the order in which they are given up, if there is too much.
const GIVEN_UP: [Stage; 16] = [
    Stage::MlpCFc,
    Stage::MlpAct,
    Stage::AttnCAttn,
    Stage::AttnScores,
    Stage::Ln1,
    Stage::Ln2,
    Stage::AttnHeads,
    Stage::MlpCProj,
    Stage::AttnCProj,
    Stage::AttnResidual,
    Stage::Wte,
    Stage::Wpe,
    Stage::Drop,
    Stage::AttnWeights,
    Stage::Block,
    Stage::LnF,
];

/// A recorded generation, and what else the page shows of it.
pub struct Recorded {
    steps: Vec<Step>,
    hows: Map<String, Value>,
    /// Everything that is no step, by its name in the page.
    extra: Value,
    left_out: Vec<String>,
    text: String,
}

impl Recorded {
    /// Writes the text and looks at every step.
    pub fn of(lm: &LanguageModel, prompt: &[TokenId], options: Options, num_beams: usize) -> Result<Self> {
        let mut recording = Recording::new(lm, prompt, options.clone(), Vec::new())?;
        let mut steps = Vec::new();
        let bar = progress::steps(2 * options.max_new_tokens, "steps"); // each is written, then explained
        while let Some(step) = recording.step(None)? {
            steps.push(step);
            bar.inc(1);
        }
        let mut left_out = give_up(&mut steps);
        let next = |step: &Step| step.about["next"].as_u64().map(|id| id as TokenId);
        for (i, step) in steps.iter_mut().enumerate() {
            bar.inc(1);
            step.about["lens"] = recording.lens(i)?;
            if let Some(id) = next(step) {
                step.about["why"] = recording.why(i, id, None, false)?;
                let others: Vec<TokenId> =
                    candidates(step).filter(|other| *other != id).take(AGAINST).collect();
                let why = |other| Ok((format!("{other}"), recording.why(i, id, Some(other), false)?));
                step.about["against"] = others.into_iter().map(why).collect::<Result<Map<_, _>>>()?.into();
            }
        }
        bar.finish_and_clear();
        let hows = hows(&recording, &steps, &mut left_out)?;
        let ids: Vec<TokenId> = prompt.iter().copied().chain(steps.iter().filter_map(next)).collect();
        let merges: Map<_, _> = ids
            .iter()
            .map(|id| {
                (id.to_string(), json!(lm.bpe.merges(lm.bpe.token_bytes(*id).unwrap_or_default(), true)))
            })
            .collect();
        let short = options.clone().max_new_tokens(BEAM_STEPS.min(options.max_new_tokens));
        let mut or_none = |what: &str, found: Result<Value>| {
            found.unwrap_or_else(|error| {
                left_out.push(format!("{what} ({error})"));
                Value::Null
            })
        };
        let beams = or_none("the beam search", search::beams(lm, prompt, short, num_beams));
        let speculation = or_none("speculation", search::speculation(lm, prompt, options.clone()));
        let first = steps.first();
        let other = first.and_then(|step| candidates(step).find(|id| Some(*id) != next(step)));
        let forced = other.map(|other| recording.forced(other, options.max_new_tokens)).transpose()?;
        let extra = json!({
            "merges": merges,
            "beams": beams,
            "speculation": speculation,
            "forced": forced.map(|tokens| json!({"step": 0, "tokens": tokens})),
        });
        Ok(Self { steps, hows, extra, left_out, text: lm.bpe.decode_lossy(&ids)? })
    }

    /// The parts of the page; `page` is what it says of itself.
    pub fn parts(self, mut page: Value) -> Parts {
        if let (Some(page), Value::Object(extra)) = (page.as_object_mut(), self.extra) {
            page.extend(extra);
        }
        page["hows"] = self.hows.into();
        page["left_out"] = json!(self.left_out);
        let (mut steps, mut numbers) = (Vec::new(), Vec::new());
        for step in self.steps {
            let answer = step.answer();
            steps.push(answer.json);
            numbers.extend(answer.numbers);
        }
        Parts { json: json!({"page": page, "steps": steps}), numbers, text: self.text, model: false }
    }
}

/// The likeliest next tokens of a step.
fn candidates(step: &Step) -> impl Iterator<Item = TokenId> {
    let list = step.about["choice"]["model"].as_array().into_iter().flatten();
    list.filter_map(|candidate| candidate["id"].as_u64()).map(|id| id as TokenId)
}

/// Drops stages until few enough numbers are left, and says which.
fn give_up(steps: &mut [Step]) -> Vec<String> {
    let count = |steps: &[Step]| -> usize {
        steps.iter().flat_map(|step| &step.arrays).map(|array| array.values.len()).sum()
    };
    let is =
        |array: &Array, stage: Stage| Place::parse(&array.name).is_some_and(|place| place.stage == stage);
    let mut given_up = Vec::new();
    for stage in GIVEN_UP {
        if count(steps) <= NUMBERS {
            break;
        }
        steps.iter_mut().for_each(|step| step.arrays.retain(|array| !is(array, stage)));
        given_up.push(stage.describe().name.to_string());
    }
    let mut left_out = Vec::new();
    if !given_up.is_empty() {
        left_out.push(format!("the numbers of {}", given_up.join(", ")));
    }
    if count(steps) > NUMBERS {
        let most = NUMBERS / steps[0].arrays.last().map_or(1, |logits| logits.values.len().max(1));
        steps.iter_mut().skip(most).for_each(|step| step.arrays.clear());
        left_out.push(format!("the logits of the steps from {most} on"));
    }
    left_out
}

/// How the largest numbers of each stage came about, at the last position of each step; by `step|stage|index`.
fn hows(recording: &Recording<'_>, steps: &[Step], left_out: &mut Vec<String>) -> Result<Map<String, Value>> {
    let mut hows = Map::new();
    let stages: usize = steps.iter().map(|step| step.arrays.len()).sum();
    let most = (HOWS / stages.max(1)).clamp(1, 3);
    for (i, step) in steps.iter().enumerate() {
        if hows.len() + step.arrays.len() * most > HOWS {
            left_out.push(format!("the operands of numbers in the steps from {i} on"));
            return Ok(hows);
        }
        let read = step.about["ids"].as_array().map_or(0, Vec::len);
        for array in &step.arrays {
            for index in largest(array, read, most) {
                let key = index.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
                hows.insert(format!("{i}|{}|{key}", array.name), recording.how(i, &array.name, &index)?);
            }
        }
    }
    left_out.push(format!(
        "the operands of all numbers but the {most} largest of each stage at the last position"
    ));
    Ok(hows)
}

/// The places of the `n` largest numbers in the last row of an array, of each head together.
fn largest(array: &Array, read: usize, n: usize) -> Vec<Vec<usize>> {
    let (shape, width) = (&array.shape, array.shape.last().copied().unwrap_or(1));
    let rows = array.values.len() / width.max(1);
    let place = |i: usize| match shape[..] {
        [_, t, _] => vec![i / width / t, i / width % t, i % width],
        _ if rows < read => vec![read - 1, i % width], // lm_head has only its last row
        _ => vec![i / width, i % width],
    };
    let last = |i: &usize| match shape[..] {
        [_, t, _] => i / width % t == t - 1,
        _ => i / width == rows - 1,
    };
    // of logits the highest, of all others those farthest from 0
    let size = |i: usize| match array.values[i] {
        x if !x.is_finite() => f32::NEG_INFINITY,
        x if array.name == "lm_head" => x,
        x => x.abs(),
    };
    let mut all: Vec<usize> = (0..array.values.len()).filter(last).collect();
    all.sort_by(|a, b| size(*b).total_cmp(&size(*a))); // stable: the lowest index first
    all.into_iter().take(n).map(place).collect()
}
