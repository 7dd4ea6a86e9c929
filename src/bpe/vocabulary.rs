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

use std::{collections::HashMap, ops::Range};

use byteorder::{ByteOrder, LittleEndian};

use super::{
    added::{AddedToken, AddedTokens},
    hash::Seeds,
    symbols::{SYMBOLS, bytes_in_order},
};
use crate::config::TokenId;

/// The token that GPT-2 put between documents.
pub(super) const END_OF_TEXT: &str = "<|endoftext|>";

/// Decoding copies this many bytes at once: one load and one store per token, and no call.
pub(super) const BLOCK: usize = 16;

/// The place of a token's bytes among those of all tokens.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u16,
    pub(super) kind: Kind,
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
pub(super) enum Kind {
    /// No token has this id.
    #[default]
    Missing,
    /// In byte symbols.
    Symbols,
    /// As itself: `<pad token>` has a space, which is not a byte symbol.
    Verbatim,
}

/// The tables that encoding and decoding use.
#[derive(Clone)]
pub(super) struct Vocabulary {
    pub(super) bytes: Vec<u8>,   // of all tokens, then [`BLOCK`] zeros
    pub(super) spans: Vec<Span>, // by id
    pub(super) byte_ids: [TokenId; 256],
    pub(super) ranks: HashMap<u64, u32, Seeds>, // by pair of ids
    pub(super) merged: Vec<TokenId>,            // by rank
    pub(super) added: AddedTokens,
    pub(super) end_of_text: Option<TokenId>,
}

impl Vocabulary {
    /// GPT-2's own, from its merges by rank: the ids of left and right, 16 bits each. They must be sound.
    ///
    /// The result equals what a [`Builder`](super::builder::Builder) makes of the files, in a tenth of the time: it is
    /// needed whenever a program starts.
    pub(super) fn from_merges(merges: &[u8]) -> Self {
        let mut ids = vec![0; merges.len() / 2];
        LittleEndian::read_u16_into(merges, &mut ids);
        let (merges, _) = ids.as_chunks::<2>();
        let mut bytes = Vec::with_capacity(8 * merges.len()); // a token has 6.4 on average
        let mut spans = Vec::with_capacity(256 + merges.len() + 1);
        let mut ranks = HashMap::with_capacity_and_hasher(merges.len(), Seeds::default());
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
        let added = AddedToken { content: END_OF_TEXT.into(), id: end_of_text, special: true };
        let added = AddedTokens::new(vec![added]);
        Self { bytes, spans, byte_ids, ranks, merged, added, end_of_text: Some(end_of_text) }
    }

    /// The number of ids: one more than the largest.
    pub(super) fn size(&self) -> usize {
        self.spans.len()
    }

    /// The bytes of a token.
    #[inline]
    pub(super) fn token_bytes(&self, id: TokenId) -> Option<&[u8]> {
        let span = self.spans.get(id as usize).filter(|span| span.kind != Kind::Missing)?;
        self.bytes.get(span.range())
    }

    /// The bytes of the tokens, one after the other; or the place in `ids` of one that is unknown.
    pub(super) fn decode(&self, ids: &[TokenId]) -> Result<Vec<u8>, usize> {
        let mut len = 0;
        for (place, &id) in ids.iter().enumerate() {
            len += self.token_bytes(id).ok_or(place)?.len();
        }
        let mut text = vec![0; len + BLOCK];
        let mut rest = text.as_mut_slice();
        for &id in ids {
            let Span { start, len, .. } = self.spans[id as usize];
            let (start, len) = (start as usize, usize::from(len));
            if len <= BLOCK {
                // The next token overwrites the surplus; after the last token it is cut off.
                rest[..BLOCK].copy_from_slice(&self.bytes[start..start + BLOCK]);
            } else {
                rest[..len].copy_from_slice(&self.bytes[start..start + len]);
            }
            rest = &mut rest[len..];
        }
        text.truncate(len);
        Ok(text)
    }

    /// The spelling of a token in the files.
    pub(super) fn token_text(&self, id: TokenId) -> Option<String> {
        let bytes = self.token_bytes(id)?;
        Some(match self.spans[id as usize].kind {
            Kind::Verbatim => String::from_utf8_lossy(bytes).into_owned(),
            _ => bytes.iter().map(|&byte| SYMBOLS[usize::from(byte)]).collect(),
        })
    }

    /// The token of a single byte.
    #[inline]
    pub(super) fn byte_id(&self, byte: u8) -> TokenId {
        self.byte_ids[usize::from(byte)]
    }

    /// The rank of the merge of `left` and `right`.
    #[inline]
    pub(super) fn rank(&self, left: TokenId, right: TokenId) -> Option<u32> {
        self.ranks.get(&pair(left, right)).copied()
    }

    /// The token that the merge of this rank makes.
    #[inline]
    pub(super) fn merged(&self, rank: u32) -> TokenId {
        self.merged[rank as usize]
    }
}

/// Two ids as one key.
#[inline]
pub(super) fn pair(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}
