//! What came next, the last time?
//!
//! Names, phrases and code come back. If the newest tokens occurred before, what followed them then is a good guess.
//!
//! ```text
//! for n in 3, 2, 1:
//!     if ids[-n:] occurs earlier, the last time before position i:
//!         return ids[i : i + k]
//! ```
//!
//! Source: Saxena, "Prompt Lookup Decoding" (2023). The naive search reads the whole text for each guess. Here a table
//! remembers the last place of each n-gram, so a token costs the same in a long text as in a short one. Where the guess
//! reaches the end of the text, it goes on with itself, as in LZ77: of a text that repeats itself, any length can be
//! guessed.

use super::Guesser;
use crate::config::TokenId;
use crate::generate::View;
use crate::model::Gpt2;
use std::collections::HashMap;

/// The longest n-gram that is looked up.
const LONGEST: usize = 3;

/// Of a longer prompt, this many tokens at its end are remembered: more would take much memory.
const REMEMBERED: usize = 1 << 20;

/// Guesses by earlier places of the newest tokens.
#[derive(Clone, Debug, Default)]
pub struct PromptLookup {
    /// For n = 1, 2, 3: where the token after an n-gram stands, the last time that there is one.
    after: [HashMap<[TokenId; LONGEST], usize>; LONGEST],
    /// How many ids of the text the tables know.
    known: usize,
}

impl PromptLookup {
    /// At most `most` tokens that followed the longest beginning that occurs earlier. Calls must be about a growing
    /// text.
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

    /// Remembers the n-grams that have a successor.
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

/// The last `n` ids, filled up with zeros.
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

    /// A few searches in tables.
    fn cost(&self, _: &Gpt2) -> f64 {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// The five lines above.
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
    fn a_long_text_takes_no_longer_a_token() {
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
