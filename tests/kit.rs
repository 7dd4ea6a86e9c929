//! `gpt2 kit`: the folder is whole, says the truth, and is the same each time. `tests/numpy_port.py` is a port that passes it.

mod common;

use common::gpt2;
use gpt2::checkpoint::{bundled, open};
use gpt2::format::safetensors::SafeTensors;
use gpt2::trace::{NoTrace, Place};
use predicates::prelude::*;
use serde_json::Value;
use std::path::Path;

fn json(folder: &Path, name: &str) -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(folder.join(name)).expect(name)).expect(name)
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

#[test]
fn the_kit_is_whole_and_true() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let hash = |out: &Path| {
        let assert = gpt2().arg("kit").arg("--out").arg(out).assert().success();
        let line = String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8");
        line.rsplit(' ').next().expect("a hash").to_string()
    };
    assert_eq!(hash(&one), hash(&two), "the same bytes each time");
    let full = gpt2().arg("kit").arg("--out").arg(&one).assert().code(1);
    full.stderr(predicate::str::contains("give a new one"));

    // every file is listed, and the README speaks of it
    let sums = std::fs::read_to_string(one.join("SHA256SUMS")).expect("sums");
    let readme = std::fs::read_to_string(one.join("README.md")).expect("a README");
    assert!(["{version}", "{smallest}", "{stages}"].iter().all(|mark| !readme.contains(mark)), "{readme}");
    let mut files = Vec::new();
    for entry in ["", "model", "passes"]
        .map(|name| std::fs::read_dir(one.join(name)).expect(name))
        .into_iter()
        .flatten()
    {
        let path = entry.expect("an entry").path();
        if path.is_file() && !path.ends_with("SHA256SUMS") {
            files.push(path.strip_prefix(&one).expect("inside").to_string_lossy().into_owned());
        }
    }
    assert_eq!(sums.lines().count(), files.len());
    for file in files {
        assert!(sums.lines().any(|line| line.ends_with(&format!("  {file}"))), "{file}");
        let named =
            ["passes/", "model/", "README.md", "kit.json"].iter().any(|known| file.starts_with(known));
        assert!(named || readme.contains(&format!("`{file}`")), "{file}");
    }

    // the model is the bundled one, and its texts and numbers are the library's
    let (lm, ours) = (open(one.join("model")).expect("a model"), bundled());
    let same = |text: &str| assert_eq!(lm.bpe.encode(text), ours.bpe.encode(text), "{text:?}");
    for text in json(&one, "tokens.json") {
        assert_eq!(ids(&text["ids"]), ours.bpe.encode(text["text"].as_str().expect("a text")));
        same(text["text"].as_str().expect("a text"));
    }
    for pass in json(&one, "passes.json") {
        let name = pass["name"].as_str().expect("a name");
        let trace = SafeTensors::open(&one.join(format!("passes/{name}.safetensors"))).expect("a trace");
        assert_eq!(trace.tensors.len(), Place::all(6).count(), "{name}: every stage");
        let logits = lm.model.forward(&ids(&pass["ids"]), &mut lm.model.new_cache(), &mut NoTrace);
        assert_eq!(&trace.tensors["lm_head"].bytes[..], le_bytes(logits.data()), "{name}");
    }
    let mut greedy = 0;
    for text in json(&one, "continuations.json") {
        let mut all = ids(&text["prompt_ids"]);
        for token in text["tokens"].as_array().expect("tokens") {
            let logits = lm.model.next_logits(&all, &mut lm.model.new_cache(), &mut NoTrace);
            let mut sorted = logits.row(0).to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            if text["options"]["sample"] == false {
                greedy += 1;
                assert!(sorted[0] - sorted[1] > 1e-3, "the README promises no near ties: {token}");
                assert_eq!(logits.row(0)[token["id"].as_u64().expect("an id") as usize], sorted[0]);
            } else {
                let [u, from, to] = [&token["uniform"], &token["stretch"][0], &token["stretch"][1]]
                    .map(|x| x.as_f64().expect("a number"));
                assert!(from <= u && u < to, "{token}");
            }
            all.push(token["id"].as_u64().expect("an id") as u32);
        }
    }
    assert_eq!(greedy, 48);
}

fn le_bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}
