//! `gpt2 quantize` and the files it writes: they give the same text as the model in memory; bad files are refused.

mod common;

use common::{Checkpoint, VARIABLES, fixture, gpt2};
use gpt2::checkpoint::{self, GenerationConfig, bundled, save::Save};
use gpt2::generate::{Generation, Options};
use gpt2::kv_cache::Sequence;
use gpt2::model::Gpt2;
use gpt2::score::{MeanNll, Windows, score_each};
use gpt2::trace::NoTrace;
use serde_json::{Map, Value, json};
use std::ops::ControlFlow;
use std::path::Path;

const PROMPT: [&str; 6] = ["generate", "--greedy", "--max-new-tokens", "12", "--json", "Once upon a time"];

/// Standard output of a run that must succeed.
fn output(args: &[&str]) -> String {
    let assert = gpt2().args(args).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8")
}

fn quantize(model: &Path, out: &Path) {
    gpt2().arg("quantize").arg("--model").arg(model).arg("--out").arg(out).assert().success();
}

fn ids(text: &str) -> Value {
    serde_json::from_str::<Value>(text).expect("JSON")["ids"].clone()
}

#[test]
fn a_file_and_a_folder_of_the_bundled_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, tree) = (folder.path().join("int8.safetensors"), folder.path().join("new/int8"));
    let texts: Vec<Value> = [&file, &tree]
        .map(|out| {
            let path = out.to_str().expect("UTF-8");
            let report: Value =
                serde_json::from_str(&output(&["quantize", "--out", path, "--json"])).expect("JSON");
            assert_eq!((&report["model"], &report["dtype"]), (&json!("tales-8m"), &json!("int8")));
            assert!(report["weight_bytes"].as_u64() < report["weight_bytes_before"].as_u64());
            let info: Value = serde_json::from_str(&output(&["info", "--json", "-m", path])).expect("JSON");
            assert_eq!((&info["dtype"], &info["parameters"]), (&json!("int8"), &json!(7_688_320)));
            assert_eq!(info["weight_bytes"], report["weight_bytes"]);
            ids(&output(&[&PROMPT[..], &["-m", path]].concat()))
        })
        .into();
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0].as_array().expect("ids").len(), 12);
    // a second run replaces the file but refuses the folder
    output(&["quantize", "--out", file.to_str().expect("UTF-8")]);
    let again = gpt2().args(["quantize", "--out"]).arg(&tree).assert().code(1);
    assert!(String::from_utf8_lossy(&again.get_output().stderr).contains("with files in it"));
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        2,
        "nothing half-written is left"
    );
}

#[test]
fn a_folder_keeps_its_tokenizer_and_a_file_its_configuration() {
    // the shapes do not determine n_head and n_inner
    for name in ["base", "inner-erf", "odd-heads", "untied", "bf16", "wide"] {
        let source = Checkpoint::copy(name).with_bytes_as_tokens();
        source.configure("layer_norm_epsilon", 3e-6);
        source.write("generation_config.json", r#"{"eos_token_id": 3}"#);
        let folder = tempfile::tempdir().expect("a folder");
        let (tree, file) = (folder.path().join("int8"), folder.path().join("alone.safetensors"));
        quantize(source.path(), &tree);
        quantize(source.path(), &file);
        let (a, b) = (checkpoint::open(&tree).expect("a model"), checkpoint::open(&file).expect("a model"));
        assert_eq!(a.model.config, b.model.config, "{name}");
        assert_eq!(a.model.config, checkpoint::open(source.path()).expect("a model").model.config, "{name}");
        assert_eq!(a.bpe.encode("abc"), [97, 98, 99], "{name}: the tokenizer is copied");
        assert_ne!(b.bpe.encode("abc"), [97, 98, 99], "{name}: it is not in the file");
        let memory = checkpoint::open(source.path()).expect("a model").model.quantize();
        for model in [&a.model, &b.model] {
            assert_eq!(last_logits(model, &[1, 2, 3], 3), last_logits(&memory, &[1, 2, 3], 3), "{name}");
        }
    }
}

#[test]
fn the_model_itself_is_not_overwritten() {
    let source = Checkpoint::copy("base");
    let before = std::fs::read(source.file("model.safetensors")).expect("a file");
    for out in [source.file("model.safetensors"), source.path().to_path_buf(), source.file("config.json")] {
        gpt2().arg("quantize").arg("--model").arg(source.path()).arg("--out").arg(&out).assert().code(1);
    }
    assert!(std::fs::read(source.file("model.safetensors")).expect("a file") == before);
    assert_eq!(std::fs::read_dir(source.path()).expect("a folder").count(), 2);
    let int8 = source.file("int8.safetensors");
    quantize(source.path(), &int8);
    let twice =
        gpt2().arg("quantize").arg("--model").arg(&int8).args(["--out", "x.safetensors"]).assert().code(1);
    assert!(String::from_utf8_lossy(&twice.get_output().stderr).contains("already has eight-bit weights"));
}

/// The bits of the logits after `ids`, read in chunks of `chunk` tokens.
fn last_logits(model: &Gpt2, ids: &[u32], chunk: usize) -> Vec<u32> {
    let mut cache = model.new_cache();
    let mut logits = Vec::new();
    for ids in ids.chunks(chunk) {
        logits = bits(model.next_logits(ids, &mut cache, &mut NoTrace).data());
    }
    logits
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn threads_chunks_and_batches_change_no_bit() {
    let model = bundled().model.quantize();
    let ids: Vec<u32> = (0..130).map(|i| i * 379 % 50_257).collect();
    let expected = last_logits(&model, &ids, ids.len());
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        for chunk in [1, 3, 64, 130] {
            let got = pool.install(|| last_logits(&model, &ids, chunk));
            assert!(got == expected, "{threads} threads, chunks of {chunk}");
        }
    }
    for others in [1, 4, 7, 20] {
        let mut caches = vec![model.new_cache(); others + 1];
        let mut batch: Vec<Sequence<'_>> = (caches.iter_mut().enumerate())
            .map(|(i, cache)| Sequence { ids: if i == 1 { &ids } else { &ids[i..2 * i + 1] }, cache })
            .collect();
        let x = model.hidden(&mut batch, &mut NoTrace);
        let logits = model.head(&x, &mut NoTrace);
        // the rows of sequence 1 follow the single row of sequence 0
        assert!(bits(logits.row(ids.len())) == expected, "{others} others");
    }
}

#[test]
fn instruction_sets_change_no_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("int8.safetensors");
    let model = bundled().model.quantize();
    Save::begin(&model, "tales-8m", &GenerationConfig::default(), &file)
        .expect("a file")
        .finish()
        .expect("a file");
    let mut seen = Vec::new();
    for simd in ["scalar", "avx2", "avx512", "neon"] {
        let mut run = gpt2();
        assert!(VARIABLES.contains(&"GPT2_SIMD"));
        run.args(["trace", "--json", "--greedy", "Once upon a time there was"]).arg("-m").arg(&file);
        let output = run.env("GPT2_SIMD", simd).output().expect("it runs");
        match output.status.code() {
            Some(0) => seen.push((simd, output.stdout)),
            _ => assert!(
                String::from_utf8_lossy(&output.stderr).contains("not an instruction set of this machine")
            ),
        }
    }
    assert!(seen.iter().any(|(simd, _)| *simd == "scalar"));
    for (simd, stages) in &seen {
        assert!(*stages == seen[0].1, "the stages under {simd} differ from those under {}", seen[0].0);
    }
}

/// The cost of eight bits on texts that the model itself samples. The guide has figures for held-out text.
#[test]
fn perplexity_stays_within_half_a_percent() {
    let lm = bundled();
    let mut ids = Vec::new();
    for seed in 1..=4 {
        let options = Options::plain(seed).max_new_tokens(500);
        let mut generation =
            Generation::new(&lm.model, &lm.bpe.encode("Once upon a time"), options).expect("a prompt");
        for token in generation.by_ref() {
            token.expect("a token");
        }
        ids.extend_from_slice(generation.new_ids());
    }
    let perplexity = |model: &Gpt2| {
        let mut mean = MeanNll::default();
        score_each(model, &ids, Windows::of(model), |_, logprob| {
            logprob.into_iter().for_each(|logprob| mean.add(logprob));
            ControlFlow::Continue(())
        })
        .expect("scores");
        mean.get().expect("tokens").exp()
    };
    let (wide, int8) = (perplexity(&lm.model), perplexity(&lm.model.quantize()));
    assert!(ids.len() > 1000 && wide < 200.0, "{} tokens, perplexity {wide}", ids.len());
    assert!((int8 / wide - 1.0).abs() < 0.005, "{wide} became {int8}");
    assert_ne!(int8, wide);
}

/// The int8 file of the fixture `base`, with its header changed.
fn spoilt(change: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>)) -> Checkpoint {
    let checkpoint = Checkpoint::copy("base");
    let file = checkpoint.file("int8.safetensors");
    quantize(&fixture("base"), &file);
    let bytes = std::fs::read(&file).expect("a file");
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&bytes[8..end]).expect("a header");
    let mut data = bytes[end..].to_vec();
    change(&mut header, &mut data);
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&data);
    checkpoint.write("int8.safetensors", bytes);
    checkpoint
}

const WEIGHT: &str = "transformer.h.0.attn.c_attn.weight";
const SCALE: &str = "transformer.h.0.attn.c_attn.weight.scale";

/// The range of a tensor's bytes.
fn span(header: &Map<String, Value>, name: &str) -> std::ops::Range<usize> {
    let [begin, end] = [0, 1].map(|i| header[name]["data_offsets"][i].as_u64().expect("an offset") as usize);
    begin..end
}

#[test]
fn bad_files_are_refused() {
    type Change = Box<dyn FnOnce(&mut Map<String, Value>, &mut Vec<u8>)>;
    let set_scale = |value: f32| -> Change {
        Box::new(move |header, data| {
            let place = span(header, SCALE).start + 4 * 5;
            data[place..place + 4].copy_from_slice(&value.to_le_bytes());
        })
    };
    let cases: Vec<(&str, Change, Vec<&str>)> = vec![
        (
            "no metadata",
            Box::new(|h, _| _ = h.remove("__metadata__")),
            vec!["I8", "quantization_version", "gpt2 quantize"],
        ),
        (
            "version 2",
            Box::new(|h, _| h["__metadata__"]["quantization_version"] = json!("2")),
            vec!["quantization_version is \"2\"", "again"],
        ),
        (
            "no scales",
            Box::new(|h, _| h[SCALE] = json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})),
            vec![],
        ),
        ("a scale NaN", set_scale(f32::NAN), vec![SCALE, "NaN at 5", "finite number from 0"]),
        ("a scale inf", set_scale(f32::INFINITY), vec![SCALE, "inf at 5"]),
        ("a negative scale", set_scale(-0.5), vec![SCALE, "-0.5 at 5"]),
        (
            "another shape",
            Box::new(|h, _| {
                let shape: Vec<u64> = serde_json::from_value(h[WEIGHT]["shape"].clone()).expect("a shape");
                h[WEIGHT]["shape"] = json!([shape[1], shape[0], 16, 4]);
            }),
            vec![WEIGHT, "shape", "in eight bits"],
        ),
        (
            "a flat shape",
            Box::new(|h, _| h[WEIGHT]["shape"] = json!([span(h, WEIGHT).len()])),
            vec![WEIGHT, "shape", "in eight bits"],
        ),
        ("unsigned numbers", Box::new(|h, _| h[WEIGHT]["dtype"] = json!("U8")), vec![WEIGHT, "has shape"]),
        (
            "scales renamed",
            Box::new(|h, _| {
                let scale = h.remove(SCALE).expect("scales");
                h.insert("elsewhere".into(), scale);
            }),
            vec![SCALE, "missing"],
        ),
        (
            "scales of I32",
            Box::new(|h, _| h[SCALE]["dtype"] = json!("I32")),
            vec![SCALE, "I32", "scales are F32"],
        ),
        (
            "a configuration of another model",
            Box::new(|h, _| h["__metadata__"]["config"] = json!("{\"n_embd\": 64}")),
            vec!["__metadata__", "n_embd 64"],
        ),
        (
            "a configuration that is none",
            Box::new(|h, _| h["__metadata__"]["config"] = json!("[")),
            vec!["config in __metadata__"],
        ),
    ];
    for (what, change, parts) in cases {
        let checkpoint = spoilt(change);
        let run =
            gpt2().arg("info").arg("-m").arg(checkpoint.file("int8.safetensors")).assert().code(1).stdout("");
        let stderr = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{what}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{what}: {stderr:?} lacks {part:?}");
        }
    }
}

/// `quantize` never writes -128 or nonzero padding after the matrix. If a file has such bytes, every instruction set
/// reads them alike.
#[test]
fn bytes_that_are_never_written_are_read_alike_everywhere() {
    let checkpoint = spoilt(|header, data| {
        let part = span(header, WEIGHT);
        data[part].fill(0x80);
    });
    let file = checkpoint.file("int8.safetensors");
    let mut seen: Option<Vec<u8>> = None;
    for simd in ["scalar", "avx2", "avx512"] {
        let mut run = gpt2();
        run.args(["trace", "--json", "--greedy", "--ids", "1,2,3"]).arg("-m").arg(&file);
        let output = run.env("GPT2_SIMD", simd).output().expect("it runs");
        if output.status.success() {
            assert!(*seen.get_or_insert_with(|| output.stdout.clone()) == output.stdout, "{simd}");
        }
    }
    assert!(seen.is_some());
}
