//! The metadata of a trace file, in the `__metadata__` of its header.

use crate::bpe::TokenId;
use crate::checkpoint::LanguageModel;
use crate::generate::Options;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Model, prompt, options and versions. It records neither time nor machine: the same run writes the same bytes.
///
/// | key | value |
/// |---|---|
/// | `model` | the name under which the model was opened |
/// | `prompt`, `ids` | the text of the prompt, and its ids as JSON |
/// | `options` | JSON: how the next token is chosen |
/// | `choices` | JSON, one object per step: how its token was chosen ([`Explanation`](crate::sampling::Explanation)) |
/// | `sequence.1.choices`, ... | the same for the second and later texts, if there are several |
/// | `stop` | JSON: the strings that end the text, if there are any |
/// | `dtype`, `kv_cache_dtype` | the number type of the weights, and of the keys and values |
/// | `arithmetic`, `version` | the version of the [arithmetic](crate::ARITHMETIC), and of the program |
///
/// The argument `choices` has one list per text, with one entry per token.
pub fn metadata(
    lm: &LanguageModel,
    ids: &[TokenId],
    options: &Options,
    choices: &[Vec<Value>],
) -> BTreeMap<String, String> {
    let mut about = BTreeMap::from([
        ("model".into(), lm.name.clone()),
        ("prompt".into(), lm.bpe.decode_lossy(ids).unwrap_or_default()),
        ("ids".into(), json!(ids).to_string()),
        ("options".into(), json!(options).to_string()),
        ("choices".into(), json!(choices.first().map_or(&[][..], Vec::as_slice)).to_string()),
        ("dtype".into(), lm.model.wte.dtype().name().into()),
        ("kv_cache_dtype".into(), lm.model.kv_cache_dtype.name().into()),
        ("arithmetic".into(), crate::ARITHMETIC.into()),
        ("version".into(), concat!("gpt2-explained ", env!("CARGO_PKG_VERSION")).into()),
    ]);
    if !options.stop.is_empty() {
        about.insert("stop".into(), json!(options.stop).to_string());
    }
    let later = choices.iter().enumerate().skip(1);
    about.extend(later.map(|(n, choices)| (format!("sequence.{n}.choices"), json!(choices).to_string())));
    about
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_stored_as_text_and_ids() {
        let lm = crate::checkpoint::bundled();
        let about = metadata(&lm, &lm.bpe.encode("Once upon"), &Options::default(), &[vec![json!(1)]]);
        assert_eq!(
            (&*about["prompt"], &*about["ids"], &*about["choices"]),
            ("Once upon", "[7454,2402]", "[1]")
        );
    }
}
