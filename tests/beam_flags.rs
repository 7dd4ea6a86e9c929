//! `generate --num-beams`, as users see it.

mod common;

use assert_cmd::Command;
use common::{Checkpoint, fixture, gpt2};
use gpt2::simd::Simd;
use predicates::prelude::*;
use serde_json::Value;

/// `gpt2` with these arguments, split at spaces.
fn run(arguments: &str) -> Command {
    let mut command = gpt2();
    command.args(arguments.split_whitespace());
    command
}

/// `generate` with the smallest fixture: 211 tokens, 64 positions.
fn base(arguments: &str) -> Command {
    let mut command = run(&format!("generate {arguments}"));
    command.arg("--model").arg(fixture("base"));
    command
}

/// Standard output of a run that must succeed.
fn text(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).expect("UTF-8")
}

/// The objects that a run with `--json` prints, one per line.
fn reports(command: &mut Command) -> Vec<Value> {
    text(command.arg("--json")).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn ids(report: &Value) -> Vec<u32> {
    serde_json::from_value(report["ids"].clone()).expect("ids")
}

fn sum(logprobs: &Value) -> f64 {
    logprobs.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).sum()
}

/// A search with the bundled model, whose tokens are words.
const STORY: [&str; 6] = ["generate", "Once upon a time", "--max-new-tokens", "20", "--num-beams", "4"];

#[test]
fn the_fixtures_of_hf_through_the_flags() {
    let text = std::fs::read_to_string(fixture("../beams.json")).expect("beams.json");
    let cases: Value = serde_json::from_str(&text).expect("JSON");
    let mut tried = 0;
    for key in ["grid", "drawn"] {
        for case in cases[key].as_array().expect("cases").iter().filter(|c| c["model"] == "base").step_by(7) {
            let model = Checkpoint::copy("base");
            model.configure("eos_token_id", case["eos"].clone());
            let list = |ids: &Value| ids.to_string().replace(['[', ']'], "");
            let mut command = run("generate --max-new-tokens 14 --ids");
            command.arg(list(&case["prompt_ids"])).arg("--model").arg(model.path());
            if let Some(seed) = case["seed"].as_u64() {
                command.args(["--beam-sampling".into(), format!("--seed={seed}")]);
                if case["options"].get("top_k").is_none() {
                    command.arg("--top-k=211");
                }
                if case["options"].get("temperature").is_none() {
                    command.arg("--temperature=1");
                }
            }
            for (name, value) in case["options"].as_object().expect("options") {
                let flag = format!("--{}", name.replace('_', "-"));
                match value.as_array() {
                    None => drop(command.arg(format!("{flag}={}", value.to_string().replace('"', "")))),
                    Some(pairs) => pairs.iter().for_each(|pair| {
                        command.arg(format!("{flag}={}={}", pair[0], pair[1]));
                    }),
                }
            }
            let reports = reports(&mut command);
            let found = case["found"].as_array().expect("a list");
            assert_eq!(reports.len(), found.len(), "{case}");
            for (report, found) in reports.iter().zip(found) {
                assert_eq!(report["ids"], found["ids"], "{case}");
                let [score, expected] = [report, found].map(|x| x["score"].as_f64().expect("a score"));
                assert!((score - expected).abs() < 1e-4 * expected.abs().max(1.0), "{score} {expected}");
            }
            tried += 1;
        }
    }
    assert!(tried >= 15, "{tried}");
}

#[test]
fn json_has_a_score_with_beams_only() {
    let four = reports(run("").args(STORY).args(["--num-return-sequences", "4"]));
    assert_eq!(four.len(), 4);
    for report in &four {
        let n = ids(report).len();
        let score = report["score"].as_f64().expect("a score");
        assert!((score - sum(&report["logprobs"]) / n as f64).abs() < 1e-5, "{report}");
        assert_eq!(report["seed"], 0);
        assert_eq!(report["stats"]["prefill_tokens"], 4);
    }
    let scores: Vec<f64> = four.iter().map(|r| r["score"].as_f64().expect("a score")).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let one = reports(run("").args(STORY));
    let without_stats = |report: &Value| {
        let mut report = report.clone();
        report["stats"].take();
        report
    };
    assert_eq!(one.iter().map(without_stats).collect::<Vec<_>>(), [without_stats(&four[0])]);
    let greedy = reports(run("").args(&STORY[..2]).args(["--greedy", "--max-new-tokens", "20"]));
    assert!(greedy[0].get("score").is_none());
    assert!(sum(&one[0]["logprobs"]) > sum(&greedy[0]["logprobs"]), "beam search found a likelier text");
}

#[test]
fn one_beam_is_not_beam_search() {
    for arguments in ["--greedy", "--seed 3", "--seed 3 --num-return-sequences 2"] {
        let arguments = format!("--ids 5,6,7 --max-new-tokens 20 {arguments}");
        assert_eq!(text(&mut base(&format!("{arguments} --num-beams 1"))), text(&mut base(&arguments)));
    }
}

#[test]
fn nothing_is_random_unless_requested() {
    let arguments = "--ids 5,6,7 --max-new-tokens 20 --num-beams 4 --num-return-sequences 4";
    let plain = text(&mut base(arguments));
    for same in ["", "--greedy", "--seed 9"] {
        assert_eq!(text(&mut base(&format!("{arguments} {same}"))), plain, "{same}");
    }
    let drawn = |seed: u64| text(&mut base(&format!("{arguments} --beam-sampling --seed {seed}")));
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
    assert_ne!(drawn(1), plain);
    let [a, b] = [0, 1].map(|_| reports(&mut base(&format!("{arguments} --beam-sampling"))));
    assert_ne!(a[0]["seed"], b[0]["seed"], "a seed is drawn and shown");
}

#[test]
fn threads_and_instruction_sets_change_nothing() {
    for more in ["", "--beam-sampling --seed 4", "--num-beam-groups 2 --diversity-penalty 0.7"] {
        let arguments =
            format!("--ids 5,6,7 --max-new-tokens 80 --num-beams 6 --num-return-sequences 6 {more}");
        let found = |command: &mut Command| -> Vec<Value> {
            let parts = |report: &Value| ["ids", "logprobs", "score"].map(|key| report[key].clone());
            reports(command).iter().flat_map(parts).collect()
        };
        let expected = found(&mut base(&arguments));
        for threads in [1, 2, 3, 7] {
            assert_eq!(found(&mut base(&format!("{arguments} --threads {threads}"))), expected, "{threads}");
        }
        for simd in [Simd::Scalar, Simd::Avx2, Simd::Avx512, Simd::Neon] {
            if simd == Simd::Scalar
                || simd <= Simd::detect() && cfg!(target_arch = "x86_64") == (simd != Simd::Neon)
            {
                assert_eq!(found(base(&arguments).env("GPT2_SIMD", simd.name())), expected, "{simd:?}");
            }
        }
    }
}

#[test]
fn stop_strings_end_beams() {
    let plain = reports(run("").args(STORY));
    let whole = plain[0]["text"].as_str().expect("a text");
    let stop = &whole[whole.len() / 2..whole.len() / 2 + 4];
    for report in reports(run("").args(STORY).args(["--num-return-sequences", "4", "--stop", stop])) {
        let text = report["text"].as_str().expect("a text");
        assert!(!text.contains(stop), "{report}");
        assert!(["stop", "length", "eos"].contains(&report["finish_reason"].as_str().expect("a reason")));
    }
    let best = reports(run("").args(STORY).args(["--stop", stop, "--early-stopping", "true"]));
    assert_eq!(best[0]["finish_reason"], "stop");
}

#[test]
fn texts_beyond_the_positions_slide_and_say_so_once() {
    let arguments = "--ids 5,6,7 --max-new-tokens 150 --num-beams 3 --ignore-eos";
    let assert = base(arguments).assert().success();
    assert.stderr(predicate::str::contains("64 positions").and(predicate::str::contains("note").count(1)));
    base(&format!("{arguments} --context-policy stop")).assert().success().stderr("");
    base(&format!("{arguments} --context-policy error"))
        .assert()
        .code(1)
        .stdout("")
        .stderr(predicate::str::starts_with("error: the text has reached"));
    let long = vec!["7"; 200].join(",");
    assert_eq!(
        ids(&reports(&mut base(&format!("--ids {long} --num-beams 3 --max-new-tokens 5")))[0]).len(),
        5
    );
}

#[test]
fn several_texts_have_their_scores_between_them() {
    let model = Checkpoint::copy("base").with_bytes_as_tokens();
    let command = |more: &str| {
        let mut command = run(&format!("generate hello --num-beams 3 {more} --model"));
        command.arg(model.path());
        command
    };
    let three = reports(&mut command("--max-new-tokens 9 --num-return-sequences 3"));
    let expected: String = (1..)
        .zip(&three)
        .map(|(n, r)| {
            format!(
                "=== {n} of 3, score {:.4} ===\n{}\n",
                r["score"].as_f64().expect("a score"),
                r["text"].as_str().expect("a text")
            )
        })
        .collect();
    assert_eq!(text(&mut command("--max-new-tokens 9 --num-return-sequences 3")), expected);
    assert_eq!(
        text(&mut command("--max-new-tokens 9")),
        format!("{}\n", three[0]["text"].as_str().expect("a text"))
    );
    // 9 steps: the first reads the prompt, each of the others reads a row for each of 3 beams
    command("--max-new-tokens 9 --stats").assert().stderr(predicate::str::contains("decode 24 tokens"));
    let none = reports(&mut command("--max-new-tokens 0 --num-return-sequences 2"));
    assert_eq!((none.len(), &none[0]["text"], &none[0]["score"]), (1, &"".into(), &0.0.into()));
    command("--max-new-tokens 0 --num-return-sequences 2")
        .assert()
        .stderr(predicate::str::contains("found 1 texts, not 2"));
}

#[test]
fn the_tree_shows_every_step() {
    let tree =
        text(run("").args(&STORY[..2]).args(["--num-beams", "3", "--max-new-tokens", "3", "--beam-tree"]));
    insta::assert_snapshot!("tree", tree);
}

#[test]
fn the_tree_as_json_is_a_tree() {
    for more in ["", "--num-beam-groups 2 --diversity-penalty 1", "--beam-sampling --seed 1"] {
        let arguments =
            format!("--ids 5,6,7 --max-new-tokens 12 --num-beams 4 --num-return-sequences 4 {more}");
        let model = Checkpoint::copy("base").with_bytes_as_tokens();
        model.configure("eos_token_id", vec![174, 77, 94]);
        let with = |more: &str| {
            let mut command = run(&format!("generate {arguments} {more} --model"));
            reports(command.arg(model.path()))
        };
        let lines = with("--beam-tree");
        let (tree, found) = lines.split_first().expect("a tree");
        let plain = with("");
        assert_eq!(found.len(), plain.len());
        let tree = &tree["tree"];
        let nodes = tree["nodes"].as_array().expect("nodes");
        let count = |fate: &str| nodes.iter().filter(|node| node["fate"] == fate).count();
        assert!(count("kept") > 0 && count("pruned") > 0 && count("finished") >= found.len());
        for (place, node) in nodes.iter().enumerate() {
            let parent = node["parent"].as_u64().map(|parent| &nodes[parent as usize]);
            assert_eq!(
                node["step"].as_u64(),
                Some(parent.map_or(1, |p| 1 + p["step"].as_u64().expect("a step")))
            );
            assert!(parent.is_none_or(|parent| parent["fate"] == "kept" && parent["group"] == node["group"]));
            assert!(node["parent"].as_u64().is_none_or(|parent| (parent as usize) < place));
            assert_eq!(node["final_score"].is_null(), node["fate"] != "finished");
        }
        for (place, report) in tree["found"].as_array().expect("places").iter().zip(found) {
            let mut place = place.as_u64();
            let end = &nodes[place.expect("a node") as usize];
            assert_eq!(end["final_score"], report["score"]);
            let mut path = Vec::new();
            while let Some(node) = place.map(|place| &nodes[place as usize]) {
                path.push(node["id"].as_u64().expect("an id") as u32);
                place = node["parent"].as_u64();
            }
            path.reverse();
            assert_eq!(path, ids(report));
        }
    }
}

#[test]
fn bad_usage_is_refused() {
    for (arguments, part) in [
        ("--num-beams 0", "--num-beams"),
        ("--num-beams -1", "-1"),
        ("--num-beams 1025", "num-beams 1025 must be from 1 to 1024"),
        ("--num-beams 18446744073709551615", "num-beams 18446744073709551615"),
        ("--num-beams 18446744073709551616", "--num-beams"),
        ("--num-beams 4 --num-return-sequences 5", "num-return-sequences 5"),
        ("--num-beams 4 --length-penalty NaN", "length-penalty NaN"),
        ("--num-beams 4 --length-penalty inf", "length-penalty inf"),
        ("--num-beams 4 --length-penalty=-inf", "length-penalty -inf"),
        ("--num-beams 4 --length-penalty 1e9", "length-penalty 1000000000"),
        ("--num-beams 4 --length-penalty -30", "length-penalty -30"),
        ("--num-beams 4 --early-stopping maybe", "--early-stopping"),
        ("--num-beams 4 --num-beam-groups 3", "num-beam-groups 3"),
        ("--num-beams 4 --num-beam-groups 0", "--num-beam-groups"),
        ("--num-beams 4 --num-beam-groups 2", "diversity-penalty"),
        ("--num-beams 4 --num-beam-groups 2 --diversity-penalty -1", "diversity-penalty -1"),
        ("--num-beams 4 --num-beam-groups 2 --diversity-penalty NaN", "diversity-penalty NaN"),
        ("--num-beams 4 --num-beam-groups 1 --diversity-penalty 1", "num-beam-groups"),
        ("--num-beams 4 --diversity-penalty 1", "--num-beam-groups"),
        ("--num-beams 4 --num-beam-groups 2 --diversity-penalty 1 --beam-sampling", "--beam-sampling"),
        ("--num-beams 4 --greedy --beam-sampling", "--beam-sampling"),
        ("--num-beams 4 --temperature 0.5", "--temperature does nothing"),
        ("--num-beams 4 --top-k 5", "--top-k does nothing"),
        ("--num-beams 4 --top-p 0.5", "--top-p does nothing"),
        ("--num-beams 4 --min-p 0.5", "--min-p does nothing"),
        ("--num-beams 4 --beam-sampling --temperature 0", "temperature 0"),
        ("--num-beams 4 --min-new-tokens 200", "min-new-tokens 200"),
        ("--num-beams 1 --beam-tree", "--num-beams must be at least 2"),
        ("--num-beams 1 --beam-sampling", "--num-beams must be at least 2"),
        ("--num-beams 4 --debug", "--debug"),
        ("--num-beams 4 --trace file", "--trace"),
        ("--num-beams 4 --batch file", "--batch"),
        ("--length-penalty 2", "--num-beams"),
        ("--early-stopping true", "--num-beams"),
        ("--num-beam-groups 2", "--num-beams"),
        ("--beam-sampling", "--num-beams"),
        ("--beam-tree", "--num-beams"),
    ] {
        let assert = base("--ids 1").args(arguments.split(' ')).assert().code(2).stdout("");
        assert.stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(part)));
    }
}

#[test]
fn what_cannot_be_searched_is_an_error() {
    let mut nothing = base("--ids 1 --num-beams 4");
    (0..211).for_each(|id| {
        nothing.arg(format!("--logit-bias={id}=-inf"));
    });
    nothing
        .assert()
        .code(1)
        .stdout("")
        .stderr("error: beam search found no text: the options forbid every continuation\n");
    for (arguments, part) in [("--ids 211", "token id 211"), ("--ids 1 --logit-bias 5=3e38", "too extreme")] {
        let assert = base(arguments).args(["--num-beams", "3"]).assert().code(1).stdout("");
        assert.stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(part)));
    }
    let many = reports(&mut base("--ids 1 --num-beams 1024 --max-new-tokens 3 --num-return-sequences 1024"));
    assert_eq!(many.len(), 1024);
}
