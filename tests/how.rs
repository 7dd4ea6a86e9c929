//! `gpt2 how` and `gpt2 why`: numbers with their operands, logits with their parts.

mod common;

use common::{fixture, gpt2};
use gpt2::format::safetensors::SafeTensors;
use predicates::prelude::*;
use serde_json::Value;

const PROMPT: &str = "The little dog ran";

fn json(args: &[&str]) -> Value {
    let assert = gpt2().args(args).arg("--json").assert().success();
    serde_json::from_slice(&assert.get_output().stdout).expect("JSON")
}

/// A number of every kind of stage has the bits that `trace` writes, in a file of the same prompt and options.
#[test]
fn how_has_the_bits_of_the_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.safetensors");
    gpt2().args(["trace", PROMPT, "--seed", "4", "--out"]).arg(&file).assert().success();
    let trace = SafeTensors::open(&file).expect("a trace");
    for number in [
        "transformer.wte[2,7]",
        "transformer.wpe[3, 7]",
        "drop[0,127]",
        "h.0.ln_1[1,1]",
        "h.3.attn.c_attn[3,300]",
        "h.3.attn.scores[1,3,2]",
        "h.3.attn.weights[1,3,2]",
        "h.4.attn.heads[3,70]",
        "h.4.attn.c_proj[3,70]",
        "h.4.attn_residual[3,70]",
        "h.4.ln_2[3,70]",
        "h.4.mlp.c_fc[3,511]",
        "h.4.mlp.act[3,511]",
        "h.4.mlp.c_proj[3,0]",
        "transformer.h.5[2,5]",
        "ln_f[3,5]",
        "lm_head[3,50256]",
        "probs[329]",
    ] {
        let how = json(&["how", number, PROMPT, "--seed", "4"]);
        let tensor = &trace.tensors[how["stage"].as_str().expect("a name")];
        let index = how["index"].as_array().expect("an index").iter().map(|i| i.as_u64().expect("an index"));
        let flat = index.zip(&tensor.shape).fold(0, |flat, (i, n)| flat * n + i as usize);
        let bytes = tensor.bytes[4 * flat..][..4].try_into().expect("four bytes");
        let expected = f32::from_le_bytes(bytes);
        assert_eq!(how["bits"], format!("{:08x}", expected.to_bits()), "{how}");
        assert_eq!(how["value"], f64::from(expected), "{how}");
        let line = how["line"].as_u64().expect("a line") as usize;
        let source = std::fs::read_to_string(how["file"].as_str().expect("a file")).expect("a file");
        assert_eq!(source.lines().nth(line - 1).map(str::trim), how["code"].as_str());
    }
    let next = json(&["how", "next_id[0]", PROMPT, "--seed", "4"]);
    let id = i64::from_le_bytes(trace.tensors["next_id"].bytes[..8].try_into().expect("eight bytes"));
    assert_eq!((&next["value"], &next["bits"]), (&Value::from(id), &Value::Null));
}

/// A step that the cache would serve has the same numbers where the whole text is read at once.
#[test]
fn later_steps() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.safetensors");
    let prompt = ["generate", PROMPT, "--seed", "4", "--max-new-tokens", "3", "--trace"];
    gpt2().args(prompt).arg(&file).assert().success();
    let trace = SafeTensors::open(&file).expect("a trace");
    let heads = &trace.tensors["step.2.transformer.h.2.attn.heads"]; // [1, 128]
    let how = json(&["how", "h.2.attn.heads[5,33]", PROMPT, "--seed", "4", "--step", "2"]);
    let expected = u32::from_le_bytes(heads.bytes[4 * 33..][..4].try_into().expect("four bytes"));
    assert_eq!(how["bits"], format!("{expected:08x}"));
    let terms: Vec<f64> = how["terms"]
        .as_array()
        .expect("terms")
        .iter()
        .map(|term| term["value"].as_f64().expect("a number"))
        .collect();
    assert_eq!(terms.len(), 6, "one for each position");
    assert!(terms.windows(2).all(|pair| pair[0].abs() >= pair[1].abs()), "{terms:?}");
}

#[test]
fn bad_numbers_are_named() {
    for (args, code, part) in [
        (["how", "h.2.attn.heads", "x"], 2, "is not a stage with an index, such as"),
        (["how", "[1,2]", "x"], 2, "names no stage"),
        (
            ["how", "attn.heads[0,0]", "x"],
            2,
            "matches transformer.h.0.attn.heads, transformer.h.1.attn.heads",
        ),
        (["how", "heds[0,0]", "x"], 2, "gpt2 trace --list shows their names"),
        (["how", "h.0.ln_1[0,128]", "x"], 1, "is [1, 128] and has no number [0, 128]"),
        (["how", "h.0.ln_1[0]", "x"], 1, "has no number [0]"),
        (["how", "h.0.ln_1[0,-1]", "x"], 2, "is not a stage with an index"),
        (["why", "x", "--token=two words"], 1, "is 2 tokens"),
        (["why", "x", "--token=50257"], 1, "50257"),
        (["why", "x", "--step=20000"], 1, "--step"),
    ] {
        let assert = gpt2().args(args).assert().code(code).stdout("");
        assert.stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(part)));
    }
}

#[test]
fn the_parts_of_a_logit() {
    let why = json(&["why", PROMPT]);
    let compared = json(&["why", PROMPT, "--against", " away"]);
    let list = |why: &Value, key: &str| -> Vec<f64> {
        why["parts"]
            .as_array()
            .expect("parts")
            .iter()
            .map(|part| part[key].as_f64().expect("a number"))
            .collect()
    };
    for why in [&why, &compared] {
        let sum: f64 = list(why, "value").iter().sum();
        let logit = why["token"]["logit"].as_f64().expect("a number");
        assert!((sum - logit).abs() < 1e-4, "{why}");
        assert_eq!(list(why, "without").len(), 3 + 6 * (4 + 2));
    }
    let greedy = json(&["generate", PROMPT, "--greedy", "--max-new-tokens", "3"]);
    assert_eq!(why["token"]["id"], greedy["ids"][0]);
    assert_eq!(compared["against"]["text"], " away");
    assert_eq!(json(&["why", PROMPT, "--step", "2"])["token"]["id"], greedy["ids"][2]);
    let drawn = json(&["generate", PROMPT, "--seed", "4", "--max-new-tokens", "1"]);
    assert_eq!(json(&["why", PROMPT, "--seed", "4"])["token"]["id"], drawn["ids"][0]);
    assert_eq!(json(&["why", PROMPT, "--token", "640"])["token"]["text"], " time");
    assert_eq!(json(&["why", PROMPT, "--token", "\"640\""])["token"]["text"], "640");
}

/// Models of other shapes: a head of its own, one block, no GELU.
#[test]
fn any_model() {
    for name in std::fs::read_dir(fixture("")).expect("fixtures") {
        let path = name.expect("a fixture").path();
        if !path.join("config.json").exists() {
            continue;
        }
        let model = path.to_str().expect("UTF-8");
        let why = json(&["why", "--ids", "1,2,3", "--model", model]);
        let sum = why["sum"].as_f64().expect("a number");
        let logit = why["token"]["logit"].as_f64().expect("a number");
        assert!((sum - logit).abs() < 1e-4 * logit.abs().max(1.0), "{model}: {why}");
        json(&["how", "h.0.mlp.act[2,3]", "--ids", "1,2,3", "--model", model]);
    }
}
