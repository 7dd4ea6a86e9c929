//! Why does a text end? And how does a stop string end it if it may begin in one token and end in another?
//!
//! A complete stop string ends the text just before it. Text that could still become a stop string is held back, so
//! text that has been shown is never withdrawn.
//!
//! ```text
//! stop "\n\n":   push "one\n" shows "one";   push "two" shows "\ntwo";   push "\n\n" shows nothing and ends the text
//! ```
//!
//! With several strings, the first to be complete ends the text; among those complete at the same byte, the longest
//! does. So the result does not depend on token boundaries.

use crate::bpe::{Bpe, StreamDecoder, TokenId};
use crate::error::Result;
use crate::names::names;
use crate::sampling::options::check_stop;

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The text has `max_new_tokens` new tokens, or it fills all positions.
    Length,
    /// An end-of-text id was chosen.
    Eos,
    /// A stop string is complete.
    Stop,
}

names!(FinishReason { Length: "length", Eos: "eos", Stop: "stop" });

/// Finds the first stop string in a text that arrives in pieces.
///
/// ```
/// let mut stop = gpt2::generate::StopStrings::new(["END"])?;
/// assert_eq!(stop.push("the E"), "the ");
/// assert_eq!(stop.push("lk EN"), "Elk ");
/// assert_eq!(stop.push("DED"), "");
/// assert!(stop.found());
/// # Ok::<(), gpt2::error::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    strings: Vec<String>,
    /// Text that was pushed but not shown: the longest suffix of the text that is a prefix of a stop string.
    held: String,
    found: bool,
}

impl StopStrings {
    /// Watches for these strings.
    ///
    /// # Errors
    /// [`Error::Option`](crate::error::Error::Option) if a string is empty: every text would end before it began.
    pub fn new<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> Result<Self> {
        let checked = |string: S| check_stop(string.as_ref()).map(|()| string.as_ref().into());
        let strings = strings.into_iter().map(checked).collect::<Result<_>>()?;
        Ok(Self { strings, ..Self::default() })
    }

    /// Adds a piece and returns the text that is now certain: nothing once a stop string has been found.
    pub fn push(&mut self, text: &str) -> String {
        if self.found {
            return String::new();
        }
        let first = self.held.len() + 1;
        self.held.push_str(text);
        let held = self.held.as_bytes();
        let complete = |end: usize| {
            let here = self.strings.iter().filter(|string| held[..end].ends_with(string.as_bytes()));
            here.map(|string| end - string.len()).min() // the longest begins first
        };
        if let Some(begin) = (first..=held.len()).find_map(complete) {
            self.found = true;
            self.held.truncate(begin);
            return std::mem::take(&mut self.held);
        }
        let may_grow = |begin: &usize| self.strings.iter().any(|s| s.as_bytes().starts_with(&held[*begin..]));
        let waits = (0..held.len()).find(may_grow).unwrap_or(held.len());
        let rest = self.held.split_off(waits);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop string has been found.
    pub fn found(&self) -> bool {
        self.found
    }

    /// Returns the text held back: once the text has ended, it can no longer become a stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Turns tokens into text one at a time, up to a stop string. It only shows whole characters.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    decoder: StreamDecoder<'a>,
    stop: StopStrings,
}

impl<'a> TextStream<'a> {
    /// A stream that decodes tokens of `bpe` and ends before the first of the stop strings.
    pub fn new(bpe: &'a Bpe, stop: StopStrings) -> Self {
        Self { decoder: StreamDecoder::new(bpe), stop }
    }

    /// Adds a token and returns the text that is now certain.
    ///
    /// A model may have more ids than its tokenizer (padded vocabularies). They decode to no text, as in HF.
    pub fn push(&mut self, id: TokenId) -> String {
        self.stop.push(self.decoder.push(id).unwrap_or_default())
    }

    /// Whether a stop string has been found.
    pub fn stopped(&self) -> bool {
        self.stop.found()
    }

    /// The text of all these tokens.
    pub fn decode(mut self, ids: &[TokenId]) -> String {
        let text: String = ids.iter().map(|id| self.push(*id)).collect();
        text + &self.finish()
    }

    /// Returns the text still held back after the last token.
    pub fn finish(&mut self) -> String {
        let rest = self.decoder.finish();
        self.stop.push(&rest) + &self.stop.finish()
    }
}

#[cfg(test)]
mod tests;
