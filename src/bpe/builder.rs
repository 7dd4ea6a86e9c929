//! What must be true of tokens and merges from a file before they can be used?
//!
//! - Bytes have tokens. Those that have none are left out of texts, and noted.
//! - No two tokens share an id or a spelling.
//! - A merge joins two tokens of the vocabulary into a third.
//! - Ids, lengths and numbers are bounded, so that a file cannot take all memory.

use rayon::prelude::*;
use std::{borrow::Cow, collections::HashMap};

use super::added::{AddedToken, AddedTokens};
use super::decode::BLOCK;
use super::hash::Fold;
use super::pieces::Frame;
use super::symbols::{SYMBOLS, byte_of};
use super::vocabulary::{END_OF_TEXT, Kind, NO_TOKEN, Span, Vocabulary, pair};
use crate::config::TokenId;

/// Ids are below this. The largest vocabularies have about a quarter of a million tokens.
const MOST_IDS: usize = 1 << 24;

/// An added token is at most this long: all of it may be compared at each place of a text.
const LONGEST_ADDED: usize = 1024;

/// `text` in quotes for an error message, cut where it is long.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(40) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}...`", &text[..end]),
    }
}

/// A vocabulary while its files are read. An error says what is wrong with a file.
pub struct Builder<'a> {
    vocabulary: Vocabulary,
    ids: HashMap<&'a str, TokenId, Fold>, // by spelling
    next: usize,                          // the id of the next added token
    added: HashMap<&'a str, (AddedToken, TokenId), Fold>,
}

impl<'a> Builder<'a> {
    /// Starts with the spellings and ids of tokens.
    pub fn new(tokens: &'a [(String, u64)]) -> Result<Self, String> {
        let vocabulary = Vocabulary {
            bytes: Vec::new(),
            spans: Vec::new(),
            byte_ids: [NO_TOKEN; 256],
            ranks: HashMap::default(),
            merged: Vec::new(),
            added: AddedTokens::new([]),
            end_of_text: None,
            frame: Frame::default(),
            notes: Vec::new(),
        };
        let ids = HashMap::with_capacity_and_hasher(tokens.len(), Fold::default());
        let mut builder = Self { vocabulary, ids, next: tokens.len(), added: HashMap::default() };
        for (text, id) in tokens {
            let symbols = text.chars().all(|c| byte_of(c).is_some());
            builder.token(text, *id, if symbols { Kind::Symbols } else { Kind::Verbatim })?;
        }
        let mut missing = Vec::new();
        for (byte, symbol) in (0..=255u8).zip(SYMBOLS) {
            match builder.id(symbol.encode_utf8(&mut [0; 4])) {
                Some(id) => builder.vocabulary.byte_ids[usize::from(byte)] = id,
                None => missing.push(format!("{byte:#04x} (`{symbol}`)")),
            }
        }
        match (missing.len(), missing.first()) {
            (256, _) => Err("no byte has a token: this is not a byte-level vocabulary".into()),
            (count, Some(first)) => {
                let which = if count == 1 { "byte" } else { "bytes, the first" };
                builder.note(format!(
                    "no token for {count} {which} {first}: a text loses them, as in transformers"
                ));
                Ok(builder)
            }
            (_, None) => Ok(builder),
        }
    }

    /// The id of a token.
    pub fn id(&self, text: &str) -> Option<TokenId> {
        self.ids.get(text).copied()
    }

    /// Whether each byte has a token.
    pub fn has_all_bytes(&self) -> bool {
        !self.vocabulary.byte_ids.contains(&NO_TOKEN)
    }

    fn note(&mut self, note: String) {
        self.vocabulary.notes.push(note);
    }

    /// One more token.
    fn token(&mut self, text: &'a str, id: u64, kind: Kind) -> Result<(), String> {
        let Vocabulary { bytes, spans, .. } = &mut self.vocabulary;
        let start = bytes.len();
        match kind {
            Kind::Symbols => bytes.extend(text.chars().filter_map(byte_of)),
            _ => bytes.extend_from_slice(text.as_bytes()),
        }
        let span = match (u32::try_from(start), u16::try_from(bytes.len() - start)) {
            (Ok(start), Ok(len)) => Span { start, len, kind },
            _ => return Err(format!("the token {} is longer than 65,535 bytes: remove it", quoted(text))),
        };
        let place = usize::try_from(id).ok().filter(|&place| place < MOST_IDS).ok_or_else(|| {
            format!("the token {} has the id {id}: ids must be below {MOST_IDS}", quoted(text))
        })?;
        if place >= spans.len() {
            spans.resize(place + 1, Span::default());
        }
        if spans[place].kind != Kind::Missing {
            return Err(format!(
                "two tokens have the id {id}, one of them is {}: each needs its own",
                quoted(text)
            ));
        }
        spans[place] = span;
        match self.ids.insert(text, place as TokenId) {
            Some(_) => Err(format!("the token {} is there twice: remove one", quoted(text))),
            None => Ok(()),
        }
    }

    /// The merges in order, each with its number in the file; an error calls it a `unit`.
    pub fn merges<'m>(
        &mut self,
        unit: &str,
        merges: impl Iterator<Item = Result<(usize, [&'m str; 2]), String>>,
    ) -> Result<(), String> {
        let Self { vocabulary: Vocabulary { ranks, merged, .. }, ids, .. } = self;
        let merges = merges.collect::<Result<Vec<_>, _>>()?;
        // three look-ups per merge: most of the time that a vocabulary takes to load
        let tokens =
            |[left, right]: [&'m str; 2]| [left.into(), right.into(), Cow::from([left, right].concat())];
        let look_up = |&(_, pair): &(_, [&'m str; 2])| tokens(pair).map(|token| ids.get(&*token).copied());
        let mut known = Vec::new();
        merges.par_iter().with_min_len(1024).map(look_up).collect_into_vec(&mut known);
        ranks.reserve(merges.len());
        merged.reserve(merges.len());
        for (rank, (&(number, pair_of), known)) in (0..u32::MAX).zip(merges.iter().zip(known)) {
            let [Some(left), Some(right), Some(whole)] = known else {
                let missing = tokens(pair_of).into_iter().zip(known).find(|(_, id)| id.is_none());
                let missing = missing.map_or(String::new(), |(token, _)| quoted(&token));
                let [left, right] = pair_of.map(quoted);
                return Err(format!(
                    "{unit} {number}: the merge of {left} and {right} needs the token {missing}, which the \
                     vocabulary does not have: take both from the same model"
                ));
            };
            // If a pair occurs twice, the last one counts, as in HF's tokenizers.
            ranks.insert(pair(left, right), rank);
            merged.push(whole);
        }
        Ok(())
    }

    /// A token that is found by its spelling, not by merges; `stored` is the id that a file gives it.
    ///
    /// Its id is that of the vocabulary, or else the next free one, as in HF's `tokenizers`, whatever the file says.
    pub fn added(&mut self, token: &'a AddedToken, stored: Option<u64>) -> Result<(), String> {
        let (content, name) = (token.content.as_str(), quoted(&token.content));
        if content.is_empty() || content.len() > LONGEST_ADDED {
            let what = if content.is_empty() { "empty" } else { "longer than 1024 bytes" };
            return Err(format!("the added token {name} is {what}: remove it"));
        }
        if let Some((known, _)) = self.added.get_mut(content) {
            known.also(token);
            return Ok(());
        }
        let id = match self.id(content) {
            // Found as text, it must decode to that text.
            Some(id) if self.vocabulary.token_bytes(id) != Some(content.as_bytes()) => {
                return Err(format!(
                    "the added token {name} spells other bytes in the vocabulary: rename it"
                ));
            }
            Some(id) => id,
            None => {
                self.token(content, self.next as u64, Kind::Verbatim)?;
                self.next as TokenId
            }
        };
        if let Some(stored) = stored.filter(|stored| *stored != u64::from(id)) {
            self.note(format!("the added token {name} has the id {stored} in its file, but {id} in transformers; it gets {id}"));
        }
        self.next = self.next.max(id as usize + 1);
        self.added.insert(content, (token.clone(), id));
        Ok(())
    }

    /// The vocabulary.
    pub fn finish(mut self, frame: Frame) -> Vocabulary {
        self.vocabulary.end_of_text = self.id(END_OF_TEXT);
        self.vocabulary.added = AddedTokens::new(self.added.into_values());
        self.vocabulary.frame = frame;
        self.vocabulary.bytes.extend_from_slice(&[0; BLOCK]);
        self.vocabulary
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bpe;
    use super::*;

    #[test]
    fn tokens_longer_than_a_block_decode_whole() {
        let mut tokens: Vec<_> = SYMBOLS.iter().map(|symbol| symbol.to_string()).zip(0..).collect();
        tokens.extend((1..40).map(|len| "x".repeat(len + 1)).zip(256..));
        let bpe = Bpe { vocabulary: Builder::new(&tokens).expect("sound").finish(Frame::default()).into() };
        let ids: Vec<_> = (256..295).chain([0]).chain((256..295).rev()).collect();
        let expected: Vec<_> =
            ids.iter().flat_map(|&id| bpe.token_bytes(id).expect("a token")).copied().collect();
        assert_eq!(bpe.decode(&ids).expect("tokens"), expected);
        assert!(bpe.decode(&[0, 295]).is_err_and(|error| error.to_string().contains("id 295, number 2")));
        assert!(bpe.decode(&[]).is_ok_and(|text| text.is_empty()));
    }
}
