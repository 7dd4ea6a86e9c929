//! How does text become numbers, and numbers text?
//!
//! A model reads and writes *tokens*: numbers from 0 to 50,256. One token per word would leave out every
//! word that is not in the list; one token per byte would make texts long. Byte-pair encoding lies in
//! between: it starts from bytes, so nothing is left out, and joins what often occurs together.
//!
//! OpenAI counted the pairs of neighbours in a large body of text, wrote down the most frequent one, joined
//! it everywhere, counted again, and so on, 50,000 times. That list of merges, in order, is the tokenizer.
//! Encoding a text replays the list:
//!
//! ```text
//! for piece in split(text) {                            // words, numbers, punctuation; no merge goes across
//!     let mut ids = one token for each byte of piece;
//!     while some adjacent pair of ids is in the list {
//!         replace the pair that is first in the list, leftmost if it occurs twice, by its merged token
//!     }
//! }
//! ```
//!
//! In ` lower` (`Ġ` is how the files write a space), merge number 7 comes first, then 44, and so on:
//!
//! ```text
//!          Ġ l o w e r
//!       7  Ġ l o w er
//!      44  Ġl o w er
//!      66  Ġl ow er
//!     533  Ġl ower
//!    2537  Ġlower           one token, 2793
//! ```
//!
//! [`Bpe::merges`] shows these steps for any text. Decoding only looks up the bytes of each token.
//!
//! | file | question |
//! |---|---|
//! | `bpe/split.rs`, `class.rs` | where are the borders of a piece? |
//! | `bpe/merge.rs` | how is the first pair found quickly? |
//! | `bpe/vocabulary.rs`, `symbols.rs` | what is in the list, and how is it spelled? |
//! | `bpe/folder.rs`, `files.rs`, `tokenizer_json.rs`, `builder.rs` | how is it read and checked? |
//! | `bpe/cache.rs`, `hash.rs` | what makes ordinary text fast? |
//! | `bpe/added.rs`, `pieces.rs` | where is `<\|endoftext\|>`? |
//! | `bpe/decode.rs`, `stream.rs` | how do tokens become text, even one at a time? |
//!
//! The result equals that of OpenAI's tiktoken (`gpt2`) and of Hugging Face's tokenizers on every text. The
//! character classes are those of Unicode 16.0. Bytes that are not UTF-8 are kept as they are: `decode` of
//! `encode` returns every input unchanged. Next: [`embedding`](crate::embedding).

mod added;
mod builder;
mod cache;
mod class;
mod decode;
mod files;
mod folder;
mod hash;
mod merge;
mod parts;
mod pieces;
mod special_tokens;
mod split;
mod stream;
mod symbols;
mod tokenizer_config;
mod tokenizer_json;
mod vocabulary;

pub use self::merge::{Merge, PieceMerges};
pub use self::parts::{Found, Parts};
pub use self::stream::StreamDecoder;
pub use crate::config::TokenId;

use self::{cache::Cache, merge::Merger, pieces::Prepared, vocabulary::Vocabulary};
use crate::error::Result;
use crate::format::Folder;
use std::sync::{Arc, LazyLock};
use std::{fmt, path::Path};

/// GPT-2's merges, as OpenAI published them.
const GPT2_MERGES: &str = include_str!("../data/tales-8m/merges.txt");
/// The ids that result, in the spelling of Hugging Face's `openai-community/gpt2`.
const GPT2_VOCAB: &str = include_str!("../data/tales-8m/vocab.json");
/// The same merges as ids, so that nothing is looked up at the start. `tests/make_tokenizer_fixtures.py` writes them.
const GPT2_MERGE_IDS: &[u8] = include_bytes!("../data/gpt2-merges.bin");

/// A byte-pair tokenizer. Clones share their tables.
///
/// ```
/// use gpt2::bpe::Bpe;
///
/// let bpe = Bpe::gpt2();
/// let ids = bpe.encode("Once upon a time");
/// assert_eq!(ids, [7454, 2402, 257, 640]);
/// assert_eq!(bpe.decode(&ids)?, b"Once upon a time");
/// assert_eq!(bpe.token_text(2402).as_deref(), Some("Ġupon"));
/// # Ok::<(), gpt2::error::Error>(())
/// ```
#[derive(Clone)]
pub struct Bpe {
    vocabulary: Arc<Vocabulary>,
}

impl fmt::Debug for Bpe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bpe").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

/// A token and its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The byte of the text at which it begins.
    pub start: usize,
    /// The byte at which it ends, and the next token begins.
    pub end: usize,
}

impl Bpe {
    /// GPT-2's own vocabulary, which is part of this library.
    pub fn gpt2() -> Self {
        static GPT2: LazyLock<Arc<Vocabulary>> =
            LazyLock::new(|| Arc::new(Vocabulary::from_merges(GPT2_MERGE_IDS)));
        Self { vocabulary: Arc::clone(&GPT2) }
    }

    /// A vocabulary in GPT-2's two files, `vocab.json` and `merges.txt`. Ids may have any order, and gaps.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io) if a file cannot be read; [`Error::File`](crate::error::Error::File) if the
    /// two do not define a byte-level BPE. The message says where, and what to do.
    pub fn from_files(vocab: &Path, merges: &Path) -> Result<Self> {
        let texts = [files::read(vocab)?, files::read(merges)?];
        if files::are_gpt2s(&texts) {
            return Ok(Self::gpt2());
        }
        Ok(Self { vocabulary: folder::plain((vocab, &texts[0]), (merges, &texts[1]))?.into() })
    }

    /// The tokenizer of a folder, as Hugging Face's `AutoTokenizer` reads its files: `tokenizer.json`, else `vocab.json` and
    /// `merges.txt`; with `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`. `None` if the folder
    /// has no tokenizer.
    ///
    /// # Errors
    /// As [`Bpe::from_files`]; and [`Error::File`](crate::error::Error::File) if the tokenizer is of another kind than GPT-2's.
    pub fn from_folder(folder: impl Into<Folder>) -> Result<Option<Self>> {
        folder::open(&folder.into())
    }

    /// A vocabulary in the one file of HF's `tokenizers`, `tokenizer.json`.
    ///
    /// # Errors
    /// As [`Bpe::from_files`]; and [`Error::File`](crate::error::Error::File) if it describes another kind of tokenizer
    /// than GPT-2's.
    pub fn from_tokenizer_json(path: &Path) -> Result<Self> {
        Ok(Self { vocabulary: folder::tokenizer_json(path)?.into() })
    }

    /// What its files say that changes ids in a way to know about; a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.vocabulary.notes
    }

    /// The number of ids: one more than the largest. In a vocabulary with gaps, some stand for nothing.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.spans.len()
    }

    /// The token between documents, `<|endoftext|>`.
    pub fn end_of_text(&self) -> Option<TokenId> {
        self.vocabulary.end_of_text
    }

    /// The tokens of a text, in which `<|endoftext|>` is plain text too.
    ///
    /// A tokenizer from files may put tokens around every text; they are among these.
    pub fn encode(&self, text: impl AsRef<[u8]>) -> Vec<TokenId> {
        self.ids(text.as_ref(), false, true)
    }

    /// The tokens of a text, in which `<|endoftext|>` and other special tokens are recognised.
    pub fn encode_with_special(&self, text: impl AsRef<[u8]>) -> Vec<TokenId> {
        self.ids(text.as_ref(), true, true)
    }

    /// The tokens of a text that is part of another: without those that the tokenizer puts around every text.
    pub fn encode_part(&self, text: impl AsRef<[u8]>, allow_special: bool) -> Vec<TokenId> {
        self.ids(text.as_ref(), allow_special, false)
    }

    /// The tokens of a text, with their places. A token may end inside a character.
    pub fn tokens(&self, text: &[u8], allow_special: bool) -> Vec<Token> {
        let (mut merger, mut all) = (Merger::new(&self.vocabulary), Vec::new());
        self.prepare(text, allow_special, true).pieces(|piece| {
            if let Some(id) = piece.token {
                return all.push(Token { id, start: piece.place.start, end: piece.place.end });
            }
            let (mut ids, mut places) = (Vec::new(), piece.places(&self.vocabulary).into_iter());
            merger.merge(piece.bytes, &mut ids, |_| ());
            for id in ids {
                let len = self.token_bytes(id).map_or(0, <[u8]>::len); // tokens spell the piece: lengths add up
                let mut own = places.by_ref().take(len);
                let first = own.next().unwrap_or_default();
                all.push(Token { id, start: first.start, end: own.last().unwrap_or(first).end });
            }
        });
        all
    }

    /// Every merge on the way to the tokens of a text, piece by piece.
    pub fn merges(&self, text: &[u8], allow_special: bool) -> Vec<PieceMerges> {
        let (mut merger, mut ids, mut all) = (Merger::new(&self.vocabulary), Vec::new(), Vec::new());
        self.prepare(text, allow_special, true).pieces(|piece| {
            let (mut merges, places) = (Vec::new(), piece.places(&self.vocabulary));
            let observe = |merge: Merge| merges.push(Merge { at: places[merge.at].start, ..merge });
            let symbols = match piece.token {
                Some(id) => vec![id],
                None => {
                    merger.merge(piece.bytes, &mut ids, observe);
                    self.byte_ids(piece.bytes)
                }
            };
            all.push(PieceMerges { start: piece.place.start, end: piece.place.end, symbols, merges });
        });
        all
    }

    /// The tokens of one piece, by the rule itself: of all adjacent pairs merge the one that is first in the list, the
    /// leftmost on a tie, until no adjacent pair is in the list.
    ///
    /// It takes quadratic time; the tests compare [`encode`](Self::encode), which uses a heap, with it.
    ///
    /// ```
    /// let bpe = gpt2::bpe::Bpe::gpt2();
    /// assert_eq!(bpe.merge_plain(b" lower"), bpe.encode(" lower"));
    /// ```
    pub fn merge_plain(&self, piece: &[u8]) -> Vec<TokenId> {
        let mut ids = self.byte_ids(piece);
        let rank = |pair: &[TokenId]| self.vocabulary.rank(pair[0], pair[1]);
        while let Some((rank, i)) =
            (ids.windows(2).enumerate()).filter_map(|(i, pair)| Some((rank(pair)?, i))).min()
        {
            ids[i] = self.vocabulary.merged[rank as usize];
            ids.remove(i + 1);
        }
        ids
    }

    /// The tokens of a text.
    fn ids(&self, text: &[u8], allow_special: bool, framed: bool) -> Vec<TokenId> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 1);
        let prepared = self.prepare(text, allow_special, framed);
        let (mut merger, mut cache) = (Merger::new(&self.vocabulary), Cache::new(text.len()));
        prepared.pieces(|piece| match piece.token {
            Some(id) => ids.push(id),
            None => cache.append(piece.bytes, &mut ids, |ids| merger.merge(piece.bytes, ids, |_| ())),
        });
        ids
    }

    /// The tokens of a piece before any merge: one for each byte.
    fn byte_ids(&self, piece: &[u8]) -> Vec<TokenId> {
        piece.iter().filter_map(|&byte| self.vocabulary.byte_id(byte)).collect()
    }

    /// The text, cut at its added tokens, like `<|endoftext|>`.
    fn prepare<'t>(&self, text: &'t [u8], allow_special: bool, framed: bool) -> Prepared<'t> {
        Prepared::new(&self.vocabulary, text, allow_special, framed)
    }
}

#[cfg(test)]
mod tests;
