//! Which parts of a text are not text? Tokens like `<|endoftext|>`, which no merge produces.
//!
//! They are cut out before the pattern sees the text: the leftmost first; where several begin, the longest. The rules
//! are those of Hugging Face's `tokenizers`:
//!
//! | flag | what it does |
//! |---|---|
//! | `special` | found only where special tokens are allowed; elsewhere its text is ordinary |
//! | `single_word` | found only if no letter, digit or `_` stands next to it |
//! | `lstrip`, `rstrip` | takes the white space before or after it |
//! | `normalized` | looked for after all tokens without this flag, in what they left |

use super::class::{first_char, is_word, last_char};
use crate::config::TokenId;
use crate::format::json::from_json;
use std::ops::Range;

/// A token that is found by its spelling, as the files describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddedToken {
    pub content: String,
    pub special: bool,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    /// Left out, it is the opposite of `special`.
    pub normalized: Option<bool>,
}

from_json!(AddedToken {
    "content" content or String::new(),
    "special" special or false,
    "single_word" single_word or false,
    "lstrip" lstrip or false,
    "rstrip" rstrip or false,
    "normalized" normalized or None,
});

impl AddedToken {
    /// A special token without other flags.
    pub fn special(content: impl Into<String>) -> Self {
        Self { content: content.into(), special: true, ..Self::default() }
    }

    /// Whether it is looked for after the others.
    pub fn is_normalized(&self) -> bool {
        self.normalized.unwrap_or(!self.special)
    }

    /// Takes in a second description of the same token: the last one counts, but once special, a token stays so.
    pub fn also(&mut self, other: &Self) {
        let special = self.special || other.special;
        *self = Self { special, normalized: Some(other.is_normalized()), ..other.clone() };
    }
}

/// A part of a text: an added token, or what is between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub place: Range<usize>,
    pub token: Option<TokenId>,
}

/// All added tokens of a vocabulary.
#[derive(Clone)]
pub struct AddedTokens {
    passes: [Matcher; 2],
}

impl AddedTokens {
    /// All tokens with their ids.
    pub fn tokens(&self) -> impl Iterator<Item = &(AddedToken, TokenId)> {
        self.passes.iter().flat_map(|pass| &pass.tokens)
    }

    /// `tokens` in any order, with their ids; no content is empty.
    pub fn new(tokens: impl IntoIterator<Item = (AddedToken, TokenId)>) -> Self {
        let mut passes = [Vec::new(), Vec::new()];
        tokens
            .into_iter()
            .for_each(|(token, id)| passes[usize::from(token.is_normalized())].push((token, id)));
        Self { passes: passes.map(Matcher::new) }
    }

    /// The sections of a text, in order; none is plain and empty.
    pub fn sections(&self, text: &[u8], allow_special: bool) -> Vec<Section> {
        let [first, second] = &self.passes;
        let mut sections = Vec::new();
        first.cut(text, allow_special, |Section { place, token }| match token {
            Some(_) => sections.push(Section { place, token }),
            None => second.cut(&text[place.clone()], allow_special, |Section { place: inside, token }| {
                let place = place.start + inside.start..place.start + inside.end;
                sections.push(Section { place, token });
            }),
        });
        sections
    }
}

/// The added tokens of one pass, in the order of their bytes.
#[derive(Clone)]
struct Matcher {
    tokens: Vec<(AddedToken, TokenId)>,
    /// For each byte, whether a token begins with it.
    first: [bool; 256],
    all_special: bool,
}

impl Matcher {
    fn new(mut tokens: Vec<(AddedToken, TokenId)>) -> Self {
        tokens.sort_by(|(a, _), (b, _)| a.content.cmp(&b.content));
        let mut first = [false; 256];
        tokens.iter().for_each(|(token, _)| first[usize::from(token.content.as_bytes()[0])] = true);
        let all_special = tokens.iter().all(|(token, _)| token.special);
        Self { tokens, first, all_special }
    }

    /// Cuts `text` into sections.
    fn cut(&self, text: &[u8], allow_special: bool, mut each: impl FnMut(Section)) {
        let mut plain = 0; // where the text after the last token begins
        let mut from = 0;
        while let Some((at, token, id)) = self.find(text, from, allow_special) {
            let end = at + token.content.len();
            from = end; // also where the token is refused: nothing inside it is looked for
            let (before, after) = (&text[..at], &text[end..]);
            let in_word = last_char(before).is_some_and(is_word) || first_char(after).is_some_and(is_word);
            if token.special && !allow_special || token.single_word && in_word {
                continue;
            }
            let start = if token.lstrip { trim_end(before).max(plain) } else { at };
            let end = if token.rstrip { text.len() - trim_start(after) } else { end };
            if plain < start {
                each(Section { place: plain..start, token: None });
            }
            if start < end {
                // else the last token has taken it with the white space after itself
                each(Section { place: start..end, token: Some(id) });
            }
            plain = end;
        }
        if plain < text.len() {
            each(Section { place: plain..text.len(), token: None });
        }
    }

    /// The next token from `from` on, and where it begins.
    fn find(&self, text: &[u8], from: usize, allow_special: bool) -> Option<(usize, &AddedToken, TokenId)> {
        if self.all_special && !allow_special {
            return None;
        }
        let mut begins = (from..text.len()).filter(|&at| self.first[usize::from(text[at])]);
        begins.find_map(|at| self.longest(&text[at..]).map(|(token, id)| (at, token, *id)))
    }

    /// The longest token that `text` begins with.
    fn longest(&self, text: &[u8]) -> Option<&(AddedToken, TokenId)> {
        let mut longest = None;
        let mut alike = &self.tokens[..]; // those that agree with the text so far, the shortest first
        for (i, byte) in text.iter().enumerate() {
            let of = |(token, _): &(AddedToken, TokenId)| token.content.as_bytes().get(i).copied();
            let low = alike.partition_point(|token| of(token) < Some(*byte));
            let high = alike.partition_point(|token| of(token) <= Some(*byte));
            alike = &alike[low..high];
            let Some(token) = alike.first() else { break };
            if token.0.content.len() == i + 1 {
                longest = Some(token);
            }
        }
        longest
    }
}

/// The length of `text` without the white space at its end.
fn trim_end(mut text: &[u8]) -> usize {
    while let Some(space) = last_char(text).filter(|c| c.is_whitespace()) {
        text = &text[..text.len() - space.len_utf8()];
    }
    text.len()
}

/// The length of `text` without the white space at its beginning.
fn trim_start(mut text: &[u8]) -> usize {
    while let Some(space) = first_char(text).filter(|c| c.is_whitespace()) {
        text = &text[space.len_utf8()..];
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens found in `text`, each with the text it takes.
    fn found(tokens: &[AddedToken], text: &str, allow_special: bool) -> Vec<(TokenId, String)> {
        let added = AddedTokens::new(tokens.iter().cloned().zip(0..));
        let sections = added.sections(text.as_bytes(), allow_special);
        assert_eq!(sections.iter().map(|s| s.place.len()).sum::<usize>(), text.len(), "{sections:?}");
        let tokens = sections.iter().filter_map(|s| Some((s.token?, text[s.place.clone()].to_string())));
        tokens.collect()
    }

    #[test]
    fn leftmost_then_longest() {
        let plain = |content: &str| AddedToken { special: false, ..AddedToken::special(content) };
        let plain = |content| AddedToken { normalized: Some(false), ..plain(content) };
        let tokens = [AddedToken::special("<a>"), plain("<b>"), AddedToken::special("<b>x")];
        let ids =
            |text, special| found(&tokens, text, special).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids("..<b>y<a>", true), [1, 0]);
        assert_eq!(ids("..<b>x<a>", true), [2, 0]);
        assert_eq!(ids("..<b>x<b>y", false), [1]); // nothing is looked for inside a token that is ordinary text
        assert_eq!(ids("<<a>", true), [0]);
        assert_eq!(ids("<a><b", false), [0; 0]);
        assert_eq!(ids("", true), [0; 0]);
    }

    #[test]
    fn flags_look_at_the_neighbours() {
        let strips = AddedToken { lstrip: true, rstrip: true, ..AddedToken::special("<s>") };
        let word = AddedToken { single_word: true, ..AddedToken::special("ab") };
        let later = AddedToken { normalized: Some(true), ..AddedToken::special("x<s>") };
        let all = [strips, word, later];
        let text = |text| found(&all, text, true).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(text("y \u{a0}<s>\n\u{2003}z"), [" \u{a0}<s>\n\u{2003}"]);
        assert_eq!(text("<s> <s>"), ["<s> ", "<s>"]); // spaces are taken once
        assert_eq!(text("ab, cab abc ab_ ab\u{301} ab\u{200d} éab-ab"), ["ab", "ab"]);
        assert_eq!(text("x<s>"), ["<s>"]); // tokens that are not `normalized` come first
        assert!(AddedTokens::new([(all[0].clone(), 7)]).sections(b"\xff <s>\xff", true).len() == 3);
    }
}
