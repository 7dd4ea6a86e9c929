//! How is text shown while it is being generated, if a token can end inside a character?
//!
//! `€` has three bytes, which may come from two tokens. Bytes that could still become a character wait for the
//! next token; bytes that cannot are replaced by U+FFFD.

use super::Bpe;
use crate::{config::TokenId, error::Result};

/// Turns tokens into text one at a time. The pieces together are the [`Bpe::decode_lossy`] of all tokens.
///
/// ```
/// use gpt2::bpe::{Bpe, StreamDecoder};
///
/// let bpe = Bpe::gpt2();
/// let mut stream = StreamDecoder::new(&bpe);
/// let ids = bpe.encode("a 🐘"); // the elephant is four bytes, and three tokens
/// let mut shown = Vec::new();
/// for id in ids {
///     shown.push(stream.push(id)?.to_owned());
/// }
/// assert_eq!(shown, ["a", " ", "", "🐘"]);
/// assert_eq!(stream.finish(), "");
/// # Ok::<(), gpt2::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamDecoder<'a> {
    bpe: &'a Bpe,
    waiting: Vec<u8>, // the first bytes of a character
    shown: String,
    pushed: usize,
}

impl<'a> StreamDecoder<'a> {
    /// A decoder at the start of a text.
    pub fn new(bpe: &'a Bpe) -> Self {
        Self { bpe, waiting: Vec::new(), shown: String::new(), pushed: 0 }
    }

    /// The text that is certain after one more token: often that token's, sometimes none.
    ///
    /// # Errors
    /// As [`Bpe::decode`]. The decoder can go on with other ids.
    pub fn push(&mut self, id: TokenId) -> Result<&str> {
        self.pushed += 1;
        let bytes = self.bpe.token_bytes(id).ok_or_else(|| self.bpe.unknown_id(id, self.pushed - 1))?;
        self.waiting.extend_from_slice(bytes);
        let complete = self.waiting.len() - unfinished(&self.waiting);
        self.shown.clear();
        self.shown.push_str(&String::from_utf8_lossy(&self.waiting[..complete]));
        self.waiting.drain(..complete);
        Ok(&self.shown)
    }

    /// The rest: U+FFFD if the text ends inside a character. The decoder is then at the start of a text.
    pub fn finish(&mut self) -> String {
        self.pushed = 0;
        String::from_utf8_lossy(&std::mem::take(&mut self.waiting)).into_owned()
    }
}

/// How many of the last bytes are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tokens of single bytes spell every sequence of bytes.
    fn stream(bytes: &[u8]) -> (Vec<String>, String) {
        let bpe = Bpe::gpt2();
        let mut stream = StreamDecoder::new(&bpe);
        let shown = bytes.iter().map(|&byte| {
            stream.push(bpe.vocabulary.byte_id(byte).expect("a token")).expect("known").to_owned()
        });
        (shown.collect(), stream.finish())
    }

    #[test]
    fn a_character_appears_when_it_is_complete() {
        assert_eq!(stream("é€".as_bytes()), (["", "é", "", "", "€"].map(String::from).into(), String::new()));
    }

    #[test]
    fn broken_characters_are_replaced_as_soon_as_they_are_known_to_be() {
        assert_eq!(stream(b"\xe2\x82A"), (["", "", "\u{fffd}A"].map(String::from).into(), String::new()));
        assert_eq!(stream(b"\xe2\x82"), (["", ""].map(String::from).into(), "\u{fffd}".into()));
        assert_eq!(
            stream(b"\xff\xf0\x80"),
            (["\u{fffd}", "", "\u{fffd}\u{fffd}"].map(String::from).into(), "".into())
        );
    }

    #[test]
    fn an_unknown_id_is_an_error_and_not_the_end() {
        let bpe = Bpe::gpt2();
        let mut stream = StreamDecoder::new(&bpe);
        assert_eq!(stream.push(31373).expect("known"), "hello");
        assert!(stream.push(50_257).is_err_and(|error| error.to_string().contains("50257")));
        assert_eq!(stream.push(995).expect("known"), " world");
    }

    proptest! {
        #![proptest_config(crate::properties::config())]
        #[test]
        fn the_stream_is_decode_lossy(ids in prop::collection::vec(0..50_257u32, 0..50)) {
            let bpe = Bpe::gpt2();
            let mut stream = StreamDecoder::new(&bpe);
            let mut text = String::new();
            for &id in &ids {
                text += stream.push(id).expect("known");
            }
            text += &stream.finish();
            prop_assert_eq!(text, bpe.decode_lossy(&ids).expect("known"));
        }

        #[test]
        fn the_stream_of_single_bytes_is_decode_lossy(bytes in prop::collection::vec(0x70..=255u8, 0..30)) {
            let (shown, rest) = stream(&bytes);
            prop_assert_eq!(shown.concat() + &rest, String::from_utf8_lossy(&bytes));
        }
    }
}
