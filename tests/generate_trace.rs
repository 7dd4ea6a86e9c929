//! `gpt2 generate --trace` as users see it.

mod common;

use common::{Checkpoint, fixture, gpt2};
use gpt2::format::{Bytes, safetensors::SafeTensors};
use gpt2::trace::Place;
use predicates::prelude::*;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> SafeTensors {
    SafeTensors::parse(path, &Bytes::map(path).expect("a file")).expect("tensors")
}

fn i64s(file: &SafeTensors, name: &str) -> Vec<i64> {
    file.tensors[name].bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
}

fn f32s(file: &SafeTensors, name: &str) -> Vec<f32> {
    file.tensors[name].bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// `generate --json` with the smallest fixture and a trace.
fn traced(arguments: &str, out: &Path) -> Value {
    let mut command = gpt2();
    command.args(["generate", "--json"]).args(arguments.split(' ')).arg("--trace").arg(out);
    let assert = command.arg("--model").arg(fixture("base")).assert().success().stderr("");
    serde_json::from_slice(&assert.get_output().stdout).expect("JSON")
}

/// The key of a stage in a step.
fn key(step: usize, name: &str) -> String {
    Place::parse(name).expect("a stage").at(step).to_string()
}

#[test]
fn every_step_has_every_stage() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let options = "--ids 5,6,7 --seed 4 --top-k 9 --repetition-penalty 1.2";
    let mut plain = gpt2();
    plain.args(["generate", "--json", "--max-new-tokens", "5"]).args(options.split(' '));
    let output = plain.arg("--model").arg(fixture("base")).output().expect("a program");
    let expected: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let report = traced(&format!("{options} --max-new-tokens 5"), &path);
    assert_eq!((&report["ids"], &report["logprobs"]), (&expected["ids"], &expected["logprobs"]));

    let file = open(&path);
    let (places, ids) = (Place::all(2).count(), report["ids"].as_array().expect("ids"));
    assert_eq!(file.tensors.len(), 5 * places);
    let choices: Vec<Value> = serde_json::from_str(&file.metadata["choices"]).expect("JSON");
    assert_eq!(choices.len(), 5);
    for (step, (id, choice)) in ids.iter().zip(&choices).enumerate() {
        assert_eq!(i64s(&file, &key(step, "next_id")), [id.as_i64().expect("an id")]);
        let tokens = if step == 0 { 3 } else { 1 };
        assert_eq!(file.tensors[&key(step, "lm_head")].shape, [tokens, 211]);
        assert_eq!(file.tensors[&key(step, "transformer.h.1.attn.weights")].shape, [4, tokens, 3 + step]);
        let probs = f32s(&file, &key(step, "probs"));
        let chosen = &choice["chosen"];
        assert_eq!(&chosen["id"], id);
        let steps: Vec<&str> =
            choice["steps"].as_array().expect("steps").iter().filter_map(|s| s["step"].as_str()).collect();
        assert_eq!(steps, ["repetition-penalty", "temperature", "top-k"]);
        assert_eq!(choice["steps"][2]["left"], probs.iter().filter(|p| **p > 0.0).count());
        let p = probs[id.as_u64().expect("an id") as usize];
        assert_eq!(chosen["probability"].as_f64(), Some(f64::from(p)));
        assert_eq!(chosen["rank"], 1 + probs.iter().filter(|other| **other > p).count());
        let u = chosen["uniform"].as_f64().expect("a number");
        let [from, to] = [0, 1].map(|i| chosen["stretch"][i].as_f64().expect("a number"));
        assert!(from <= u && u < to, "{chosen}");
    }
    let options: Value = serde_json::from_str(&file.metadata["options"]).expect("JSON");
    assert_eq!((&options["top_k"], &options["repetition_penalty"]), (&9.into(), &1.2.into()));
    assert_eq!(file.metadata["ids"], "[5,6,7]");
    assert_eq!(file.metadata["arithmetic"], gpt2::ARITHMETIC);
}

/// The first step equals `gpt2 trace` with the same options, bit for bit. Each later step equals the last row of
/// `gpt2 trace` for the prompt and the tokens so far.
#[test]
fn it_agrees_with_trace() {
    let folder = folder();
    let [whole, one] = ["whole", "one"].map(|name| folder.path().join(name));
    let options = "--temperature 1.3 --top-p 0.8 --no-repeat-ngram-size 2 --logit-bias 3=-inf";
    traced(&format!("--ids 5,6,7,5,6 --seed 4 --max-new-tokens 3 {options}"), &whole);
    let all = open(&whole);
    let mut ids = String::from("5,6,7,5,6");
    for step in 0..3 {
        let mut command = gpt2();
        command.args(["trace", "--ids", &ids, "--seed", "4"]).args(options.split(' ')).arg("--out").arg(&one);
        command.arg("--model").arg(fixture("base")).assert().success();
        let file = open(&one);
        for place in Place::all(2).filter(|place| !place.stage.is_ids()) {
            let (name, later) = (place.to_string(), place.at(step).to_string());
            if step > 0 && name == "probs" {
                let [a, b] = [f32s(&file, &name), f32s(&all, &later)];
                assert_eq!(a, b, "the distribution does not depend on the draw");
                continue;
            }
            let (a, b) = (&file.tensors[&name], &all.tensors[&later]);
            let width = a.shape[a.shape.len() - 1] * 4;
            let heads = if a.shape.len() == 3 { a.shape[0] } else { 1 };
            let rows = a.bytes.len() / width / heads;
            let kept = b.bytes.len() / width / heads;
            let last: Vec<u8> = (a.bytes.chunks(width * rows))
                .flat_map(|head| head[(rows - kept) * width..].to_vec())
                .collect();
            assert_eq!(*b.bytes, last, "{later}");
        }
        ids += &format!(",{}", i64s(&all, &key(step, "next_id"))[0]);
    }
    let mut command = gpt2();
    command
        .args(["trace", "--ids", "5,6,7,5,6", "--seed", "4"])
        .args(options.split(' '))
        .arg("--out")
        .arg(&one);
    command.arg("--model").arg(fixture("base")).assert().success();
    let mut command = gpt2();
    let output = command.arg("diff").args([&one, &whole]).args(["--tolerance", "0"]).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).expect("UTF-8");
    assert!(
        text.contains("all values are equal") && text.contains("A lacks 64 stages that B has: step.{n}."),
        "{text}"
    );
    let [one, whole] = [&one, &whole].map(|path| open(path).metadata["choices"].clone());
    assert!(whole.starts_with(one.trim_end_matches(']')), "{whole}");
}

/// Each of several texts has stage names of its own, its choices, and the same text as a run without a trace.
#[test]
fn several_texts() {
    let folder = folder();
    let [several, one] = ["several", "one"].map(|name| folder.path().join(name));
    let options = "--ids 5,6,7 --seed 4 --max-new-tokens 4 --ignore-eos";
    let run = |count: &str, out: Option<&Path>| {
        let mut command = gpt2();
        command.args(["generate", "--json", "--num-return-sequences", count]).args(options.split(' '));
        command.args(out.map(|_| "--trace")).args(out).arg("--model").arg(fixture("base"));
        let output = command.assert().success().stderr("").get_output().stdout.clone();
        let lines: Vec<Value> =
            output.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        lines
            .into_iter()
            .map(|report| (report["ids"].clone(), report["logprobs"].clone()))
            .collect::<Vec<_>>()
    };
    let texts = run("3", Some(&several));
    assert_eq!(texts, run("3", None));
    assert!(texts[0].0 != texts[1].0 && texts[1].0 != texts[2].0, "{texts:?}");
    assert_eq!(run("1", Some(&one)), texts[..1]);

    let file = open(&several);
    assert_eq!(file.tensors.len(), 3 * 4 * Place::all(2).count());
    for (sequence, (ids, _)) in texts.iter().enumerate() {
        let at = |step: usize, name| Place::parse(name).expect("a stage").at(step).of(sequence).to_string();
        let chosen: Vec<i64> = (0..4).map(|step| i64s(&file, &at(step, "next_id"))[0]).collect();
        assert_eq!(&Value::from(chosen), ids);
        let prompt = [&*at(0, "transformer.h.1"), "transformer.h.1"].map(|name| &*file.tensors[name].bytes);
        assert_eq!(prompt[0], prompt[1]);
        assert_eq!(file.tensors[&at(3, "transformer.h.1.attn.weights")].shape, [4, 1, 6]);
        let key = if sequence == 0 { "choices".into() } else { format!("sequence.{sequence}.choices") };
        let choices: Vec<Value> = serde_json::from_str(&file.metadata[&key]).expect("JSON");
        assert_eq!(Value::from_iter(choices.iter().map(|choice| choice["chosen"]["id"].clone())), *ids);
    }
    let same =
        gpt2().arg("diff").args([&one, &several]).args(["--tolerance", "0"]).output().expect("a program");
    let text = String::from_utf8(same.stdout).expect("UTF-8");
    assert!(same.status.success() && text.contains("sequence.{n}.transformer.wte"), "{text}");
}

#[test]
fn the_same_run_writes_the_same_file() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let run = |threads: &str, simd: Option<&str>| {
        let mut command = gpt2();
        command.args([
            "generate",
            "--ids",
            "1,2,3",
            "--seed",
            "1",
            "--max-new-tokens",
            "3",
            "--threads",
            threads,
        ]);
        command.arg("--trace").arg(&path).arg("--model").arg(fixture("odd-heads"));
        command.envs(simd.map(|simd| ("GPT2_SIMD", simd))).assert().success();
        std::fs::read(&path).expect("a file")
    };
    let expected = run("2", None);
    assert_eq!(run("1", None), expected);
    assert_eq!(run("3", Some("scalar")), expected);
}

#[test]
fn a_long_text_and_its_end() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let ids = (0..62).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let mut command = gpt2();
    command.args([
        "generate",
        "--ids",
        &ids,
        "--seed",
        "1",
        "--max-new-tokens",
        "5",
        "--ignore-eos",
        "--trace",
    ]);
    command
        .arg(&path)
        .arg("--model")
        .arg(fixture("base"))
        .assert()
        .success()
        .stderr(predicate::str::contains("newest half"));
    let file = open(&path);
    let shape = |step| file.tensors[&key(step, "transformer.h.0.attn.scores")].shape.clone();
    assert_eq!([shape(0), shape(2), shape(3), shape(4)], [[4, 62, 62], [4, 1, 64], [4, 32, 32], [4, 1, 33]]);

    let stopped = {
        let mut command = gpt2();
        command
            .args(["generate", "Once upon a", "--greedy", "--stop", "time", "--json", "--trace"])
            .arg(&path);
        command.assert().success().get_output().stdout.clone()
    };
    let report: Value = serde_json::from_slice(&stopped).expect("JSON");
    assert_eq!((&report["finish_reason"], &report["text"]), (&"stop".into(), &" ".into()));
    let file = open(&path);
    assert_eq!((file.tensors.len(), &*file.metadata["stop"]), (Place::all(6).count(), "[\"time\"]"));
}

#[test]
fn what_goes_wrong_leaves_no_file() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let damaged = Checkpoint::copy("base");
    let mut bytes = std::fs::read(damaged.file("model.safetensors")).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    bytes[8 + header..].as_chunks_mut::<4>().0.fill(f32::NAN.to_le_bytes());
    damaged.write("model.safetensors", bytes);
    let base = fixture("base");
    for (arguments, model, code, part) in [
        ("--ids 1,2", damaged.path(), 1, "damaged"),
        ("--ids 999", &*base, 1, "999"),
        ("--ids 1 --num-return-sequences 2 --greedy", &*base, 2, "--num-return-sequences"),
        ("--ids 1 --num-beams 2", &*base, 2, "--num-beams"),
        ("--ids 1 --prompt-lookup", &*base, 2, "--prompt-lookup"),
        ("--ids 1 --temperature 0", &*base, 2, "temperature"),
        ("--ids 1,2 --context-policy error --max-new-tokens 80 --ignore-eos", &*base, 1, "64 positions"),
    ] {
        let mut command = gpt2();
        command
            .arg("generate")
            .args(arguments.split(' '))
            .arg("--trace")
            .arg(&path)
            .arg("--model")
            .arg(model);
        command
            .assert()
            .code(code)
            .stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(part)));
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 0, "{arguments}");
    }
    for out in [folder.path().to_path_buf(), folder.path().join("no/such/folder")] {
        let mut command = gpt2();
        command.args(["generate", "--ids", "1", "--trace"]).arg(&out).arg("--model").arg(&base);
        command.assert().code(1).stdout("").stderr(predicate::str::starts_with("error: "));
    }
}

/// Ctrl-C, once or twice, gives exit code 130 and leaves no half-written file.
#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_file() {
    for times in [1, 2] {
        let folder = folder();
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("gpt2"));
        command.args([
            "generate",
            "Once upon a time",
            "--ignore-eos",
            "--max-new-tokens",
            "100000",
            "--trace",
        ]);
        command.arg(folder.path().join("t")).stdout(std::process::Stdio::null());
        let mut child = command.spawn().expect("a program");
        let began = || std::fs::read_dir(&folder).expect("a folder").next().is_some();
        while !began() {
            assert!(child.try_wait().expect("a child").is_none(), "it ended before it was interrupted");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for _ in 0..times {
            let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(kill.is_ok(), "{kill:?}");
        }
        assert_eq!(child.wait().expect("an end").code(), Some(130));
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 0);
    }
}
