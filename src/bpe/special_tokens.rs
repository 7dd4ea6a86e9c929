//! Which added tokens do a folder's files name, and in what order?
//!
//! Their order decides the ids of those that the vocabulary lacks. It is that of Hugging Face's transformers 5.23:
//!
//! 1. tokens with ids: `added_tokens_decoder` of `tokenizer_config.json`; only without it, `added_tokens.json` and those of
//!    `tokenizer.json`. By id;
//! 2. named tokens: `bos_token`, `eos_token` and so on, then names of the tokenizer's own, like `image_token`;
//! 3. `extra_special_tokens`, or `additional_special_tokens` as older versions call it.
//!
//! Where `tokenizer_config.json` has no `added_tokens_decoder`, `special_tokens_map.json` changes its values.

use super::added::AddedToken;
use super::tokenizer_config::{Setting, optional};
use super::vocabulary::END_OF_TEXT;
use crate::error::{Error, Result};
use crate::format::{Folder, Pairs};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// The tokens that have names in every tokenizer. GPT-2's own has the first three.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The key of special tokens without a name, and what it was called before.
const EXTRA: &str = "extra_special_tokens";
const ADDITIONAL: &str = "additional_special_tokens";

/// Tokens with their names.
type Named = Vec<(String, AddedToken)>;

/// What a folder's files say of added tokens.
#[derive(Default)]
pub struct SpecialTokens {
    by_id: BTreeMap<u64, AddedToken>,
    pub named: Named,
    extra: Vec<AddedToken>,
}

/// The settings of a tokenizer, while they are sorted into tokens. An error is the key that is wrong.
struct Sorting {
    values: Vec<(String, Setting)>,
    /// Names of the tokenizer's own.
    own: Vec<(String, Setting)>,
    extra: Option<Vec<Setting>>,
}

impl SpecialTokens {
    /// Reads the files of a folder. `values` are those of `tokenizer_config.json`, `of_file` the tokens of
    /// `tokenizer.json`. A tokenizer of GPT-2's class has an end-of-text token even where nothing says so.
    pub fn open(
        folder: &Folder,
        values: &[(String, Setting)],
        of_file: impl Iterator<Item = (u64, AddedToken)>,
        gpt2: bool,
    ) -> Result<Self> {
        let problem = |key: String| {
            Error::file(
                folder.path("tokenizer_config.json"),
                format!("{key} is not what transformers writes there"),
            )
        };
        let mut sorting = Sorting::new(values).map_err(problem)?;
        let mut with_ids: Vec<(u64, AddedToken)> = Vec::new();
        if let Some(decoder) = sorting.take("added_tokens_decoder") {
            with_ids = ids(decoder).ok_or_else(|| problem("added_tokens_decoder".into()))?;
        } else {
            let map: Option<Pairs<Setting>> = optional(folder, "special_tokens_map.json")?;
            let map = map.map_or(Ok(()), |Pairs(map)| sorting.map(map));
            map.map_err(|key| {
                Error::file(
                    folder.path("special_tokens_map.json"),
                    format!("{key} is not a token or a list of them"),
                )
            })?;
            let special = sorting.contents();
            let added: Option<Pairs<u64>> = optional(folder, "added_tokens.json")?;
            with_ids.extend(added.into_iter().flat_map(|Pairs(added)| added).map(|(content, id)| {
                let special = special.contains(&content);
                (id, AddedToken { content, special, normalized: Some(!special), ..AddedToken::default() })
            }));
            with_ids.extend(of_file);
        }
        let (mut named, extra) = sorting.finish(gpt2).map_err(problem)?;
        // a token with an id says more than its name
        for (_, token) in named.iter_mut().filter(|(name, _)| NAMED.contains(&&**name)) {
            if let Some((_, with_id)) = with_ids.iter().rfind(|(_, with_id)| with_id.content == token.content)
            {
                *token = with_id.clone();
            }
        }
        Ok(Self { by_id: with_ids.into_iter().collect(), named, extra })
    }

    /// The tokens to add to the vocabulary, in order, with the ids that files give them. `known` are there already.
    pub fn additions(&self, known: &[AddedToken]) -> Vec<(Option<u64>, AddedToken)> {
        let mut additions: Vec<_> = self.by_id.iter().map(|(id, token)| (Some(*id), token.clone())).collect();
        let contents: HashSet<&str> =
            known.iter().chain(self.by_id.values()).map(|token| &*token.content).collect();
        let more = self.named.iter().map(|(_, token)| token).chain(&self.extra);
        let more = more.filter(|token| !contents.contains(&*token.content));
        additions.extend(more.map(|token| (None, token.clone())));
        let is_named = |content: &str| self.named.iter().any(|(_, token)| token.content == content);
        additions.iter_mut().for_each(|(_, token)| token.special |= is_named(&token.content));
        additions
    }
}

impl Sorting {
    fn new(values: &[(String, Setting)]) -> Result<Self, String> {
        let (own, values) = values.iter().cloned().partition(|(key, value)| {
            key.ends_with("_token")
                && !NAMED.contains(&&**key)
                && matches!(value, Setting::Other(Value::String(_)))
        });
        let mut sorting = Self { values, own, extra: None };
        let extra = sorting.take(EXTRA);
        let is_empty = extra.as_ref().is_none_or(|extra| extra.is_empty());
        let older = if is_empty { sorting.take(ADDITIONAL) } else { None };
        sorting.extra(older.or(extra))?;
        Ok(sorting)
    }

    /// Removes a key; the last value, where it is there twice.
    fn take(&mut self, key: &str) -> Option<Setting> {
        self.values.extract_if(.., |(name, _)| name == key).last().map(|(_, value)| value)
    }

    /// Takes in special tokens without a name of the usual kind: a list, or an object from names to tokens.
    fn extra(&mut self, extra: Option<Setting>) -> Result<(), String> {
        match extra {
            None => (),
            Some(Setting::Other(Value::Null)) => drop(self.extra.get_or_insert_default()),
            Some(Setting::Other(Value::Array(list))) => {
                self.extra.get_or_insert_default().extend(list.into_iter().map(Setting::from));
            }
            Some(Setting::Object(Pairs(names))) => {
                self.own.extend(names.into_iter().map(|(name, value)| (name, Setting::from(value))));
            }
            Some(_) => return Err(EXTRA.into()),
        }
        Ok(())
    }

    /// Takes in the values of `special_tokens_map.json`. Its objects are tokens, all of them special.
    fn map(&mut self, map: Vec<(String, Setting)>) -> Result<(), String> {
        let token =
            |value: Value| AddedToken::deserialize(value).map(|token| AddedToken { special: true, ..token });
        for (key, value) in map {
            match value {
                Setting::Other(Value::Array(list)) if key == EXTRA => {
                    let list = list.into_iter().map(|value| match value {
                        Value::Object(_) => token(value).map(Setting::Token).map_err(|_| key.clone()),
                        other => Ok(Setting::Other(other)),
                    });
                    let list: Vec<_> = list.collect::<Result<_, _>>()?;
                    self.extra.get_or_insert_default().extend(list);
                }
                other if key == EXTRA => self.extra(Some(other))?,
                Setting::Object(Pairs(pairs)) => {
                    let token = token(Value::Object(pairs.into_iter().collect())).map_err(|_| key.clone())?;
                    self.take(&key);
                    self.values.push((key, Setting::Token(token)));
                }
                other => {
                    self.take(&key);
                    self.values.push((key, other));
                }
            }
        }
        Ok(())
    }

    /// The spellings of special tokens that are written as such; objects of `tokenizer_config.json` are not looked into.
    fn contents(&self) -> HashSet<String> {
        let named = self.values.iter().filter(|(key, _)| NAMED.contains(&&**key)).map(|(_, value)| value);
        let content = |setting: &Setting| match setting {
            Setting::Other(value) => value.as_str().map(String::from),
            Setting::Token(token) => Some(token.content.clone()),
            Setting::Object(_) => None,
        };
        named.chain(self.extra.iter().flatten()).filter_map(content).collect()
    }

    /// The named tokens, and those without a name.
    fn finish(mut self, gpt2: bool) -> Result<(Named, Vec<AddedToken>), String> {
        if self.extra.is_none() {
            let older = self.take(ADDITIONAL);
            self.extra(older)?;
        }
        let mut all: Vec<(String, Option<AddedToken>)> = Vec::new();
        for (place, key) in NAMED.iter().enumerate() {
            let usual = (gpt2 && place < 3).then(|| AddedToken::special(END_OF_TEXT));
            let value = self.take(key).map(|value| value.token().ok_or_else(|| key.to_string()));
            all.push((key.to_string(), value.transpose()?.unwrap_or(usual)));
        }
        let automatic =
            self.values.into_iter().filter(|(key, value)| key.ends_with("_token") && (value.is_token()));
        for (key, value) in automatic.chain(self.own) {
            let token = value.token().ok_or_else(|| key.clone())?;
            match all.iter_mut().find(|(name, _)| *name == key) {
                Some((_, place)) => *place = token,
                None => all.push((key, token)),
            }
        }
        let named = all.into_iter().filter_map(|(key, token)| Some((key, token?))).collect();
        let extra =
            self.extra.unwrap_or_default().iter().map(|token| token.token().flatten()).collect::<Option<_>>();
        Ok((named, extra.ok_or(EXTRA)?))
    }
}

/// The tokens of `added_tokens_decoder`, with their ids.
fn ids(decoder: Setting) -> Option<Vec<(u64, AddedToken)>> {
    let Setting::Object(Pairs(pairs)) = decoder else { return None };
    pairs
        .into_iter()
        .map(|(id, token)| Some((id.parse().ok()?, AddedToken::deserialize(token).ok()?)))
        .collect()
}

impl Setting {
    fn is_empty(&self) -> bool {
        match self {
            Self::Object(Pairs(pairs)) => pairs.is_empty(),
            Self::Other(value) => value.as_array().is_none_or(Vec::is_empty),
            Self::Token(_) => false,
        }
    }

    /// Whether it is the text of a token, or an object that says that it is one.
    fn is_token(&self) -> bool {
        match self {
            Self::Object(Pairs(pairs)) => {
                pairs.iter().any(|(key, value)| key == "__type" && value == "AddedToken")
            }
            Self::Other(value) => value.is_string(),
            Self::Token(_) => true,
        }
    }

    /// The token, which is special where the value is a text. Null is none; anything else is an error.
    fn token(&self) -> Option<Option<AddedToken>> {
        match self {
            Self::Other(Value::Null) => Some(None),
            Self::Other(Value::String(content)) => Some(Some(AddedToken::special(content))),
            Self::Token(token) => Some(Some(token.clone())),
            Self::Object(Pairs(pairs)) if self.is_token() => {
                Some(AddedToken::deserialize(Value::Object(pairs.iter().cloned().collect())).ok())
                    .filter(Option::is_some)
            }
            _ => None,
        }
    }
}

impl From<Value> for Setting {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(pairs) => Self::Object(Pairs(pairs.into_iter().collect())),
            other => Self::Other(other),
        }
    }
}
