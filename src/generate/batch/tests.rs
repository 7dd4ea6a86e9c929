//! Each text of a batch is what it is alone.

use super::super::tests::{sampled, small};
use super::*;
use crate::bpe::TokenId;
use crate::generate::{ContextPolicy, FinishReason, Options};
use std::sync::Mutex;

/// A text and its tokens: ids and the bits of the log-probabilities.
struct Written<'m> {
    number: usize,
    generation: Generation<'m>,
    chosen: Vec<(TokenId, u64)>,
    error: Option<String>,
}

impl<'m> AsMut<Generation<'m>> for Written<'m> {
    fn as_mut(&mut self) -> &mut Generation<'m> {
        &mut self.generation
    }
}

impl<'m> Written<'m> {
    fn new(model: &'m Gpt2, number: usize) -> Self {
        let (prompt, options) = request(number);
        let generation = Generation::new(model, &prompt, options).expect("a prompt");
        Self { number, generation, chosen: Vec::new(), error: None }
    }

    /// The caller ends every fourth text, as a stop string would.
    fn token(&mut self, chosen: Result<Chosen>) {
        match chosen {
            Ok(chosen) => self.chosen.push((chosen.id, chosen.logprob.to_bits())),
            Err(error) => self.error = Some(error.to_string()),
        }
        if self.number % 4 == 3 && self.chosen.len() == 17 {
            self.generation.finish(FinishReason::Stop);
        }
    }

    fn result(&self) -> impl PartialEq + std::fmt::Debug {
        (&self.chosen, self.generation.finish_reason(), self.generation.slides(), &self.error)
    }
}

/// Prompts shorter and longer than the 64 positions and than what a turn reads, with all kinds of options.
fn request(number: usize) -> (Vec<TokenId>, Options) {
    let len = [1, 5, 63, 64, 200, 2, 400, 33, 90, 7, 20][number % 11];
    let prompt = (0..len).map(|i| ((i + number) * 7 % 211) as TokenId).collect();
    let sampled = sampled(number as u64, [40, 100, 3, 1, 150][number % 5]);
    let options = match number % 6 {
        0 => sampled.sample(false),
        1 => Options { ignore_eos: false, ..sampled },
        2 if len < 64 => Options { context_policy: ContextPolicy::Error, ..sampled },
        3 if len < 64 => Options { context_policy: ContextPolicy::Stop, ..sampled },
        4 => sampled.repetition_penalty(1.2).no_repeat_ngram_size(2),
        5 => sampled.logit_bias((0..211).map(|id| (id, f32::NEG_INFINITY)).collect::<Vec<_>>()),
        _ => sampled,
    };
    (prompt, options)
}

#[test]
fn each_text_is_what_it_is_alone() {
    let model = small();
    let count = 33;
    let alone: Vec<Written<'_>> = (0..count)
        .map(|number| {
            let mut text = Written::new(&model, number);
            while let Some(chosen) = text.generation.next() {
                text.token(chosen);
            }
            text
        })
        .collect();
    let slid = alone.iter().filter(|text| text.generation.slides() > 1).count();
    let failed = alone.iter().filter(|text| text.error.is_some()).count();
    assert!(slid > 3 && failed > 3, "{slid} slide, {failed} fail");
    for size in [1, 2, 5, 8, 40] {
        let mut batch = Batch::new(&model);
        let mut waiting = 0..count;
        let mut done = 0;
        loop {
            while batch.len() < size
                && let Some(number) = waiting.next()
            {
                batch.push(Written::new(&model, number));
            }
            if batch.is_empty() {
                break;
            }
            batch.step(Written::token);
            for text in batch.take_finished() {
                assert_eq!(text.result(), alone[text.number].result(), "{} of {size}", text.number);
                done += 1;
            }
        }
        assert_eq!(done, count);
    }
}

#[test]
fn a_turn_reads_a_limited_part_of_prompts() {
    let lm = crate::checkpoint::bundled();
    let options = Options { max_new_tokens: 3, ..Options::default() };
    let mut batch = Batch::new(&lm.model);
    for len in [300, 10, 1, 200] {
        batch.push(Generation::new(&lm.model, &vec![9; len], options.clone()).expect("a prompt"));
    }
    let mut turns = Vec::new();
    while !batch.is_empty() {
        let tokens = Mutex::new(0);
        let turn = batch.step(|_, chosen| *tokens.lock().expect("a count") += usize::from(chosen.is_ok()));
        let read = batch.texts.iter().map(|text| text.inner.text.read_len()).collect::<Vec<_>>();
        turns.push((read, turn, tokens.into_inner().expect("a count")));
        let _ = batch.take_finished().count();
    }
    let turn = |prompt_tokens, newest_tokens| Turn { prompt_tokens, newest_tokens };
    assert_eq!(turns[0], (vec![256, 0, 1, 0], turn(256, 1), 1));
    assert_eq!(turns[1], (vec![300, 10, 2, 200], turn(44 + 10 + 200, 1), 4));
    assert_eq!(turns[2], (vec![301, 11, 3, 201], turn(0, 4), 4));
    assert_eq!(turns.iter().map(|(_, _, tokens)| tokens).sum::<usize>(), 4 * 3);
}
