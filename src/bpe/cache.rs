//! Why is ordinary text so much faster than its pieces? Because most pieces have been seen before.
//!
//! A table with one slot for each hash value remembers where in the output the tokens of a piece were written;
//! they are copied from there. A piece that finds its slot taken by another one takes it over. Nothing is
//! searched, and the size is fixed, so no text can make the table slow.

use std::hash::BuildHasher;

use super::hash::Fold;
use crate::config::TokenId;

/// At most this many pieces are remembered.
const MOST_SLOTS: usize = 1 << 16;

/// A piece seen before: the text it stands in, and its tokens.
#[derive(Clone, Copy, Default)]
struct Slot<'t> {
    piece: &'t [u8], // empty: the slot is free
    first: usize,    // the place of its first token in the output
    count: u32,
    id: TokenId, // the token, where there is only one
}

/// The pieces of one text seen so far.
pub struct Cache<'t> {
    slots: Vec<Slot<'t>>, // a power of two
    hasher: Fold,
}

impl<'t> Cache<'t> {
    /// A cache for a text of `len` bytes.
    pub fn new(len: usize) -> Self {
        let slots = (len / 4).clamp(1, MOST_SLOTS).next_power_of_two();
        Self { slots: vec![Slot::default(); slots], hasher: Fold::default() }
    }

    /// Appends the tokens of `piece` to `ids`: a copy of earlier ones, or else what `merge` appends.
    #[inline]
    pub fn append(&mut self, piece: &'t [u8], ids: &mut Vec<TokenId>, merge: impl FnOnce(&mut Vec<TokenId>)) {
        let place = self.hasher.hash_one(piece) as usize & (self.slots.len() - 1);
        let slot = &mut self.slots[place];
        if slot.piece != piece {
            let first = ids.len();
            merge(ids);
            let count = u32::try_from(ids.len() - first).unwrap_or(0); // 0: such a long piece is not kept
            if let (1.., Some(&id)) = (count, ids.last()) {
                *slot = Slot { piece, first, count, id };
            }
        } else if slot.count == 1 {
            ids.push(slot.id);
        } else {
            ids.extend_from_within(slot.first..slot.first + slot.count as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_seen_before_is_not_merged_again() {
        let mut cache = Cache::new(1000);
        let mut ids = Vec::new();
        cache.append(b"ab", &mut ids, |ids| ids.extend([1, 2]));
        cache.append(b"ab", &mut ids, |_| panic!("merged again"));
        cache.append(b"c", &mut ids, |ids| ids.push(3));
        cache.append(b"c", &mut ids, |_| panic!("merged again"));
        assert_eq!(ids, [1, 2, 1, 2, 3, 3]);
    }

    #[test]
    fn one_slot_is_enough() {
        let mut cache = Cache::new(0);
        let mut ids = Vec::new();
        for _ in 0..2 {
            cache.append(b"a", &mut ids, |ids| ids.push(1));
            cache.append(b"bc", &mut ids, |ids| ids.extend([2, 3]));
        }
        assert_eq!(ids, [1, 2, 3, 1, 2, 3]);
    }
}
