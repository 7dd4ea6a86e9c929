//! How are the merges of a piece found without looking at every pair after each one?
//!
//! [`Bpe::merge_plain`](super::Bpe::merge_plain) is the rule as it is stated. It looks at n pairs for each of up to n
//! merges: a line of a million dashes would take hours. Two changes make it n log n:
//!
//! 1. a linked list, so that merging two symbols moves nothing else;
//! 2. a heap of (rank, position), with the next merge on top. A merge changes the pairs to its left and right;
//!    their old entries stay in the heap and are recognised as stale when they come up.
//!
//! Ranks and positions have 32 bits, which keeps the heap's entries small; [`split`](mod@super::split) makes
//! no longer pieces. An observer may see each merge; an empty one costs nothing.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::vocabulary::Vocabulary;
use crate::config::TokenId;
use crate::format::json::to_json;

/// One step of the byte-pair encoding: two neighbours become one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Merge {
    /// The place in the list of merges, from 0; the lowest is merged first.
    pub rank: u32,
    /// The token on the left.
    pub left: TokenId,
    /// The token on the right.
    pub right: TokenId,
    /// The token that replaces them.
    pub merged: TokenId,
    /// The byte of the text at which the left token begins.
    pub at: usize,
}

/// How one piece of the text became tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PieceMerges {
    /// The byte of the text at which the piece begins.
    pub start: usize,
    /// The byte at which it ends.
    pub end: usize,
    /// The tokens before any merge: one per byte, or a single added token.
    pub symbols: Vec<TokenId>,
    /// The merges, in order.
    pub merges: Vec<Merge>,
}

to_json!(Merge { rank, left, right, merged, at });
to_json!(PieceMerges { start, end, symbols, merges });

impl PieceMerges {
    /// The tokens after each merge, in order; the last are those of the piece.
    ///
    /// They are computed while iterating: all of them take memory quadratic in the length of the piece.
    pub fn states(&self) -> impl Iterator<Item = Vec<TokenId>> {
        let mut state = self.symbols.clone();
        self.merges.iter().map(move |merge| {
            // of equal pairs, the leftmost is merged first
            if let Some(left) = state.windows(2).position(|pair| *pair == [merge.left, merge.right]) {
                state[left] = merge.merged;
                state.remove(left + 1);
            }
            state.clone()
        })
    }
}

/// A token of the piece while it is merged. It stays at the place of its first byte.
#[derive(Clone, Copy)]
struct Symbol {
    id: TokenId,
    /// The rank of the pair of this symbol and the next, or [`NO_PAIR`].
    rank: u32,
    /// The places of the neighbours; outside the piece if there is none.
    previous: u32,
    next: u32,
}

/// Above every rank: the two symbols cannot be merged, or the symbol is gone.
const NO_PAIR: u32 = u32::MAX;

/// Merges piece after piece, in the same memory.
pub struct Merger<'v> {
    vocabulary: &'v Vocabulary,
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<(u32, u32)>>, // the lowest (rank, position) on top
}

impl<'v> Merger<'v> {
    /// Merges by the list of this vocabulary.
    pub fn new(vocabulary: &'v Vocabulary) -> Self {
        Self { vocabulary, symbols: Vec::new(), queue: BinaryHeap::new() }
    }

    /// Appends the tokens of `piece` to `ids`, and shows `observe` each merge, with `at` counted from the
    /// start of the piece. A byte that has no token is left out, and not counted.
    #[inline]
    pub fn merge(&mut self, piece: &[u8], ids: &mut Vec<TokenId>, mut observe: impl FnMut(Merge)) {
        self.symbols.clear();
        let known = piece.iter().filter_map(|&byte| self.vocabulary.byte_id(byte));
        self.symbols.extend((0..).zip(known).map(|(at, id): (u32, _)| {
            let rank = NO_PAIR;
            Symbol { id, rank, previous: at.wrapping_sub(1), next: at + 1 }
        }));
        self.queue.clear();
        (0..self.symbols.len() as u32).for_each(|at| self.rank_pair(at));

        while let Some(Reverse((rank, at))) = self.queue.pop() {
            let left = self.symbols[at as usize];
            if left.rank != rank {
                continue; // stale: one of the two symbols has changed since
            }
            let right = self.symbols[left.next as usize];
            let merged = self.vocabulary.merged[rank as usize];
            observe(Merge { rank, left: left.id, right: right.id, merged, at: at as usize });
            self.symbols[left.next as usize].rank = NO_PAIR; // the right symbol is gone
            self.symbols[at as usize] = Symbol { id: merged, next: right.next, ..left };
            if let Some(next) = self.symbols.get_mut(right.next as usize) {
                next.previous = at;
            }
            self.rank_pair(at);
            self.rank_pair(left.previous);
        }

        let mut at = 0;
        while let Some(symbol) = self.symbols.get(at) {
            ids.push(symbol.id);
            at = symbol.next as usize;
        }
    }

    /// Looks up the pair that begins at `at`, and queues it if it is in the list.
    #[inline]
    fn rank_pair(&mut self, at: u32) {
        let Some(&Symbol { id, next, .. }) = self.symbols.get(at as usize) else { return };
        let rank = self.symbols.get(next as usize).and_then(|right| self.vocabulary.rank(id, right.id));
        self.symbols[at as usize].rank = rank.unwrap_or(NO_PAIR);
        if let Some(rank) = rank {
            self.queue.push(Reverse((rank, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Bpe;
    use super::*;

    fn merged(vocabulary: &Vocabulary, piece: &[u8]) -> Vec<TokenId> {
        let mut ids = Vec::new();
        Merger::new(vocabulary).merge(piece, &mut ids, |_| ());
        ids
    }

    proptest! {
        #![proptest_config(crate::properties::config())]
        #[test]
        fn the_heap_merges_as_the_rule_says(piece in prop::collection::vec(any::<u8>(), 0..80)) {
            let bpe = Bpe::gpt2();
            prop_assert_eq!(merged(&bpe.vocabulary, &piece), bpe.merge_plain(&piece));
        }

        #[test]
        fn also_where_merges_overlap(piece in "[ -~]{0,40}|[aeinst ]{0,80}|a{0,70}|(-=?){0,50}|[äöü€😀]{0,20}") {
            let bpe = Bpe::gpt2();
            prop_assert_eq!(merged(&bpe.vocabulary, piece.as_bytes()), bpe.merge_plain(piece.as_bytes()));
        }
    }

    /// tiktoken merges two neighbours whenever their *bytes* are a token, whichever pair made that token; the
    /// list of merges names one pair. The two rules agree if every token's own bytes become that token, its
    /// own merge last. For let x and y be neighbours whose bytes are a token. No merge has reached across the
    /// ends of xy, so what has happened between them is what happens to these bytes alone; and there, the
    /// only state of two symbols is the pair that the list names.
    #[test]
    fn explicit_pairs_are_equivalent_to_ranks_of_bytes() {
        let vocabulary = &Bpe::gpt2().vocabulary;
        let (mut merger, mut ids) = (Merger::new(vocabulary), Vec::new());
        for rank in 0..50_000 {
            let id = vocabulary.merged[rank as usize];
            let mut last = None;
            ids.clear();
            let piece = vocabulary.token_bytes(id).expect("a token");
            merger.merge(piece, &mut ids, |merge| last = Some(merge.rank));
            assert_eq!((last, ids.as_slice()), (Some(rank), &[id][..]));
        }
    }
}
