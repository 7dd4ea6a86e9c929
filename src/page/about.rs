//! What a page says of a model before any text.

use crate::checkpoint::LanguageModel;
use crate::inspect::code;
use crate::trace::Stage;
use serde_json::{Value, json};

/// The model's name and sizes, its vocabulary, and every stage with its shape, its formula and the code that computes it.
///
/// The vocabulary has one text per id in the alphabet of GPT-2's `vocab.json`, in which each byte has a visible character;
/// null for an id that no token has.
pub fn about(lm: &LanguageModel) -> Value {
    let config = &lm.model.config;
    let vocabulary: Value = (0..config.vocab_size as u32).map(|id| json!(lm.bpe.token_text(id))).collect();
    json!({
        "version": concat!("gpt2-explained ", env!("CARGO_PKG_VERSION")),
        "arithmetic": crate::ARITHMETIC,
        "name": lm.name,
        "parameters": lm.model.parameters(),
        "dtype": lm.model.wte.dtype().name(),
        "kv_cache_dtype": lm.model.kv_cache_dtype.name(),
        "config": {
            "n_layer": config.n_layer, "n_head": config.n_head, "n_embd": config.n_embd, "n_inner": config.n_inner,
            "n_positions": config.n_positions, "vocab_size": config.vocab_size, "eos": config.eos_token_ids,
        },
        "stages": Stage::ALL.map(stage),
        "vocabulary": vocabulary,
    })
}

/// A stage, and the function that computes it.
fn stage(stage: Stage) -> Value {
    let (about, code) = (stage.describe(), code(stage));
    let (question, sentence) = lesson(code.source);
    json!({
        "name": about.name, "shape": about.shape, "formula": about.formula, "in_block": stage.in_block(),
        "file": code.file, "line": code.line, "first": code.function[0], "code": code.lines().collect::<Vec<_>>(),
        "question": question, "sentence": sentence,
    })
}

/// The question that a lesson answers, and the first paragraph of its answer that is neither formula nor code, up to its source
/// and the next lesson.
fn lesson(source: &str) -> (String, String) {
    let docs: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let mut paragraphs = docs.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    let question = paragraphs.next().unwrap_or_default();
    let answer = paragraphs.find(|text| !text.starts_with(['`', '#', '|'])).unwrap_or_default();
    let answer = plain(&answer);
    let end =
        ["Source: ", "Next: "].iter().filter_map(|word| answer.find(word)).min().unwrap_or(answer.len());
    (plain(&question), answer[..end].trim_end().to_string())
}

/// A paragraph without the marks of Markdown: links, code and emphasis.
fn plain(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, target)) = rest.split_once("](") {
        let (text, name) = before.rsplit_once('[').unwrap_or((before, ""));
        plain += text;
        plain += name;
        rest = target.split_once(')').map_or("", |(_, after)| after);
    }
    (plain + rest).replace(['`', '*'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_question_and_an_answer() {
        for stage in Stage::ALL {
            let (question, answer) = lesson(code(stage).source);
            assert!(question.ends_with('?'), "{stage:?}: {question}");
            assert!(answer.len() > 60 && answer.ends_with(['.', ':']), "{stage:?}: {answer}");
            assert!(
                ![&question, &answer].iter().any(|text| text.contains(['[', '`'])),
                "{stage:?}: {answer}"
            );
        }
    }

    #[test]
    fn marks_are_left_out() {
        assert_eq!(
            plain("The *stream* of [`model`](crate::model) and [x](y)."),
            "The stream of model and x."
        );
    }
}
