//! How is a token forbidden? Its score becomes -inf, its probability 0.

use crate::bpe::TokenId;

/// Bans one token, if the model has it.
fn ban(x: &mut [f32], id: TokenId) {
    if let Some(x) = x.get_mut(id as usize) {
        *x = f32::NEG_INFINITY;
    }
}

/// Bans each token that would complete an n-gram already in the text. `[V]`, ids `[S]`, in place
///
/// ```text
/// n = 3, ids = [.. a b c .. a b]: c is banned
/// ```
///
/// HF's `NoRepeatNGramLogitsProcessor`. The prompt counts; `n = 1` bans every token so far.
pub fn no_repeat_ngram(x: &mut [f32], ids: &[TokenId], n: usize) {
    if n == 0 || ids.len() < n {
        return;
    }
    let beginning = &ids[ids.len() - (n - 1)..]; // the next token completes this n-gram
    for earlier in ids.windows(n).filter(|earlier| earlier.starts_with(beginning)) {
        ban(x, earlier[n - 1]);
    }
}

/// Bans the last token of each word if the text ends with the word's other tokens. `[V]`, ids `[S]`, in place
///
/// HF's `NoBadWordsLogitsProcessor`: a word of one token is always banned, unless it is an end token.
pub fn bad_words(x: &mut [f32], ids: &[TokenId], words: &[Vec<TokenId>], eos: &[TokenId]) {
    for word in words {
        let Some((last, beginning)) = word.split_last() else { continue };
        if ids.ends_with(beginning) && !(beginning.is_empty() && eos.contains(last)) {
            ban(x, *last);
        }
    }
}

/// Bans the ids that end a text. `[V]`, in place
///
/// HF's `MinNewTokensLengthLogitsProcessor`, which does this until the text has the minimum length.
pub fn end(x: &mut [f32], eos: &[TokenId]) {
    for id in eos {
        ban(x, *id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V: usize = 8;
    const NONE: [TokenId; 0] = [];

    /// The ids that `change` bans.
    fn banned(change: impl FnOnce(&mut [f32])) -> Vec<TokenId> {
        let mut x = [1.0; V];
        change(&mut x);
        (0..V as TokenId).filter(|id| x[*id as usize] == f32::NEG_INFINITY).collect()
    }

    #[test]
    fn n_grams() {
        let ids = [1, 2, 3, 1, 2];
        assert_eq!(banned(|x| no_repeat_ngram(x, &ids, 3)), [3]);
        assert_eq!(banned(|x| no_repeat_ngram(x, &ids, 2)), [3]);
        assert_eq!(banned(|x| no_repeat_ngram(x, &ids, 1)), [1, 2, 3]);
        assert_eq!(banned(|x| no_repeat_ngram(x, &ids, 4)), NONE);
        assert_eq!(banned(|x| no_repeat_ngram(x, &ids, 5)), NONE);
        assert_eq!(banned(|x| no_repeat_ngram(x, &ids, usize::MAX)), NONE);
        assert_eq!(banned(|x| no_repeat_ngram(x, &[1, 2, 1, 3, 1], 2)), [2, 3]);
        assert_eq!(banned(|x| no_repeat_ngram(x, &[4, 4, 4], 2)), [4]);
        assert_eq!(banned(|x| no_repeat_ngram(x, &[1, 99, 1], 2)), NONE);
    }

    #[test]
    fn words_of_several_tokens() {
        let words = [vec![5], vec![1, 2, 3], vec![2, 4], vec![9, 9, 1, 2, 6], vec![7], vec![1, 2, 7], vec![]];
        assert_eq!(banned(|x| bad_words(x, &[1, 2], &words, &[7])), [3, 4, 5, 7]);
        assert_eq!(banned(|x| bad_words(x, &[2], &words, &[7])), [4, 5]);
        assert_eq!(banned(|x| bad_words(x, &[], &words, &[])), [5, 7]);
    }

    proptest! {
        #![proptest_config(crate::properties::config())]
        /// Tokens that are not banned repeat no n-gram.
        #[test]
        fn no_n_gram_occurs_twice(picks in prop::collection::vec(0..V, 1..40), n in 1..5usize) {
            let mut ids: Vec<TokenId> = Vec::new();
            for pick in picks {
                let mut x = [1.0; V];
                no_repeat_ngram(&mut x, &ids, n);
                let left: Vec<usize> = (0..V).filter(|i| x[*i] == 1.0).collect();
                let Some(id) = left.get(pick % left.len().max(1)) else { break };
                ids.push(*id as TokenId);
            }
            let mut seen = std::collections::HashSet::new();
            prop_assert!(ids.windows(n).all(|gram| seen.insert(gram)), "{:?}", ids);
        }
    }
}
