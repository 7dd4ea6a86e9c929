//! How do tokens become text again? The bytes of each are looked up, and put one after the other.

use super::symbols::SYMBOLS;
use super::vocabulary::{Kind, Span};
use super::{Bpe, TokenId};
use crate::error::{Error, Result};

/// This many bytes are copied at once: one load and one store per token, and no call.
pub const BLOCK: usize = 16;

impl Bpe {
    /// The bytes that the tokens stand for. Spaces stay as they are.
    ///
    /// # Errors
    /// [`Error::Input`] if the vocabulary lacks an id: the message names it and its place in `ids`.
    pub fn decode(&self, ids: &[TokenId]) -> Result<Vec<u8>> {
        let mut len = 0;
        for (place, &id) in ids.iter().enumerate() {
            len += self.token_bytes(id).ok_or_else(|| self.unknown_id(id, place))?.len();
        }
        let mut text = vec![0; len + BLOCK];
        let mut rest = text.as_mut_slice();
        for &id in ids {
            let Span { start, len, .. } = self.vocabulary.spans[id as usize];
            let (start, len) = (start as usize, usize::from(len));
            let bytes = &self.vocabulary.bytes[start..];
            match len <= BLOCK {
                // The next token overwrites the surplus; after the last token it is cut off.
                true => rest[..BLOCK].copy_from_slice(&bytes[..BLOCK]),
                false => rest[..len].copy_from_slice(&bytes[..len]),
            }
            rest = &mut rest[len..];
        }
        text.truncate(len);
        Ok(text)
    }

    /// The text that the tokens stand for. A broken character becomes U+FFFD, as with Python's
    /// `errors="replace"`.
    ///
    /// # Errors
    /// As [`Bpe::decode`].
    pub fn decode_lossy(&self, ids: &[TokenId]) -> Result<String> {
        let text = String::from_utf8(self.decode(ids)?);
        Ok(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The bytes of a token: `b" once"`.
    #[inline]
    pub fn token_bytes(&self, id: TokenId) -> Option<&[u8]> {
        self.vocabulary.token_bytes(id)
    }

    /// The spelling of a token in vocabulary files: `"Ġonce"`.
    pub fn token_text(&self, id: TokenId) -> Option<String> {
        let bytes = self.token_bytes(id)?;
        Some(match self.vocabulary.spans[id as usize].kind {
            Kind::Verbatim => String::from_utf8_lossy(bytes).into_owned(),
            _ => bytes.iter().map(|&byte| SYMBOLS[usize::from(byte)]).collect(),
        })
    }

    /// The error for an id that the vocabulary lacks.
    pub(super) fn unknown_id(&self, id: TokenId, place: usize) -> Error {
        let (number, size) = (place + 1, self.vocab_size());
        Error::input(format!(
            "id {id}, number {number} of the list, is not a token: the vocabulary has {size} ids"
        ))
    }
}
