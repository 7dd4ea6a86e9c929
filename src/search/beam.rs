//! How is a likely text found if it need not begin with the most likely token?
//!
//! Keep the K best beginnings instead of one; extend each by every token; keep the K best results.
//!
//! ```text
//! run = [prompt], with score 0
//! repeat:
//!     S = score of run + processors(log_softmax(logits of run))     # [K, V]
//!     candidates = the m best of S                                  # m = K * max(2, 1 + number of ends)
//!     finished += those of the first K candidates that end here, with score / length ^ penalty; the K best stay
//!     run = the K best candidates that do not end here
//! until run is empty, or K are finished and (early stopping, or none of run can beat the worst of them)
//! return the best of finished
//! ```
//!
//! The rules are those of HF `transformers` 5.23 (`GenerationMixin._beam_search`); ties go to the lowest beam and id.
//! There are two differences: if there are fewer candidates than beams, fewer beams run (HF fills up with placeholders
//! of score -1e9); and a text that outgrows the positions slides (HF fails). If the options sample, the m candidates
//! are drawn instead, as with HF's `do_sample`.
//!
//! Beams often differ only slightly. In *diverse* beam search (Vijayakumar et al., 2016), groups of beams search one
//! after the other in each step. For each beam of an earlier group that has just chosen a token, the diversity penalty
//! is subtracted from that token's score. HF 4 had this; HF 5 does not. As in HF 4, the penalty is applied before all
//! processors but the logit bias and stays in the score, and the results are the best of all groups.

mod round;

use super::hypotheses::Finished;
use super::record::SearchStep;
use super::rows::{self, Beam};
use super::{Beams, Hypothesis};
use crate::config::TokenId;
use crate::error::{Error, Result, ensure};
use crate::generate::{self, ContextPolicy, FinishReason, Options, Text, TextStream};
use crate::model::Gpt2;
use crate::sampling::Uniform;
use crate::trace::NoTrace;

/// A running search: an iterator over its steps. [`into_found`](Self::into_found) then returns the results.
///
/// ```
/// use gpt2::generate::Options;
/// use gpt2::search::{BeamSearch, Beams};
///
/// let lm = gpt2::checkpoint::bundled();
/// let prompt = lm.bpe.encode("Once upon a time");
/// let options = Options::default().max_new_tokens(8);
/// let mut search = BeamSearch::new(&lm.model, &prompt, options, Beams { num_beams: 3, ..Beams::default() })?;
/// for step in &mut search {
///     assert!(step?.rounds[0].candidates.len() <= 6);
/// }
/// let found = search.into_found()?;
/// assert_eq!((found.len(), found[0].ids.len()), (1, 8));
/// # Ok::<(), gpt2::error::Error>(())
/// ```
#[derive(Debug)]
pub struct BeamSearch<'m> {
    model: &'m Gpt2,
    options: Options,
    beams: Beams,
    groups: Vec<Group<'m>>,
    prompt_len: usize,
    /// The largest number of new tokens.
    longest: usize,
    steps: usize,
    slides: usize,
    rows: usize,
    uniform: Uniform,
}

/// Beams that compete with each other.
#[derive(Clone, Debug)]
struct Group<'m> {
    /// The best beam first.
    running: Vec<Beam<'m>>,
    finished: Finished,
    closed: bool,
}

impl<'m> BeamSearch<'m> {
    /// Begins after `prompt`. If `options` sample, candidates are drawn; otherwise the best are taken.
    ///
    /// # Errors
    /// [`Error::Input`] if the prompt is empty, is too long for the context policy, or has an id outside the model's
    /// vocabulary, or if groups of beams are to sample; [`Error::Option`] if an option is out of range.
    pub fn new(model: &'m Gpt2, prompt: &[TokenId], options: Options, beams: Beams) -> Result<Self> {
        generate::check_prompt(model, prompt, &options)?;
        let longest = match options.context_policy {
            ContextPolicy::Stop => options.max_new_tokens.min(model.config.n_positions - prompt.len()),
            ContextPolicy::Slide | ContextPolicy::Error => options.max_new_tokens,
        };
        beams.check(longest)?;
        ensure(beams.num_beam_groups == 1 || !options.sample, Error::Input, || {
            "num-beam-groups: groups of beams cannot be combined with sampling; leave out one of the two"
                .into()
        })?;
        let running = vec![Beam::new(Text::new(model, prompt))];
        let group = Group { running, finished: Finished::new(beams.group_size()), closed: longest == 0 };
        let mut groups = vec![group; beams.num_beam_groups];
        if longest == 0 {
            let (ids, logprobs, score, finish_reason) = (vec![], vec![], 0.0, FinishReason::Length);
            groups[0].finished.insert(Hypothesis { ids, logprobs, score, finish_reason, group: 0, rank: 0 });
        }
        let (prompt_len, uniform) = (prompt.len(), options.uniform());
        Ok(Self { model, options, beams, groups, prompt_len, longest, steps: 0, slides: 0, rows: 0, uniform })
    }

    /// Also ends hypotheses at stop strings. `text` is the stream before the first new token.
    pub fn stopping_at(mut self, text: &TextStream<'m>) -> Self {
        let running = self.groups.iter_mut().flat_map(|group| &mut group.running);
        running.for_each(|beam| beam.stream = Some(text.clone()));
        self
    }

    /// How often the beams outgrew `n_positions` and the model forgot their older half.
    pub fn slides(&self) -> usize {
        self.slides
    }

    /// Tokens read after the prompt: one row of the batch for each beam and step.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The finished hypotheses of all groups, the best first, at most `num_return_sequences`.
    ///
    /// # Errors
    /// [`Error::Input`] if there are none: the options forbid every continuation.
    pub fn into_found(self) -> Result<Vec<Hypothesis>> {
        let mut found: Vec<Hypothesis> = self.groups.into_iter().flat_map(|g| g.finished.best).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable
        found.truncate(self.beams.num_return_sequences);
        ensure(!found.is_empty(), Error::Input, || {
            "beam search found no text: the options forbid every continuation".into()
        })?;
        Ok(found)
    }

    /// One turn of the loop.
    fn step(&mut self) -> Result<SearchStep> {
        let len = self.prompt_len + self.steps;
        if self.options.context_policy == ContextPolicy::Error && len >= self.model.config.n_positions {
            return Err(Error::NoPositions { n_positions: self.model.config.n_positions });
        }
        let open = self.groups.iter_mut().filter(|group| !group.closed);
        let mut beams: Vec<&mut Beam<'m>> = open.flat_map(|group| &mut group.running).collect();
        let x = rows::read_beams(self.model, &mut beams); // [K, C]
        self.slides = beams.iter().map(|beam| beam.text.slides()).fold(self.slides, usize::max);
        self.rows += if self.steps > 0 { beams.len() } else { 0 };
        self.steps += 1;
        let logits = self.model.head(&x, &mut NoTrace); // [K, V]

        let (mut rounds, mut first) = (Vec::new(), 0);
        let mut taken: Vec<TokenId> = Vec::new(); // chosen in this step by earlier groups
        for number in 0..self.groups.len() {
            if self.groups[number].closed {
                continue;
            }
            let here = first..first + self.groups[number].running.len();
            first = here.end;
            let logits: Vec<&[f32]> = here.map(|row| logits.row(row)).collect();
            rounds.push(self.round(number, &logits, &mut taken)?);
        }
        Ok(SearchStep { number: self.steps, rounds })
    }
}

impl Iterator for BeamSearch<'_> {
    type Item = Result<SearchStep>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.groups.iter().all(|group| group.closed) {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.groups.iter_mut().for_each(|group| group.closed = true);
        }
        Some(step)
    }
}
