//! What does `generation_config.json` say? The options that Hugging Face's `generate` begins with, and the end ids.

use crate::bpe::Bpe;
use crate::config::{TokenId, ids};
use crate::error::{Error, Result};
use crate::generate::Options;
use crate::sampling::options::Row;
use serde_json::{Map, Value};

/// Keys that do not change what is written, or that have a place of their own.
const NEUTRAL: &[&str] = &[
    "_from_model_config",
    "bos_token_id",
    "cache_implementation",
    "decoder_start_token_id",
    "eos_token_id",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "return_dict_in_generate",
    "transformers_version",
    "use_cache",
];

/// Keys that change nothing at these values, which are Hugging Face's own.
const USUAL: &[(&str, f64)] = &[
    ("diversity_penalty", 0.0),
    ("encoder_no_repeat_ngram_size", 0.0),
    ("encoder_repetition_penalty", 1.0),
    ("length_penalty", 1.0),
    ("max_length", 20.0),
    ("min_length", 0.0),
    ("num_assistant_tokens", 20.0),
    ("num_beam_groups", 1.0),
    ("num_beams", 1.0),
    ("num_return_sequences", 1.0),
];

/// What a model's `generation_config.json` says about how its texts are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Ids that end a text, in place of those of `config.json`.
    pub eos_token_ids: Option<Vec<TokenId>>,
    /// The options that it sets, under Hugging Face's names.
    pub options: Map<String, Value>,
    /// The keys that would change a text but are not supported.
    pub unused: Vec<String>,
}

impl GenerationConfig {
    /// Reads the text of a `generation_config.json`.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence that names the key.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let all: Map<String, Value> =
            serde_json::from_slice(json).map_err(|e| format!("not the expected JSON: {e}"))?;
        let mut config = Self::default();
        if let Some(found) = all.get("eos_token_id").filter(|found| !found.is_null()) {
            config.eos_token_ids = Some(ids(found).map_err(|problem| format!("eos_token_id: {problem}"))?);
        }
        for (key, value) in all {
            let usual = USUAL.iter().any(|(usual, number)| key == *usual && value.as_f64() == Some(*number));
            if usual || value.is_null() || NEUTRAL.contains(&&*key) {
                continue;
            }
            if key == "do_sample" || row(&key).is_some() {
                config.options.insert(key, value);
            } else if value != Value::Bool(false) {
                config.unused.push(key);
            }
        }
        config.over(Options::default(), &Bpe::gpt2()).map_err(|problem| problem.to_string())?; // types
        Ok(config)
    }

    /// The options as a `generation_config.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.options).expect("a map of texts and values is always valid JSON")
    }

    /// These options in place of those of `options`. `do_sample` says whether tokens are drawn.
    ///
    /// # Errors
    /// [`Error::Input`] that names a key of the wrong type.
    pub fn over(&self, mut options: Options, bpe: &Bpe) -> Result<Options> {
        for (key, value) in &self.options {
            match row(key) {
                Some(row) => row.read(&mut options, value, &|text| bpe.encode(text))?,
                None => {
                    let problem = || Error::input(format!("{key} is {value}; it must be true or false"));
                    options.sample = value.as_bool().ok_or_else(problem)?;
                }
            }
        }
        Ok(options)
    }
}

/// The option for a key of Hugging Face's.
fn row(key: &str) -> Option<&'static Row> {
    let name = match key {
        "stop_strings" => "stop",
        "bad_words_ids" => "bad_words",
        "stop" | "bad_words" | "seed" | "greedy" | "ignore_eos" | "context_policy" | "logit_bias" => {
            return None;
        }
        name => name,
    };
    Options::table().iter().find(|row| row.key() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: &Value) -> Result<GenerationConfig, String> {
        GenerationConfig::from_json(json.to_string().as_bytes())
    }

    #[test]
    fn options_come_under_the_names_of_hugging_face() {
        let config = read(&json!({
            "_from_model_config": true, "transformers_version": "5.23.0", "eos_token_id": [3, 4], "num_beams": 1,
            "do_sample": false, "temperature": 0.5, "top_k": 0, "top_p": null, "repetition_penalty": 1.8,
            "no_repeat_ngram_size": 2, "stop_strings": "x", "bad_words_ids": [[5], [6, 7]], "max_new_tokens": 9,
        }));
        let config = config.expect("sound");
        let expected = Options::default()
            .temperature(0.5)
            .top_k(0)
            .repetition_penalty(1.8)
            .no_repeat_ngram_size(2)
            .stop(vec!["x".into()])
            .bad_words(vec![vec![5], vec![6, 7]])
            .max_new_tokens(9);
        assert_eq!(config.over(Options::plain(0), &Bpe::gpt2()).expect("sound"), expected);
        assert_eq!((config.eos_token_ids, config.unused), (Some(vec![3, 4]), vec![]));
        let sampled = read(&json!({"do_sample": true, "eos_token_id": 3})).expect("sound");
        assert!(sampled.over(Options::default(), &Bpe::gpt2()).expect("sound").sample);
        assert_eq!(read(&json!({})), Ok(GenerationConfig::default()));
    }

    #[test]
    fn what_cannot_be_honoured_is_listed() {
        let config =
            read(&json!({"num_beams": 4, "penalty_alpha": 0.6, "max_length": 50, "use_mems": false}));
        assert_eq!(config.expect("sound").unused, ["max_length", "num_beams", "penalty_alpha"]);
    }

    #[test]
    fn values_of_the_wrong_type_are_named() {
        for (json, part) in [
            (json!({"temperature": "hot"}), "temperature \"hot\": wrong type"),
            (json!({"do_sample": 1}), "do_sample is 1; it must be true or false"),
            (json!({"eos_token_id": "end"}), "eos_token_id: \"end\" is not an id or a list of ids"),
            (json!([]), "not the expected JSON"),
        ] {
            let error = read(&json).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
