//! `gpt2 trace` and `gpt2 diff` as users see them.

mod common;

use common::{Checkpoint, fixture, gpt2};
use gpt2::format::{Bytes, safetensors::SafeTensors};
use predicates::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Runs `gpt2 trace` with these arguments, split at spaces, into `out`; it must succeed.
fn trace(model: &Path, arguments: &str, out: &Path) {
    let mut command = gpt2();
    command.arg("trace").args(arguments.split(' ')).arg("--model").arg(model).arg("--out").arg(out);
    let notes =
        |stderr: &str| stderr.lines().all(|line| line.starts_with("note: ") && line.contains("loose: "));
    command.assert().success().stdout("").stderr(predicate::function(notes));
}

fn open(path: &Path) -> SafeTensors {
    SafeTensors::parse(path, &Bytes::map(path).expect("a file")).expect("tensors")
}

fn i64s(bytes: &[u8]) -> Vec<i64> {
    bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
}

fn diff(a: &Path, b: &Path, arguments: &[&str]) -> Output {
    gpt2().arg("diff").args([a, b]).args(arguments).output().expect("a program")
}

fn report(a: &Path, b: &Path) -> (Option<i32>, Value) {
    let output = diff(a, b, &["--json"]);
    (output.status.code(), serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// Standard output of a run that must succeed.
fn text(arguments: &str, model: &Path) -> String {
    let assert = gpt2().args(arguments.split(' ')).arg("--model").arg(model).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8")
}

#[test]
fn every_fixture_agrees_with_its_reference() {
    let folder = folder();
    let ours = folder.path().join("ours.safetensors");
    let fixtures = std::fs::read_dir(fixture("base").parent().expect("a folder")).expect("fixtures");
    for model in fixtures.map(|e| e.expect("an entry").path()).filter(|path| path.is_dir()) {
        let theirs = model.join("reference.safetensors");
        let ids: Vec<String> =
            i64s(&open(&theirs).tensors["input_ids"].bytes).iter().map(i64::to_string).collect();
        trace(&model, &format!("--ids {}", ids.join(",")), &ours);
        let (code, report) = report(&theirs, &ours);
        assert_eq!((code, &report["first"]), (Some(0), &Value::Null), "{}: {report}", model.display());
        let stages = report["stages"].as_array().expect("stages");
        assert_eq!(stages.len(), open(&theirs).tensors.len() + 2); // probs and next_id
        assert!(
            stages.iter().rev().skip(2).all(|s| s["values"]["max_rel"].as_f64().is_some_and(|x| x < 1e-5))
        );
    }
}

#[test]
fn the_file_says_what_it_is() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let model = Checkpoint::copy("base").with_bytes_as_tokens();
    trace(model.path(), "hello --seed 3 --temperature 0.5 --top-k 7 --top-p 0.9", &path);
    let file = open(&path);
    assert_eq!(i64s(&file.tensors["input_ids"].bytes), b"hello".map(i64::from));
    assert_eq!(file.tensors["transformer.h.1.attn.weights"].shape, [4, 5, 5]);
    assert_eq!(file.metadata["prompt"], "hello");
    assert_eq!(file.metadata["ids"], "[104,101,108,108,111]");
    assert_eq!(file.metadata["model"], model.path().display().to_string());
    assert_eq!((&*file.metadata["dtype"], &*file.metadata["arithmetic"]), ("f32", gpt2::ARITHMETIC));
    assert!(file.metadata["version"].contains(env!("CARGO_PKG_VERSION")));
    let options: Value = serde_json::from_str(&file.metadata["options"]).expect("JSON");
    assert_eq!(
        (&options["greedy"], &options["seed"], &options["top_k"]),
        (&json!(false), &json!(3), &json!(7))
    );
    assert_eq!(options["temperature"], 0.5);
    let kept =
        file.tensors["probs"].bytes.as_chunks().0.iter().filter(|b| f32::from_le_bytes(**b) > 0.0).count();
    assert!((1..=7).contains(&kept), "{kept} of top-k 7");
}

/// The file has the same bytes for any number of threads and every instruction set.
#[test]
fn the_same_run_writes_the_same_file() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let ids = (0..40).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let run = |threads: &str, simd: Option<&str>| {
        let mut command = gpt2();
        command.args(["trace", "--ids", &ids, "--threads", threads, "--out"]).arg(&path);
        command.arg("--model").arg(fixture("odd-heads")).envs(simd.map(|simd| ("GPT2_SIMD", simd)));
        command.assert().success();
        std::fs::read(&path).expect("a file")
    };
    let expected = run("2", None);
    assert_eq!(run("1", None), expected);
    assert_eq!(run("3", Some("scalar")), expected);
}

#[test]
fn the_next_id_is_what_generate_writes() {
    let (folder, model) = (folder(), fixture("base"));
    let path = folder.path().join("t.safetensors");
    for options in ["--greedy", "--seed 0", "--seed 77 --temperature 1.7", "--seed 5 --top-p 0.3 --top-k 99"]
    {
        trace(&model, &format!("--ids 5,6,7 {options}"), &path);
        let arguments = format!("generate --ids 5,6,7 --max-new-tokens 1 --json {options}");
        let generated: Value = serde_json::from_str(&text(&arguments, &model)).expect("JSON");
        assert_eq!(json!(i64s(&open(&path).tensors["next_id"].bytes)), generated["ids"], "{options}");
    }
    trace(&model, "--ids 5,6,7", &path);
    let by_default = std::fs::read(&path).expect("a file");
    trace(&model, "--ids 5,6,7 --seed 0 --temperature 0.8 --top-k 40", &path);
    assert_eq!(std::fs::read(&path).expect("a file"), by_default);
}

#[test]
fn some_stages() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    for (globs, expected) in [
        ("--stages lm_head", vec!["lm_head"]),
        (
            "--stages ln_1 --stages h.1.attn.weights",
            vec!["transformer.h.0.ln_1", "transformer.h.1.attn.weights", "transformer.h.1.ln_1"],
        ),
        (
            "--stages *.h.1.mlp.*",
            ["act", "c_fc", "c_proj"]
                .map(|s| format!("transformer.h.1.mlp.{s}"))
                .iter()
                .map(|s| &**s)
                .collect(),
        ),
        (
            "--stages probs --stages *ids --stages transformer.h.[1-9]",
            vec!["input_ids", "probs", "transformer.h.1"],
        ),
        ("--stages transformer.w?e", vec!["transformer.wpe", "transformer.wte"]),
        ("--stages lens.* --lens=1 --json", vec!["lens.0", "lens.1"]),
    ] {
        let mut command = gpt2();
        command.args(["trace", "--ids", "1,2,3"]).args(globs.split(' ')).arg("--out").arg(&path);
        command.arg("--model").arg(fixture("base")).assert().success();
        assert_eq!(open(&path).tensors.keys().collect::<Vec<_>>(), expected, "{globs}");
    }
    assert_eq!(open(&path).tensors["lens.1"].shape, [3, 211]);
    for (glob, part) in [("transformer.h.2", "no stage"), ("lens.0", "no stage"), ("[", "--stages")] {
        let mut command = gpt2();
        command.args(["trace", "--ids", "1", "--stages", glob]).arg("--model").arg(fixture("base"));
        command.assert().code(2).stdout("").stderr(predicate::str::contains(part));
    }
}

#[test]
fn the_lens_ends_with_what_the_model_says() {
    let model = fixture("base");
    let report: Value =
        serde_json::from_str(&text("trace --ids 5,6,7 --greedy --lens=2 --json", &model)).expect("JSON");
    assert_eq!(report["lens"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["lens"][1][2][0]["id"], report["next_id"]);
    assert_eq!(report["lens"][0][0].as_array().map(Vec::len), Some(2));
    let table = text("trace --ids 5,6,7 --greedy --lens", &model);
    assert_eq!(table.lines().filter(|line| line.starts_with("position")).count(), 3);
    assert_eq!(
        table
            .lines()
            .filter(|line| line.starts_with("  after block 1 ") && line.matches('%').count() == 5)
            .count(),
        3
    );
}

#[test]
fn without_a_file_there_is_one_line_per_stage() {
    let model = fixture("base");
    let whole = text("trace --ids 5,6,7", &model);
    let (table, choice) = whole.split_once("\nhow next_id was chosen\n").expect("an explanation");
    assert_eq!(table.lines().count(), 1 + 4 + 2 * 12 + 4);
    for part in ["  the model says ", "  temperature ", "  top-k ", "  the number drawn ", "  instead of "] {
        assert_eq!(choice.lines().filter(|line| line.starts_with(part)).count(), 1, "{part}: {choice}");
    }
    assert_eq!(choice.lines().count(), 5, "{choice}");
    let report: Value = serde_json::from_str(&text("trace --ids 5,6,7 --json", &model)).expect("JSON");
    assert_eq!(report["ids"], json!([5, 6, 7]));
    assert_eq!(report["choice"]["chosen"]["id"], report["next_id"]);
    assert_eq!(report["choice"]["steps"][1]["step"], "top-k");
    for (line, stage) in table.lines().skip(1).zip(report["stages"].as_array().expect("stages")) {
        assert!(line.starts_with(stage["name"].as_str().expect("a name")));
        assert!(line.contains(stage["hash"].as_str().expect("a hash")), "{line}");
    }
    let list = text("trace --list", &model);
    assert!(list.contains("transformer.h.{i}.mlp.act") && list.contains("gelu(c_fc)"), "{list}");
}

#[test]
fn what_cannot_be_traced_leaves_no_file() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let too_long = format!("--ids {}", vec!["1"; 65].join(","));
    for (arguments, code, part) in [
        ("--ids 999", 1, "999"),
        (&*too_long, 1, "n_positions"),
        ("--ids 1 --temperature -1", 2, "temperature"),
        ("--ids 1 --top-p 2", 2, "top-p"),
        ("--ids 1 --greedy --top-p 0.5", 2, "--greedy"),
    ] {
        let mut command = gpt2();
        command
            .arg("trace")
            .args(arguments.split(' '))
            .arg("--out")
            .arg(&path)
            .arg("--model")
            .arg(fixture("base"));
        command
            .assert()
            .code(code)
            .stdout("")
            .stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(part)));
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 0, "{arguments}");
    }
    for out in [folder.path().to_path_buf(), folder.path().join("no/such/folder")] {
        let mut command = gpt2();
        command.args(["trace", "--ids", "1", "--out"]).arg(&out).arg("--model").arg(fixture("base"));
        command.assert().code(1).stderr(predicate::str::starts_with("error: "));
    }
}

/// Weights that are not finite can be traced, which is how to find the damage.
#[test]
fn the_first_nan_is_found() {
    let folder = folder();
    let [good, bad] = ["good", "bad"].map(|name| folder.path().join(name));
    let model = Checkpoint::copy("base");
    trace(model.path(), "--ids 1,2,3", &good);
    let mut bytes = std::fs::read(model.file("model.safetensors")).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let description: Value = serde_json::from_slice(&bytes[8..8 + header]).expect("JSON");
    let offset = description["transformer.h.1.mlp.c_fc.bias"]["data_offsets"][0].as_u64().expect("an offset");
    bytes[8 + header + offset as usize..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    model.write("model.safetensors", bytes);

    let mut command = gpt2();
    command.args(["trace", "--ids", "1,2,3", "--out"]).arg(&bad).arg("--model").arg(model.path());
    command.assert().success().stderr(predicate::str::contains("not finite"));
    assert_eq!(i64s(&open(&bad).tensors["next_id"].bytes), [-1]);
    let (code, report) = report(&good, &bad);
    assert_eq!((code, &report["first"]), (Some(1), &json!("transformer.h.1.mlp.c_fc")));
    let stages = report["stages"].as_array().expect("stages");
    let first = stages.iter().find(|stage| stage["beyond"] == true).expect("a stage");
    assert_eq!((&first["values"]["max_abs"], &first["values"]["b"]), (&json!("inf"), &json!("NaN")));
    assert_eq!(first["values"]["nan"], json!([0, 3]));
}

#[test]
fn two_prompts_differ_in_their_ids() {
    let folder = folder();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    trace(&fixture("base"), "--ids 1,2,3", &a);
    trace(&fixture("base"), "--ids 1,2,4", &b);
    let output = diff(&a, &b, &[]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(table.contains("the first stage beyond 1e-4 is input_ids = encode(text)"), "{table}");
    assert_eq!(diff(&a, &b, &["--tolerance", "1e9"]).status.code(), Some(1), "ids have no tolerance");
    for tolerance in ["-1", "NaN", "inf", "x", ""] {
        let output = diff(&a, &a, &[&format!("--tolerance={tolerance}")]);
        assert_eq!(output.status.code(), Some(2), "{tolerance}");
    }
    assert_eq!(diff(&a, &a, &["--tolerance", "0"]).status.code(), Some(0));
}

#[test]
fn a_file_that_is_not_a_trace_is_a_one_line_error() {
    let folder = folder();
    let good = folder.path().join("good");
    trace(&fixture("base"), "--ids 1,2,3", &good);
    let bytes = std::fs::read(&good).expect("a file");
    let bad = folder.path().join("bad\n\u{1b}[31m");
    let is_one_line = |what: &str| {
        for pair in [[&good, &bad], [&bad, &good]] {
            let output = diff(pair[0], pair[1], &[]);
            let message = String::from_utf8(output.stderr).expect("UTF-8");
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{what}: {message}");
            assert!(
                message.starts_with("error: ") && message.matches('\n').count() == 1,
                "{what}: {message:?}"
            );
            assert!(!message.contains('\u{1b}'), "{what}: {message:?}");
        }
    };
    is_one_line("no such file");
    let cuts = [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1];
    let mut files: Vec<Vec<u8>> = cuts.iter().map(|n| bytes[..*n].to_vec()).collect();
    files.push(vec![0xff; 100]);
    files.push([&2u64.to_le_bytes()[..], b"{}"].concat());
    for file in files {
        std::fs::write(&bad, &file).expect("a file");
        is_one_line(&format!("{} bytes", file.len()));
    }
    std::fs::remove_file(&bad).expect("a file");
    std::fs::create_dir(&bad).expect("a folder");
    is_one_line("a folder");
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    let program = assert_cmd::cargo::cargo_bin!("gpt2");
    let model = fixture("base");
    let line = format!(
        "'{}' trace --ids 1,2,3 --lens=200 --model '{}' | head -c 1",
        program.display(),
        model.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"p"[..], &b""[..]));
}
