//! What is in a vocabulary? The bytes of every token, and the list of merges.
//!
//! GPT-2's ids are the 256 bytes in the order of their symbols, then the result of each merge, and last
//! `<|endoftext|>`. So the list of merges is the whole vocabulary:
//!
//! ```text
//! for rank, (left, right) in merges {                  // [50,000]; ids below 256 + rank
//!     token[256 + rank] = token[left] + token[right]   // their bytes, one after the other
//! }
//! ```

use super::added::{AddedToken, AddedTokens};
use super::decode::BLOCK;
use super::hash::Fold;
use super::pieces::Frame;
use super::symbols::bytes_in_order;
use crate::config::TokenId;
use byteorder::{ByteOrder, LittleEndian};
use std::collections::HashMap;
use std::ops::Range;

/// The token that GPT-2 put between documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The place of a token's bytes among those of all tokens.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u16,
    pub kind: Kind,
}

impl Span {
    /// As places among the bytes of all tokens.
    #[inline]
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + usize::from(self.len)
    }
}

/// How a token is spelled in the files.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// No token has this id.
    #[default]
    Missing,
    /// In byte symbols.
    Symbols,
    /// As itself: `<pad token>` has a space, which is not a byte symbol.
    Verbatim,
}

/// In place of the token of a byte that has none. No id is so large.
pub const NO_TOKEN: TokenId = TokenId::MAX;

/// The tables that encoding and decoding use.
#[derive(Clone)]
pub struct Vocabulary {
    pub bytes: Vec<u8>,                 // of all tokens, then [`BLOCK`] zeros
    pub spans: Vec<Span>,               // by id
    pub byte_ids: [TokenId; 256],       // [`NO_TOKEN`] where a byte has none
    pub ranks: HashMap<u64, u32, Fold>, // by pair of ids
    pub merged: Vec<TokenId>,           // by rank
    pub added: AddedTokens,
    pub end_of_text: Option<TokenId>,
    pub frame: Frame,
    pub notes: Vec<String>,
}

impl Vocabulary {
    /// GPT-2's own, from its merges by rank: the ids of left and right, 16 bits each. They must be sound.
    ///
    /// The result equals what a [`Builder`](super::builder::Builder) makes of the files, in a tenth of the time: it is
    /// needed whenever a program starts.
    pub fn from_merges(merges: &[u8]) -> Self {
        let mut ids = vec![0; merges.len() / 2];
        LittleEndian::read_u16_into(merges, &mut ids);
        let (merges, _) = ids.as_chunks::<2>();
        let mut bytes = Vec::with_capacity(8 * merges.len()); // a token has 6.4 on average
        let mut spans = Vec::with_capacity(256 + merges.len() + 1);
        let mut ranks = HashMap::with_capacity_and_hasher(merges.len(), Fold::default());
        bytes.extend(bytes_in_order());
        spans.extend((0..256).map(|start| Span { start, len: 1, kind: Kind::Symbols }));
        for (rank, &[left, right]) in (0..).zip(merges) {
            let start = bytes.len();
            bytes.extend_from_within(spans[usize::from(left)].range());
            bytes.extend_from_within(spans[usize::from(right)].range());
            spans.push(Span { start: start as u32, len: (bytes.len() - start) as u16, kind: Kind::Symbols });
            ranks.insert(pair(left.into(), right.into()), rank);
        }
        let mut byte_ids = [0; 256];
        bytes_in_order().zip(0..).for_each(|(byte, id)| byte_ids[usize::from(byte)] = id);
        let merged: Vec<_> = (256..spans.len() as TokenId).collect();
        let end_of_text = spans.len() as TokenId;
        spans.push(Span { start: bytes.len() as u32, len: END_OF_TEXT.len() as u16, kind: Kind::Symbols });
        bytes.extend_from_slice(END_OF_TEXT.as_bytes());
        bytes.extend_from_slice(&[0; BLOCK]);
        let added = AddedTokens::new([(AddedToken::special(END_OF_TEXT), end_of_text)]);
        let (end_of_text, frame, notes) = (Some(end_of_text), Frame::default(), Vec::new());
        Self { bytes, spans, byte_ids, ranks, merged, added, end_of_text, frame, notes }
    }

    /// The bytes of a token.
    #[inline]
    pub fn token_bytes(&self, id: TokenId) -> Option<&[u8]> {
        let span = self.spans.get(id as usize).filter(|span| span.kind != Kind::Missing)?;
        self.bytes.get(span.range())
    }

    /// The token of a single byte, if it has one.
    #[inline]
    pub fn byte_id(&self, byte: u8) -> Option<TokenId> {
        Some(self.byte_ids[usize::from(byte)]).filter(|id| *id != NO_TOKEN)
    }

    /// The rank of the merge of `left` and `right`.
    #[inline]
    pub fn rank(&self, left: TokenId, right: TokenId) -> Option<u32> {
        self.ranks.get(&pair(left, right)).copied()
    }
}

/// Two ids as one key.
#[inline]
pub fn pair(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}
