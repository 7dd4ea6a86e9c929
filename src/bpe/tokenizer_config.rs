//! What does `tokenizer_config.json` change in a tokenizer?

use super::added::AddedToken;
use super::builder::{Builder, quoted};
use super::files::{parse, read_in};
use super::pieces::Frame;
use super::special_tokens::SpecialTokens;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::format::{Folder, Pairs};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};
use serde_json::value::{RawValue, Value};

/// Classes that take a `tokenizer.json` as it is.
const GENERIC: [&str; 4] =
    ["PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend", "PythonBackend"];

/// The settings of a folder's tokenizer.
pub struct Settings {
    folder: Folder,
    /// Of `tokenizer_config.json`, in the order of the file.
    values: Vec<(String, Setting)>,
}

/// A value that keeps the order of an object's keys.
#[derive(Clone)]
pub enum Setting {
    Object(Pairs<Value>),
    Other(Value),
    /// A special token that an object of `special_tokens_map.json` describes.
    Token(AddedToken),
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        // the text of the value is read twice: an object's order and repetitions are lost in a `Value`
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let read = match text.get().trim_start().starts_with('{') {
            true => serde_json::from_str(text.get()).map(Self::Object),
            false => serde_json::from_str(text.get()).map(Self::Other),
        };
        read.map_err(de::Error::custom)
    }
}

/// The JSON of a file of a folder, if it is there.
pub fn optional<T: DeserializeOwned>(folder: &Folder, name: &str) -> Result<Option<T>> {
    folder.has(name).then(|| parse(&folder.path(name), &read_in(folder, name)?)).transpose()
}

impl Settings {
    /// Reads the `tokenizer_config.json` of a folder; without one, everything is at its default.
    pub fn open(folder: &Folder) -> Result<Self> {
        let values = optional(folder, "tokenizer_config.json")?.map(|Pairs(values)| values);
        Ok(Self { folder: folder.clone(), values: values.unwrap_or_default() })
    }

    /// The value of a key; the last one, where it is there twice.
    fn get(&self, key: &str) -> Option<&Setting> {
        self.values.iter().rfind(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// A switch, which is off where it is left out.
    fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None | Some(Setting::Other(Value::Null)) => Ok(false),
            Some(Setting::Other(Value::Bool(on))) => Ok(*on),
            Some(_) => {
                let problem = format!("{key} is neither true nor false");
                Err(Error::file(self.folder.path("tokenizer_config.json"), problem))
            }
        }
    }

    /// Whether a `tokenizer.json` counts as it is, not only with its tokens and merges.
    ///
    /// # Errors
    /// [`Error::File`] if the folder names the class of another tokenizer.
    pub fn takes_the_file_as_it_is(&self) -> Result<bool> {
        let (mut file, mut class) = ("tokenizer_config.json", None);
        if let Some(Setting::Other(Value::String(name))) = self.get("tokenizer_class") {
            class = Some(name.clone());
        } else if let Ok(json) = self.folder.map("config.json") {
            // what else may be wrong with this file is said when the model is opened
            file = "config.json";
            let config: Value = serde_json::from_slice(&json).unwrap_or_default();
            class = config["tokenizer_class"].as_str().map(String::from);
        }
        match class.as_deref() {
            None | Some("GPT2Tokenizer" | "GPT2TokenizerFast") => Ok(false),
            Some(class) if GENERIC.contains(&class) => Ok(true),
            Some(class) => {
                let class = quoted(class);
                let problem = format!(
                    "tokenizer_class is {class}, not GPT-2's: only GPT2Tokenizer and PreTrainedTokenizerFast are read"
                );
                Err(Error::file(self.folder.path(file), problem))
            }
        }
    }

    /// Whether a text begins with a space, where no `tokenizer.json` says it.
    pub fn prefix_space(&self) -> Result<bool> {
        self.flag("add_prefix_space")
    }

    /// Whether nothing is put around a text, or before it.
    pub fn is_plain(&self) -> Result<bool> {
        Ok(!self.prefix_space()? && !self.flag("add_bos_token")? && !self.flag("add_eos_token")?)
    }

    /// What is put around a text, where no `tokenizer.json` says it.
    pub fn frame(&self, tokens: &SpecialTokens, builder: &Builder<'_>) -> Result<Frame> {
        let id = |name: &str| builder.id(&tokens.named.iter().find(|(key, _)| key == name)?.1.content);
        let around = |flag: &str, name: &str| -> Result<Vec<TokenId>> {
            Ok(if self.flag(flag)? { id(name).into_iter().collect() } else { Vec::new() })
        };
        Ok(Frame {
            prefix_space: self.prefix_space()?,
            before: around("add_bos_token", "bos_token")?,
            after: around("add_eos_token", "eos_token")?,
        })
    }

    /// The added tokens that the folder's files name, beside those of a `tokenizer.json`.
    pub fn tokens(
        &self,
        of_file: impl Iterator<Item = (u64, AddedToken)>,
        gpt2: bool,
    ) -> Result<SpecialTokens> {
        SpecialTokens::open(&self.folder, &self.values, of_file, gpt2)
    }
}
