//! How tokens are chosen: the options, which are those of HF's `generate`.

use super::failure::Failure;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gpt2::bpe::{Bpe, TokenId};
use gpt2::generate::{ContextPolicy, Options};
use gpt2::sampling::{Processors, Sampling};
use rand::{TryRng, rngs::SysRng};

/// How a text is continued.
#[derive(clap::Args)]
pub struct DecodingArgs {
    /// Stop after this many new tokens
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// What to do when the text has filled all positions: keep its newest half and go on, end it, or fail
    #[arg(long, value_name = "POLICY", default_value = "slide", value_parser = policies())]
    context_policy: ContextPolicy,
}

/// How one token is chosen.
#[derive(clap::Args)]
pub struct ChoiceArgs {
    /// Do not end the text before this many new tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_new_tokens: usize,
    /// Below 1: safer; above 1: wilder [default: 0.8]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Draw from the K most likely tokens [default: 40]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from the most likely tokens that reach probability P together
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Drop tokens less likely than P times the most likely one
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f64>,
    /// Draw from the tokens about as surprising as expected that reach probability P together
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    typical_p: Option<f64>,
    /// Drop tokens less likely than E
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    epsilon_cutoff: Option<f64>,
    /// Drop tokens less likely than min(E, sqrt(E) * e^-entropy)
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    eta_cutoff: Option<f64>,
    /// Always take the most likely token
    #[arg(
        long,
        conflicts_with_all = ["temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"]
    )]
    pub greedy: bool,
    /// Start of the random numbers; the same seed gives the same text [default: drawn at random]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Divide the score of each token that already occurs by R (multiply, where negative)
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// Take this from the score of each token that already occurs
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Take this from the score of a token for each time it occurs
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Never write the same N tokens in a row twice [default: 0, off]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    no_repeat_ngram_size: usize,
    /// Add VALUE to the score of token ID; -inf bans it (repeatable)
    #[arg(long, value_name = "ID=VALUE", value_parser = parse_bias)]
    logit_bias: Vec<(TokenId, f32)>,
    /// Never write TEXT as the tokens it makes by itself; with a space before, it is another word (repeatable)
    #[arg(long, value_name = "TEXT")]
    bad_words: Vec<String>,
    /// Go on after the end-of-text token
    #[arg(long)]
    ignore_eos: bool,
}

impl DecodingArgs {
    /// The options for the library, and the seed; one is drawn if none is given. The library checks the ranges.
    pub fn options(&self, bpe: &Bpe) -> Result<(Options, u64), Failure> {
        self.options_with(bpe, !self.choice.greedy)
    }

    /// The same, with or without chance whatever `--greedy` says.
    pub fn options_with(&self, bpe: &Bpe, chance: bool) -> Result<(Options, u64), Failure> {
        let seed = match self.choice.seed {
            Some(seed) => seed,
            None if !chance => 0,
            None => SysRng
                .try_next_u64()
                .map_err(|e| Failure::Work(format!("no random seed from the system: {e}")))?,
        };
        let (max_new_tokens, context_policy) = (self.max_new_tokens, self.context_policy);
        let options = self.choice.options_with(bpe, seed, chance);
        Ok((Options { max_new_tokens, context_policy, ..options }, seed))
    }
}

impl ChoiceArgs {
    /// The options for the library, of as many tokens as one likes. The library checks the ranges.
    pub fn options(&self, bpe: &Bpe, seed: u64) -> Options {
        self.options_with(bpe, seed, !self.greedy)
    }

    /// The first option given that does nothing without chance.
    pub fn explicit_sampling(&self) -> Option<&'static str> {
        let given = [
            ("temperature", self.temperature.is_some()),
            ("top-k", self.top_k.is_some()),
            ("top-p", self.top_p.is_some()),
            ("min-p", self.min_p.is_some()),
            ("typical-p", self.typical_p.is_some()),
            ("epsilon-cutoff", self.epsilon_cutoff.is_some()),
            ("eta-cutoff", self.eta_cutoff.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    fn options_with(&self, bpe: &Bpe, seed: u64, chance: bool) -> Options {
        let defaults = Sampling::with_seed(seed);
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.or(defaults.top_k),
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            epsilon_cutoff: self.epsilon_cutoff,
            eta_cutoff: self.eta_cutoff,
            seed,
            stream: 0,
        };
        let processors = Processors {
            logit_bias: self.logit_bias.clone(),
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            bad_words: self.bad_words.iter().map(|word| bpe.encode(word)).collect(),
            min_new_tokens: self.min_new_tokens,
        };
        Options {
            max_new_tokens: usize::MAX,
            processors,
            sampling: chance.then_some(sampling),
            ignore_eos: self.ignore_eos,
            context_policy: ContextPolicy::default(),
        }
    }
}

/// `ID=VALUE`
pub fn parse_bias(text: &str) -> Result<(TokenId, f32), String> {
    let (id, value) = text.split_once('=').ok_or("it must be ID=VALUE, for example 50256=-5")?;
    let id = id.trim().parse().map_err(|_| format!("{id:?} is not a token id"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is not a number"))?;
    Ok((id, value))
}

fn policies() -> impl TypedValueParser<Value = ContextPolicy> {
    let names = ContextPolicy::ALL.map(ContextPolicy::name);
    PossibleValuesParser::new(names).map(|name| ContextPolicy::from_name(&name).unwrap_or_default())
}
