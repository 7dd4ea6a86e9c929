//! How do beams share what they have read?
//!
//! ```text
//! "Once upon a time" -+- " there" -+- " was"          three beams, one batch of three rows:
//!                     |            +- " lived"        each step reads the weights once for all
//!                     +- ","  ------- " a"
//! ```
//!
//! All beams have the same length, so each step reads one new token of each: they are the rows of one batch. What they
//! have in common lies in the same pages of their [`KvCache`]s. A beam that forks copies no page but the one that is
//! being filled, and a beam that is pruned gives back what nobody else holds.

use super::candidates::Continuation;
use crate::bpe::TokenId;
use crate::generate::{PREFILL, TextStream};
use crate::kv_cache::KvCache;
use crate::kv_cache::Sequence;
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::NoTrace;
use rayon::prelude::*;
use std::{mem, ops::Range};

/// A hypothesis that goes on.
#[derive(Clone, Debug)]
pub(super) struct Beam<'m> {
    /// Prompt and new tokens.
    pub ids: Vec<TokenId>,
    /// Of the new tokens, under the model's own distribution.
    pub logprobs: Vec<f64>,
    /// The sum of the processed log-probabilities.
    pub score: f32,
    /// The text so far, if stop strings are looked for.
    pub text: Option<TextStream<'m>>,
    cache: KvCache,
    /// How many ids the cache has not seen.
    unread: usize,
}

/// What a continuation adds to its beam.
pub(super) struct Growth<'m> {
    pub of: Continuation,
    pub logprob: f64,
    pub text: Option<TextStream<'m>>,
}

impl<'m> Beam<'m> {
    /// The prompt, of which nothing is read yet.
    pub fn new(model: &Gpt2, prompt: &[TokenId]) -> Self {
        let cache = KvCache::new(&model.config);
        Self { ids: prompt.into(), logprobs: vec![], score: 0.0, text: None, cache, unread: prompt.len() }
    }

    fn grow(&mut self, growth: Growth<'m>) {
        self.ids.push(growth.of.id);
        self.logprobs.push(growth.logprob);
        self.score = growth.of.score;
        self.text = growth.text;
        self.unread += 1;
    }
}

/// The beams that come of `parents`. A parent's last child takes over its cache; each other one shares its pages and
/// copies the last, into which both are about to write.
pub(super) fn grow<'m>(parents: Vec<Beam<'m>>, growths: Vec<Growth<'m>>) -> Vec<Beam<'m>> {
    let mut children = vec![0; parents.len()];
    growths.iter().for_each(|growth| children[growth.of.beam] += 1);
    let mut parents: Vec<Option<Beam<'m>>> = parents.into_iter().map(Some).collect();
    let child = |growth: Growth<'m>| {
        let parent = growth.of.beam;
        children[parent] -= 1;
        let forks = children[parent] > 0;
        let beam = if forks { parents[parent].clone() } else { parents[parent].take() };
        let mut beam = beam.expect("a parent stays until its last child");
        beam.grow(growth);
        (beam, forks)
    };
    let mut beams: Vec<(Beam<'m>, bool)> = growths.into_iter().map(child).collect();
    drop(parents); // pages that only pruned beams held are free
    beams.par_iter_mut().filter(|(_, forks)| *forks).for_each(|(beam, _)| beam.cache.own_last_page());
    beams.into_iter().map(|(beam, _)| beam).collect()
}

/// Reads what is unread of all beams and gives what follows the newest token of each: K beams -> `[K, C]`
///
/// Returns also whether the beams, longer than the model's positions, had to forget their older half.
pub(super) fn read(model: &Gpt2, beams: &mut [&mut Beam<'_>]) -> (Matrix, bool) {
    let slid = make_room(model, beams);
    catch_up(model, beams);
    let len = beams[0].ids.len();
    let x = read_part(model, beams, len - 1..len); // [K, C]
    beams.iter_mut().for_each(|beam| beam.unread = 0);
    (x, slid)
}

/// Positions are learned up to `n_positions`. Longer texts slide, all beams together, as in
/// [`Generation`](crate::generate::Generation): the newest half is kept and read again from position 0.
fn make_room(model: &Gpt2, beams: &mut [&mut Beam<'_>]) -> bool {
    let n_positions = model.config.n_positions;
    let slide = beams.iter().any(|beam| beam.cache.len() + beam.unread > n_positions);
    if slide {
        for beam in beams {
            beam.cache = KvCache::new(&model.config);
            beam.unread = (n_positions / 2).max(1).min(beam.ids.len());
        }
    }
    slide
}

/// Reads all that is unread but the newest token of each beam, and what they have in common only once.
///
/// There is something to catch up with at the prompt and after a slide, when all caches hold the same.
fn catch_up(model: &Gpt2, beams: &mut [&mut Beam<'_>]) {
    let range = beams[0].ids.len() - beams[0].unread..beams[0].ids.len() - 1;
    if range.is_empty() {
        return;
    }
    let one = beams[0].ids[range.clone()].to_vec();
    let same = |other: &[TokenId]| one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let shared = beams.iter().map(|beam| same(&beam.ids[range.clone()])).min().unwrap_or(0);
    let mut cache = mem::replace(&mut beams[0].cache, KvCache::new(&model.config));
    for ids in one[..shared].chunks(PREFILL) {
        model.hidden(&mut [Sequence { ids, cache: &mut cache }], &mut NoTrace);
    }
    beams.iter_mut().for_each(|beam| beam.cache = cache.clone());
    drop(cache); // what only one beam holds is not copied before it is written
    let (first, rows) = (range.start + shared, (PREFILL / beams.len()).max(1));
    for start in (first..range.end).step_by(rows) {
        read_part(model, beams, start..(start + rows).min(range.end));
    }
}

/// Reads these ids of each beam, as one batch. K beams, n ids -> `[K * n, C]`
fn read_part(model: &Gpt2, beams: &mut [&mut Beam<'_>], range: Range<usize>) -> Matrix {
    let mut batch = Vec::with_capacity(beams.len());
    for beam in beams {
        let Beam { ids, cache, .. } = &mut **beam;
        batch.push(Sequence { ids: &ids[range.clone()], cache });
    }
    model.hidden(&mut batch, &mut NoTrace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::random;
    use crate::config::Config;
    use crate::tensor::Dtype;

    #[test]
    fn a_fork_copies_one_page_a_layer() {
        let json = r#"{"n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 200, "n_positions": 300}"#;
        let model = random::random(Config::from_json(json.as_bytes()).expect("a configuration"), Dtype::F32);
        let prompt: Vec<TokenId> = (0..150).collect(); // two pages and a part of the third
        let mut root = Beam::new(&model, &prompt);
        read(&model, &mut [&mut root]);
        let growth =
            |beam, id| Growth { of: Continuation { beam, id, score: 0.0 }, logprob: 0.0, text: None };
        let mut beams = grow(vec![root], vec![growth(0, 1), growth(0, 2), growth(0, 3)]);
        assert!(beams.iter().all(|beam| beam.cache.pages() == (6, 2)), "the last of each layer is its own");
        read(&model, &mut beams.iter_mut().collect::<Vec<_>>());
        assert!(beams.iter().all(|beam| beam.cache.pages() == (6, 2)), "and nothing else is written");
        let beams = grow(beams, vec![growth(2, 1), growth(0, 2), growth(2, 3)]);
        assert!(beams.iter().all(|beam| beam.cache.pages() == (6, 2)));
        let one = grow(beams, vec![growth(1, 5)]);
        assert_eq!(one[0].cache.pages(), (6, 6), "nobody else is left");
        assert_eq!(one[0].ids[150..], [1, 2, 5]);
    }
}
