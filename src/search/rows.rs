//! How do beams share what they have read?
//!
//! ```text
//! "Once upon a time" -+- " there" -+- " was"          three beams, one batch of three rows:
//!                     |            +- " lived"        each step reads the weights once for all
//!                     +- ","  ------- " a"
//! ```
//!
//! All beams have the same length, so each step reads one new token per beam: these are the rows of one batch. The
//! beams' caches share the pages of their common beginning. A beam that forks copies only the page that is being
//! filled, and a pruned beam frees the pages that no other beam holds.

use super::candidates::Scored;
use crate::generate::TextStream;
use crate::generate::text::{Text, read, read_to_end};
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::NoTrace;
use rayon::prelude::*;

/// A running hypothesis.
#[derive(Clone, Debug)]
pub(super) struct Beam<'m> {
    /// Prompt and new tokens.
    pub text: Text,
    /// Log-probabilities of the new tokens under the model's own distribution.
    pub logprobs: Vec<f64>,
    /// The sum of the processed log-probabilities.
    pub score: f32,
    /// Decodes the new tokens, if there are stop strings to find.
    pub stream: Option<TextStream<'m>>,
}

/// The data that a continuation adds to its beam.
pub(super) struct Growth<'m> {
    pub of: Scored,
    pub logprob: f64,
    pub stream: Option<TextStream<'m>>,
}

impl<'m> Beam<'m> {
    /// A beam of the prompt only.
    pub fn new(text: Text) -> Self {
        Self { text, logprobs: vec![], score: 0.0, stream: None }
    }
}

/// Grows `parents` into the next beams. The last child of a parent takes over its cache. Each other child shares the
/// pages and copies the last one, because both are about to write to it.
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
        beam.text.push(growth.of.id);
        beam.logprobs.push(growth.logprob);
        (beam.score, beam.stream) = (growth.of.score, growth.stream);
        (beam, forks)
    };
    let mut beams: Vec<(Beam<'m>, bool)> = growths.into_iter().map(child).collect();
    drop(parents); // frees the pages that only pruned beams held
    beams.par_iter_mut().filter(|(_, forks)| *forks).for_each(|(beam, _)| beam.text.own_last_page());
    beams.into_iter().map(|(beam, _)| beam).collect()
}

/// Reads all unread tokens of the beams -> the hidden row of each beam's newest token. `[K, C]`
pub(super) fn read_beams(model: &Gpt2, beams: &mut [&mut Beam<'_>]) -> Matrix {
    beams.iter_mut().for_each(|beam| beam.text.make_room(model.config.n_positions));
    read_common(model, beams);
    let mut hidden = Matrix::scratch(beams.len(), model.config.n_embd);
    let mut done = 0;
    while done < beams.len() {
        // a pass finishes beams in order: the first ones get its budget
        let unread = beams[done..].iter_mut().map(|beam| &mut beam.text);
        let (read, _) = read(model, unread, &mut NoTrace).expect("something to read");
        for row in 0..read.rows() {
            hidden.row_mut(done).copy_from_slice(read.row(row));
            done += 1;
        }
    }
    hidden // [K, C]
}

/// Reads the unread tokens that all beams have in common, except the newest, only once.
///
/// There are such tokens in the first step and after a slide. At both times all caches hold the same tokens.
fn read_common(model: &Gpt2, beams: &mut [&mut Beam<'_>]) {
    let Some((first, others)) = beams.split_first_mut() else { return };
    let unread = first.text.unread();
    let same = |other: &Text| unread.iter().zip(other.unread()).take_while(|(a, b)| a == b).count();
    let common = others.iter().map(|beam| same(&beam.text)).min().unwrap_or(0).min(unread.len() - 1);
    if common < 2 {
        return;
    }
    let mut one = first.text.clone();
    one.take_back(unread.len() - common);
    read_to_end(model, &mut one, &mut NoTrace);
    beams.iter_mut().for_each(|beam| beam.text.share(&one));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::random;
    use crate::config::{Config, TokenId};
    use crate::tensor::Dtype;

    #[test]
    fn a_fork_copies_one_page_per_layer() {
        let json = r#"{"n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 200, "n_positions": 300}"#;
        let model = random::random(Config::from_json(json.as_bytes()).expect("a configuration"), Dtype::F32);
        let prompt: Vec<TokenId> = (0..150).collect(); // two pages and a part of the third
        let mut root = Beam::new(Text::new(&model, &prompt));
        read_beams(&model, &mut [&mut root]);
        let growth = |beam, id| Growth { of: Scored { beam, id, score: 0.0 }, logprob: 0.0, stream: None };
        let mut beams = grow(vec![root], vec![growth(0, 1), growth(0, 2), growth(0, 3)]);
        let pages = |beam: &Beam<'_>| beam.text.cache().pages();
        assert!(beams.iter().all(|beam| pages(beam) == (6, 2)), "the last of each layer is its own");
        read_beams(&model, &mut beams.iter_mut().collect::<Vec<_>>());
        assert!(beams.iter().all(|beam| pages(beam) == (6, 2)), "and nothing else is written");
        let beams = grow(beams, vec![growth(2, 1), growth(0, 2), growth(2, 3)]);
        assert!(beams.iter().all(|beam| pages(beam) == (6, 2)));
        let one = grow(beams, vec![growth(1, 5)]);
        assert_eq!(pages(&one[0]), (6, 6), "no other holds a page");
        assert_eq!(one[0].text.ids()[150..], [1, 2, 5]);
    }
}
