//! Which pass of a generation `how` and `why` look at.

use super::decoding::ChoiceArgs;
use super::failure::{Failure, usage};
use super::text::RunArgs;
use gpt2::bpe::{Bpe, TokenId};
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::Generation;
use gpt2::inspect::Pass;

/// A prompt, how tokens are chosen, and the step.
#[derive(clap::Args)]
pub struct PassArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Write N tokens first, then look at the pass that chooses the next one
    #[arg(long, value_name = "N", default_value_t = 0)]
    step: usize,
    #[command(flatten)]
    choice: ChoiceArgs,
}

impl PassArgs {
    /// Whether a flag asks for a draw.
    pub fn draws(&self) -> bool {
        self.choice.has("seed") || self.choice.explicit_sampling().is_some()
    }

    /// The pass. It reads the whole text at once, which gives the same bits as reading it step by step. `sample` says whether
    /// tokens are drawn, if other flags do.
    pub fn pass<'m>(&self, lm: &'m LanguageModel, sample: Option<bool>) -> Result<Pass<'m>, Failure> {
        let prompt = self.run.prompt_ids(lm)?;
        let options = self.choice.for_model(lm, sample)?.max_new_tokens(usize::MAX);
        options.check(&lm.model).map_err(usage)?;
        let most = lm.model.config.n_positions;
        if self.step.saturating_add(prompt.len()) > most {
            let problem = format!(
                "--step {} and a prompt of {} tokens: the model has {most} positions",
                self.step,
                prompt.len()
            );
            return Err(Failure::Work(problem));
        }
        let mut ids = prompt.clone();
        if self.step > 0 {
            for chosen in Generation::new(&lm.model, &prompt, options.clone())?.take(self.step) {
                ids.push(chosen?.id);
            }
        }
        let written = ids.len() - prompt.len();
        if written < self.step {
            let problem = format!("--step {}: the text ends after {written} tokens", self.step);
            return Err(Failure::Work(problem));
        }
        Ok(Pass::of_prompt(&lm.model, &ids, options)?.with_prompt_len(prompt.len()))
    }
}

/// The id of a token that is given by its id, or by its text; in quotes, it is always a text. `what` takes it.
pub fn token(bpe: &Bpe, word: &str, what: &str) -> Result<TokenId, String> {
    if let Ok(id) = word.parse() {
        return Ok(id);
    }
    let text = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(word);
    match bpe.encode_with_special(text)[..] {
        [id] => Ok(id),
        ref ids => Err(format!("{text:?} is {} tokens, {ids:?}; {what} takes one", ids.len())),
    }
}
