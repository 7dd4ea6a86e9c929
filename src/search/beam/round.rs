//! One group's part of a step: which continuations go on, which have ended, and whether the search may stop.

use super::BeamSearch;
use crate::config::TokenId;
use crate::error::{Error, Result, ensure};
use crate::generate::{self, FinishReason};
use crate::sampling::{History, NoWatch};
use crate::search::candidates::{self, Row};
use crate::search::hypotheses::best_possible;
use crate::search::record::{Closed, Continuation, Fate, Round};
use crate::search::rows::{self, Beam, Growth};
use crate::search::{EarlyStopping, Hypothesis};
use crate::softmax::LogSum;
use crate::tensor::Matrix;
use rayon::prelude::*;

impl<'m> BeamSearch<'m> {
    /// One group's part of a step: logits `[K, V]` of its beams -> its next beams. The tokens that they choose join
    /// `taken`.
    pub(super) fn round(
        &mut self,
        number: usize,
        logits: &[&[f32]],
        taken: &mut Vec<TokenId>,
    ) -> Result<Round> {
        let (size, ends) = (self.beams.group_size(), self.options.ends(self.model));
        let most = size.saturating_mul(2.max(1 + ends.len())); // m
        let running = self.groups[number].running.par_iter().zip(logits);
        let (sums, rows): (Vec<LogSum>, Vec<Row>) =
            running.map(|(beam, logits)| self.score(beam, logits, taken, most)).unzip();
        if !sums.iter().all(LogSum::is_sound) {
            return Err(Error::NotFinite);
        }
        ensure(rows.iter().flatten().all(|(_, score)| *score != f32::INFINITY), Error::Input, || {
            "the scores are no longer finite: an option's value is too extreme; use smaller numbers".into()
        })?;
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
                    let ids = [beam.text.new_ids(), &[id]].concat();
                    let logprobs = [&beam.logprobs[..], &[logprob]].concat();
                    let found = Hypothesis { ids, logprobs, score, finish_reason, group: number, rank };
                    group.finished.insert(found);
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
        taken.extend(chosen);
        Ok(Round { group: number, candidates: seen, best_possible: best, worst_finished: worst, closed })
    }

    /// logits `[V]` of a beam -> the sum that normalises its log-probabilities, and the scores of those continuations
    /// that may become candidates.
    fn score(&self, beam: &Beam<'m>, logits: &[f32], taken: &[TokenId], most: usize) -> (LogSum, Row) {
        let eos = self.options.ends(self.model);
        let history = History { ids: beam.text.ids(), prompt_len: self.prompt_len, eos };
        let (sum, mut x) = (LogSum::of(logits), Matrix::of_row(logits));
        let x = x.row_mut(0); // [V]
        sum.log_probabilities(x);
        taken.iter().for_each(|id| x[*id as usize] -= self.beams.diversity_penalty);
        self.options.process(x, &history, &mut NoWatch);
        if self.options.sample {
            self.options.warp(x, 2.max(1 + eos.len()), &mut NoWatch); // the beam can continue even if all ends are kept
        }
        x.iter_mut().for_each(|x| *x += beam.score);
        (sum, if self.options.sample { candidates::alive(x) } else { candidates::largest(x, most) })
    }
}
