//! A generation of which every step is kept.

use crate::checkpoint::LanguageModel;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::generate::Options;
use crate::inspect::{Edit, Lens, Pass, how, why};
use crate::sampling::Explanation;
use crate::softmax::log_softmax;
use crate::trace::{Place, Recorded, Stage};
use serde_json::{Value, json};

/// How many candidates of each distribution are kept.
pub(super) const CANDIDATES: usize = 12;

/// How many tokens the lens keeps after each block.
const LENS: usize = 5;

/// How many terms of a sum are kept.
const TERMS: usize = 6;

/// A text that grows step by step, as with [`ContextPolicy::Stop`](crate::generate::ContextPolicy::Stop). Each step can be asked
/// about afterwards.
#[derive(Debug)]
pub struct Recording<'m> {
    lm: &'m LanguageModel,
    prompt_len: usize,
    /// One pass per step.
    passes: Vec<Pass<'m>>,
    /// The pass of the next step, unless the text has ended.
    next: Option<Pass<'m>>,
    most: usize,
}

/// What one step computed.
#[derive(Clone, Debug)]
pub struct Step {
    /// `ids`: those it read; `past`: how many positions came before; `choice`: how the next token was chosen
    /// ([`Explanation`]); `next`: the next token; `forced`: whether it was given; `logprobs`: of the tokens read, and of the
    /// next one last, under the model's own distribution; `end`: why the text ends after it, or null.
    pub about: Value,
    /// The stages: every row that it read, but of `lm_head` only the last.
    pub arrays: Vec<Array>,
}

/// Numbers with a name and a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The name of a stage.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

impl<'m> Recording<'m> {
    /// Begins after `prompt`, without these parts of the model.
    ///
    /// # Errors
    /// As [`Pass::of_prompt`] and [`Pass::without`].
    pub fn new(
        lm: &'m LanguageModel,
        prompt: &[TokenId],
        options: Options,
        without: Vec<Edit>,
    ) -> Result<Self> {
        let most = options.max_new_tokens;
        let first =
            Pass::of_prompt(&lm.model, prompt, options.max_new_tokens(usize::MAX))?.without(without)?;
        Ok(Self { lm, prompt_len: prompt.len(), passes: Vec::new(), next: Some(first), most })
    }

    /// Goes back: the steps from `step` on are forgotten.
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub fn back_to(&mut self, step: usize) -> Result<()> {
        self.next = Some(self.pass(step)?.clone());
        self.passes.truncate(step);
        Ok(())
    }

    /// Runs the next step; `forced` comes next instead of the chosen token. `None` if the text has ended.
    ///
    /// # Errors
    /// [`Error::Input`] if the forced id is unknown.
    pub fn step(&mut self, forced: Option<TokenId>) -> Result<Option<Step>> {
        let Some(pass) = self.next.clone().map(Pass::remember) else { return Ok(None) };
        let (stages, mut explanation) = (pass.stages(), Explanation::new(CANDIDATES));
        let (chosen, cache) = pass.next(&mut explanation);
        let next = forced.or(chosen);
        let model = pass.model();
        let (read, new) = (pass.read_ids().to_vec(), pass.ids().len() - self.prompt_len + 1);
        let end = match next {
            None => Some("no token can be chosen"),
            Some(id) if pass.options().ends(model).contains(&id) => Some("the end-of-text token"),
            Some(_) if new >= self.most => Some("as long as asked"),
            Some(_) if pass.ids().len() + 1 >= model.config.n_positions => Some("all positions are filled"),
            Some(_) => None,
        };
        let after = next.filter(|_| end.is_none()).map(|id| pass.after(cache, id)).transpose()?;
        let followed = [&read[1..], next.as_slice()].concat();
        let logits = stages.get("lm_head").expect("every pass has logits");
        let (rows, v) = (read.len(), model.config.vocab_size);
        let logprobs: Vec<f64> = followed
            .iter()
            .zip(logits.values.chunks(v))
            .map(|(id, row)| log_softmax(row, *id as usize))
            .collect();
        let array = |stage: &Recorded| {
            let (mut shape, mut values) = (stage.shape.clone(), &stage.values[..]);
            if stage.stage == Stage::LmHead {
                (shape[0], values) = (1, &values[(rows - 1) * v..]);
            }
            Array { name: stage.name(), shape, values: values.to_vec() }
        };
        let arrays = stages.stages.iter().map(array).collect();
        let about = json!({
            "ids": read, "past": pass.past(), "choice": explanation.json(|id| self.lm.bpe.decode_lossy(&[id]).unwrap_or_default()),
            "next": next, "forced": forced.is_some(), "logprobs": logprobs, "end": end,
        });
        let step = Step { about, arrays };
        self.passes.push(pass);
        self.next = after;
        Ok(Some(step))
    }

    /// The pass of a step.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such step.
    pub fn pass(&self, step: usize) -> Result<&Pass<'m>> {
        let none = || Error::input(format!("there is no step {step}; there are {}", self.passes.len()));
        self.passes.get(step).ok_or_else(none)
    }

    /// What the model would predict after each block, at the last position of a step: the likeliest tokens per block.
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub fn lens(&self, step: usize) -> Result<Value> {
        let (stages, mut lens) = (self.pass(step)?.stages(), Lens::new(&self.lm.model, LENS));
        for block in stages.stages.iter().filter(|stage| stage.stage == Stage::Block) {
            let last = block.values.chunks(self.lm.model.config.n_embd).last().unwrap_or_default();
            lens.read(last);
        }
        Ok(json!(lens.blocks.iter().filter_map(|block| block.last()).collect::<Vec<_>>()))
    }

    /// What each part of the model adds to a token's logit after a step: [`why`](crate::inspect::why()). `switch_off` measures the logit without
    /// each part as well, in as many passes as there are parts.
    ///
    /// # Errors
    /// As [`pass`](Self::pass) and [`why`](crate::inspect::why()).
    pub fn why(
        &self,
        step: usize,
        token: TokenId,
        against: Option<TokenId>,
        switch_off: bool,
    ) -> Result<Value> {
        let pass = self.pass(step)?;
        let mut why = why(pass, token, against)?;
        if switch_off {
            why.switch_off(pass, || ());
        }
        Ok(why.json(&self.lm.bpe))
    }

    /// How one number of a step came about: [`how`](crate::inspect::how()).
    ///
    /// # Errors
    /// As [`pass`](Self::pass) and [`how`](crate::inspect::how()).
    pub fn how(&self, step: usize, stage: &str, index: &[usize]) -> Result<Value> {
        let place = Place::parse(stage).ok_or_else(|| Error::input(format!("{stage:?} is no stage")))?;
        Ok(how(self.pass(step)?, place, index)?.json(TERMS))
    }

    /// The log-probability of each token of a text of the same prompt in which `forced` comes first.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`step`](Self::step).
    pub fn forced(&self, forced: TokenId, steps: usize) -> Result<Value> {
        let first = self.pass(0)?.clone();
        let mut other =
            Self { lm: self.lm, prompt_len: self.prompt_len, passes: vec![], next: Some(first), most: steps };
        let mut all = Vec::new();
        let mut force = Some(forced);
        while let Some(step) = other.step(force.take())? {
            all.push(json!({"id": step.about["next"], "logprob": step.about["logprobs"].as_array().and_then(|all| all.last())}));
        }
        Ok(all.into())
    }
}
