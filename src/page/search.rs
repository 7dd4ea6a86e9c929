//! Beams as a tree, and guesses with their checks.

use crate::checkpoint::LanguageModel;
use crate::config::TokenId;
use crate::error::Result;
use crate::generate::{ContextPolicy, Draft, Generation, Options, View};
use crate::search::draft::{DraftModel, Paced, PromptLookup};
use crate::search::{BeamSearch, Beams, Tree};
use crate::tensor::Dtype;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// Every step of a beam search, as [`Tree::to_json`].
///
/// # Errors
/// As [`BeamSearch::new`].
pub fn beams(lm: &LanguageModel, prompt: &[TokenId], options: Options, num_beams: usize) -> Result<Value> {
    let beams = Beams { num_beams, ..Beams::default() };
    let options = options.sample(false).context_policy(ContextPolicy::Stop);
    let mut search = BeamSearch::new(&lm.model, prompt, options, beams)?;
    let mut tree = Tree::default();
    for step in search.by_ref() {
        tree.push(&step?);
    }
    let found = search.into_found()?;
    Ok(json!(tree.to_json(&lm.bpe, &found)))
}

/// A speculative generation, turn by turn: `draft` names who guesses, and each turn has the tokens `guessed` and those
/// `written`. The text is that of a [`Recording`](super::Recording).
///
/// The draft is an int8 copy of the model, or earlier text if the weights are int8 already.
///
/// # Errors
/// As [`Generation::new`].
pub fn speculation(lm: &LanguageModel, prompt: &[TokenId], options: Options) -> Result<Value> {
    let copy = (lm.model.wte.dtype() != Dtype::I8).then(|| lm.model.quantize());
    let guesses = Guesses::default();
    let (name, draft): (_, Box<dyn Draft + '_>) = match &copy {
        Some(copy) => ("int8 copy", Box::new(Paced::new(DraftModel::new(copy, &lm.model)?, &lm.model, MOST))),
        None => ("earlier text", Box::new(Paced::new(PromptLookup::default(), &lm.model, MOST))),
    };
    let draft = Watched { draft, guesses: guesses.clone() };
    let options = options.context_policy(ContextPolicy::Stop);
    let mut generation = Generation::new(&lm.model, prompt, options)?.with_draft(draft);
    for chosen in generation.by_ref() {
        chosen?;
    }
    let (ids, passes) = (generation.ids().to_vec(), generation.passes());
    let guesses = guesses.lock().unwrap_or_else(PoisonError::into_inner);
    let ends = guesses.iter().skip(1).map(|(at, _)| *at).chain([ids.len()]);
    let turn = |((at, guessed), end): (&(usize, Vec<TokenId>), usize)| json!({"at": at, "guessed": guessed, "written": ids[*at..end]});
    let turns: Value = guesses.iter().zip(ends).map(turn).collect();
    let passes = passes.map(|passes| json!({"drafted": passes.drafted, "accepted": passes.accepted, "tokens_per_pass": passes.tokens_per_pass()}));
    Ok(json!({"draft": name, "turns": turns, "passes": passes}))
}

/// At most this many tokens are guessed at a time.
const MOST: usize = 5;

/// The text's length at each guess, and the guess.
type Guesses = Arc<Mutex<Vec<(usize, Vec<TokenId>)>>>;

/// A draft whose guesses are noted.
struct Watched<'d> {
    draft: Box<dyn Draft + 'd>,
    guesses: Guesses,
}

impl Draft for Watched<'_> {
    fn guess(&mut self, text: &View<'_>, room: usize) -> Vec<TokenId> {
        let guess = self.draft.guess(text, room);
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner).push((text.ids.len(), guess.clone()));
        guess
    }

    fn drawn_from(&self, k: usize) -> Option<&[f32]> {
        self.draft.drawn_from(k)
    }

    fn learn(&mut self, right: usize, guessed: usize) {
        self.draft.learn(right, guessed);
    }

    fn prepare(&mut self, text: &View<'_>) {
        self.draft.prepare(text);
    }

    fn fork<'d>(&self) -> Box<dyn Draft + 'd>
    where
        Self: 'd,
    {
        Box::new(Watched { draft: self.draft.fork(), guesses: self.guesses.clone() })
    }
}
