//! `gpt2 compare`: several continuations side by side.

mod common;

use assert_cmd::Command;
use common::{Checkpoint, fixture, gpt2};
use predicates::prelude::*;
use serde_json::Value;

/// `gpt2 compare` with these arguments, split at spaces.
fn run(arguments: &str) -> Command {
    let mut command = gpt2();
    command.arg("compare").args(arguments.split_whitespace());
    command
}

fn text(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).expect("UTF-8")
}

fn json(command: &mut Command) -> Value {
    let text = text(command.arg("--json"));
    assert_eq!(text.lines().count(), 1);
    serde_json::from_str(&text).expect("JSON")
}

/// What `generate --json` prints for the fixture `base`.
fn generated(arguments: &str) -> Value {
    let mut command = gpt2();
    command.arg("generate").args(arguments.split_whitespace());
    json(command.arg("--model").arg(fixture("base")))
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("numbers")
}

#[test]
fn the_bundled_model() {
    let mut command = run("--seed 2 --max-new-tokens 12 --ids 7454,2402,257,640,11,7454,2402,257");
    insta::assert_snapshot!(text(&mut command));
}

#[test]
fn each_run_is_what_generate_writes() {
    let mut command = run("--ids 5,6,7 --seed 3 --temperatures 0.4,2 --max-new-tokens 30");
    let report = json(command.arg("--model").arg(fixture("base")));
    let runs = report["runs"].as_array().expect("runs");
    let names: Vec<&str> = runs.iter().map(|run| run["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["greedy", "T 0.4", "T 2", "4 beams", "speculative"]);
    let generate = "--ids 5,6,7 --max-new-tokens 30";
    for (run, options) in runs.iter().zip([
        "--greedy",
        "--seed 3 --temperature 0.4",
        "--seed 3 --temperature 2",
        "--num-beams 4",
        "--greedy --prompt-lookup 15",
    ]) {
        let truth = generated(&format!("{generate} {options}"));
        for key in ["ids", "text", "logprobs", "finish_reason"] {
            assert_eq!(run[key], truth[key], "{options}: {key}");
        }
        let (logprobs, running) = (numbers(&run["logprobs"]), numbers(&run["running"]));
        let sum = |n: usize| logprobs[..n].iter().sum::<f64>();
        assert!((1..=30).all(|n| (running[n - 1] - sum(n)).abs() < 1e-9));
        let same = |i: &usize| run["ids"][*i] == runs[0]["ids"][*i];
        assert_eq!(run["shared"], (0..30).take_while(same).count());
    }
    assert_eq!(report["seed"], 3);
    assert_eq!(runs[1]["temperature"].as_f64().map(|t| t as f32), Some(0.4));
    let truth = generated(&format!("{generate} --num-beams 4"));
    assert_eq!(runs[3]["score"], truth["score"]);
    assert_eq!(runs[4]["passes"].as_array().expect("passes").len(), 30);
}

#[test]
fn eighty_columns_are_enough() {
    for arguments in [
        "--seed 1 --max-new-tokens 40",
        "--seed 1 --temperatures 0.5 --num-beams 1",
        "--seed 1 --temperatures 0.1,0.2,0.5,1,2,3,4,5,6,7 --max-new-tokens 5",
        "--seed 18446744073709551615 --temperatures 1e30,1e-30 --max-new-tokens 150",
        "--seed 1 --max-new-tokens 1",
        "--seed 1 --max-new-tokens 0",
    ] {
        for model in ["bytes", "none", "bundled"] {
            let mut command = run(arguments);
            let bytes = Checkpoint::copy("base").with_bytes_as_tokens();
            match model {
                "bytes" => command.arg("--ids=65,10,27,200").arg("--model").arg(bytes.path()),
                "none" => command.arg("--ids=65,10,27,200").arg("--model").arg(fixture("base")),
                _ => command.arg("--ids=7454,2402"),
            };
            let text = text(&mut command);
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{model}, {arguments}: {line:?}");
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}

#[test]
fn a_draft_model_takes_the_place_of_prompt_lookup() {
    let mut command = run("--ids 5,6 --seed 1 --ignore-eos");
    command.arg("--model").arg(fixture("base")).arg("--draft-model").arg(fixture("base"));
    let report = json(&mut command);
    let run = &report["runs"][5];
    assert_eq!(run["drafted"], run["accepted"], "{run}");
    assert!(run["tokens_per_pass"].as_f64().expect("a number") > 1.0);
    assert_eq!(run["ids"], report["runs"][0]["ids"]);
}

#[test]
fn texts_beyond_the_positions_slide_and_say_so_once() {
    let once = || {
        let one_line = predicate::function(|said: &str| said.lines().count() == 1);
        predicate::str::starts_with("note: ").and(predicate::str::contains("64 positions")).and(one_line)
    };
    for arguments in
        ["--ids 5,6 --max-new-tokens 70 --ignore-eos", "--ids 5,6 --max-new-tokens 70 --num-beams 1"]
    {
        let mut command = run(arguments);
        command.args(["--seed", "1", "--model"]).arg(fixture("base")).assert().success().stderr(once());
    }
    let mut short = run("--ids 5,6 --max-new-tokens 40 --seed 1");
    short.arg("--model").arg(fixture("base")).assert().success().stderr("");
}

#[test]
fn the_models_own_int8_copy_can_guess() {
    let mut command = run("--ids 5,6 --seed 1 --ignore-eos --draft-int8");
    let report = json(command.arg("--model").arg(fixture("base")));
    let runs = report["runs"].as_array().expect("runs");
    assert_eq!(runs[5]["ids"], runs[0]["ids"]);
    assert!(runs[5]["accepted"].as_f64().is_some_and(|n| n > 5.0), "{report}");
}

#[test]
fn bad_usage_is_named() {
    for (arguments, part) in [
        ("--temperatures 0", "temperature 0 must be above 0"),
        ("--temperatures -1", "temperature -1"),
        ("--temperatures 1,NaN", "temperature NaN"),
        ("--temperatures 1,x", "'x'"),
        ("--temperatures=", "''"),
        ("--num-beams 0", "'0'"),
        ("--num-beams 18446744073709551615", "num-beams"),
        ("--seed -1", "-1"),
        ("--num-draft-tokens 3", "--draft-model"),
        ("--draft-int8 --prompt-lookup 2", "cannot be used with"),
    ] {
        let assert = run("--ids 5").args(arguments.split(' ')).assert().code(2).stdout("");
        assert.stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(part)));
    }
    run("--ids 99999").assert().code(1).stdout("").stderr(predicate::str::contains("token id 99999"));
}
