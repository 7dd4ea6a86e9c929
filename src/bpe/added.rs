//! Which parts of a text are not text? Tokens like `<|endoftext|>`, which no merge produces.
//!
//! They are cut out before the pattern sees the text: the leftmost first; where several begin, the longest.

use crate::config::TokenId;

/// A token that is found by its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedToken {
    pub content: Vec<u8>,
    pub id: TokenId,
    /// Found only where special tokens are allowed.
    pub special: bool,
}

/// All added tokens of a vocabulary, in the order of their bytes.
#[derive(Clone)]
pub struct AddedTokens {
    tokens: Vec<AddedToken>,
    /// For each byte, whether a token begins with it.
    first: [bool; 256],
    all_special: bool,
}

impl AddedTokens {
    /// `tokens` in any order; none is empty.
    pub fn new(mut tokens: Vec<AddedToken>) -> Self {
        tokens.sort_by(|a, b| a.content.cmp(&b.content));
        let mut first = [false; 256];
        tokens.iter().for_each(|token| first[usize::from(token.content[0])] = true);
        let all_special = tokens.iter().all(|token| token.special);
        Self { tokens, first, all_special }
    }

    /// The next added token in `text`, and where it begins.
    pub fn find(&self, text: &[u8], allow_special: bool) -> Option<(usize, &AddedToken)> {
        if self.all_special && !allow_special {
            return None;
        }
        let begins = text.iter().enumerate().filter(|&(_, &byte)| self.first[usize::from(byte)]);
        begins.map(|(at, _)| at).find_map(|at| Some((at, self.longest(&text[at..], allow_special)?)))
    }

    /// The longest added token that `text` begins with.
    fn longest(&self, text: &[u8], allow_special: bool) -> Option<&AddedToken> {
        let mut longest = None;
        let mut alike = &self.tokens[..]; // those that agree with the text so far, the shortest first
        for (i, byte) in text.iter().enumerate() {
            let low = alike.partition_point(|token| token.content.get(i) < Some(byte));
            let high = alike.partition_point(|token| token.content.get(i) <= Some(byte));
            alike = &alike[low..high];
            let Some(token) = alike.first() else { break };
            if token.content.len() == i + 1 && (allow_special || !token.special) {
                longest = Some(token);
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftmost_then_longest() {
        let token = |content: &str, id, special| AddedToken { content: content.into(), id, special };
        let added =
            AddedTokens::new(vec![token("<b>x", 3, true), token("<a>", 1, true), token("<b>", 2, false)]);
        let find =
            |text: &str, special| added.find(text.as_bytes(), special).map(|(at, token)| (at, token.id));
        assert_eq!(find("..<b>y<a>", true), Some((2, 2)));
        assert_eq!(find("..<b>x<a>", true), Some((2, 3)));
        assert_eq!(find("..<b>x<a>", false), Some((2, 2)));
        assert_eq!(find("<<a>", true), Some((1, 1)));
        assert_eq!(find("<a><b", false), None);
        assert_eq!(find("", true), None);
    }
}
