//! Folders with added tokens of every kind give the ids that Hugging Face's `AutoTokenizer` gave:
//! `make_folder_fixtures.py` recorded them.

use gpt2::bpe::{Bpe, TokenId};
use gpt2::format::Folder;
use serde_json::{Value, json};
use std::{fs, path::Path};
use tempfile::TempDir;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer").join(name);
    fs::read_to_string(path).expect("a fixture")
}

/// Writes the files of a case, with the tokens and merges of `model`.
fn write(folder: &Path, case: &Value, model: &Value) {
    let files = case["files"].as_object().expect("files");
    for (name, content) in files {
        let mut content = content.as_str().expect("a text").to_string();
        if name == "tokenizer.json" {
            let mut whole: Value = serde_json::from_str(&content).expect("JSON");
            whole["model"] = json!({"type": "BPE", "vocab": model["vocab"], "merges": model["merges"]});
            content = whole.to_string();
        }
        fs::write(folder.join(name), content).expect("a file");
    }
    if !files.contains_key("tokenizer.json") {
        let merge = |merge: &Value| {
            format!("{} {}\n", merge[0].as_str().expect("left"), merge[1].as_str().expect("right"))
        };
        let merges: String = model["merges"].as_array().expect("merges").iter().map(merge).collect();
        fs::write(folder.join("vocab.json"), model["vocab"].to_string()).expect("a file");
        fs::write(folder.join("merges.txt"), format!("#version: 0.2\n{merges}")).expect("a file");
    }
}

fn ids(value: &Value) -> Vec<TokenId> {
    serde_json::from_value(value.clone()).expect("ids")
}

#[test]
fn folders_are_read_as_auto_tokenizer_reads_them() {
    let small: Value = serde_json::from_str(&fixture("small/tokenizer.json")).expect("JSON");
    let cases = fixture("folders.jsonl");
    let (mut compared, mut differ) = (0, Vec::new());
    for (number, line) in cases.lines().enumerate() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let folder = TempDir::new().expect("a folder");
        write(folder.path(), &case, if case["model"].is_null() { &small["model"] } else { &case["model"] });
        let bpe = match Bpe::from_folder(folder.path()) {
            Ok(bpe) => bpe.expect("a tokenizer"),
            Err(error) => {
                differ.push(format!("{number}: {error}"));
                continue;
            }
        };
        let entries = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry"));
        let files = entries.map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a file"))
        });
        let in_memory = Bpe::from_folder(files.collect::<Folder>()).expect("files").expect("a tokenizer");
        for added in case["added"].as_array().expect("a list") {
            let id = added[0].as_u64().expect("an id") as TokenId;
            if bpe.token_bytes(id) != added[1].as_str().map(str::as_bytes) {
                differ.push(format!("{number}: {added}, not {:?}", bpe.token_text(id)));
            }
        }
        for text in case["texts"].as_array().expect("a list") {
            let (special, plain) = (ids(&text[1]), ids(&text[2]));
            let text = text[0].as_str().expect("a text");
            for (found, expected, what) in [
                (bpe.encode_with_special(text), &special, "special"),
                (bpe.encode(text), &plain, "plain"),
                (in_memory.encode(text), &plain, "in memory"),
            ] {
                compared += 1;
                if found != *expected {
                    differ.push(format!(
                        "{number}: {text:?} {what}: {found:?}, not {expected:?}\n   {}",
                        case["files"]
                    ));
                }
            }
        }
    }
    println!("{compared} texts compared");
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ[..differ.len().min(12)].join("\n"));
    assert!(compared > 3000);
}
