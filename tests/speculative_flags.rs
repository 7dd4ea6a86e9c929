//! The options of speculative decoding, as users see them.

mod common;

use assert_cmd::Command;
use common::{Checkpoint, fixture, gpt2};
use predicates::prelude::*;
use serde_json::Value;

/// `generate` with the smallest fixture: 211 tokens, 64 positions.
fn base(arguments: &str) -> Command {
    let mut command = gpt2();
    command.arg("generate").args(arguments.split_whitespace()).arg("--model").arg(fixture("base"));
    command
}

/// The objects that a run with `--json` prints, one per line, without their times.
fn reports(command: &mut Command) -> Vec<Value> {
    let output = command.arg("--json").assert().success().get_output().stdout.clone();
    String::from_utf8(output)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The objects without `stats`, which differ from run to run.
fn results(command: &mut Command) -> Vec<Value> {
    let mut reports = reports(command);
    reports.iter_mut().for_each(|report| {
        report.as_object_mut().expect("an object").remove("stats");
    });
    reports
}

fn with_draft(command: &mut Command, draft: &str) -> Vec<Value> {
    results(command.arg("--draft-model").arg(fixture(draft)))
}

#[test]
fn greedy_output_is_the_same_with_any_draft() {
    for arguments in [
        "--ids 5 --greedy --max-new-tokens 50",
        "--ids 5,6,7,5,6 --greedy --max-new-tokens 150 --ignore-eos",
        "--ids 5,6 --greedy --max-new-tokens 40 --no-repeat-ngram-size 2 --repetition-penalty 1.3",
        "--ids 5,6 --greedy --max-new-tokens 70 --context-policy stop --min-new-tokens 60",
        "--ids 5 --greedy --max-new-tokens 0",
        "--ids 5 --greedy --max-new-tokens 1",
    ] {
        let plain = results(&mut base(arguments));
        for lookup in ["0", "1", "7", "18446744073709551615"] {
            let mut command = base(arguments);
            assert_eq!(results(command.args(["--prompt-lookup", lookup])), plain, "{arguments}: {lookup}");
        }
        for draft in ["base", "f16", "bf16"] {
            for most in ["0", "3", "18446744073709551615"] {
                let mut command = base(arguments);
                command.args(["--num-draft-tokens", most]);
                assert_eq!(with_draft(&mut command, draft), plain, "{arguments}: {draft}, {most}");
            }
            assert_eq!(with_draft(&mut base(arguments), draft), plain, "{arguments}: {draft}");
        }
        assert_eq!(results(base(arguments).arg("--draft-int8")), plain, "{arguments}: its int8 copy");
    }
}

#[test]
fn a_seed_gives_the_same_text_every_time() {
    let arguments = "--ids 5,6,7 --seed 3 --max-new-tokens 60 --temperature 0.5 --num-return-sequences 3";
    let plain = results(&mut base(arguments));
    assert_eq!(results(&mut base(&format!("{arguments} --prompt-lookup 5"))), plain, "nothing is drawn");
    let drafted = with_draft(&mut base(arguments), "f16");
    assert_eq!(drafted, with_draft(base(arguments).args(["--threads", "3"]), "f16"));
    assert_ne!(drafted[0]["ids"], drafted[1]["ids"]);
    let alone = "--ids 5,6,7 --seed 3 --max-new-tokens 60 --temperature 0.5";
    assert_eq!(with_draft(&mut base(alone), "f16")[0], drafted[0], "the first of several");
}

#[test]
fn stop_strings_end_a_guess_in_its_middle() {
    let model = Checkpoint::copy("base").with_bytes_as_tokens();
    let run = |more: &[&str]| {
        let mut command = gpt2();
        command.args(["generate", "abcabcabc", "--greedy", "--max-new-tokens", "50", "--ignore-eos"]);
        results(command.args(more).arg("--model").arg(model.path())).remove(0)
    };
    let ids: Vec<u32> = serde_json::from_value(run(&[])["ids"].clone()).expect("ids");
    let ascii = ids.iter().position(|id| (32..127).contains(id)).expect("a letter") as u32;
    let stop = char::from_u32(ids[ascii as usize]).expect("a letter").to_string();
    let plain = run(&["--stop", &stop]);
    assert_eq!(plain["finish_reason"], "stop");
    assert_eq!(run(&["--stop", &stop, "--prompt-lookup", "15"]), plain);
    let draft = model.path().to_str().expect("UTF-8");
    assert_eq!(run(&["--stop", &stop, "--draft-model", draft]), plain);
}

#[test]
fn stats_show_the_gain_of_the_draft() {
    let arguments = "--ids 5 --greedy --max-new-tokens 50 --ignore-eos";
    let stats = |command: &mut Command| reports(command).remove(0)["stats"].clone();
    assert!(stats(&mut base(arguments)).get("drafted").is_none(), "no draft");
    let mut command = base(arguments);
    let stats = stats(command.arg("--draft-model").arg(fixture("base")));
    let number = |key: &str| stats[key].as_f64().expect("a number");
    assert!(number("drafted") > 0.0, "{stats}");
    assert_eq!(number("drafted"), number("accepted"), "the model agrees with itself");
    assert!(number("tokens_per_pass") > 1.0, "{stats}");
    let int8 = reports(base(arguments).args(["--draft-int8", "--num-draft-tokens", "2"])).remove(0);
    let accepted = int8["stats"]["accepted"].as_f64().expect("a number");
    assert!(accepted > 15.0, "the int8 copy agrees on nearly every token: {int8}");
    assert!(int8["stats"]["tokens_per_pass"].as_f64().expect("a number") <= 3.0, "{int8}");
    let said = predicate::str::is_match(r"(?m)^draft \d+ tokens, \d+ accepted, \d+\.\d\d tokens per pass$");
    let mut command = base(arguments);
    command.args(["--stats", "--prompt-lookup", "4"]).assert().success().stderr(said.expect("a pattern"));
}

#[test]
fn drafts_that_cannot_be_used_are_refused() {
    for (draft, part) in [("scaled", "vocabulary"), ("no-such-folder", "no such folder")] {
        let mut command = base("--ids 5");
        let assert = command.arg("--draft-model").arg(fixture(draft)).assert().code(1).stdout("");
        let one_line = predicate::function(|stderr: &str| stderr.lines().count() == 1);
        assert
            .stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(part)).and(one_line));
    }
    for arguments in [
        "--prompt-lookup 3 --batch x",
        "--draft-model x --batch x",
        "--prompt-lookup 3 --trace x",
        "--draft-model x --debug",
        "--draft-int8 --batch x",
        "--draft-int8 --trace x",
        "--draft-int8 --debug",
        "--draft-int8 --num-beams 2",
        "--draft-int8 --draft-model x",
        "--draft-int8 --prompt-lookup 3",
    ] {
        base(arguments).assert().code(2).stdout("").stderr(predicate::str::contains("cannot be used with"));
    }
    let bytes = Checkpoint::copy("base").with_bytes_as_tokens();
    let mut command = base("--ids 5");
    let assert = command.arg("--draft-model").arg(bytes.path()).assert().code(1).stdout("");
    assert.stderr(predicate::str::contains("tokenizer differs"));
    let draft = fixture("base");
    let draft = draft.to_str().expect("UTF-8");
    for arguments in [
        &["--num-draft-tokens", "4"][..],
        &["--num-draft-tokens", "-1", "--draft-model", draft],
        &["--prompt-lookup", "3", "--draft-model", draft],
        &["--prompt-lookup", "3", "--num-draft-tokens", "4"],
        &["--prompt-lookup", "x"],
        &["--prompt-lookup", "-1"],
    ] {
        base("--ids 5")
            .args(arguments)
            .assert()
            .code(2)
            .stdout("")
            .stderr(predicate::str::contains("error: "));
    }
}

#[test]
fn an_int8_model_refuses_an_int8_draft() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy");
    gpt2().args(["quantize", "--model"]).arg(fixture("base")).arg("--out").arg(&copy).assert().success();
    let mut command = gpt2();
    command.args(["generate", "--ids", "5", "--draft-int8", "--model"]).arg(&copy);
    let assert = command.assert().code(1).stdout("");
    assert
        .stderr(predicate::str::starts_with("error: draft-int8: ").and(predicate::str::contains("already")));
}

/// `--draft-int8` makes the same copy as `quantize`.
#[test]
fn the_copy_is_that_of_quantize() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy");
    gpt2().args(["quantize", "--model"]).arg(fixture("base")).arg("--out").arg(&copy).assert().success();
    for arguments in ["--ids 5,6 --seed 3 --max-new-tokens 40", "--ids 5 --greedy --max-new-tokens 90"] {
        let brought = |command: &mut Command| {
            let mut report = reports(command).remove(0);
            for time in ["load_ms", "prefill_ms", "decode_ms"] {
                report["stats"][time].take();
            }
            report
        };
        let with_file = brought(base(arguments).arg("--draft-model").arg(&copy));
        assert_eq!(brought(base(arguments).arg("--draft-int8")), with_file);
        assert!(with_file["stats"]["drafted"].as_f64().is_some_and(|n| n > 0.0), "{with_file}");
    }
}

#[test]
fn a_damaged_draft_does_no_harm() {
    let damaged = Checkpoint::copy("base");
    let mut bytes = std::fs::read(damaged.file("model.safetensors")).expect("weights");
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    for number in bytes[header..].chunks_exact_mut(4) {
        number.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    damaged.write("model.safetensors", bytes);
    let greedy = "--ids 5 --greedy --max-new-tokens 30";
    let drafted = |arguments| results(base(arguments).arg("--draft-model").arg(damaged.path()));
    assert_eq!(drafted(greedy), results(&mut base(greedy)));
    let sampled = drafted("--ids 5 --seed 1 --max-new-tokens 30 --ignore-eos");
    assert_eq!(sampled[0]["ids"].as_array().expect("ids").len(), 30);
}
