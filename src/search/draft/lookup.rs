//! What came next last time?
//!
//! Names, phrases and code recur. If the newest tokens occurred before, the tokens that followed them are a good guess.
//!
//! ```text
//! for n in 3, 2, 1:
//!     if ids[-n:] occurs earlier, most recently just before position i:
//!         return ids[i : i + k]
//! ```
//!
//! Source: Saxena, "Prompt Lookup Decoding" (2023). The naive search reads the whole text for each guess. Here a table
//! records the most recent position of each n-gram, so a token costs the same in a long text as in a short one. A guess
//! that reaches the end of the text continues with its own tokens, as in LZ77, so a repeating text allows guesses of
//! any length.

use super::Guesser;
use crate::config::TokenId;
use crate::generate::View;
use crate::model::Gpt2;
use std::collections::HashMap;

/// The longest n-gram that is looked up.
const LONGEST: usize = 3;

/// The tables cover at most this many tokens at the end of a long prompt, to limit memory.
const REMEMBERED: usize = 1 << 20;

/// Guesses the tokens that followed an earlier occurrence of the newest tokens.
#[derive(Clone, Debug, Default)]
pub struct PromptLookup {
    /// For n = 1, 2, 3: the index of the token after the most recent occurrence of each n-gram that has a next token.
    after: [HashMap<[TokenId; LONGEST], usize>; LONGEST],
    /// How many ids of the text are in the tables.
    known: usize,
}

impl PromptLookup {
    /// Guesses `most` tokens: those that followed the most recent earlier occurrence of the longest matching n-gram at
    /// the end of `ids`. Returns none if no n-gram matches. Successive calls must extend the same text.
    pub fn look_up(&mut self, ids: &[TokenId], most: usize) -> Vec<TokenId> {
        self.learn(ids);
        let found = (1..=LONGEST.min(ids.len())).rev().find_map(|n| self.after[n - 1].get(&key(ids, n)));
        let Some(&from) = found else { return Vec::new() };
        let mut guess: Vec<TokenId> = Vec::with_capacity(most);
        for i in from..from.saturating_add(most) {
            guess.push(if i < ids.len() { ids[i] } else { guess[i - ids.len()] });
        }
        guess
    }

    /// Records the n-grams that have a next token.
    fn learn(&mut self, ids: &[TokenId]) {
        let first = self.known.max(ids.len().saturating_sub(REMEMBERED)).max(1);
        for i in first..ids.len() {
            for n in 1..=LONGEST.min(i) {
                self.after[n - 1].insert(key(&ids[..i], n), i);
            }
        }
        self.known = ids.len();
    }
}

/// The last `n` ids, padded with zeros.
fn key(ids: &[TokenId], n: usize) -> [TokenId; LONGEST] {
    let mut key = [0; LONGEST];
    key[..n].copy_from_slice(&ids[ids.len() - n..]);
    key
}

impl Guesser for PromptLookup {
    fn guess(&mut self, text: &View<'_>, most: usize) -> Vec<TokenId> {
        self.look_up(text.ids, most)
    }

    fn prepare(&mut self, text: &View<'_>) {
        self.learn(text.ids);
    }

    /// Only a few table lookups.
    fn cost(&self, _: &Gpt2) -> f64 {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// The naive search of the module's documentation.
    fn naive(ids: &[TokenId], most: usize) -> Vec<TokenId> {
        for n in (1..=LONGEST.min(ids.len())).rev() {
            let last = &ids[ids.len() - n..];
            let earlier = (n..ids.len()).rev().find(|i| ids[..*i].ends_with(last));
            if let Some(from) = earlier {
                let mut all = ids.to_vec();
                (from..from + most).for_each(|i| all.push(all[i]));
                return all.split_off(ids.len());
            }
        }
        Vec::new()
    }

    #[test]
    fn the_longest_match_counts_and_then_the_newest() {
        let guess = |ids: &[TokenId], most| PromptLookup::default().look_up(ids, most);
        assert_eq!(guess(&[1, 2, 3, 4, 9, 3, 5, 1, 2, 3], 3), [4, 9, 3], "three tokens agree");
        assert_eq!(guess(&[7, 1, 7, 2, 7], 2), [2, 7], "the newest of two places");
        assert_eq!(guess(&[1, 2, 1, 2], 5), [1, 2, 1, 2, 1], "a loop goes on");
        assert_eq!(guess(&[5, 5], 3), [5, 5, 5]);
        for nothing in [&[][..], &[1], &[1, 2, 3]] {
            assert_eq!(guess(nothing, 4), [0; 0]);
        }
        assert_eq!(guess(&[5, 5], 0), [0; 0]);
    }

    proptest! {
        #![proptest_config(crate::properties::config())]
        #[test]
        fn tables_find_what_a_search_finds(
            ids in prop::collection::vec(0..5u32, 0..60), steps in prop::collection::vec(1..6usize, 1..20),
        ) {
            let (mut lookup, mut end) = (PromptLookup::default(), 0);
            for step in steps {
                end = (end + step).min(ids.len());
                prop_assert_eq!(lookup.look_up(&ids[..end], 7), naive(&ids[..end], 7));
            }
        }
    }

    #[test]
    fn a_long_text_takes_no_longer_per_token() {
        let mut ids: Vec<TokenId> = (0..200_000).map(|i| i % 50_000).collect();
        let mut lookup = PromptLookup::default();
        lookup.look_up(&ids, 1);
        let begin = Instant::now();
        for id in 0..20_000 {
            ids.push(id * 7 % 50_000);
            lookup.look_up(&ids, 15);
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "a search of all would read 4 billion ids");
    }
}
