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

use super::candidates::{self, Row};
use super::hypotheses::{Finished, best_possible};
use super::record::{Closed, Continuation, Fate, Round, SearchStep};
use super::rows::{self, Beam, Growth};
use super::{Beams, EarlyStopping, Hypothesis};
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::generate::{self, ContextPolicy, FinishReason, Options, Text, TextStream};
use crate::model::Gpt2;
use crate::sampling::{History, NoWatch, Uniform};
use crate::softmax::LogSum;
use crate::tensor::Matrix;
use crate::trace::NoTrace;
use rayon::prelude::*;

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
#[derive(Debug)]
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
        if beams.num_beam_groups > 1 && options.sample {
            return Err(Error::input(
                "num-beam-groups: groups of beams cannot be combined with sampling; leave out one of the two",
            ));
        }
        let (root, finished) = (Beam::new(Text::new(model, prompt)), Finished::new(beams.group_size()));
        let group =
            || Group { running: vec![root.clone()], finished: finished.clone(), closed: longest == 0 };
        let mut groups: Vec<Group<'m>> = (0..beams.num_beam_groups).map(|_| group()).collect();
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
        if found.is_empty() {
            return Err(Error::input("beam search found no text: the options forbid every continuation"));
        }
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
            let (round, chosen) = self.round(number, &logits, &taken)?;
            rounds.push(round);
            taken.extend(chosen);
        }
        Ok(SearchStep { number: self.steps, rounds })
    }

    /// One group's part of a step: logits `[K, V]` of its beams -> its next beams, and their newest tokens.
    fn round(
        &mut self,
        number: usize,
        logits: &[&[f32]],
        taken: &[TokenId],
    ) -> Result<(Round, Vec<TokenId>)> {
        let (size, ends) = (self.beams.group_size(), self.options.ends(self.model));
        let most = size.saturating_mul(2.max(1 + ends.len())); // m
        let (sums, rows) = self.scores(&self.groups[number].running, logits, taken, most)?;
        let candidates = match self.options.sample {
            false => candidates::best(&rows, most),
            true => candidates::drawn(&rows, most, &mut self.uniform),
        };

        let group = &mut self.groups[number];
        let (mut seen, mut going_on, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let beam = &group.running[candidate.beam];
            let id = candidate.id;
            let logprob = sums[candidate.beam].log_softmax(logits[candidate.beam][id as usize]);
            let mut stream = beam.stream.clone();
            let long_enough = self.steps >= self.longest;
            let (end, _) = generate::end_with(id, ends, stream.as_mut(), long_enough);
            let mut fate = Fate::Pruned;
            if let Some(finish_reason) = end.filter(|_| rank < size) {
                let score = candidate.score / self.beams.divisor(self.steps);
                if group.finished.admits(score) {
                    fate = Fate::Finished(score);
                    let ids = beam.text.new_ids().iter().copied().chain([id]).collect();
                    let logprobs = beam.logprobs.iter().copied().chain([logprob]).collect();
                    group.finished.insert(Hypothesis {
                        ids,
                        logprobs,
                        score,
                        finish_reason,
                        group: number,
                        rank,
                    });
                }
            }
            if matches!(end, None | Some(FinishReason::Length)) && chosen.len() < size {
                chosen.push(id); // also at the length limit, so that the groups differ in their last token
            }
            if end.is_none() {
                going_on.push((rank, Growth { of: candidate, logprob, stream }));
            }
            seen.push(Continuation { beam: candidate.beam, id, score: candidate.score, logprob, fate });
        }
        going_on.sort_by(|(_, a), (_, b)| b.of.score.total_cmp(&a.of.score)); // stable; draws are not sorted by score
        going_on.truncate(size);
        for (place, (rank, _)) in going_on.iter().enumerate() {
            seen[*rank].fate = Fate::Kept(place);
        }
        let growths = going_on.into_iter().map(|(_, growth)| growth).collect();
        group.running = rows::grow(std::mem::take(&mut group.running), growths);

        let best =
            group.running.first().map(|b| best_possible(&self.beams, b.score, self.steps, self.longest));
        let worst = group.finished.worst();
        let closed = match (best, worst) {
            (None, _) => Some(Closed::NoneRuns),
            (_, None) => None,
            _ if self.beams.early_stopping == EarlyStopping::True => Some(Closed::Enough),
            (Some(best), Some(worst)) => (best <= worst).then_some(Closed::NoHope),
        };
        group.closed = closed.is_some();
        let round =
            Round { group: number, candidates: seen, best_possible: best, worst_finished: worst, closed };
        Ok((round, chosen))
    }

    /// logits `[K, V]` -> for each beam, the sum that normalises its log-probabilities, and the scores of those
    /// continuations that may become candidates.
    fn scores(
        &self,
        running: &[Beam<'m>],
        logits: &[&[f32]],
        taken: &[TokenId],
        most: usize,
    ) -> Result<(Vec<LogSum>, Vec<Row>)> {
        let ends = self.options.ends(self.model);
        let keep = 2.max(1 + ends.len()); // each beam can continue even if all end tokens are kept
        let scored: Vec<(LogSum, Row)> = (running.par_iter().zip(logits))
            .map(|(beam, logits)| {
                let sum = LogSum::of(logits);
                let mut x = Matrix::scratch(1, logits.len());
                let x = x.row_mut(0); // [V]
                x.copy_from_slice(logits);
                sum.log_probabilities(x);
                taken.iter().for_each(|id| x[*id as usize] -= self.beams.diversity_penalty);
                let history = History { ids: beam.text.ids(), prompt_len: self.prompt_len, eos: ends };
                self.options.process(x, &history, &mut NoWatch);
                if self.options.sample {
                    self.options.warp(x, keep, &mut NoWatch);
                }
                x.iter_mut().for_each(|x| *x += beam.score);
                let row =
                    if self.options.sample { candidates::alive(x) } else { candidates::largest(x, most) };
                (sum, row)
            })
            .collect();
        if scored.iter().any(|(sum, _)| !sum.is_sound()) {
            return Err(Error::NotFinite);
        }
        if scored.iter().any(|(_, row)| row.iter().any(|(_, score)| *score == f32::INFINITY)) {
            return Err(Error::input(
                "the scores are no longer finite: an option's value is too extreme; use smaller numbers",
            ));
        }
        Ok(scored.into_iter().unzip())
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
