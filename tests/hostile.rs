//! Damaged and hostile files give one line that says what is wrong, and never a panic, a signal or a hang.

mod common;

use assert_cmd::Command;
use common::{Checkpoint, fixture, gpt2};
use predicates::prelude::PredicateBooleanExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// `gpt2 COMMAND... --model MODEL`
fn run(model: &Path, command: &str) -> Command {
    let mut run = gpt2();
    run.args(command.split_whitespace()).arg("--model").arg(model);
    run
}

/// The message of a run that must fail: exit code 1, nothing on standard output, one line of plain text.
fn refusal(command: &mut Command) -> String {
    let assert = command.assert().code(1).stdout("");
    message(&assert.get_output().stderr, command)
}

fn message(stderr: &[u8], command: &Command) -> String {
    let stderr = String::from_utf8(stderr.to_vec()).expect("UTF-8");
    let lines = stderr.strip_suffix('\n').unwrap_or_else(|| panic!("{command:?}: no line: {stderr:?}"));
    // a note may precede it: a fixture has no tokenizer
    let line = lines.strip_prefix("note: ").and_then(|rest| Some(rest.split_once('\n')?.1)).unwrap_or(lines);
    let breaks_the_line = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}');
    assert!(!line.contains(breaks_the_line), "{command:?}: {stderr:?}");
    assert!(!line.contains("panicked"), "{command:?}: {stderr}");
    assert!(line.len() <= 1000, "{command:?}: {} bytes is too long for a message", line.len());
    line.strip_prefix("error: ").unwrap_or_else(|| panic!("{command:?}: {stderr:?}")).into()
}

/// `info` refuses this checkpoint, and the message contains each of `parts`.
fn refuses(checkpoint: &Checkpoint, what: &str, parts: &[&str]) {
    let message = refusal(&mut run(checkpoint.path(), "info"));
    for part in parts {
        assert!(message.contains(part), "{what}: {message:?} lacks {part:?}");
    }
}

/// A run that ends by itself, with success or with one line of error.
fn ends(command: &mut Command) {
    let output = command.output().expect("it runs");
    match output.status.code() {
        Some(0) => {
            let stderr = String::from_utf8(output.stderr.clone()).expect("UTF-8");
            assert!(stderr.lines().all(|line| line.starts_with("note: ") && line.len() < 500), "{output:?}");
        }
        Some(1) => {
            assert!(output.stdout.is_empty(), "{command:?}: {output:?}");
            message(&output.stderr, command);
        }
        _ => panic!("{command:?}: {output:?}"),
    }
}

/// A random number generator that gives the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    /// Changes one to three bytes: flips a bit, replaces a byte, or writes a character with a meaning in JSON.
    fn mutate(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            bytes[at] = match self.below(3) {
                0 => bytes[at] ^ 1 << self.below(8),
                1 => self.below(256) as u8,
                _ => *b"\"{}[],:0919-eE.\\ ".get(self.below(17)).expect("one of them"),
            };
        }
    }
}

/// A `.safetensors` file, taken apart.
struct Parts {
    header: BTreeMap<String, Value>,
    data: Vec<u8>,
}

impl Parts {
    fn of(name: &str) -> Self {
        let bytes = weights(name);
        let end = header_end(&bytes);
        let header = serde_json::from_slice(&bytes[8..end]).expect("JSON");
        Self { header, data: bytes[end..].to_vec() }
    }

    fn tensors(&self) -> Vec<String> {
        self.header.keys().filter(|name| *name != "__metadata__").cloned().collect()
    }

    fn file(&self) -> Vec<u8> {
        join(json!(self.header).to_string(), &self.data)
    }
}

fn weights(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name).join("model.safetensors")).expect("a fixture")
}

fn header_end(bytes: &[u8]) -> usize {
    8 + u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize
}

fn join(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

// ---- model.safetensors

#[test]
fn a_reassembled_file_is_valid() {
    let checkpoint = Checkpoint::copy("base");
    checkpoint.write("model.safetensors", Parts::of("base").file());
    run(checkpoint.path(), "info").assert().success().stderr("");
}

#[test]
fn a_cut_file_is_named() {
    let checkpoint = Checkpoint::copy("base");
    let whole = weights("base");
    let end = header_end(&whole);
    let mut cuts = vec![0, 1, 7, 8, 9, 8 + (end - 8) / 2, end - 1, end, end + 1, whole.len() - 1];
    for entry in Parts::of("base").header.values().filter_map(|entry| entry["data_offsets"].as_array()) {
        cuts.push(end + entry[0].as_u64().expect("an offset") as usize);
    }
    let mut random = Random(1);
    cuts.extend((0..40).map(|_| random.below(whole.len())));
    for cut in cuts {
        checkpoint.write("model.safetensors", &whole[..cut]);
        refuses(&checkpoint, &format!("cut to {cut} bytes"), &["model.safetensors"]);
    }
}

#[test]
fn a_wrong_header_length_is_refused() {
    let checkpoint = Checkpoint::copy("base");
    let whole = weights("base");
    let length = header_end(&whole) as u64 - 8;
    for wrong in [0, 1, length / 2, length - 8, length - 1, length + 1, 1 << 32, 1 << 60, 1 << 63, u64::MAX] {
        let mut bytes = whole.clone();
        bytes[..8].copy_from_slice(&wrong.to_le_bytes());
        checkpoint.write("model.safetensors", bytes);
        refuses(&checkpoint, &format!("a header of {wrong} bytes"), &["model.safetensors"]);
    }
}

#[test]
fn a_header_that_is_not_an_object_is_refused() {
    let checkpoint = Checkpoint::copy("base");
    let deep = ["[", r#"{"a":"#].map(|open| open.repeat(200_000));
    let headers: [&[u8]; 16] = [
        b"",
        b" ",
        b"null",
        b"42",
        b"[]",
        b"\"text\"",
        b"{",
        b"{}",
        b"{}{}",
        br#"{"a":"#,
        br#"{"__metadata__":7}"#,
        br#"{"__metadata__":{"a":7}}"#,
        b"\0\0\0\0",
        b"\xff\xfe{\0}\0",
        deep[0].as_bytes(),
        deep[1].as_bytes(),
    ];
    for header in headers {
        checkpoint.write("model.safetensors", join(header, &[0; 64]));
        let what = String::from_utf8_lossy(&header[..header.len().min(30)]).into_owned();
        refuses(&checkpoint, &what, &["model.safetensors"]);
    }
}

#[test]
fn an_impossible_entry_names_its_tensor() {
    let checkpoint = Checkpoint::copy("base");
    let sound = Parts::of("base");
    let name = "transformer.ln_f.weight"; // [32], 128 bytes
    let [begin, end] = serde_json::from_value(sound.header[name]["data_offsets"].clone()).expect("a pair");
    let entry = |dtype: Value, shape: Value, data_offsets: Value| json!({"dtype": dtype, "shape": shape, "data_offsets": data_offsets});
    let dtype = |dtype: Value| entry(dtype, json!([32]), json!([begin, end]));
    let shape = |shape: Value| entry(json!("F32"), shape, json!([begin, end]));
    let offsets = |offsets: Value| entry(json!("F32"), json!([32]), offsets);
    let (begin, end): (u64, u64) = (begin, end);
    for wrong in [
        json!(null),
        json!([]),
        json!({}),
        json!({"dtype": "F32", "shape": [32]}),
        json!({"dtype": "F32", "data_offsets": [begin, end]}),
        json!({"shape": [32], "data_offsets": [begin, end]}),
        dtype(json!("F31")),
        dtype(json!("f32")),
        dtype(json!("")),
        dtype(json!(32)),
        dtype(json!(null)),
        dtype(json!("I8")),
        dtype(json!("F64")),
        dtype(json!("F16")),
        dtype(json!("I32")),
        entry(json!("F64"), json!([16]), json!([begin, end])),
        entry(json!("I8"), json!([128]), json!([begin, end])),
        shape(json!([])),
        shape(json!([0])),
        shape(json!([31])),
        shape(json!([32, 1])),
        shape(json!([1, 32])),
        shape(json!([-32])),
        shape(json!([32.5])),
        shape(json!(["32"])),
        shape(json!(32)),
        shape(json!([1e300])),
        shape(json!([u64::MAX])),
        shape(json!([1u64 << 63, 2])),
        shape(json!([1u64 << 32, 1u64 << 32, 1u64 << 32])),
        shape(json!(vec![1; 100_000])),
        shape(json!(vec![u32::MAX; 100_000])),
        offsets(json!([])),
        offsets(json!([begin])),
        offsets(json!([begin, end, end])),
        offsets(json!([end, begin])),
        offsets(json!([begin, begin])),
        offsets(json!([begin, end - 1])),
        offsets(json!([begin, end + 4])),
        offsets(json!([-128, 0])),
        offsets(json!([begin, u64::MAX])),
        offsets(json!([u64::MAX - 128, u64::MAX])),
        offsets(json!([sound.data.len() - 64, sound.data.len() + 64])),
        offsets(json!([begin + 4, end + 4])),
        offsets(json!([0, 128])),
    ] {
        let what: String = wrong.to_string().chars().take(100).collect();
        let mut parts = Parts::of("base");
        parts.header.insert(name.into(), wrong);
        checkpoint.write("model.safetensors", parts.file());
        refuses(&checkpoint, &what, &["model.safetensors", name]);
    }
}

#[test]
fn bytes_outside_all_tensors_are_refused() {
    // The format leaves no holes, so a file with holes does not match its header.
    let checkpoint = Checkpoint::copy("base");
    let whole = weights("base");
    checkpoint.write("model.safetensors", [&whole[..], &[0; 4]].concat());
    refuses(&checkpoint, "bytes at the end", &["model.safetensors"]);
    let mut parts = Parts::of("base");
    parts.header.insert("hole".into(), json!({"dtype": "U8", "shape": [4], "data_offsets": [0, 0]}));
    for entry in parts.header.values_mut().filter_map(|entry| entry.get_mut("data_offsets")) {
        *entry = entry.as_array().expect("a pair").iter().map(|at| at.as_u64().map(|at| at + 8)).collect();
    }
    parts.header.remove("hole");
    parts.data.splice(0..0, [0; 8]);
    checkpoint.write("model.safetensors", parts.file());
    refuses(&checkpoint, "bytes at the beginning", &["model.safetensors"]);
}

#[test]
fn a_duplicate_tensor_is_named() {
    let checkpoint = Checkpoint::copy("base");
    let parts = Parts::of("base");
    let name = "transformer.ln_f.weight";
    let header = json!(parts.header).to_string();
    let twice = format!("{{{}:{},{}", json!(name), parts.header[name], &header[1..]);
    checkpoint.write("model.safetensors", join(twice, &parts.data));
    refuses(&checkpoint, "twice the same", &["model.safetensors", name]);
}

#[test]
fn a_missing_tensor_is_named() {
    let checkpoint = Checkpoint::copy("untied");
    let names = Parts::of("untied").tensors();
    assert!(names.len() > 20 && names.contains(&"lm_head.weight".into()));
    for name in names {
        let mut parts = Parts::of("untied");
        // Renaming the tensor keeps its bytes in use.
        let entry = parts.header.remove(&name).expect("a tensor");
        parts.header.insert(format!("not.{name}"), entry);
        checkpoint.write("model.safetensors", parts.file());
        if name.ends_with("bias") {
            let note = format!("biases that the file lacks are 0: {name:?}\n");
            let assert = run(checkpoint.path(), "info").assert().success();
            assert.stderr(
                predicates::str::contains(note).and(predicates::str::contains(format!("\"not.{name}\""))),
            );
        } else {
            refuses(&checkpoint, &name, &["model.safetensors", &format!("{name:?}")]);
        }
    }
}

#[test]
fn a_wrong_shape_is_named() {
    let checkpoint = Checkpoint::copy("untied");
    for name in Parts::of("untied").tensors() {
        let mut parts = Parts::of("untied");
        let entry = parts.header.get_mut(&name).expect("a tensor");
        let shape = entry["shape"].as_array_mut().expect("a shape");
        shape.reverse();
        shape.insert(0, 1.into()); // as many numbers as before
        checkpoint.write("model.safetensors", parts.file());
        refuses(&checkpoint, &name, &["model.safetensors", &format!("{name:?}"), "shape"]);
    }
}

#[test]
fn a_transposed_matrix_is_refused() {
    let checkpoint = Checkpoint::copy("base");
    let mut parts = Parts::of("base");
    let name = "transformer.h.0.attn.c_attn.weight";
    parts.header.get_mut(name).expect("a tensor")["shape"] = json!([96, 32]);
    checkpoint.write("model.safetensors", parts.file());
    refuses(&checkpoint, "transposed", &[name, "[96, 32]", "[32, 96]"]);
}

#[test]
fn surplus_tensors_are_ignored() {
    let checkpoint = Checkpoint::copy("base");
    let command = "generate --ids 5,6 --greedy --max-new-tokens 20";
    let expected = run(checkpoint.path(), command).assert().success().get_output().stdout.clone();
    let mut parts = Parts::of("base");
    let mut begin = parts.data.len();
    for (name, dtype, shape, len) in [
        ("transformer.h.0.attn.bias", "BOOL", json!([1, 1, 8, 8]), 64),
        ("transformer.h.0.attn.masked_bias", "F32", json!([]), 4),
        ("transformer.h.2.ln_1.weight", "I64", json!([2, 2]), 32),
        ("a \u{1b}[31m name\n", "F64", json!([1]), 8),
        ("nothing", "F32", json!([0, 7]), 0),
    ] {
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + len]});
        parts.header.insert(name.into(), entry);
        begin += len;
    }
    parts.data.resize(begin, 0x7f);
    checkpoint.write("model.safetensors", parts.file());
    let notes = "config.json has n_layer 2, the file 3 blocks; blocks from 2 on are not used";
    let others = r#": not used: "a \u{1b}[31m name\n", "nothing""#;
    let assert = run(checkpoint.path(), command).assert().success().stdout(expected);
    assert.stderr(predicates::str::contains(notes).and(predicates::str::ends_with(format!("{others}\n"))));
    let info = run(checkpoint.path(), "info").assert().success().get_output().stdout.clone();
    assert!(!info.contains(&0x1b), "names from files are shown without their escape sequences");
}

#[test]
fn flipped_bytes_of_a_header_end_well_or_with_one_line() {
    let checkpoint = Checkpoint::copy("base");
    let whole = weights("base");
    let end = header_end(&whole);
    let mut random = Random(2);
    for _ in 0..300 {
        let mut bytes = whole.clone();
        random.mutate(&mut bytes[..end]);
        checkpoint.write("model.safetensors", bytes);
        ends(&mut run(checkpoint.path(), "info"));
    }
}

#[test]
fn flipped_bytes_of_the_numbers_end_well_or_with_one_line() {
    let checkpoint = Checkpoint::copy("base");
    let whole = weights("base");
    let end = header_end(&whole);
    let mut random = Random(3);
    for _ in 0..30 {
        let mut bytes = whole.clone();
        for _ in 0..20 {
            random.mutate(&mut bytes[end..]);
        }
        checkpoint.write("model.safetensors", bytes);
        ends(&mut run(checkpoint.path(), "generate --ids 1,2,3 --seed 1 --max-new-tokens 5 --json"));
        ends(&mut run(checkpoint.path(), "score --ids 1,2,3 --json"));
    }
}

#[test]
fn noise_is_not_a_checkpoint() {
    let checkpoint = Checkpoint::copy("base");
    let mut random = Random(4);
    for len in [8, 9, 100, 5000] {
        let noise: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
        checkpoint.write("model.safetensors", noise);
        refuses(&checkpoint, "noise", &["model.safetensors"]);
    }
}

#[test]
fn weights_that_are_not_numbers_are_noticed() {
    for (fixture, no_number) in [
        ("base", &f32::NAN.to_le_bytes()[..]),
        ("base", &f32::INFINITY.to_le_bytes()),
        ("base", &f32::MAX.to_le_bytes()),
        ("f16", &0x7e00u16.to_le_bytes()),
        ("bf16", &0xffc0u16.to_le_bytes()),
    ] {
        let checkpoint = Checkpoint::copy(fixture);
        let mut bytes = weights(fixture);
        let end = header_end(&bytes);
        bytes[end..].chunks_mut(no_number.len()).for_each(|number| number.copy_from_slice(no_number));
        checkpoint.write("model.safetensors", bytes);
        run(checkpoint.path(), "info").assert().success();
        for command in
            ["score --ids 1,2,3", "generate --ids 1,2,3 --greedy", "generate --ids 1,2,3 --seed 1 --json"]
        {
            let message = refusal(&mut run(checkpoint.path(), command));
            assert!(message.contains("finite") && message.contains("weights"), "{command}: {message}");
        }
    }
}

// ---- config.json

#[test]
fn a_config_that_cannot_be_used_says_which_key() {
    for (key, value, part) in [
        ("n_head", json!(5), "n_head"),
        ("n_head", json!(0), "n_head"),
        ("n_head", json!(-4), "config.json"),
        ("n_head", json!(4.5), "config.json"),
        ("n_head", json!("four"), "config.json"),
        ("n_head", json!(null), "config.json"),
        ("n_head", json!(1u64 << 62), "n_head"),
        ("n_embd", json!(0), "n_embd"),
        ("n_embd", json!(u64::MAX), "n_embd"),
        ("n_embd", json!(36), "wte.weight"),
        ("n_layer", json!(0), "n_layer"),
        ("n_layer", json!(3), "h.2.ln_1.weight"),
        ("n_layer", json!(1 << 24), "h.2.ln_1.weight"),
        ("n_layer", json!(1u64 << 63), "n_layer"),
        ("n_layer", json!(1e300), "config.json"),
        ("n_positions", json!(0), "n_positions"),
        ("n_positions", json!(65), "wpe.weight"),
        ("n_positions", json!(1u64 << 60), "n_positions"),
        ("vocab_size", json!(0), "vocab_size"),
        ("vocab_size", json!(210), "wte.weight"),
        ("vocab_size", json!([211]), "config.json"),
        ("n_inner", json!(0), "n_inner"),
        ("n_inner", json!(64), "mlp.c_fc.weight"),
        ("n_inner", json!(u64::MAX), "n_inner"),
        ("activation_function", json!("mish"), "mish"),
        ("activation_function", json!(""), "activation_function"),
        ("activation_function", json!("\u{1b}[31m\nrelu"), "activation_function"),
        ("activation_function", json!("x".repeat(100_000)), "activation_function"),
        ("activation_function", json!(null), "config.json"),
        ("layer_norm_epsilon", json!(-1e-5), "layer_norm_epsilon"),
        ("layer_norm_epsilon", json!(1e30), "layer_norm_epsilon"),
        ("layer_norm_epsilon", json!("1e-5"), "config.json"),
        ("scale_attn_weights", json!("yes"), "config.json"),
        ("tie_word_embeddings", json!(false), "lm_head.weight"),
        ("eos_token_id", json!("end"), "config.json"),
        ("eos_token_id", json!(-1), "config.json"),
        ("eos_token_id", json!(1u64 << 40), "config.json"),
        ("model_type", json!("llama"), "llama"),
        ("model_type", json!(7), "config.json"),
        ("add_cross_attention", json!(true), "add_cross_attention"),
    ] {
        let checkpoint = Checkpoint::copy("base");
        let what: String = format!("{key}: {value}").chars().take(80).collect();
        checkpoint.configure(key, value);
        refuses(&checkpoint, &what, &[part]);
    }
}

#[test]
fn a_config_that_is_not_an_object_is_named() {
    let checkpoint = Checkpoint::copy("base");
    let deep = r#"{"a":"#.repeat(200_000);
    let configs: [&[u8]; 12] = [
        b"",
        b"null",
        b"[]",
        b"[1, 2",
        b"\"gpt2\"",
        b"{",
        b"{\"n_embd\": 32,}",
        b"{\"n_embd\": 32, \"n_embd\": 32}",
        b"{\"n_embd\": 1e999}",
        b"\xff\xfe{\0}\0",
        b"\0\0\0\0",
        deep.as_bytes(),
    ];
    for config in configs {
        checkpoint.write("config.json", config);
        let what = String::from_utf8_lossy(&config[..config.len().min(30)]).into_owned();
        refuses(&checkpoint, &what, &["config.json"]);
    }
}

#[test]
fn a_missing_config_is_named() {
    let checkpoint = Checkpoint::copy("base");
    std::fs::remove_file(checkpoint.file("config.json")).expect("a file");
    refuses(&checkpoint, "missing", &["config.json"]);
    // Without a config the heads must have size 64, and this model's do not.
    let message = refusal(&mut run(&checkpoint.file("model.safetensors"), "info"));
    assert!(message.contains("config.json") && message.contains("n_embd"), "{message}");
    std::fs::create_dir(checkpoint.file("config.json")).expect("a folder");
    refuses(&checkpoint, "a folder", &["config.json"]);
}

#[test]
fn flipped_bytes_of_a_config_end_well_or_with_one_line() {
    let checkpoint = Checkpoint::copy("base");
    let whole = std::fs::read(fixture("base").join("config.json")).expect("a fixture");
    let mut random = Random(5);
    for _ in 0..100 {
        let mut bytes = whole.clone();
        random.mutate(&mut bytes);
        checkpoint.write("config.json", bytes);
        ends(&mut run(checkpoint.path(), "generate --ids 1 --seed 1 --max-new-tokens 2"));
    }
}

#[test]
fn a_bad_generation_config_is_named() {
    let checkpoint = Checkpoint::copy("base");
    for bad in ["", "[", r#"{"eos_token_id": "end"}"#, r#"{"eos_token_id": [1, -1]}"#] {
        checkpoint.write("generation_config.json", bad);
        refuses(&checkpoint, bad, &["generation_config.json"]);
    }
}

// ---- the other files of a folder

#[test]
fn half_a_tokenizer_is_refused() {
    let checkpoint = Checkpoint::copy("base").with_bytes_as_tokens();
    std::fs::remove_file(checkpoint.file("merges.txt")).expect("a file");
    refuses(&checkpoint, "no merges", &["vocab.json", "merges.txt"]);
    let message = refusal(run(checkpoint.path(), "tokenize").arg("text"));
    assert!(message.contains("merges.txt"), "{message}");
    std::fs::remove_file(checkpoint.file("vocab.json")).expect("a file");
    checkpoint.write("merges.txt", "#version: 0.2\n");
    refuses(&checkpoint, "no vocabulary", &["vocab.json", "merges.txt"]);
}

#[test]
fn a_damaged_tokenizer_is_named() {
    let commands = ["info", "tokenize text", "detokenize 1", "score text", "generate text"];
    let garbage: [&[u8]; 8] =
        [b"", b"null", b"[]", b"{", b"{\"a\": -1}", b"{\"a\": \"b\"}", b"\xff\xff", b"{\"a\": 1e99}"];
    for command in commands {
        for bytes in garbage {
            let checkpoint = Checkpoint::copy("base").with_bytes_as_tokens();
            checkpoint.write("vocab.json", bytes);
            let message = refusal(&mut run(checkpoint.path(), command));
            assert!(message.contains("vocab.json"), "{command}: {message}");

            let checkpoint = Checkpoint::copy("base");
            checkpoint.write("tokenizer.json", bytes);
            let message = refusal(&mut run(checkpoint.path(), command));
            assert!(message.contains("tokenizer.json"), "{command}: {message}");
        }
        for bytes in [&b"h\n"[..], b"h e l\n", b"h \x1b[31m\n", b"\xff \xff\n", b"h zz\n"] {
            let checkpoint = Checkpoint::copy("base").with_bytes_as_tokens();
            checkpoint.write("merges.txt", bytes);
            let message = refusal(&mut run(checkpoint.path(), command));
            assert!(message.contains("merges.txt"), "{command}: {message}");
        }
    }
}

#[test]
fn folders_in_place_of_files_are_named() {
    for name in ["model.safetensors", "config.json", "vocab.json", "merges.txt", "generation_config.json"] {
        let checkpoint = Checkpoint::copy("base").with_bytes_as_tokens();
        let _ = std::fs::remove_file(checkpoint.file(name)); // one of them does not exist
        std::fs::create_dir(checkpoint.file(name)).expect("a folder");
        refuses(&checkpoint, name, &[name]);
    }
}

#[test]
fn a_bad_index_of_weights_is_named() {
    let checkpoint = Checkpoint::copy("base");
    std::fs::remove_file(checkpoint.file("model.safetensors")).expect("a file");
    let index = "model.safetensors.index.json";
    for (bad, part) in [
        ("", index),
        ("{}", index),
        (r#"{"weight_map": {"a": 7}}"#, index),
        (r#"{"weight_map": {"a": "../../etc/passwd"}}"#, index),
        (r#"{"weight_map": {"a": "/etc/passwd"}}"#, index),
        (r#"{"weight_map": {"a": ""}}"#, index),
        (
            r#"{"weight_map": {"a": "part-1.safetensors"}}"#,
            "part-1.safetensors: model.safetensors.index.json lists it",
        ),
        (r#"{"weight_map": {}}"#, "wte.weight"),
    ] {
        checkpoint.write(index, bad);
        refuses(&checkpoint, bad, &[part]);
    }
}

// ---- paths and names

#[test]
fn what_is_not_a_model_is_named() {
    let empty = tempfile::tempdir().expect("a folder");
    let home = tempfile::tempdir().expect("a folder");
    let text = empty.path().join("notes.txt");
    let missing = empty.path().join("missing");
    let below_a_file = text.join("model");
    for command in ["info", "generate text", "score text"] {
        let refused =
            |model: &Path| refusal(run(model, command).env("HF_HOME", home.path()).current_dir(home.path()));
        assert!(refused(empty.path()).contains("config.json"), "{command}: an empty folder");
        std::fs::write(&text, "Dear diary").expect("a file");
        assert!(refused(&text).contains("notes.txt"), "{command}: a text");
        std::fs::remove_file(&text).expect("a file");
        assert!(refused(&missing).contains("missing"), "{command}: nothing");
        assert!(refused(&below_a_file).contains("notes.txt"), "{command}: below a file");
        for name in ["gpt2", "no-such/model", "a/b/c", "../gpt2", " ", "."] {
            assert!(refused(Path::new(name)).contains(name), "{command}: {name:?}");
        }
        let cache = home.path().to_str().expect("a plain name");
        assert!(refused(Path::new("gpt2")).contains(cache), "{command}: where it was looked for");
    }
    let message = refusal(run(&missing, "tokenize").arg("text"));
    assert!(message.contains("missing"), "{message}");
    let message = refusal(run(Path::new("no-such/model"), "detokenize 1").env("HF_HOME", home.path()));
    assert!(message.contains("no-such/model"), "{message}");
}

#[test]
fn names_with_line_breaks_and_escape_sequences_stay_one_line() {
    let name = "a\nb\r\u{1b}[31m\u{7}\u{9b}m\u{2028}\u{202e}";
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join(name);
    refusal(&mut run(&model, "info"));
    refusal(gpt2().arg("tokenize").arg("--file").arg(&model));
    refusal(gpt2().arg("detokenize").write_stdin(name));
    refusal(run(&fixture("base"), "generate").arg("--ids").arg(name));
    refusal(gpt2().arg("info").env("GPT2_SIMD", name));
    #[cfg(unix)]
    {
        std::fs::create_dir(&model).expect("a folder");
        refusal(&mut run(&model, "info"));
        std::fs::write(model.join("config.json"), "{").expect("a file");
        refusal(&mut run(&model, "info"));
    }
    let checkpoint = Checkpoint::copy("base");
    for wrong in [json!(null), json!({"dtype": name, "shape": [], "data_offsets": [0, 0]})] {
        let mut parts = Parts::of("base");
        parts.header.insert(name.into(), wrong);
        checkpoint.write("model.safetensors", parts.file());
        refuses(&checkpoint, "a tensor's name", &["model.safetensors"]);
    }
}

#[test]
fn an_endless_name_is_cut() {
    let checkpoint = Checkpoint::copy("base");
    let mut parts = Parts::of("base");
    parts.header.insert("x".repeat(1_000_000), json!(null));
    checkpoint.write("model.safetensors", parts.file());
    refuses(&checkpoint, "a tensor's name", &["model.safetensors"]);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn make_fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    }

    #[test]
    fn a_pipe_in_place_of_a_file_is_refused_at_once() {
        for name in [
            "model.safetensors",
            "config.json",
            "generation_config.json",
            "vocab.json",
            "merges.txt",
            "tokenizer.json",
        ] {
            let checkpoint = Checkpoint::copy("base");
            if name != "tokenizer.json" {
                let whole = Checkpoint::copy("base").with_bytes_as_tokens();
                for file in ["vocab.json", "merges.txt"] {
                    std::fs::copy(whole.file(file), checkpoint.file(file)).expect("a copy");
                }
            }
            let _ = std::fs::remove_file(checkpoint.file(name)); // one of them does not exist
            make_fifo(&checkpoint.file(name));
            let message = refusal(run(checkpoint.path(), "info").timeout(Duration::from_secs(10)));
            assert!(message.contains(name), "{message}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        make_fifo(&pipe);
        let message = refusal(run(&pipe, "info").timeout(Duration::from_secs(10)));
        assert!(message.contains("pipe"), "{message}");
    }

    #[test]
    fn devices_are_not_models() {
        for device in ["/dev/null", "/dev/zero"] {
            let message = refusal(&mut run(Path::new(device), "info"));
            assert!(message.contains(device), "{message}");
            for name in ["model.safetensors", "config.json", "vocab.json", "tokenizer.json"] {
                let checkpoint = Checkpoint::copy("base");
                let _ = std::fs::remove_file(checkpoint.file(name)); // half of them do not exist
                if name == "vocab.json" {
                    checkpoint.write("merges.txt", "");
                }
                symlink(device, checkpoint.file(name)).expect("a link");
                refuses(&checkpoint, device, &[name]);
            }
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let checkpoint = Checkpoint::copy("base");
        for target in ["model.safetensors", "nowhere"] {
            std::fs::remove_file(checkpoint.file("model.safetensors")).expect("a file");
            symlink(target, checkpoint.file("model.safetensors")).expect("a link");
            refuses(&checkpoint, target, &["model.safetensors"]);
        }
    }

    #[test]
    fn files_that_may_not_be_read_are_named() {
        for name in ["model.safetensors", "config.json", "vocab.json", "merges.txt"] {
            let checkpoint = Checkpoint::copy("base").with_bytes_as_tokens();
            let path = checkpoint.file(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("permissions");
            if std::fs::File::open(&path).is_ok() {
                return; // root may read everything
            }
            refuses(&checkpoint, name, &[name]);
        }
    }

    #[test]
    fn names_need_not_be_unicode() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join(OsStr::from_bytes(b"mod\xff\xfeel"));
        refusal(&mut run(&model, "info"));
        refusal(gpt2().arg("info").env("GPT2_SIMD", OsStr::from_bytes(b"\xff")));
        let message = refusal(gpt2().arg("tokenize").arg("--file").arg(&model));
        assert!(message.contains("mod"), "{message}");
        // Text need not be Unicode either.
        let text = OsStr::from_bytes(b"\xff\xfe");
        let ids = gpt2().arg("tokenize").arg(text).assert().success().get_output().stdout.clone();
        gpt2().arg("detokenize").write_stdin(ids).assert().success().stdout(b"\xff\xfe".to_vec());
        if std::fs::create_dir(&model).is_ok() {
            for name in ["config.json", "model.safetensors"] {
                std::fs::copy(fixture("base").join(name), model.join(name)).expect("a copy");
            }
            run(&model, "info --json").assert().success();
        }
    }

    #[test]
    fn a_full_disk_is_an_error_but_a_closed_output_is_not() {
        let program = assert_cmd::cargo::cargo_bin!("gpt2");
        let model = Checkpoint::copy("base").with_bytes_as_tokens();
        let shell = |line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", line, "sh"]).arg(program).arg(model.path());
            command.env_remove("GPT2_SIMD").timeout(Duration::from_secs(20)).write_stdin("");
            command
        };
        for command in ["info", "info --json", "score --ids 1,2", "tokenize text", "detokenize 64"] {
            if Path::new("/dev/full").exists() {
                let line = format!(r#""$1" {command} --model "$2" > /dev/full"#);
                let message = refusal(&mut shell(&line));
                assert!(message.contains("standard output"), "{command}: {message}");
            }
            shell(&format!(r#""$1" {command} --model "$2" >&-"#)).assert().success().stderr("");
        }
        for generate in ["generate --ids 1 --max-new-tokens 5", "generate --ids 1 --max-new-tokens 5 --json"]
        {
            if Path::new("/dev/full").exists() {
                let message = refusal(&mut shell(&format!(r#""$1" {generate} --model "$2" > /dev/full"#)));
                assert!(message.contains("standard output"), "{generate}: {message}");
                let line = format!(r#""$1" {generate} --stats --model "$2" 2> /dev/full"#);
                shell(&line).assert().success().stderr("");
            }
            shell(&format!(r#""$1" {generate} --model "$2" >&-"#)).assert().success().stderr("");
        }
        let nothing = shell(r#""$1" generate --model "$2" <&-"#).assert().success();
        nothing.stderr(predicates::str::contains("note: the prompt is empty"));
    }
}

// ---- inputs

#[test]
fn ids_outside_the_vocabulary_are_named() {
    for command in ["generate", "score"] {
        for (ids, part) in [
            ("211", "211"),
            ("1,2,4294967295", "4294967295"),
            ("4294967296", "4294967296"),
            ("18446744073709551616", "18446744073709551616"),
            ("-1", "-1"),
            ("one", "one"),
            ("1;2", "1;2"),
            ("1.5", "1.5"),
            ("0x10", "0x10"),
            ("1,,x", "x"),
        ] {
            let message = refusal(run(&fixture("base"), command).arg(format!("--ids={ids}")));
            assert!(message.contains(part), "{command} {ids}: {message}");
        }
    }
    // The bundled tokenizer has more ids than this model.
    let message = refusal(run(&fixture("base"), "generate").arg("Elephants"));
    assert!(message.contains("vocab_size 211"), "{message}");
}

#[test]
fn an_empty_text_has_no_score_but_a_continuation() {
    let ids = |ids| ["--ids", ids].map(String::from).to_vec();
    for empty in [ids(""), ids(","), ids(" \t"), vec![String::new()], vec![]] {
        refusal(run(&fixture("base"), "score").args(&empty).write_stdin(""));
        let assert = run(&fixture("base"), "generate --greedy --json --max-new-tokens 3")
            .args(&empty)
            .write_stdin("\n")
            .assert();
        let note = "note: the prompt is empty; the text begins after the end-of-text token 210\n";
        let begun = predicates::str::starts_with("{\"prompt_ids\":[210],");
        assert.success().stdout(begun).stderr(predicates::str::ends_with(note));
        let endless = Checkpoint::copy("base");
        endless.configure("eos_token_id", serde_json::Value::Null);
        let message = refusal(run(endless.path(), "generate").args(&empty).write_stdin(""));
        assert!(message.contains("give at least one token"), "{message}");
    }
    let message = refusal(&mut run(&fixture("base"), "score --ids 5"));
    assert!(message.contains("first"), "{message}");
}

/// What people have in place of a model is named, with the way out.
#[test]
fn other_files_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    for (remove, name, content, part) in [
        (true, "pytorch_model.bin", "PK\u{3}\u{4}", "/pytorch_model.bin: a PyTorch pickle"),
        (true, "model.safetensors", pointer, "/model.safetensors: a Git LFS pointer"),
        (false, "config.json", pointer, "/config.json: a Git LFS pointer"),
        (false, "tokenizer.json", "<!DOCTYPE html>", "/tokenizer.json: a web page"),
        (true, "x", "", ": there is no model.safetensors; a model's folder holds config.json and"),
    ] {
        let model = Checkpoint::copy("base");
        if remove {
            std::fs::remove_file(model.file("model.safetensors")).expect("it was there");
        }
        model.write(name, content);
        let message = refusal(&mut run(model.path(), "generate --ids 1"));
        assert!(message.contains(part), "{name}: {message}");
    }
    let model = Checkpoint::copy("base");
    let one = model.file("model-00001-of-00002.safetensors");
    std::fs::copy(model.file("model.safetensors"), &one).expect("it is copied");
    let message = refusal(&mut run(&one, "info"));
    assert!(message.contains("part 1 of the 2 parts of a model; give the folder"), "{message}");
}

#[test]
fn files_of_text_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for command in ["generate", "score", "tokenize"] {
        for path in [folder.path().join("missing"), folder.path().to_path_buf()] {
            let message = refusal(run(&fixture("base"), command).arg("--file").arg(&path));
            assert!(message.contains(path.to_str().expect("a plain name")), "{command}: {message}");
        }
    }
}

#[test]
fn an_unknown_instruction_set_is_named() {
    for simd in ["nonsense", "AVX2", "avx2 ", "avx1024", "0"] {
        let message = refusal(gpt2().arg("info").env("GPT2_SIMD", simd));
        assert!(message.contains(simd) && message.contains("GPT2_SIMD"), "{message}");
    }
    let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    assert!(refusal(gpt2().arg("info").env("GPT2_SIMD", foreign)).contains(foreign));
}

#[test]
fn a_tiny_temperature_is_not_the_fault_of_the_weights() {
    for tiny in ["1e-37", "1e-40", "1e-45"] {
        let mut command = run(&fixture("base"), "generate --ids 1 --seed 1 --max-new-tokens 5");
        let output = command.args(["--temperature", tiny]).output().expect("it runs");
        if !output.status.success() {
            let message = message(&output.stderr, &command);
            assert!(message.contains("temperature"), "{tiny}: {message}");
        }
    }
}

#[test]
fn a_prompt_of_five_megabytes_is_read() {
    let checkpoint = Checkpoint::copy("base").with_bytes_as_tokens();
    let mut random = Random(6);
    let noise: Vec<u8> = (0..5_000_000).map(|_| random.below(200) as u8).collect();
    checkpoint.write("noise", noise);
    let mut command = run(checkpoint.path(), "generate --seed 1 --max-new-tokens 3");
    command.arg("--file").arg(checkpoint.file("noise")).assert().success();
}
