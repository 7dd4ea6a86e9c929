//! Checkpoints as users have them are read as Hugging Face's `from_pretrained` reads them, and what one may not expect is
//! noted. Numbers are compared with the reference in tests/reference.rs.

mod common;

use common::{Checkpoint, fixture, gpt2};
use gpt2::checkpoint::{LanguageModel, open, open_files};
use gpt2::format::safetensors::{SafeTensors, Slot, Tensor, Writer};
use gpt2::trace::NoTrace;
use predicates::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The bits of the logits of a few tokens.
fn bits(lm: &LanguageModel) -> Vec<u32> {
    let logits = lm.model.forward(&[5, 6, 7, 90], &mut lm.model.new_cache(), &mut NoTrace);
    logits.data().iter().map(|x| x.to_bits()).collect()
}

/// A copy of the fixture `of` with other names and shapes; a tensor for which `edit` gives none is left out.
fn edited(of: &str, edit: impl Fn(&str, Vec<usize>) -> Option<(String, Vec<usize>)>) -> Checkpoint {
    let copy = Checkpoint::copy(of);
    let tensors = SafeTensors::open(&fixture(of).join("model.safetensors")).expect("a checkpoint").tensors;
    let edit = |(name, tensor): (String, Tensor)| {
        let (name, shape) = edit(&name, tensor.shape)?;
        Some((Slot { name, dtype: "F32", shape }, tensor.bytes))
    };
    let (slots, bytes): (Vec<_>, Vec<_>) = tensors.into_iter().filter_map(edit).unzip();
    let mut writer =
        Writer::create(&copy.file("model.safetensors"), &slots, &BTreeMap::new()).expect("a file");
    for (slot, bytes) in slots.iter().zip(bytes) {
        writer.write(&slot.name, &bytes).expect("it is written");
    }
    writer.finish().expect("a file");
    copy
}

/// The same with other names only.
fn renamed(of: &str, name: impl Fn(&str) -> Option<String>) -> Checkpoint {
    edited(of, |old, shape| Some((name(old)?, shape)))
}

/// The files of a folder, in memory.
fn in_memory(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let name = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| (name(&entry), std::fs::read(entry.path()).expect("a file"))).collect()
}

/// Writes the weights of a folder again, in two files and the list of them.
fn in_parts(folder: &Checkpoint) {
    let whole = folder.file("model.safetensors");
    let tensors: Vec<_> = SafeTensors::open(&whole).expect("a checkpoint").tensors.into_iter().collect();
    let mut weight_map = serde_json::Map::new();
    for (part, tensors) in ["part-1.safetensors", "part-2.safetensors"].iter().zip(tensors.chunks(20)) {
        let slot = |(name, tensor): &(String, Tensor)| {
            weight_map.insert(name.clone(), json!(part));
            Slot { name: name.clone(), dtype: "F32", shape: tensor.shape.clone() }
        };
        let slots: Vec<Slot> = tensors.iter().map(slot).collect();
        let mut writer = Writer::create(&folder.file(part), &slots, &BTreeMap::new()).expect("a file");
        tensors.iter().for_each(|(name, tensor)| writer.write(name, &tensor.bytes).expect("it is written"));
        writer.finish().expect("a file");
    }
    folder.write("model.safetensors.index.json", json!({ "weight_map": weight_map }).to_string());
    std::fs::remove_file(whole).expect("it is removed");
}

#[test]
fn files_in_memory_are_read_as_a_folder_is() {
    for name in ["base", "bf16", "f16", "untied", "in parts"] {
        let folder = if name == "in parts" {
            let folder = Checkpoint::copy("base");
            in_parts(&folder);
            folder
        } else {
            Checkpoint::copy(name)
        };
        folder.write("generation_config.json", r#"{"top_k": 7, "unknown": 1}"#);
        let [a, b] = [open(folder.path()), open_files(name, in_memory(folder.path()))];
        let [a, b] = [a.expect(name), b.expect(name)];
        assert_eq!(bits(&a), bits(&b), "{name}");
        assert_eq!((a.notes, a.generation_config), (b.notes, b.generation_config), "{name}");
    }
    let folder = Checkpoint::copy("base").with_bytes_as_tokens();
    let text = "bytes as tokens, and others";
    let ids = open(folder.path()).expect("a checkpoint").bpe.encode(text);
    assert_eq!(open_files("base", in_memory(folder.path())).expect("a checkpoint").bpe.encode(text), ids);
    assert_eq!(ids.len(), text.len());
}

#[test]
fn files_in_memory_that_are_missing_are_named() {
    let folder = Checkpoint::copy("base");
    in_parts(&folder);
    let without = |name: &str| {
        let files = in_memory(folder.path()).into_iter().filter(|(file, _)| file != name);
        open_files("base", files).expect_err(name).to_string()
    };
    assert!(without("config.json").starts_with("the files: there is no config.json"));
    assert!(without("model.safetensors.index.json").starts_with("part-1.safetensors: "));
    assert!(
        without("part-2.safetensors").starts_with("part-2.safetensors: model.safetensors.index.json lists")
    );
    let nothing = open_files::<&str>("base", []).expect_err("nothing").to_string();
    assert!(nothing.starts_with("the files: there is no model.safetensors"), "{nothing}");
}

#[test]
fn what_names_begin_with_is_taken_off() {
    for of in ["base", "untied"] {
        let expected = bits(&open(fixture(of)).expect("a checkpoint"));
        for outer in ["module.", "_orig_mod.", "model.", "_orig_mod.module.", "pretrained_model."] {
            for inner in ["transformer.", ""] {
                let name = |name: &str| Some(format!("{outer}{}", name.replace("transformer.", inner)));
                let lm = open(renamed(of, name).path()).expect(outer);
                assert_eq!(lm.notes, [format!("the names begin with {outer:?}, which is taken off")]);
                assert_eq!(bits(&lm), expected, "{outer}{inner}");
            }
        }
    }
}

#[test]
fn a_head_may_lie_beside_what_is_wrapped() {
    let expected = bits(&open(fixture("untied")).expect("a checkpoint"));
    let beside = |name: &str| match name {
        "lm_head.weight" => Some(name.into()),
        _ => Some(name.replace("transformer.", "model.")),
    };
    assert_eq!(bits(&open(renamed("untied", beside).path()).expect("a checkpoint")), expected);
}

#[test]
fn the_head_stands_for_the_embeddings() {
    let expected = bits(&open(fixture("base")).expect("a checkpoint"));
    let head =
        |name: &str| Some(if name.ends_with(".wte.weight") { "lm_head.weight".into() } else { name.into() });
    let lm = open(renamed("base", head).path()).expect("a checkpoint");
    assert_eq!((bits(&lm), lm.notes), (expected, vec![]));

    // stored and equal: tied; missing and not tied: refused
    let untied = renamed("untied", |name| Some(name.into()));
    untied.configure("tie_word_embeddings", true);
    assert_eq!(open(untied.path()).expect("a checkpoint").notes.len(), 1, "the two differ");
    let untied = renamed("untied", |name| (name != "lm_head.weight").then(|| name.into()));
    let error = open(untied.path()).expect_err("no head").to_string();
    assert!(error.contains("\"lm_head.weight\" is missing, and tie_word_embeddings is false"), "{error}");
}

#[test]
fn notes_say_what_a_reader_may_not_expect() {
    let lm = open(fixture("loose")).expect("a checkpoint");
    let expected = [
        "lm_head.weight is used: it differs from wte, although config.json ties the two",
        "biases that the file lacks are 0: \"transformer.h.0.attn.c_attn.bias\", \"transformer.h.0.ln_2.bias\", \
         \"transformer.h.1.attn.c_attn.bias\" and 2 more",
        "config.json has n_layer 2, the file 3 blocks; blocks from 2 on are not used",
        "not used: \"v_head.summary.weight\"",
    ];
    assert_eq!(lm.notes, expected);
    assert_eq!(open(fixture("bare-names")).expect("a checkpoint").notes, [""; 0], "masks are no surplus");
    let expected = predicate::str::contains("note: loose: lm_head.weight is used").count(1);
    let info =
        gpt2().args(["info", "--json", "--model", "loose"]).current_dir(fixture("")).assert().success();
    let output = info.stderr(expected).get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(report["notes"], json!(lm.notes));
}

/// Saved again, such a model is like any other: with its head, its zeros, and F32 in place of F64.
#[test]
fn a_copy_has_what_was_read() {
    let place = tempfile::tempdir().expect("a folder");
    let lm = open(fixture("loose")).expect("a checkpoint");
    let expected = bits(&LanguageModel { model: lm.model.quantize(), ..lm });
    for out in ["folder", "file.safetensors"] {
        let out = place.path().join(out);
        gpt2().args(["quantize", "--model"]).arg(fixture("loose")).arg("--out").arg(&out).assert().success();
        assert_eq!(bits(&open(&out).expect("a checkpoint")), expected, "{out:?}");
    }
}

#[test]
fn transposed_weights_are_refused_by_that_name() {
    let transposed = |name: &str, mut shape: Vec<usize>| {
        if name.contains(".c_") {
            shape.reverse();
        }
        Some((name.to_string(), shape))
    };
    let model = edited("base", transposed);
    let error = open(model.path()).expect_err("transposed").to_string();
    assert!(
        error.contains("transposed, as nn.Linear stores it; GPT-2's Conv1D is [in, out], [32, 96]"),
        "{error}"
    );
}

#[test]
fn a_model_without_a_tokenizer_says_so_on_use() {
    let note = |model: &Path, command: &str| {
        let mut all = gpt2();
        all.args(command.split(' ')).arg("--model").arg(model);
        let stderr = all.output().expect("it runs").stderr;
        String::from_utf8(stderr).expect("UTF-8").contains("has no tokenizer; GPT-2's own is used")
    };
    let (without, with) = (fixture("base"), Checkpoint::copy("base").with_bytes_as_tokens());
    for command in ["tokenize !", "detokenize 0", "generate !", "score !!", "trace !"] {
        assert!(note(&without, command) && !note(with.path(), command), "{command}");
    }
    assert!(!note(&without, "generate --ids 1") && !note(&without, "info"), "no text is read");
    assert!(!note(&fixture("../formats/base-f32.gguf"), "tokenize !"));
}

// ---- generation_config.json

/// `generate` on a model with this generation_config.json; its ids, its report and standard error.
fn generate(model: &Path, arguments: &str) -> (Value, Value, String) {
    let mut command = gpt2();
    command
        .args(["generate", "--json", "--stats", "--ids", "5,6,7", "--max-new-tokens", "12", "--model"])
        .arg(model);
    let output = command.args(arguments.split_whitespace()).assert().success().get_output().clone();
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (report["ids"].clone(), report, String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn generation_config_gives_defaults() {
    let [plain, model] = [Checkpoint::copy("base"), Checkpoint::copy("base").with_bytes_as_tokens()];
    let config =
        json!({"do_sample": false, "repetition_penalty": 1.8, "no_repeat_ngram_size": 2, "num_beams": 3});
    model.write("generation_config.json", config.to_string());
    let flags = "--repetition-penalty 1.8 --no-repeat-ngram-size 2";
    let (expected, report, stderr) = generate(plain.path(), &format!("--greedy {flags}"));
    assert_ne!(expected, generate(plain.path(), "--greedy").0, "the penalties change the text");
    assert!(report.get("generation_config").is_none() && !stderr.contains("generation_config"), "{report}");

    for path in [model.path().to_path_buf(), model.file("model.safetensors")] {
        let (ids, report, stderr) = generate(&path, "");
        assert_eq!(ids, expected, "{path:?}");
        let set = json!({"do_sample": false, "repetition_penalty": 1.8, "no_repeat_ngram_size": 2});
        assert_eq!(report["generation_config"], set);
        assert!(stderr.contains("not used of generation_config.json: num_beams\n"), "{stderr}");
        assert!(stderr.contains(&format!("generation_config.json {set}\n")), "{stderr}");
    }
    // a lone file carries it, and a folder made of that file has it again
    let folder = tempfile::tempdir().expect("a folder");
    let (alone, again) = (folder.path().join("alone.safetensors"), folder.path().join("again"));
    for (from, to) in [(model.path(), &alone), (&alone, &again)] {
        gpt2().arg("convert").arg("--model").arg(from).arg("--out").arg(to).assert().success();
        assert_eq!(generate(to, "").0, expected, "{to:?}");
    }
    let override_all = "--greedy --repetition-penalty 1 --no-repeat-ngram-size 0";
    assert_eq!(generate(model.path(), override_all).0, generate(plain.path(), "--greedy").0);
    let drawn = generate(model.path(), "--seed 3").0;
    assert_eq!(
        drawn,
        generate(plain.path(), &format!("--seed 3 {flags}")).0,
        "a flag for draws asks for draws"
    );
}

#[test]
fn a_generation_config_that_is_wrong_is_named() {
    let model = Checkpoint::copy("base");
    model.write("generation_config.json", r#"{"temperature": "hot"}"#);
    let message =
        "generation_config.json: temperature \"hot\": wrong type or out of range; expected a number";
    let generate = gpt2().args(["generate", "--ids", "1", "--model"]).arg(model.path()).assert().code(1);
    generate.stdout("").stderr(predicate::str::contains(message));
}

// ---- info --check

/// The findings of `info --check`, each as its subject, and the sentences of problems.
fn check(model: &Path) -> (Vec<String>, Vec<String>) {
    let output = gpt2().args(["info", "--check", "--json", "--model"]).arg(model).output().expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |finding: &Value| format!("{}: {}", finding["about"], finding["finding"]).replace('"', "");
    let all = report["findings"].as_array().expect("a list");
    let problems: Vec<String> = all.iter().filter(|finding| finding["problem"] == true).map(text).collect();
    assert_eq!(report["problems"], problems.len());
    assert_eq!(output.status.code(), Some(i32::from(!problems.is_empty())));
    (all.iter().map(text).collect(), problems)
}

#[test]
fn a_sound_model_has_no_problem() {
    let model = Checkpoint::copy("base");
    model.write("generation_config.json", r#"{"repetition_penalty": 1.3}"#);
    model.write("pytorch_model.bin", "x");
    let (found, problems) = check(model.path());
    assert_eq!(problems, [""; 0]);
    for part in [
        "files: not read: \\pytorch_model.bin",
        "config: activation gelu_new, layer_norm_epsilon 0.00001",
        "config: wte is the output head",
        "weights: tensors: 28 in F32",
        "tokenizer: none: GPT-2's own is used",
        "generation: generation_config.json sets repetition_penalty 1.3",
        "numbers: hash ",
    ] {
        assert!(found.iter().any(|finding| finding.starts_with(part)), "{part}: {found:?}");
    }
    let hash = |found: &[String]| found.iter().find(|finding| finding.starts_with("numbers")).cloned();
    let gguf = check(&fixture("../formats/base-f32.gguf")).0;
    assert_eq!(hash(&found), hash(&gguf), "the same weights in another format");
    assert_ne!(hash(&found), hash(&check(&fixture("untied")).0));
}

#[test]
fn all_problems_are_listed() {
    let model = Checkpoint::copy("base").with_bytes_as_tokens();
    model.configure("n_inner", 100);
    let (_, problems) = check(model.path());
    assert_eq!(
        problems.len(),
        2 * 3 + 1,
        "c_fc.weight, c_fc.bias and c_proj.weight of two blocks, tokenizer: {problems:?}"
    );
    assert!(problems[6].contains("257 tokens, but only 211 rows in wte"), "{problems:?}");

    let damaged = Checkpoint::copy("base");
    let mut bytes = std::fs::read(damaged.file("model.safetensors")).expect("a file");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    bytes[end - 8..end - 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    damaged.write("model.safetensors", bytes);
    let (_, problems) = check(damaged.path());
    assert!(
        problems.len() == 1 && problems[0].ends_with("holds 1 NaN and 1 infinite numbers"),
        "{problems:?}"
    );

    let empty = tempfile::tempdir().expect("a folder");
    let (_, problems) = check(empty.path());
    assert!(problems.len() == 1 && problems[0].contains("there is no model.safetensors"), "{problems:?}");
    gpt2().args(["info", "--check"]).assert().code(2).stderr(predicate::str::contains("add --model"));
}
