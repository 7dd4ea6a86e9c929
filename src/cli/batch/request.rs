//! A line of a batch: a prompt, and options of its own.

use super::super::decoding::parse_bias;
use gpt2::bpe::{Bpe, TokenId};
use gpt2::error::{Error, Result};
use gpt2::generate::{ContextPolicy, Options, StopStrings};
use gpt2::sampling::Sampling;
use serde::Deserialize;

/// The object of a line. Its keys are the flags' names with `_` for `-`; what it leaves out is as on the command line.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    prompt: Option<String>,
    prompt_ids: Option<Vec<TokenId>>,
    max_new_tokens: Option<usize>,
    min_new_tokens: Option<usize>,
    greedy: Option<bool>,
    seed: Option<u64>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    typical_p: Option<f64>,
    epsilon_cutoff: Option<f64>,
    eta_cutoff: Option<f64>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    no_repeat_ngram_size: Option<usize>,
    logit_bias: Option<Texts>,
    bad_words: Option<Texts>,
    stop: Option<Texts>,
    ignore_eos: Option<bool>,
    context_policy: Option<String>,
}

/// What a flag takes that may be given several times.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "must be a text or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl Request {
    /// A line is a JSON string, the prompt, or an object.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let line = line.trim_ascii_end(); // the line break among it
        let request = match line.trim_ascii_start().first() {
            Some(b'"') => serde_json::from_slice(line).map(|prompt| Self { prompt, ..Self::default() }),
            Some(b'{') => serde_json::from_slice(line),
            _ => {
                return Err(Error::input(
                    r#"not a prompt: a line must be a JSON text, "...", or an object, {"prompt": "..."}"#,
                ));
            }
        };
        request.map_err(|error| {
            let (text, column) = (error.to_string(), error.column());
            let place = format!(" at line {} column {column}", error.line());
            Error::input(format!("at byte {column}: {}", text.strip_suffix(&place).unwrap_or(&text)))
        })
    }

    /// The ids of the prompt.
    pub fn prompt_ids(&self, bpe: &Bpe, allow_special: bool) -> Result<Vec<TokenId>> {
        match (&self.prompt, &self.prompt_ids) {
            (Some(prompt), None) if allow_special => Ok(bpe.encode_with_special(prompt)),
            (Some(prompt), None) => Ok(bpe.encode(prompt)),
            (None, Some(ids)) => Ok(ids.clone()),
            (Some(_), Some(_)) => Err(Error::input("prompt and prompt_ids: give one of them")),
            (None, None) => Err(Error::input("no prompt; give prompt, a text, or prompt_ids, a list of ids")),
        }
    }

    /// The options of the line, its own or else those of the command line, and its seed.
    pub fn options(&self, common: &Options, seed: u64, bpe: &Bpe) -> Result<(Options, u64)> {
        let mut options = common.clone();
        set(&mut options.max_new_tokens, self.max_new_tokens);
        set(&mut options.ignore_eos, self.ignore_eos);
        if let Some(name) = &self.context_policy {
            options.context_policy = ContextPolicy::from_name(name).ok_or_else(|| {
                Error::input(format!("context_policy {name:?} must be slide, stop or error"))
            })?;
        }
        let processors = &mut options.processors;
        set(&mut processors.min_new_tokens, self.min_new_tokens);
        set(&mut processors.repetition_penalty, self.repetition_penalty);
        set(&mut processors.presence_penalty, self.presence_penalty);
        set(&mut processors.frequency_penalty, self.frequency_penalty);
        set(&mut processors.no_repeat_ngram_size, self.no_repeat_ngram_size);
        if let Some(biases) = &self.logit_bias {
            let biases = biases.all().iter().map(|bias| parse_bias(bias));
            processors.logit_bias = biases
                .collect::<std::result::Result<_, _>>()
                .map_err(|problem| Error::input(format!("logit_bias: {problem}")))?;
        }
        if let Some(words) = &self.bad_words {
            processors.bad_words = words.all().iter().map(|word| bpe.encode(word)).collect();
        }
        let seed = self.seed.unwrap_or(seed);
        options.sampling = match self.greedy.unwrap_or(common.sampling.is_none()) {
            true => self.refuse_sampling()?,
            false => Some(self.sampling(common.sampling.clone(), seed)),
        };
        Ok((options, seed))
    }

    /// How the line draws; where the command line is greedy, the rest is this project's defaults.
    fn sampling(&self, common: Option<Sampling>, seed: u64) -> Sampling {
        let mut sampling = Sampling { seed, ..common.unwrap_or_else(|| Sampling::with_seed(seed)) };
        set(&mut sampling.temperature, self.temperature);
        set(&mut sampling.top_k, self.top_k.map(Some));
        set(&mut sampling.top_p, self.top_p.map(Some));
        set(&mut sampling.min_p, self.min_p.map(Some));
        set(&mut sampling.typical_p, self.typical_p.map(Some));
        set(&mut sampling.epsilon_cutoff, self.epsilon_cutoff.map(Some));
        set(&mut sampling.eta_cutoff, self.eta_cutoff.map(Some));
        sampling
    }

    /// A greedy line has no use for these, and whoever wrote them means something else.
    fn refuse_sampling(&self) -> Result<Option<Sampling>> {
        let keys = [
            ("temperature", self.temperature.is_some()),
            ("top_k", self.top_k.is_some()),
            ("top_p", self.top_p.is_some()),
            ("min_p", self.min_p.is_some()),
            ("typical_p", self.typical_p.is_some()),
            ("epsilon_cutoff", self.epsilon_cutoff.is_some()),
            ("eta_cutoff", self.eta_cutoff.is_some()),
        ];
        match keys.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(Error::input(format!(
                "{key} is for sampling, and the line is greedy; leave it out, or say \"greedy\": false"
            ))),
            None => Ok(None),
        }
    }

    /// What ends the line's text, if it says so.
    pub fn stop(&self) -> Result<Option<StopStrings>> {
        self.stop.as_ref().map(|stop| StopStrings::new(stop.all())).transpose()
    }
}

fn set<T>(option: &mut T, own: Option<T>) {
    if let Some(own) = own {
        *option = own;
    }
}
