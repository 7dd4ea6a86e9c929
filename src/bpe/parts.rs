//! A vocabulary as lists: what other formats than Hugging Face's store.

use super::added::AddedToken;
use super::builder::Builder;
use super::files::two_tokens;
use super::pieces::Frame;
use super::symbols::byte_of;
use super::vocabulary::{NO_TOKEN, Vocabulary};
use super::{Bpe, TokenId};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A vocabulary as lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// The spelling of each token by id, and how it is found in a text; `None` where an id stands for nothing.
    pub tokens: Vec<Option<(String, Found)>>,
    /// Pairs of tokens with a space between, in the order of their ranks.
    pub merges: Vec<String>,
    /// The token that begins every text.
    pub first: Option<TokenId>,
}

/// How a token is found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// By merges.
    Merged,
    /// By its spelling.
    Added,
    /// By its spelling, where special tokens are allowed.
    Special,
}

impl Bpe {
    /// The vocabulary of these lists.
    ///
    /// # Errors
    /// What is wrong with them, in a sentence.
    pub fn from_parts(parts: &Parts) -> Result<Self, String> {
        let tokens = (0..).zip(&parts.tokens).filter_map(|(id, token)| Some((token.as_ref()?, id)));
        let tokens: Vec<(String, u64)> = tokens.map(|((text, _), id)| (text.clone(), id)).collect();
        let mut builder = Builder::new(&tokens)?;
        let merges = (0..).zip(&parts.merges).map(|(number, merge)| {
            let pair = two_tokens(merge).map(|pair| (number, pair));
            pair.ok_or_else(|| format!("merge {number} is not two tokens"))
        });
        builder.merges("merge", merges)?;
        let added: Vec<AddedToken> = (parts.tokens.iter().flatten())
            .filter(|(_, found)| *found != Found::Merged)
            .map(|(text, found)| AddedToken {
                special: *found == Found::Special,
                ..AddedToken::special(text)
            })
            .collect();
        added.iter().try_for_each(|token| builder.added(token, None))?;
        let frame = Frame { before: parts.first.into_iter().collect(), ..Frame::default() };
        Ok(Self { vocabulary: builder.finish(frame).into() })
    }

    /// The lists of this vocabulary.
    ///
    /// # Errors
    /// What they cannot hold, so that a text would get other ids.
    pub fn parts(&self) -> Result<Parts, String> {
        let Vocabulary { byte_ids, ranks, added, frame, .. } = &*self.vocabulary;
        let Frame { prefix_space, before, after } = frame;
        if *prefix_space || !after.is_empty() || before.len() > 1 {
            return Err("the tokenizer puts spaces or several tokens around a text".into());
        }
        let mut tokens: Vec<_> = (0..self.vocab_size() as TokenId)
            .map(|id| self.token_text(id).map(|text| (text, Found::Merged)))
            .collect();
        for (token, id) in added.tokens() {
            let content = &token.content;
            if token.single_word || token.lstrip || token.rstrip {
                return Err(format!("the added token {content:?} takes white space or only whole words"));
            }
            let read_back: Option<Vec<u8>> = content.chars().map(byte_of).collect();
            if read_back.is_some_and(|bytes| bytes != content.as_bytes()) {
                return Err(format!(
                    "the added token {content:?} is also the spelling of other bytes: rename it"
                ));
            }
            if let [byte] = content.as_bytes()
                && byte_ids[usize::from(*byte)] == NO_TOKEN
            {
                return Err(format!(
                    "the added token {content:?} would become the token of a byte that has none: rename it"
                ));
            }
            let found = if token.special { Found::Special } else { Found::Added };
            tokens[*id as usize] = Some((token.content.clone(), found));
        }
        let mut pairs: Vec<(u32, u64)> = ranks.iter().map(|(pair, rank)| (*rank, *pair)).collect();
        pairs.sort_unstable();
        let spell = |id: u64| self.token_text(id as TokenId).unwrap_or_default();
        let merge = |(_, pair): (u32, u64)| format!("{} {}", spell(pair >> 32), spell(pair & 0xffff_ffff));
        Ok(Parts { tokens, merges: pairs.into_iter().map(merge).collect(), first: before.first().copied() })
    }
}

impl Bpe {
    /// The text of a `tokenizer.json` of Hugging Face's `tokenizers`.
    ///
    /// # Errors
    /// As [`Bpe::parts`].
    pub fn to_tokenizer_json(&self) -> Result<String, String> {
        let Parts { tokens, merges, first } = self.parts()?;
        let known = || (0..).zip(&tokens).filter_map(|(id, token): (TokenId, _)| Some((id, token.as_ref()?)));
        let vocab: Map<String, Value> = known().map(|(id, (text, _))| (text.clone(), json!(id))).collect();
        let normalized: HashMap<TokenId, bool> =
            self.vocabulary.added.tokens().map(|(token, id)| (*id, token.is_normalized())).collect();
        let added = known().filter(|(_, (_, found))| *found != Found::Merged).map(|(id, (text, found))| {
            json!({
                "id": id, "content": text, "special": *found == Found::Special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": normalized.get(&id),
            })
        });
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
        let post_processor = first.and_then(|id| {
            let text = &tokens.get(id as usize)?.as_ref()?.0;
            let special = json!({"SpecialToken": {"id": text, "type_id": 0}});
            let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
            Some(json!({
                "type": "TemplateProcessing", "single": [special, sequence("A")],
                "pair": [special, sequence("A"), sequence("B")],
                "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}},
            }))
        });
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Value>(),
            "normalizer": null, "pre_tokenizer": byte_level, "decoder": byte_level,
            "post_processor": post_processor.unwrap_or_else(|| byte_level.clone()),
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "vocab": vocab, "merges": merges},
        });
        Ok(file.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GPT2_MERGES, GPT2_VOCAB};
    use super::*;
    use crate::format::Folder;

    #[test]
    fn a_tokenizer_json_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = Bpe::gpt2().parts().expect("lists");
        for first in [None, Some(50_256)] {
            let bpe = Bpe::from_parts(&Parts { first, ..own.clone() }).expect("sound");
            let path = folder.path().join("tokenizer.json");
            std::fs::write(&path, bpe.to_tokenizer_json().expect("lists")).expect("it is written");
            assert_eq!(Bpe::from_tokenizer_json(&path).expect("sound").parts(), bpe.parts());
        }
    }

    #[test]
    fn the_lists_of_gpt2_are_gpt2() {
        let own = Bpe::gpt2();
        let parts = own.parts().expect("nothing that lists cannot hold");
        assert_eq!((parts.tokens.len(), parts.merges.len(), &*parts.merges[0]), (50_257, 50_000, "Ġ t"));
        let again = Bpe::from_parts(&parts).expect("sound");
        assert_eq!(again.parts(), Ok(parts));
        for text in ["Once upon a time, 1234 \u{1f418}s<|endoftext|> x", "  \n\n don't"] {
            assert_eq!(again.encode(text), own.encode(text));
            assert_eq!(again.encode_with_special(text), own.encode_with_special(text));
        }
    }

    #[test]
    fn an_added_token_must_read_the_same_as_a_spelling() {
        let gpt2 = [("vocab.json", GPT2_VOCAB), ("merges.txt", GPT2_MERGES)];
        let with = |added| opened([gpt2[0], gpt2[1], ("added_tokens.json", added)]).to_tokenizer_json();
        assert!(with(r#"{"<pad>": 50257, "<犬>": 50258}"#).is_ok());
        // its letter is the symbol of the byte 0xda
        assert!(with(r#"{"<Ú>": 50257}"#).expect_err("other bytes").contains("rename it"));
        let two = [("vocab.json", r#"{"a": 0, "b": 1}"#), ("merges.txt", "")];
        let with = |added| opened([two[0], two[1], ("added_tokens.json", added)]).to_tokenizer_json();
        assert!(with(r#"{"<c>": 2}"#).is_ok());
        assert!(with(r#"{"c": 2}"#).expect_err("text would get it too").contains("a byte that has none"));
    }

    /// `x<` is found before `<|endoftext|>`, in the order of the text, if both are looked for together.
    #[test]
    fn when_a_token_is_looked_for_is_kept() {
        for (normalized, first) in [(true, "x<"), (false, "<|endoftext|>")] {
            let token = |content: &str, special: bool, normalized: bool| json!({"content": content, "special": special, "normalized": normalized});
            let settings = json!({"added_tokens_decoder": {
                "50256": token("<|endoftext|>", true, normalized), "50257": token("x<", false, true),
            }});
            let bpe = opened([
                ("vocab.json", GPT2_VOCAB),
                ("merges.txt", GPT2_MERGES),
                ("tokenizer_config.json", &settings.to_string()),
            ]);
            let copy = opened([("tokenizer.json", &bpe.to_tokenizer_json().expect("lists"))]);
            for bpe in [bpe, copy] {
                let ids = bpe.encode_with_special("x<|endoftext|>");
                assert!(
                    ids.iter().any(|id| bpe.token_text(*id).as_deref() == Some(first)),
                    "{normalized}: {ids:?}"
                );
            }
        }
    }

    fn opened<const N: usize>(files: [(&str, &str); N]) -> Bpe {
        let files = files.map(|(name, text)| (name, text.as_bytes().to_vec()));
        Bpe::from_folder(files.into_iter().collect::<Folder>()).expect("sound").expect("a tokenizer")
    }

    #[test]
    fn what_is_wrong_is_named() {
        let sound = Bpe::gpt2().parts().expect("sound");
        let wrong = |parts: Parts| Bpe::from_parts(&parts).expect_err("a problem");
        assert!(
            wrong(Parts { merges: vec!["abc".into()], ..sound.clone() })
                .contains("merge 0 is not two tokens")
        );
        assert!(wrong(Parts::default()).contains("no byte has a token"));
        let twice = Parts { tokens: [sound.tokens.clone(), sound.tokens[..1].to_vec()].concat(), ..sound };
        assert!(wrong(twice).contains("there twice"));
    }
}
