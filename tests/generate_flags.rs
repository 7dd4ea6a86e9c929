//! The options of `generate` and `score` that control decoding, as users see them.

mod common;

use assert_cmd::Command;
use common::{Checkpoint, fixture, gpt2};
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
    let mut command = run(arguments);
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

/// The only object that a run with `--json` prints.
fn report(command: &mut Command) -> Value {
    let [report] = &reports(command)[..] else { panic!("one line") };
    report.clone()
}

fn ids(report: &Value) -> Vec<u32> {
    serde_json::from_value(report["ids"].clone()).expect("ids")
}

fn list(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

// ---- processors and filters

/// The greedy fixtures of HF, through the flags.
#[test]
fn flags_steer_greedy_decoding_as_in_hf() {
    let text = std::fs::read_to_string(fixture("../decoding.json")).expect("decoding.json");
    let cases: Value = serde_json::from_str(&text).expect("JSON");
    let mut tried = 0;
    for case in cases["greedy"].as_array().expect("cases") {
        let options = case["options"].as_object().expect("options");
        if case["model"] != "base" || options.contains_key("bad_words") {
            continue; // the fixture has ids, the flag takes text
        }
        let model = Checkpoint::copy("base");
        model.configure("eos_token_id", case["eos"].clone());
        let prompt: Vec<u32> = serde_json::from_value(case["prompt_ids"].clone()).expect("ids");
        let mut command = run("generate --greedy --max-new-tokens 30 --ids");
        command.arg(list(&prompt)).arg("--model").arg(model.path());
        for (name, value) in options {
            let flag = format!("--{}", name.replace('_', "-"));
            match value.as_array() {
                None => {
                    command.arg(flag).arg(value.to_string());
                }
                Some(pairs) => pairs.iter().for_each(|pair| {
                    let bias = pair[1].to_string().replace('"', "");
                    command.arg(&flag).arg(format!("{}={bias}", pair[0]));
                }),
            }
        }
        let report = report(&mut command);
        assert_eq!(
            (&report["ids"], &report["finish_reason"]),
            (&case["ids"], &case["finish_reason"]),
            "{case}"
        );
        tried += 1;
    }
    assert!(tried >= 10, "{tried}");
}

#[test]
fn every_filter_narrows_the_choice() {
    let arguments = "generate --ids 5,6,7 --max-new-tokens 30 --seed 3 --top-k 211 --temperature 2";
    let wide = report(&mut base(arguments));
    let greedy = report(&mut base("generate --ids 5,6,7 --max-new-tokens 30 --greedy"));
    for (weak, strong) in [
        ("--min-p 0.3", "--min-p 1"),
        ("--epsilon-cutoff 0.02", "--epsilon-cutoff 0.9"),
        ("--eta-cutoff 0.2", "--eta-cutoff 0.99"),
        ("--typical-p 0.5", "--typical-p 0.01"),
    ] {
        let with = |option: &str| report(&mut base(&format!("{arguments} {option}")));
        assert_ne!(with(weak)["ids"], wide["ids"], "{weak}");
        if ["--min-p", "--epsilon"].iter().any(|name| strong.starts_with(name)) {
            assert_eq!(with(strong)["ids"], greedy["ids"], "{strong} leaves only the likeliest token");
        } else {
            assert_ne!(with(strong)["ids"], with(weak)["ids"], "{strong}");
        }
    }
    for off in ["--min-p 0", "--top-p 1", "--typical-p 1", "--epsilon-cutoff 0", "--eta-cutoff 0"] {
        assert_eq!(report(&mut base(&format!("{arguments} {off}")))["ids"], wide["ids"], "{off}");
    }
}

#[test]
fn bad_words_are_not_written() {
    let arguments = ["generate", "Once upon a time", "--greedy", "--max-new-tokens", "12"];
    let plain = report(run("").args(arguments));
    let before = plain["text"].as_str().expect("a text");
    let word = before.split(' ').nth(2).map(|word| format!(" {word}")).expect("a word");
    let after = report(run("").args(arguments).args(["--bad-words", &word, "--bad-words", " no such words"]));
    assert!(
        before.contains(&word) && !after["text"].as_str().expect("a text").contains(&word),
        "{word:?}: {after}"
    );
}

#[test]
fn options_out_of_range_are_named() {
    for (arguments, name) in [
        ("--min-p 1.5", "min-p"),
        ("--min-p=-0.1", "min-p"),
        ("--typical-p 0", "typical-p"),
        ("--typical-p 1.1", "typical-p"),
        ("--epsilon-cutoff 1", "epsilon-cutoff"),
        ("--eta-cutoff=-1", "eta-cutoff"),
        ("--eta-cutoff NaN", "eta-cutoff"),
        ("--repetition-penalty 0", "repetition-penalty"),
        ("--repetition-penalty -1", "repetition-penalty"),
        ("--repetition-penalty inf", "repetition-penalty"),
        ("--presence-penalty NaN", "presence-penalty"),
        ("--frequency-penalty inf", "frequency-penalty"),
        ("--logit-bias 211=1", "logit-bias"),
        ("--logit-bias 5=inf", "logit-bias"),
        ("--logit-bias 5=NaN", "logit-bias"),
        ("--min-new-tokens 129", "min-new-tokens"),
    ] {
        let assert = base("generate --ids 1").args(arguments.split(' ')).assert().code(2).stdout("");
        let one_line = predicate::function(|stderr: &str| stderr.lines().count() == 1);
        assert
            .stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(name)).and(one_line));
    }
    for empty in ["--stop", "--bad-words"] {
        let assert = base("generate --ids 1").args([empty, ""]).assert().code(2).stdout("");
        assert.stderr(predicate::str::starts_with(format!("error: {}: ", &empty[2..])));
    }
    for arguments in [
        "--logit-bias 5",
        "--logit-bias =5",
        "--logit-bias 5=",
        "--logit-bias x=1",
        "--logit-bias -1=1",
        "--context-policy shift",
        "--num-return-sequences 0",
        "--num-return-sequences -1",
        "--no-repeat-ngram-size -1",
        "--greedy --num-return-sequences 2",
        "--greedy --min-p 0.1",
        "--greedy --eta-cutoff 0.1",
    ] {
        let assert = base("generate --ids 1").args(arguments.split(' ')).assert().code(2).stdout("");
        assert.stderr(predicate::str::starts_with("error: "));
    }
}

/// A negative value is not taken for a flag: the message names the value and says what it must be.
#[test]
fn negative_numbers_are_values() {
    for (arguments, problem) in [
        ("--top-k -3", "invalid value '-3' for '--top-k <K>': top-k must be a whole number, from 0"),
        ("--seed -1", "invalid value '-1' for '--seed <S>': seed must be a whole number, from 0 to 2^64 - 1"),
        ("--max-new-tokens -1", "invalid value '-1' for '--max-new-tokens <N>'"),
        ("--top-k many", "invalid value 'many' for '--top-k <K>'"),
        ("--context-policy -1", "context-policy must be slide, stop or error"),
        ("--num-return-sequences -1", "invalid value '-1' for '--num-return-sequences <N>'"),
        ("--num-beams -2", "invalid value '-2' for '--num-beams <B>'"),
        ("--batch-size -2", "invalid value '-2' for '--batch-size <N>'"),
        ("--prompt-lookup -2", "invalid value '-2' for '--prompt-lookup <N>'"),
        ("--threads -2", "invalid value '-2' for '--threads <N>'"),
        ("--top-p -0.5", "top-p -0.5 must be from 0 to 1"),
        ("--top-k --seed 3", "a value is required for '--top-k <K>'"),
    ] {
        let assert = base("generate --ids 1").args(arguments.split(' ')).assert().code(2).stdout("");
        assert.stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(problem)));
    }
    let story = |stop: &str| report(run("").args(STORY).args(["--stop", stop]))["ids"].clone();
    assert_eq!(story("-5"), story("no such text"), "a text may look like a number");
}

#[test]
fn the_word_off_switches_an_option_off() {
    let arguments = "generate --ids 5,6,7 --max-new-tokens 30 --seed 3 --temperature 2";
    let with = |option: &str| report(&mut base(&format!("{arguments} {option}")))["ids"].clone();
    assert_eq!(with("--top-k off"), with("--top-k 211"));
    assert_eq!(with("--top-k 9 --top-p off"), with("--top-k 9"));
    assert_ne!(with("--top-k off"), with("--top-k 9"));
}

#[test]
fn forbidding_everything_is_an_error() {
    let mut command = base("generate --ids 1 --greedy");
    (0..211).for_each(|id| {
        command.args(["--logit-bias".into(), format!("{id}=-inf")]);
    });
    command.assert().code(1).stderr(predicate::str::contains("no token is left"));
}

#[test]
fn negative_penalties_are_rewards() {
    let arguments = "generate --ids 5 --greedy --max-new-tokens 20 --presence-penalty -100";
    assert_eq!(ids(&report(&mut base(arguments))), [5; 20]);
    let arguments = "generate --ids 5 --greedy --max-new-tokens 20 --frequency-penalty -50";
    assert_eq!(ids(&report(&mut base(arguments))), [5; 20]);
}

// ---- the end

/// A continuation with the bundled model, whose tokens are words.
const STORY: [&str; 5] = ["generate", "Once upon a time", "--greedy", "--max-new-tokens", "40"];

#[test]
fn a_stop_string_cuts_the_text_and_keeps_the_ids() {
    let plain = report(run("").args(STORY));
    let (whole, all) = (plain["text"].as_str().expect("a text"), ids(&plain));
    // Inside a word; across two words; and one of which the text has only the beginning.
    let at = (20..).find(|i| whole.is_char_boundary(*i) && whole.is_char_boundary(i + 7)).expect("a place");
    for stop in [&whole[at..at + 3], &whole[at..at + 7]] {
        let cut = whole.find(stop).expect("it is there");
        let stopped = report(run("").args(STORY).args(["--stop", "not in it", "--stop", stop]));
        assert_eq!(stopped["text"], whole[..cut], "{stop:?}");
        assert_eq!(stopped["finish_reason"], "stop");
        let kept = ids(&stopped);
        assert_eq!(kept, all[..kept.len()]);
        let text_of = |ids: &[u32]| text(run("detokenize").args(ids.iter().map(u32::to_string)));
        assert!(text_of(&kept).contains(stop), "the ids keep the token that completes it");
        assert!(!text_of(&kept[..kept.len() - 1]).contains(stop), "and none after it");
        assert_eq!(stopped["logprobs"].as_array().expect("a list").len(), kept.len());
        run("").args(STORY).args(["--stop", stop]).assert().success().stdout(format!("{}\n", &whole[..cut]));
    }
    let never = format!("{}no", &whole[whole.len() - 4..]); // held back at the end, then shown
    let held = report(run("").args(STORY).args(["--stop", &never]));
    assert_eq!((&held["text"], &held["finish_reason"]), (&plain["text"], &"length".into()));
    run("").args(STORY).args(["--stop", &never]).assert().success().stdout(format!("{whole}\n"));
}

#[test]
fn a_stop_at_the_last_token_is_a_stop() {
    let plain = report(run("").args(STORY));
    let whole = plain["text"].as_str().expect("a text");
    let mut from = whole.len() - 1;
    while !whole.is_char_boundary(from) || whole[..from].contains(&whole[from..]) {
        from -= 1;
    }
    let stopped = report(run("").args(STORY).args(["--stop", &whole[from..]]));
    assert_eq!((&stopped["text"], &stopped["finish_reason"]), (&whole[..from].into(), &"stop".into()));
    assert_eq!(stopped["ids"], plain["ids"]);
}

#[test]
fn the_minimum_length_delays_the_end() {
    let arguments = "generate --ids 5,6,7 --greedy --max-new-tokens 30";
    let all = ids(&report(&mut base(arguments)));
    let model = Checkpoint::copy("base");
    model.configure("eos_token_id", all[4]);
    let with =
        |options: &str| report(run(&format!("{arguments} {options}")).arg("--model").arg(model.path()));
    let early = with("");
    assert_eq!((&early["finish_reason"], ids(&early).len() <= 5), (&"eos".into(), true));
    let late = with("--min-new-tokens 12");
    assert!(!ids(&late)[..12].contains(&all[4]), "{late}");
    assert_eq!(ids(&with("--min-new-tokens 30")).len(), 30);
    assert_eq!(ids(&with("--min-new-tokens 30 --ignore-eos")), all, "an ignored end is not delayed");
}

#[test]
fn the_context_policy_applies_when_positions_run_out() {
    let arguments = "generate --ids 5,6,7,8 --seed 1 --ignore-eos --max-new-tokens 100 --context-policy";
    let slide = report(&mut base(&format!("{arguments} slide")));
    assert_eq!(ids(&slide).len(), 100);
    let mut command = base(&format!("{arguments} stop"));
    let stopped = report(&mut command);
    command.assert().stderr("");
    assert_eq!((ids(&stopped), &stopped["finish_reason"]), (ids(&slide)[..60].to_vec(), &"length".into()));
    let assert = base(&format!("{arguments} error")).arg("--json").assert().code(1).stdout("");
    assert.stderr(predicate::str::starts_with("error: the text has reached the model's 64 positions"));
    let fits = arguments.replace("100", "60");
    base(&format!("{fits} error")).assert().success().stderr("");
    let long = format!("generate --ids {} --context-policy", list(&[1; 65]));
    for policy in ["stop", "error"] {
        base(&format!("{long} {policy}"))
            .assert()
            .code(1)
            .stdout("")
            .stderr(predicate::str::contains("65 tokens"));
    }
}

// ---- several sequences

#[test]
fn sequences_come_from_streams_of_one_seed() {
    let arguments = "generate --ids 5,6,7 --seed 9 --max-new-tokens 25";
    let one = report(&mut base(arguments));
    let four = reports(&mut base(&format!("{arguments} --num-return-sequences 4")));
    assert_eq!(four.len(), 4);
    for key in ["prompt_ids", "ids", "text", "seed", "finish_reason", "logprobs"] {
        assert_eq!(four[0][key], one[key], "{key} of the first equals that of a run for one sequence");
    }
    for (i, sequence) in four.iter().enumerate() {
        assert_eq!((&sequence["seed"], &sequence["prompt_ids"]), (&one["seed"], &one["prompt_ids"]));
        assert!(four[..i].iter().all(|earlier| earlier["ids"] != sequence["ids"]), "the sequences differ");
    }
    let two = reports(&mut base(&format!("{arguments} --num-return-sequences 2")));
    assert_eq!(
        (&two[0]["ids"], &two[1]["ids"]),
        (&four[0]["ids"], &four[1]["ids"]),
        "a sequence does not depend on their number"
    );
}

#[test]
fn sequences_as_text_have_a_line_between_them() {
    let model = Checkpoint::copy("base").with_bytes_as_tokens();
    let arguments = "generate hello --seed 9 --max-new-tokens 25 --num-return-sequences 3";
    let command = || {
        let mut command = run(arguments);
        command.arg("--model").arg(model.path());
        command
    };
    let texts: Vec<String> =
        reports(&mut command()).iter().map(|r| r["text"].as_str().expect("a text").to_owned()).collect();
    let expected: String = (1..).zip(&texts).map(|(n, text)| format!("=== {n} of 3 ===\n{text}\n")).collect();
    command().assert().success().stdout(expected).stderr("");
    command().arg("--stats").assert().stderr(predicate::str::contains("decode 24 tokens").count(3));
}

// ---- score

#[test]
fn a_leading_end_token_lets_the_first_token_be_scored() {
    let plain = report(&mut base("score --ids 5,6,7"));
    let mut leading = report(&mut base("score --ids 5,6,7 --leading-eot"));
    let mut by_hand = report(&mut base("score --ids 210,5,6,7"));
    let conventions = [&mut leading, &mut by_hand].map(|report| report["leading_eot"].take());
    assert_eq!(conventions, [Value::Bool(true), Value::Bool(false)], "all that tells them apart");
    assert_eq!(leading, by_hand);
    assert_eq!((&leading["tokens"], &plain["tokens"]), (&4.into(), &3.into()));
    assert_ne!(leading["nll"], plain["nll"]);
    let one = report(&mut base("score --ids 5 --leading-eot"));
    assert_eq!(one["logprobs"].as_array().expect("a list").len(), 2);
    base("score --ids 5").assert().code(1);

    let said = text(&mut base("score --ids 5,6,7 --leading-eot -v"));
    assert!(said.contains("3 tokens, 3 scored, after a leading end-of-text token (210)"), "{said}");
    assert!(said.contains("perplexity") && said.contains("window 64, stride 32"), "{said}");
    assert_eq!(said.lines().count(), 4 + 3, "one line per token, and the summary");
    let said = text(&mut base("score --ids 5,6,7"));
    assert!(
        said.contains("3 tokens, 2 scored, not including the first; no leading end-of-text token"),
        "{said}"
    );

    let model = Checkpoint::copy("base");
    model.configure("eos_token_id", 211);
    let mut command = run("score --ids 5 --leading-eot");
    command.arg("--model").arg(model.path());
    command.assert().code(1).stderr(predicate::str::starts_with("error: leading-eot: "));
}

#[test]
fn a_long_text_is_scored_without_a_bar_outside_a_terminal() {
    let model = Checkpoint::copy("base").with_bytes_as_tokens();
    model.write("text", "many words ".repeat(300));
    let score = |options: &str| {
        let mut command = run(&format!("score {options} --file"));
        command.arg(model.file("text")).arg("--model").arg(model.path());
        command
    };
    score("").assert().success().stderr("");
    let json = report(&mut score(""));
    assert_eq!(json["tokens"], 3300);
    let mean =
        json["logprobs"].as_array().expect("a list").iter().filter_map(Value::as_f64).sum::<f64>() / 3299.0;
    assert!((json["nll"].as_f64().expect("a number") + mean).abs() < 1e-9);
}
