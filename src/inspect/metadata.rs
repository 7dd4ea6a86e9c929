//! What a trace file says of itself, in the `__metadata__` of its header.

use crate::bpe::TokenId;
use crate::checkpoint::LanguageModel;
use crate::generate::Options;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Model, prompt, options and versions. No time and no place is in it: the same run writes the same bytes.
///
/// | key | what |
/// |---|---|
/// | `model` | what it was opened as |
/// | `prompt`, `ids` | the text, and its ids as JSON |
/// | `options` | JSON: how the next token is chosen |
/// | `choices` | JSON, an object a step: how it was chosen ([`Explanation`](crate::sampling::Explanation)) |
/// | `sequence.1.choices`, ... | the same of the second text and those after it, where several are written |
/// | `stop` | JSON: the strings that end the text, where there are any |
/// | `dtype`, `kv_cache_dtype` | of the weights, of the keys and values |
/// | `arithmetic`, `version` | of the [arithmetic](crate::ARITHMETIC), of the program |
pub fn metadata(
    lm: &LanguageModel,
    ids: &[TokenId],
    options: &Options,
    choices: &[Value],
) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("model".into(), lm.name.clone()),
        ("prompt".into(), lm.bpe.decode_lossy(ids).unwrap_or_default()),
        ("ids".into(), json!(ids).to_string()),
        ("options".into(), describe(options).to_string()),
        ("choices".into(), json!(choices).to_string()),
        ("dtype".into(), lm.model.wte.dtype().name().into()),
        ("kv_cache_dtype".into(), lm.model.kv_cache_dtype.name().into()),
        ("arithmetic".into(), crate::ARITHMETIC.into()),
        ("version".into(), concat!("gpt2-explained ", env!("CARGO_PKG_VERSION")).into()),
    ])
}

/// How the next token is chosen, and how many: temperature, top-k, top-p and the seed always, the rest where it is on, or
/// not what [`Options::default`] has. A number that JSON has not is a text.
pub fn describe(options: &Options) -> Value {
    let mut about = Map::new();
    let mut put = |name: &str, value: Value, on: bool| {
        if on {
            about.insert(name.into(), value);
        }
    };
    // The digits that name an f32: 0.8, not 0.800000011920929.
    let short = |x: f32| serde_json::from_str(&x.to_string()).unwrap_or_else(|_| json!(x.to_string()));
    let (sampling, p) = (options.sampling.as_ref(), &options.processors);
    put("greedy", json!(sampling.is_none()), true);
    put("temperature", json!(sampling.map(|s| short(s.temperature))), true);
    put("top_k", json!(sampling.and_then(|s| s.top_k)), true);
    put("top_p", json!(sampling.and_then(|s| s.top_p)), true);
    put("seed", json!(sampling.map(|s| s.seed)), true);
    if let Some(s) = sampling {
        put("min_p", json!(s.min_p), s.min_p.is_some());
        put("typical_p", json!(s.typical_p), s.typical_p.is_some());
        put("epsilon_cutoff", json!(s.epsilon_cutoff), s.epsilon_cutoff.is_some());
        put("eta_cutoff", json!(s.eta_cutoff), s.eta_cutoff.is_some());
        put("stream", json!(s.stream), s.stream != 0);
    }
    let bias = |(id, x): &(TokenId, f32)| json!([id, short(*x)]);
    put("logit_bias", p.logit_bias.iter().map(bias).collect(), !p.logit_bias.is_empty());
    put("repetition_penalty", short(p.repetition_penalty), p.repetition_penalty != 1.0);
    put("presence_penalty", short(p.presence_penalty), p.presence_penalty != 0.0);
    put("frequency_penalty", short(p.frequency_penalty), p.frequency_penalty != 0.0);
    put("no_repeat_ngram_size", json!(p.no_repeat_ngram_size), p.no_repeat_ngram_size != 0);
    put("bad_words", json!(p.bad_words), !p.bad_words.is_empty());
    put("min_new_tokens", json!(p.min_new_tokens), p.min_new_tokens != 0);
    put("ignore_eos", json!(true), options.ignore_eos);
    let usual = Options::default();
    put("max_new_tokens", json!(options.max_new_tokens), options.max_new_tokens != usual.max_new_tokens);
    put(
        "context_policy",
        json!(options.context_policy.name()),
        options.context_policy != usual.context_policy,
    );
    Value::Object(about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::ContextPolicy;
    use crate::sampling::{Processors, Sampling};

    #[test]
    fn options_that_are_on_are_said() {
        let plain = Options { sampling: Some(Sampling::with_seed(3)), ..Options::default() };
        assert_eq!(
            describe(&plain),
            json!({"greedy": false, "temperature": 0.8, "top_k": 40, "top_p": null, "seed": 3})
        );
        let processors = Processors {
            logit_bias: vec![(5, f32::NEG_INFINITY), (6, 0.5)],
            no_repeat_ngram_size: 2,
            ..Processors::default()
        };
        let few = Options { max_new_tokens: 3, context_policy: ContextPolicy::Stop, ..Options::default() };
        let greedy = describe(&Options { processors, ..few });
        assert_eq!((&greedy["max_new_tokens"], &greedy["context_policy"]), (&json!(3), &json!("stop")));
        assert_eq!(greedy["logit_bias"], json!([[5, "-inf"], [6, 0.5]]));
        assert_eq!((&greedy["greedy"], &greedy["no_repeat_ngram_size"]), (&json!(true), &json!(2)));
        assert_eq!(greedy.get("min_new_tokens"), None);
    }

    #[test]
    fn a_prompt_is_said_as_text_and_ids() {
        let lm = crate::checkpoint::bundled();
        let about = metadata(&lm, &lm.bpe.encode("Once upon"), &Options::default(), &[json!(1)]);
        assert_eq!(
            (&*about["prompt"], &*about["ids"], &*about["choices"]),
            ("Once upon", "[7454,2402]", "[1]")
        );
    }
}
