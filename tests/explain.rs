//! `gpt2 explain`: the page holds what the program computed. `tests/page.mjs` looks at it in a browser.

mod common;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use common::{fixture, gpt2};
use flate2::read::GzDecoder;
use gpt2::checkpoint::{bundled, open};
use gpt2::format::Bytes;
use gpt2::format::safetensors::SafeTensors;
use gpt2::page::{Answer, Engine};
use predicates::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// A page's JSON and numbers.
struct Page {
    text: String,
    json: Value,
    numbers: Vec<f32>,
}

fn page(arguments: &[&str]) -> Page {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("page.html");
    gpt2().arg("explain").args(arguments).arg("--out").arg(&path).assert().success().stdout("");
    let text = std::fs::read_to_string(&path).expect("a page");
    let (json, numbers) = unpacked(&text, "data");
    let n = numbers.len() / 4;
    let number = |i: usize| f32::from_le_bytes([0, 1, 2, 3].map(|byte| numbers[byte * n + i]));
    Page { json, numbers: (0..n).map(number).collect(), text }
}

/// The JSON and the other bytes of a packed part.
fn unpacked(page: &str, id: &str) -> (Value, Vec<u8>) {
    let start = format!("id=\"{id}\">");
    let part = page.split_once(&start).expect("the part").1.split_once('<').expect("its end").0;
    let mut bytes = Vec::new();
    let packed = BASE64_STANDARD.decode(part).expect("base64");
    GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("gzip");
    let length = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
    (serde_json::from_slice(&bytes[4..4 + length]).expect("JSON"), bytes[4 + length..].to_vec())
}

impl Page {
    /// The arrays of every step, by step and name.
    fn arrays(&self) -> BTreeMap<(usize, String), &[f32]> {
        let (mut arrays, mut rest) = (BTreeMap::new(), &self.numbers[..]);
        for (i, step) in self.json["steps"].as_array().expect("steps").iter().enumerate() {
            for array in step["arrays"].as_array().expect("arrays") {
                let shape: Vec<usize> = serde_json::from_value(array["shape"].clone()).expect("a shape");
                let (values, after) = rest.split_at(shape.iter().product());
                arrays.insert((i, array["name"].as_str().expect("a name").to_string()), values);
                rest = after;
            }
        }
        assert!(rest.is_empty());
        arrays
    }

    fn next_ids(&self) -> Vec<u64> {
        self.json["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .filter_map(|step| step["next"].as_u64())
            .collect()
    }
}

#[test]
fn every_number_is_that_of_the_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.safetensors");
    let shown = page(&["Once upon a", "--seed", "3", "--max-new-tokens", "5"]);
    let generate = ["generate", "Once upon a", "--seed", "3", "--max-new-tokens", "5", "--json", "--trace"];
    let assert = gpt2().args(generate).arg(&path).assert().success();
    let report: Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
    assert_eq!(json!(shown.next_ids()), report["ids"]);
    let trace = SafeTensors::parse(&path, &Bytes::map(&path).expect("a file")).expect("tensors");
    let arrays = shown.arrays();
    for ((step, name), values) in &arrays {
        let key = if *step == 0 { name.clone() } else { format!("step.{step}.{name}") };
        let traced: Vec<f32> =
            trace.tensors[&key].bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let last = &traced[traced.len() - values.len()..]; // of lm_head, the last row
        assert!(values.iter().zip(last).all(|(a, b)| a.to_bits() == b.to_bits()), "{key}");
        assert!(values.len() == traced.len() || name == "lm_head", "{key}");
    }
    assert_eq!(arrays.len(), 5 * (6 * 12 + 5), "every stage but the ids and probs");

    // the operands: the number that they give is the one that is shown
    let hows = shown.json["page"]["hows"].as_object().expect("hows");
    assert!(hows.len() > 500, "{}", hows.len());
    for (key, how) in hows {
        let [step, name, index] = key.split('|').collect::<Vec<_>>()[..] else { panic!("{key}") };
        let values = arrays[&(step.parse().expect("a step"), name.to_string())];
        let bits = u32::from_str_radix(how["bits"].as_str().expect("bits"), 16).expect("bits");
        assert!(values.iter().any(|x| x.to_bits() == bits), "{key}");
        assert_eq!(format!("{}", how["index"]).replace(['[', ']'], ""), index, "{key}");
    }
    let text = &shown.text;
    assert!(text.len() < 12_000_000, "{}", text.len());
    let namespace = "http://www.w3.org/2000/svg"; // a name, not an address
    assert!(!text.replace(namespace, "").contains("://"), "no address");
}

#[test]
fn a_hostile_text_stays_text() {
    let prompt = "</script><img src=x onerror=alert(1)>\"'&{{script}}";
    let shown = page(&[prompt, "--seed", "1", "--max-new-tokens", "2"]);
    assert_eq!(shown.json["page"]["prompt"], prompt);
    assert!(!shown.text.contains("<img"), "in the text without JavaScript it is escaped");
    assert!(shown.text.contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"));
    assert!(shown.text.contains("{{script}}"), "the mark is the prompt's own");
    assert_eq!(shown.text.matches("<script").count(), 4);
}

#[test]
fn a_large_model_keeps_fewer_stages_and_says_which() {
    let words = "the king said to the old man who lived in the wood ".repeat(18);
    let shown = page(&[&words, "--seed", "1", "--max-new-tokens", "2"]);
    let left_out = shown.json["page"]["left_out"][0].as_str().expect("a sentence").to_string();
    assert!(left_out.contains("transformer.h.{i}.mlp.c_fc"), "{left_out}");
    let arrays = shown.arrays();
    assert!(!arrays.contains_key(&(0, "transformer.h.0.mlp.c_fc".into())));
    assert!(arrays.contains_key(&(1, "lm_head".into())));
    assert!(shown.text.len() < 12_000_000, "{}", shown.text.len());
}

#[test]
fn any_model_can_be_shown() {
    for model in ["base", "untied", "inner-erf", "bf16"].map(fixture) {
        let shown = page(&[
            "--ids",
            "3,1,4",
            "--model",
            model.to_str().expect("a name"),
            "--max-new-tokens",
            "3",
            "--greedy",
        ]);
        assert_eq!(shown.next_ids().len(), 3, "{model:?}");
        assert_eq!(
            shown.json["page"]["about"]["config"]["vocab_size"],
            open(&model).expect("a model").model.config.vocab_size
        );
    }
}

/// Plain and speculative text end at the same place, also where the positions do.
#[test]
fn the_text_ends_with_the_positions() {
    let model = fixture("base"); // 64 positions
    let arguments = ["--ids", "3,1,4", "--greedy", "--max-new-tokens", "90", "--model"];
    let shown = page(&[&arguments[..], &[model.to_str().expect("a name")]].concat());
    let turns = shown.json["page"]["speculation"]["turns"].as_array().expect("turns");
    let written = turns.iter().flat_map(|turn| turn["written"].as_array().expect("ids"));
    let written: Vec<u64> = written.filter_map(Value::as_u64).collect();
    assert_eq!(shown.next_ids(), written);
    assert_eq!(written.len(), 61);
    let stop = [
        "generate",
        "--ids",
        "3,1,4",
        "--greedy",
        "--max-new-tokens",
        "90",
        "--context-policy",
        "stop",
        "--json",
    ];
    let assert = gpt2().args(stop).arg("--model").arg(&model).assert().success();
    let report: Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
    assert_eq!(report["ids"], json!(written));
}

#[test]
fn a_live_page_has_the_model() {
    let shown = page(&["Once upon a time", "--live", "--seed", "1"]);
    assert!(shown.text.len() < 20_000_000, "{}", shown.text.len());
    let (files, bytes) = unpacked(&shown.text, "model");
    let size: u64 =
        files.as_array().expect("files").iter().map(|file| file["size"].as_u64().expect("a size")).sum();
    assert_eq!(size, bytes.len() as u64);
    assert_eq!(shown.json["page"]["golden"], gpt2::page::golden(&bundled()).expect("a hash"));
    let refused =
        gpt2().args(["explain", "x", "--live", "--model", "gpt2", "--out", "x.html"]).assert().code(2);
    refused.stderr(predicate::str::contains("--live"));
}

#[test]
fn a_page_that_cannot_be_written_is_an_error() {
    let assert = gpt2()
        .args(["explain", "x", "--max-new-tokens", "1", "--out", "no/such/folder.html"])
        .assert()
        .code(1);
    assert.stderr(predicate::str::starts_with("error: no/such/folder.html"));
    gpt2().args(["explain", "x", "--num-beams", "1", "--out", "x.html"]).assert().code(2);
}

/// Requests to the engine, with what each shows.
fn requests() -> Vec<Value> {
    let mut all = vec![json!({"op": "golden"}), json!({"op": "encode", "text": "naïve 犬"})];
    let prompts = [
        "Once upon a time",
        "The",
        "\"I am\" said he",
        "naïve 犬 🐕",
        "1 2 3",
        "",
        "the the the",
        "King",
        "a\nb",
        "Why?",
    ];
    for (seed, prompt) in prompts.iter().enumerate() {
        all.push(json!({"op": "begin", "prompt": prompt, "options": {"seed": seed, "max_new_tokens": 6, "top_p": 0.9}}));
        all.extend(std::iter::repeat_n(json!({"op": "step"}), 6));
    }
    let ids = [464, 5822];
    all.push(json!({"op": "begin", "ids": ids, "options": {"max_new_tokens": 40}, "without": [{"block": 1, "head": 2}]}));
    all.push(json!({"op": "step"}));
    all.push(json!({"op": "step", "force": 1243}));
    all.push(json!({"op": "draw", "ids": ids, "prompt_len": 2, "eos": [50256], "options": {"temperature": 1.3, "min_p": 0.05}}));
    all.push(json!({"op": "how", "step": 1, "stage": "transformer.h.3.attn.heads", "index": [0, 17]}));
    all.push(json!({"op": "how", "step": 0, "stage": "lm_head", "index": [1, 640]}));
    all.push(json!({"op": "why", "step": 1, "token": 640, "against": 11, "switch_off": true}));
    all.push(json!({"op": "lens", "step": 1}));
    all.push(json!({"op": "back", "step": 1}));
    all.push(json!({"op": "step"}));
    all.push(json!({"op": "beams", "num_beams": 3, "max_new_tokens": 4}));
    all.push(json!({"op": "speculation"}));
    all.push(json!({"op": "merges", "text": " unbelievable"}));
    all.push(json!({"op": "step", "force": 99999}));
    all.push(json!({"op": "how", "step": 9, "stage": "x", "index": []}));
    all.push(json!({"op": "about"}));
    all
}

/// The engine's answers: what each has, and the numbers' bits.
fn native(requests: &[Value]) -> Vec<Answer> {
    let lm = bundled();
    let (mut engine, mut logits) = (Engine::new(&lm), Vec::new());
    let mut answers = Vec::new();
    for request in requests {
        let given = if request["op"] == "draw" { &logits[..] } else { &[] };
        let answer = engine.answer(&request.to_string(), given);
        if let Some(last) = answer.json["arrays"].as_array().and_then(|arrays| arrays.last()) {
            let v = last["shape"][1].as_u64().expect("V") as usize;
            logits = answer.numbers[answer.numbers.len() - v..].to_vec();
        }
        answers.push(answer);
    }
    answers
}

#[test]
fn the_engine_answers() {
    let requests = requests();
    let answers = native(&requests);
    let wrong = [requests.len() - 3, requests.len() - 2];
    for (i, (request, answer)) in requests.iter().zip(&answers).enumerate() {
        assert_eq!(
            !answer.json["error"].is_null(),
            wrong.contains(&i),
            "{request}: {}",
            answer.json["error"]
        );
    }
    let lm = bundled();
    let mut engine = Engine::new(&lm);
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"op": "step"}"#,
        r#"{"op": "begin"}"#,
        r#"{"op": "begin", "ids": [-1]}"#,
        r#"{"op": "begin", "prompt": "x", "options": {"temperature": 0}}"#,
        r#"{"op": "begin", "prompt": "x", "without": [{"block": 99, "head": 0}]}"#,
        r#"{"op": "draw", "ids": [7], "eos": [], "options": {}}"#,
    ] {
        assert!(engine.answer(bad, &[]).json["error"].is_string(), "{bad}");
    }
}

/// The engine in WebAssembly gives the same answers, by bits. Needs Node: `GPT2_NODE` is its name.
#[test]
fn webassembly_gives_the_same_bits() {
    use sha2::Digest;
    let Some(node) = std::env::var_os("GPT2_NODE") else { return };
    let requests = requests();
    let mut child = Command::new(node)
        .args(["tests/engine.mjs", "data/engine.wasm.gz", "data/tales-8m"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node");
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("a pipe");
    let output = child.wait_with_output().expect("Node");
    assert!(output.status.success());
    let found = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(found.lines().count(), requests.len());
    for ((request, answer), line) in requests.iter().zip(native(&requests)).zip(found.lines()) {
        let mut theirs: Value = serde_json::from_str(line).expect("JSON");
        let mut hash = sha2::Sha256::new();
        answer.numbers.iter().for_each(|x| hash.update(x.to_le_bytes()));
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut ours: Value = serde_json::from_str(&answer.json.to_string()).expect("JSON");
        for answer in [&mut theirs["json"], &mut ours] {
            // the lessons' text may have changed since the engine was built, but no number
            answer
                .as_object_mut()
                .into_iter()
                .for_each(|all| all.retain(|key, _| !["line", "stages"].contains(&&**key)));
        }
        assert_eq!(theirs["json"], ours, "{request}");
        assert_eq!(theirs["numbers"], json!(hex), "{request}");
    }
}
