//! Formats of other programs, read and written: the same bits, or one line that says what is wrong.
//!
//! `tests/make_format_fixtures.py` makes the fixtures with the packages of those programs.

mod common;

use common::{Checkpoint, fixture, gpt2};
use gpt2::checkpoint::{GenerationConfig, gguf, llmc, open, random::random, save::Save};
use gpt2::config::Config;
use gpt2::format::{Bytes, gguf::Gguf, safetensors::SafeTensors};
use gpt2::model::Gpt2;
use gpt2::tensor::{Dtype, Weights};
use gpt2::trace::NoTrace;
use predicates::prelude::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn format(name: &str) -> PathBuf {
    fixture("../formats").join(name)
}

/// The bits of the logits of a few tokens.
fn bits(model: &Gpt2) -> Vec<u32> {
    let logits = model.forward(&[5, 6, 7, 20], &mut model.new_cache(), &mut NoTrace);
    logits.data().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn files_of_other_programs_have_the_bits_of_the_checkpoint() {
    let expected = bits(&open(fixture("base")).expect("a checkpoint").model);
    for name in ["base-f32.gguf", "base-1.bin", "base-3.bin"] {
        assert_eq!(bits(&open(format(name)).expect("a checkpoint").model), expected, "{name}");
    }
    let rounded = open(format("base-q8_0.safetensors")).expect("a checkpoint").model;
    assert_eq!(bits(&open(format("base-q8_0.gguf")).expect("a checkpoint").model), bits(&rounded));
    assert_ne!(bits(&rounded), expected);
}

#[test]
fn a_gguf_file_has_its_own_tokenizer() {
    for (arguments, ids) in [
        ("abcab<|end|>", "209 208 60 124 101 110 100 124 62\n"),
        ("--allow-special abcab<|end|>", "209 208 210\n"),
    ] {
        let mut command = gpt2();
        command.arg("tokenize").args(arguments.split(' ')).arg("--model").arg(format("base-f32.gguf"));
        command.assert().success().stdout(ids);
    }
    let lm = open(format("base-f32.gguf")).expect("a checkpoint");
    assert!(lm.notes[0].starts_with("no token for 48 bytes"), "{:?}", lm.notes);
    assert_eq!(lm.model.config.eos_token_ids, [210]);
}

/// What changes ids and cannot be done is refused, and a token of an odd type is not lost.
#[test]
fn odd_tokenizers_are_refused_or_whole() {
    let bytes = std::fs::read(format("base-f32.gguf")).expect("a fixture");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.gguf");
    let place = |what: &[u8]| bytes.windows(what.len()).position(|part| part == what).expect("it is there");
    // the token types are a list of i32 after this key, its type, and the length of the list
    let types = place(b"tokenizer.ggml.token_type") + 25 + 4 + 4 + 8;
    let mut odd = bytes.clone();
    odd[types + 4 * 97] = 2; // unknown, as llama.cpp names it
    std::fs::write(&path, &odd).expect("it is written");
    assert_eq!(open(&path).expect("a checkpoint").bpe.encode("ab"), [208], "still merged");
    odd[types + 4 * 97] = 5; // unused
    std::fs::write(&path, &odd).expect("it is written");
    let error = open(&path).expect_err("a merge lacks its token").to_string();
    assert!(error.contains("needs the token `a`"), "{error}");

    // one key becomes another
    let mut ends = bytes.clone();
    let key = place(b"tokenizer.ggml.eos_token_id");
    ends[key - 8] = 28;
    let value = [b"tokenizer.ggml.add_eos_token".as_slice(), &7u32.to_le_bytes(), &[1]].concat();
    ends.splice(key..key + 27 + 4 + 4, value); // two bytes fewer
    ends.extend([0; 2]);
    std::fs::write(&path, &ends).expect("it is written");
    let error = open(&path).expect_err("a token after every text").to_string();
    assert!(error.contains("add_eos_token is true"), "{error}");
}

/// Our blocks are those of the `gguf` package, byte by byte.
#[test]
fn q8_0_is_written_as_ggml_writes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("ours.gguf");
    let convert = gpt2()
        .args(["convert", "--dtype", "q8_0", "--model"])
        .arg(format("base-f32.gguf"))
        .arg("--out")
        .arg(&out)
        .assert();
    convert.success();
    let read = |path: &Path| Gguf::parse(path, &Bytes::map(path).expect("a file")).expect("a sound file");
    let (ours, theirs) = (read(&out), read(&format("base-q8_0.gguf")));
    for (name, tensor) in &ours.tensors {
        let other = &theirs.tensors[name];
        assert_eq!((&tensor.dtype, &tensor.shape), (&other.dtype, &other.shape), "{name}");
        assert!(*tensor.bytes == *other.bytes, "{name}");
    }
    assert_eq!(theirs.tensors.len(), ours.tensors.len() + 1, "theirs has output.weight too");
    for (key, value) in &theirs.values {
        let own = ours.values.get(key);
        assert!(own.is_none_or(|own| own == value || key == "general.name"), "{key}: {own:?}, not {value:?}");
    }
}

/// A random model: its vectors vary as well.
fn model(config: Value, dtype: Dtype, seed: u64) -> Gpt2 {
    let config = Config::from_json(config.to_string().as_bytes()).expect("a configuration");
    let mut state = seed;
    random(config, dtype).map_tensors(|spec, weights| {
        if spec.role.is_matrix() {
            return weights;
        }
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32 + 0.25
        };
        let numbers: Vec<f32> = (0..spec.len()).map(|_| next()).collect();
        Weights::from_f32(1, numbers.len(), &numbers)
    })
}

#[test]
fn ten_random_models_round_trip_through_each_format() {
    let folder = tempfile::tempdir().expect("a folder");
    for seed in 0..10 {
        let dtype = [Dtype::F32, Dtype::Bf16, Dtype::F16][seed % 3];
        let n_head = 1 + seed % 4;
        let n_embd = n_head * [8, 16, 7][seed % 3];
        let plain = json!({
            "n_layer": 1 + seed % 3, "n_head": n_head, "n_embd": n_embd, "n_positions": 16 + seed, "vocab_size": 90 + 7 * seed,
            "eos_token_id": 89 + 7 * seed,
        });
        let mut other = plain.clone();
        other["n_inner"] = json!(3 * n_embd + 1);
        other["layer_norm_epsilon"] = json!(1e-3);
        other["tie_word_embeddings"] = json!(seed % 2 == 0);
        let read = |path: &Path, model: &Gpt2| {
            let found = open(path).expect("a checkpoint").model;
            assert_eq!(found.config, model.config, "{path:?}");
            assert_eq!(bits(&found), bits(model), "{path:?}, {dtype:?}");
        };

        let usual = model(plain, dtype, seed as u64);
        let path = folder.path().join("model.bin");
        match dtype {
            // BF16 also rounds the vectors: what is read is written again as it is
            Dtype::Bf16 => {
                llmc::write(&usual, &path, dtype, |_| ()).expect("it is written");
                let once = open(&path).expect("a checkpoint").model;
                llmc::write(&once, &path, dtype, |_| ()).expect("it is written");
                read(&path, &once);
            }
            _ => {
                llmc::write(&usual, &path, Dtype::F32, |_| ()).expect("it is written");
                read(&path, &usual);
            }
        }
        let other = model(other, dtype, seed as u64);
        let path = folder.path().join("model.gguf");
        let bpe = gpt2::bpe::Bpe::gpt2();
        gguf::write((&other, &bpe, "x"), &path, gguf::Storage::Plain(dtype), |_| ()).expect("it is written");
        read(&path, &other);
        let path = folder.path().join("model.safetensors");
        Save::begin(&other, "x", &GenerationConfig::default(), &path)
            .and_then(Save::finish)
            .expect("it is written");
        read(&path, &other);
    }
}

#[test]
fn what_a_format_lacks_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (large, ends) = (Checkpoint::copy("base").with_bytes_as_tokens(), Checkpoint::copy("base"));
    ends.configure("eos_token_id", vec![1, 2]);
    for (name, model, part) in [
        ("a.gguf", "silu", "activation_function is \"silu\"; llama.cpp's GPT-2 has \"gelu_new\""),
        ("b.gguf", "scaled", "scale_attn_by_inverse_layer_idx is true"),
        ("a.bin", "untied", "llm.c has only GPT-2 as OpenAI made it"),
        ("b.bin", "f16", "llm.c has F32 and BF16, not f16"),
        ("c.bin --dtype q8_0", "base", "q8_0 is a type of gguf files"),
        ("d.safetensors --dtype q8_0", "base", "q8_0 is a type of gguf files"),
        (
            "c.gguf",
            large.path().to_str().expect("a plain name"),
            "the tokenizer has 257 tokens, the model 211",
        ),
        ("d.gguf", ends.path().to_str().expect("a plain name"), "a GGUF file has one end id, the model 2"),
        ("d.bin", ends.path().to_str().expect("a plain name"), "llm.c has only GPT-2 as OpenAI made it"),
    ] {
        let mut command = gpt2();
        command
            .args(["convert", "--model"])
            .arg(fixture(model))
            .arg("--out")
            .args(name.split(' '))
            .current_dir(folder.path());
        command.assert().failure().stdout("").stderr(predicate::str::contains(part));
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left behind");
}

/// From GGUF to a folder and back, each by the command: texts, tokens and companions stay.
#[test]
fn by_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_folder = |command: &str| {
        let mut all = gpt2();
        all.args(command.split(' ')).current_dir(folder.path());
        all
    };
    let says = |command: &str, model: &Path| -> Vec<u8> {
        let assert = in_folder(command).args(["<|x|> abcab<|end|>", "--model"]).arg(model).assert().success();
        assert.get_output().stdout.clone()
    };
    let (generate, tokenize) =
        ("generate --greedy --max-new-tokens 9 --allow-special", "tokenize --allow-special");
    let first = format("base-f32.gguf");
    let expected = [says(generate, &first), says(tokenize, &first)];
    let first = first.to_str().expect("a plain name");
    for (from, to) in [
        (first, "folder"),
        ("folder", "again"),
        ("again", "b.gguf --dtype f32"),
        ("b.gguf", "c --to safetensors"),
    ] {
        let convert = in_folder(&format!("convert --model {from} --out {to}")).assert().success();
        convert.stderr(predicate::str::contains("error").not());
        let to = Path::new(to.split(' ').next().expect("a name"));
        assert_eq!([says(generate, to), says(tokenize, to)], expected, "{to:?}");
        if to == Path::new("folder") {
            std::fs::write(folder.path().join("folder/generation_config.json"), "{}").expect("it is written");
        }
    }
    assert!(folder.path().join("again/generation_config.json").exists());
    let json = in_folder("convert --model again --out b.gguf --json").assert().success();
    json.stdout(predicate::str::contains("\"dtype\":\"f32\""));
    let itself = in_folder("convert --model b.gguf --out b.gguf").assert().code(1);
    itself.stderr(predicate::str::ends_with("error: b.gguf: is the model itself; choose another path\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Damaged files are read or refused: no panic, no endless memory.
    #[test]
    fn damaged_files_end_well(
        name in prop::sample::select(vec!["base-f32.gguf", "base-q8_0.gguf", "base-1.bin", "base-3.bin"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(format(name)).expect("a fixture");
        let header = if name.ends_with("bin") { 32 } else { 9_000 };
        changes.iter().for_each(|(place, byte)| bytes[place.index(header)] = *byte);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("it is written");
        if let Err(error) = open(&path) {
            prop_assert!(error.to_string().contains(name) && !error.to_string().contains('\n'), "{}", error);
        }
    }
}

#[test]
fn other_versions_and_architectures_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let changed = |name: &str, place: usize, to: &[u8]| {
        let mut bytes = std::fs::read(format(name)).expect("a fixture");
        bytes[place..place + to.len()].copy_from_slice(to);
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("it is written");
        open(path)
    };
    assert!(changed("base-f32.gguf", 4, &[2]).is_ok(), "version 2 differs only in its number");
    let architecture = std::fs::read(format("base-f32.gguf")).expect("a fixture");
    let place = architecture.windows(4).position(|four| four == b"gpt2").expect("the architecture");
    for (name, place, to, part) in [
        ("base-f32.gguf", 4, &b"\x01"[..], "GGUF version 1; versions 2 and 3 are read"),
        (
            "base-f32.gguf",
            place,
            b"bert",
            "a GGUF file of the architecture \"bert\"; only \"gpt2\" can be used",
        ),
        ("base-3.bin", 4, b"\x02", "an llm.c checkpoint of version 2; versions 1, 3 and 5 are read"),
        ("base-3.bin", 28, b"\x01\0", "the padded vocab_size 1 is less than vocab_size 211"),
        ("base-3.bin", 16, b"\xff\xff\xff\x7f", "n_layer is 2147483647"),
        ("base-3.bin", 16, b"\xff\xff\xff\x00", "143872 bytes, but its header announces 852550999680"),
    ] {
        let error = changed(name, place, to).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    let wrong = SafeTensors::open(&format("base-f32.gguf")).expect_err("not safetensors").to_string();
    assert!(wrong.contains("not a safetensors file"), "{wrong}");
}
