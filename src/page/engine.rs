//! Answers the questions of a page. It runs inside the page, compiled to WebAssembly, or natively in the tests.

use super::{Array, Recording, Step, about, search};
use crate::checkpoint::LanguageModel;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::generate::Options;
use crate::inspect::{Edit, Pass};
use crate::sampling::{Explanation, History};
use crate::trace::{Digest, NoTrace};
use serde_json::{Map, Value, json};

/// A reply: JSON, and numbers that would be long in JSON.
#[derive(Debug, Default)]
pub struct Answer {
    /// What the request asks for, or `{"error": message}`.
    pub json: Value,
    /// Arrays, one after the other, as `json` lists them.
    pub numbers: Vec<f32>,
}

/// A model and the text that it writes. Without a model it can still draw from logits.
#[derive(Debug, Default)]
pub struct Engine<'m> {
    lm: Option<&'m LanguageModel>,
    recording: Option<Recording<'m>>,
    options: Options,
    prompt: Vec<TokenId>,
}

impl<'m> Engine<'m> {
    /// An engine with this model.
    pub fn new(lm: &'m LanguageModel) -> Self {
        Self { lm: Some(lm), ..Self::default() }
    }

    /// Answers one request, a JSON object whose `op` is one of these. `numbers` belong to the request.
    ///
    /// | op | keys | answer |
    /// |---|---|---|
    /// | `about` | | [`about`](about()) |
    /// | `begin` | `prompt` or `ids`, `options`, `without` | `ids`: the text begins |
    /// | `step` | `force` | the next [`Step`]; null if the text has ended |
    /// | `back` | `step` | steps from this one on are forgotten |
    /// | `how` | `step`, `stage`, `index` | [`Recording::how`] |
    /// | `why` | `step`, `token`, `against`, `switch_off` | [`Recording::why`] |
    /// | `lens` | `step` | [`Recording::lens`] |
    /// | `beams` | `num_beams`, `max_new_tokens` | [`search::beams`] |
    /// | `speculation` | | [`search::speculation`] |
    /// | `encode` | `text` | `ids` |
    /// | `golden` | | `hash`: of the logits of a fixed prompt, the same on every machine |
    /// | `merges` | `text` | [`Bpe::merges`](crate::bpe::Bpe::merges) |
    /// | `draw` | `ids`, `prompt_len`, `eos`, `options`; the logits as numbers | how a token is chosen, and as numbers the final distribution |
    ///
    /// `options` are those of [`Options::table`], by their keys; `without` lists parts as `{"block": 2, "head": 1}`,
    /// `{"block": 2, "part": "attn"}` or `{"block": 2, "part": "mlp"}`.
    pub fn answer(&mut self, request: &str, numbers: &[f32]) -> Answer {
        let answer = serde_json::from_str(request)
            .map_err(|e| Error::input(format!("the request is not JSON: {e}")))
            .and_then(|request| self.reply(&request, numbers));
        answer.unwrap_or_else(|error| Answer { json: json!({"error": error.to_string()}), numbers: vec![] })
    }

    fn reply(&mut self, request: &Map<String, Value>, numbers: &[f32]) -> Result<Answer> {
        let text = |key: &str| request.get(key).and_then(Value::as_str);
        let number = |key: &str| request.get(key).and_then(Value::as_u64).map(|n| n as usize);
        let need =
            |key: &str| number(key).ok_or_else(|| Error::input(format!("{key}: a whole number is missing")));
        let id = |key: &str| number(key).map(|id| TokenId::try_from(id).unwrap_or(TokenId::MAX));
        let given = request.get("options").and_then(Value::as_object);
        let json = match text("op").unwrap_or_default() {
            "draw" => return draw(self.lm, request, numbers),
            "about" => about(self.lm()?),
            "begin" => {
                let lm = self.lm()?;
                self.options = options(given, Some(lm))?;
                self.prompt = match text("prompt") {
                    Some(prompt) => lm.prompt(lm.bpe.encode(prompt)),
                    None => ids(request, "ids")?,
                };
                let without = request.get("without").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let without = without.iter().map(edit).collect::<Result<_>>()?;
                self.recording = Some(Recording::new(lm, &self.prompt, self.options.clone(), without)?);
                json!({"ids": self.prompt})
            }
            "step" => match self.recording()?.step(id("force"))? {
                None => Value::Null,
                Some(step) => return Ok(step.answer()),
            },
            "back" => {
                self.recording()?.back_to(need("step")?)?;
                Value::Null
            }
            "how" => {
                let index: Vec<usize> = ids(request, "index")?.iter().map(|i| *i as usize).collect();
                self.recording()?.how(need("step")?, text("stage").unwrap_or_default(), &index)?
            }
            "why" => {
                let off = request.get("switch_off") == Some(&Value::Bool(true));
                self.recording()?.why(
                    need("step")?,
                    id("token").ok_or_else(|| Error::input("token: an id is missing"))?,
                    id("against"),
                    off,
                )?
            }
            "lens" => self.recording()?.lens(need("step")?)?,
            "beams" => {
                let options = self.options.clone().max_new_tokens(need("max_new_tokens")?);
                search::beams(self.lm()?, &self.prompt, options, need("num_beams")?)?
            }
            "speculation" => search::speculation(self.lm()?, &self.prompt, self.options.clone())?,
            "encode" => {
                let lm = self.lm()?;
                json!({"ids": lm.prompt(lm.bpe.encode(text("text").unwrap_or_default()))})
            }
            "golden" => json!({"hash": golden(self.lm()?)?}),
            "merges" => json!(self.lm()?.bpe.merges(text("text").unwrap_or_default().as_bytes(), false)),
            other => return Err(Error::input(format!("there is no op {other:?}"))),
        };
        Ok(Answer { json, numbers: Vec::new() })
    }

    fn lm(&self) -> Result<&'m LanguageModel> {
        self.lm.ok_or_else(|| Error::input("there is no model in this page"))
    }

    fn recording(&mut self) -> Result<&mut Recording<'m>> {
        self.recording.as_mut().ok_or_else(|| Error::input("no text has begun"))
    }
}

impl Step {
    /// As an answer: `about` with the names and shapes of its `arrays`, and their numbers.
    pub fn answer(self) -> Answer {
        let Self { mut about, arrays } = self;
        about["arrays"] =
            arrays.iter().map(|Array { name, shape, .. }| json!({"name": name, "shape": shape})).collect();
        Answer { json: about, numbers: arrays.into_iter().flat_map(|array| array.values).collect() }
    }
}

/// The hash of the logits after the first ids of the vocabulary, in the form of a trace's table.
///
/// # Errors
/// As [`Pass::of_prompt`].
pub fn golden(lm: &LanguageModel) -> Result<String> {
    let ids: Vec<TokenId> =
        (0..8.min(lm.model.config.vocab_size.min(lm.model.config.n_positions) as u32)).collect();
    let stages = Pass::of_prompt(&lm.model, &ids, Options::default())?.stages();
    let logits = stages.get("lm_head").expect("every pass has logits");
    Ok(format!("{:016x}", Digest::of(logits).hash))
}

/// Options from their JSON.
fn options(given: Option<&Map<String, Value>>, lm: Option<&LanguageModel>) -> Result<Options> {
    let mut options = Options::sampled(0);
    let encode = |text: &str| lm.map_or_else(Vec::new, |lm| lm.bpe.encode(text));
    for (key, value) in given.into_iter().flatten() {
        let row = Options::table().iter().find(|row| row.key() == *key);
        let row = row.ok_or_else(|| Error::input(format!("there is no option {key:?}")))?;
        row.read(&mut options, value, &encode)?;
    }
    Ok(options)
}

/// A list of ids.
fn ids(request: &Map<String, Value>, key: &str) -> Result<Vec<TokenId>> {
    let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
    let list = request.get(key).and_then(Value::as_array).and_then(|list| list.iter().map(id).collect());
    list.ok_or_else(|| Error::input(format!("{key}: a list of whole numbers is missing")))
}

/// A part that is switched off.
fn edit(part: &Value) -> Result<Edit> {
    let number = |key: &str| part[key].as_u64().map(|n| n as usize);
    let block = number("block");
    match (block, number("head"), part["part"].as_str()) {
        (Some(block), Some(head), None) => Ok(Edit::Head { block, head }),
        (Some(block), None, Some("attn")) => Ok(Edit::Attention { block }),
        (Some(block), None, Some("mlp")) => Ok(Edit::Mlp { block }),
        _ => Err(Error::input(format!("{part} is no part of the model"))),
    }
}

/// How a token is chosen from logits `[V]`.
fn draw(lm: Option<&LanguageModel>, request: &Map<String, Value>, logits: &[f32]) -> Result<Answer> {
    let options = options(request.get("options").and_then(Value::as_object), lm)?;
    let (text, eos) = (ids(request, "ids")?, ids(request, "eos")?);
    let prompt_len = request.get("prompt_len").and_then(Value::as_u64).unwrap_or(0) as usize;
    if text.iter().chain(&eos).any(|id| *id as usize >= logits.len()) || prompt_len > text.len() {
        return Err(Error::input("an id has no logit, or the prompt is longer than the text"));
    }
    let history = History { ids: &text, prompt_len, eos: if options.ignore_eos { &[] } else { &eos } };
    let mut scores = logits.to_vec();
    let mut explanation = Explanation::new(super::recording::CANDIDATES);
    let u = options.uniform().at(history.new_tokens() as u64);
    options.choose(&mut scores, &history, u, &mut NoTrace, &mut explanation);
    let text = |id| lm.and_then(|lm| lm.bpe.decode_lossy(&[id]).ok()).unwrap_or_default();
    Ok(Answer { json: explanation.json(text), numbers: scores })
}
