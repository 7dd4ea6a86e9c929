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
use crate::error::{Error, Result};
use crate::names::names;

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
    /// [`Error::Input`] if a string is empty: every text would end before it began.
    pub fn new<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> Result<Self> {
        let strings: Vec<String> = strings.into_iter().map(|string| string.as_ref().into()).collect();
        if strings.iter().any(String::is_empty) {
            return Err(Error::input("stop: an empty text matches everywhere; give at least one character"));
        }
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

    /// Whether there are no strings to watch for.
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty()
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

    /// Returns the text still held back after the last token.
    pub fn finish(&mut self) -> String {
        let rest = self.decoder.finish();
        self.stop.push(&rest) + &self.stop.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By definition: the first place where a string is complete, and the longest string that is complete there.
    fn naive(text: &str, stop: &[String]) -> Option<usize> {
        let ends = (0..=text.len()).filter(|end| text.is_char_boundary(*end));
        let complete = |end| stop.iter().filter(move |s| text[..end].ends_with(*s)).map(|s| s.len()).max();
        ends.filter_map(|end| complete(end).map(|len| end - len)).next()
    }

    #[test]
    fn an_empty_string_is_refused() {
        assert!(StopStrings::new(["a", ""]).is_err_and(|e| e.to_string().starts_with("stop: ")));
        let mut none = StopStrings::new([""; 0]).expect("no strings");
        assert_eq!((none.push("all"), none.found()), ("all".into(), false));
    }

    #[test]
    fn the_first_complete_string_counts() {
        for (stop, shown) in [(["abcd", "bc"], "xa"), (["bc", "abc"], "x"), (["d", "abcde"], "xabc")] {
            let mut stops = StopStrings::new(stop).expect("strings");
            assert_eq!((stops.push("xabcde"), stops.found()), (shown.into(), true), "{stop:?}");
            assert_eq!((stops.push("more"), stops.finish()), (String::new(), String::new()));
        }
    }

    #[test]
    fn what_is_held_back_comes_when_it_cannot_be_a_stop() {
        let mut stops = StopStrings::new(["aab", "ac"]).expect("strings");
        assert_eq!(["a", "a", "a", "x", "a"].map(|part| stops.push(part)), ["", "", "a", "aax", ""]);
        assert_eq!((stops.finish(), stops.found()), ("a".into(), false));
    }

    #[test]
    fn characters_that_begin_alike_are_told_apart() {
        let bpe = Bpe::gpt2();
        let mut text = TextStream::new(&bpe, StopStrings::new(["è"]).expect("strings"));
        let shown: Vec<String> = bpe.encode("aéà\u{1f418}è b").into_iter().map(|id| text.push(id)).collect();
        assert_eq!(shown.concat() + &text.finish(), "aéà\u{1f418}");
        assert!(text.stopped());
    }

    #[test]
    fn the_end_in_the_middle_of_a_character_is_shown() {
        let bpe = Bpe::gpt2();
        let mut text = TextStream::new(&bpe, StopStrings::new(["b!"]).expect("strings"));
        let ids = bpe.encode(b"ab\xe2\x82");
        let shown: Vec<String> = ids.into_iter().map(|id| text.push(id)).collect();
        assert_eq!(shown.concat() + &text.finish(), "ab\u{fffd}");
        assert!(!text.stopped());
        assert_eq!(text.push(4_000_000), "", "an id that the tokenizer does not have is no text");
    }

    proptest! {
        #![proptest_config(crate::properties::config())]
        #[test]
        fn pieces_make_no_difference(
            text in "[abé\u{1f418}]{0,40}",
            stop in prop::collection::vec("[abé\u{1f418}]{1,5}", 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(text.len() + 1)).filter(|i| text.is_char_boundary(*i)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut stops = StopStrings::new(&stop).expect("strings");
            let mut shown = String::new();
            for cut in cuts.windows(2) {
                shown += &stops.push(&text[cut[0]..cut[1]]);
                if stops.found() {
                    prop_assert!(naive(&text[..cut[1]], &stop).is_some(), "found in time, not early");
                    break;
                }
                prop_assert_eq!(naive(&text[..cut[1]], &stop), None);
                // Exactly the text that could still become a stop string is held back.
                let could_grow = |from: &usize| stop.iter().any(|s| s.starts_with(&text[*from..cut[1]]));
                let first = (0..=cut[1]).filter(|i| text.is_char_boundary(*i)).find(could_grow).unwrap_or(cut[1]);
                prop_assert_eq!(&shown, &text[..first]);
            }
            let found = stops.found();
            shown += &stops.finish();
            let expected = naive(&text, &stop);
            prop_assert_eq!(found, expected.is_some());
            prop_assert_eq!(shown, &text[..expected.unwrap_or(text.len())]);
        }
    }
}
