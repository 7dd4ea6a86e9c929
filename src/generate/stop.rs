//! How does a text end at a string, if the string may begin in one token and end in another?
//!
//! A stop string that is complete ends the text before it. Until then, text that could still become one is held back:
//! what is shown is never taken back.
//!
//! ```text
//! stop "\n\n":   push "one\n" shows "one";   push "two" shows "\ntwo";   push "\n\n" shows nothing, and that is the end
//! ```
//!
//! Of several strings the one that is complete first counts, and of those the longest. So the text does not depend on
//! where the borders of the tokens are. Each string is followed by the automaton of Knuth, Morris and Pratt (1977),
//! which knows after each byte how much of the string the text ends with.

use crate::bpe::{Bpe, StreamDecoder, TokenId};
use crate::error::{Error, Result};

/// Finds the first stop string in a text that comes in pieces.
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
    patterns: Vec<Pattern>,
    /// What was pushed and not shown: the longest end of the text that begins a stop string.
    held: String,
    found: bool,
}

/// One string, and how much of it the text ends with.
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// `border[i]`: the longest beginning of the string that is also an end of its first `i + 1` bytes, and shorter.
    border: Vec<usize>,
    matched: usize,
}

impl Pattern {
    fn new(string: &str) -> Self {
        let mut pattern = Self { bytes: string.into(), border: vec![0; string.len()], matched: 0 };
        for i in 1..string.len() {
            pattern.border[i] = pattern.after(pattern.border[i - 1], pattern.bytes[i]);
        }
        pattern
    }

    /// How much matches after one more byte, if `matched` bytes did before and not all of them.
    fn after(&self, mut matched: usize, byte: u8) -> usize {
        while matched > 0 && self.bytes[matched] != byte {
            matched = self.border[matched - 1];
        }
        matched + usize::from(self.bytes[matched] == byte)
    }
}

impl StopStrings {
    /// Watches for these strings.
    ///
    /// # Errors
    /// [`Error::Input`] if one is empty: every text would end before it began.
    pub fn new<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> Result<Self> {
        let pattern = |string: S| match string.as_ref() {
            "" => Err(Error::input("stop: an empty text is found everywhere; give at least one character")),
            string => Ok(Pattern::new(string)),
        };
        let patterns = strings.into_iter().map(pattern).collect::<Result<_>>()?;
        Ok(Self { patterns, ..Self::default() })
    }

    /// The text that is certain after one more piece. Nothing comes after a stop string.
    pub fn push(&mut self, text: &str) -> String {
        if self.found {
            return String::new();
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (i, byte) in text.bytes().enumerate() {
            for pattern in &mut self.patterns {
                pattern.matched = pattern.after(pattern.matched, byte);
            }
            let complete = self.patterns.iter().filter(|p| p.matched == p.bytes.len());
            if let Some(longest) = complete.map(|p| p.matched).max() {
                self.found = true;
                self.held.truncate(before + i + 1 - longest);
                return std::mem::take(&mut self.held);
            }
        }
        let waiting = self.patterns.iter().map(|p| p.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - waiting);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether there is no string to watch for.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a stop string is complete.
    pub fn found(&self) -> bool {
        self.found
    }

    /// What was held back: at the end of the text it is no stop string.
    pub fn finish(&mut self) -> String {
        self.patterns.iter_mut().for_each(|pattern| pattern.matched = 0);
        std::mem::take(&mut self.held)
    }
}

/// Turns tokens into text one at a time, up to a stop string. Characters are shown whole.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    decoder: StreamDecoder<'a>,
    stop: StopStrings,
}

impl<'a> TextStream<'a> {
    /// A text of `bpe`'s tokens that ends before `stop`.
    pub fn new(bpe: &'a Bpe, stop: StopStrings) -> Self {
        Self { decoder: StreamDecoder::new(bpe), stop }
    }

    /// The text that is certain after one more token.
    ///
    /// A model may have more ids than its tokenizer (padded vocabularies): those stand for no text, as in HF.
    pub fn push(&mut self, id: TokenId) -> String {
        self.stop.push(self.decoder.push(id).unwrap_or_default())
    }

    /// Whether a stop string is complete.
    pub fn stopped(&self) -> bool {
        self.stop.found()
    }

    /// What was still waiting when the last token had come.
    pub fn finish(&mut self) -> String {
        let rest = self.decoder.finish();
        self.stop.push(&rest) + &self.stop.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By definition: the first place where a string is complete, and the longest that is complete there.
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
                // Held back is exactly what could still grow into a stop string.
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
