//! The command line as users see it: flags, text, JSON, exit codes.

mod common;

use assert_cmd::Command;
use common::{Checkpoint, VARIABLES, fixture, gpt2};
use predicates::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// `gpt2` with these arguments, split at spaces.
fn run(arguments: &str) -> Command {
    let mut command = gpt2();
    command.args(arguments.split_whitespace());
    command
}

/// The same, with a model.
fn run_with(model: impl AsRef<OsStr>, arguments: &str) -> Command {
    let mut command = run(arguments);
    command.arg("--model").arg(model);
    command
}

/// Standard output of a run that must succeed.
fn output(command: &mut Command) -> Vec<u8> {
    command.assert().success().get_output().stdout.clone()
}

/// The same as text.
fn text(command: &mut Command) -> String {
    String::from_utf8(output(command)).expect("UTF-8")
}

/// The single object, on one line, that a run with `--json` prints.
fn json(command: &mut Command) -> Value {
    let text = text(command.arg("--json"));
    assert_eq!(text.find('\n'), Some(text.len() - 1), "one line: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("numbers")
}

/// `1,2,3`
fn list(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// The outputs of HF's transformers for a fixture.
fn reference(name: &str) -> Value {
    let text = std::fs::read_to_string(fixture(name).join("reference.json")).expect("reference.json");
    serde_json::from_str(&text).expect("JSON")
}

/// HF's first greedy continuation for `base`: prompt and new ids.
fn greedy_reference() -> (String, Vec<u32>) {
    let first = &reference("base")["greedy"][0];
    (list(&ids(&first["prompt_ids"])), ids(&first["ids"]))
}

/// A small model whose tokens are bytes.
fn byte_model() -> Checkpoint {
    Checkpoint::copy("base").with_bytes_as_tokens()
}

/// Every instruction set that this machine has.
fn instruction_sets() -> Vec<&'static str> {
    let mut sets = vec!["scalar"];
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        sets.extend(avx2.then_some("avx2"));
        sets.extend((avx2 && avx512).then_some("avx512"));
    }
    if cfg!(target_arch = "aarch64") {
        sets.push("neon");
    }
    sets
}

// ---- help and usage

#[test]
fn help_and_version_are_printed() {
    for arguments in ["--help", "-h", "help", "help generate"] {
        run(arguments).assert().success().stdout(predicate::str::contains("Usage: gpt2")).stderr("");
    }
    for command in ["generate", "tokenize", "detokenize", "score", "info"] {
        run(command).arg("--help").assert().success().stdout(predicate::str::contains(command)).stderr("");
    }
    let version = format!("gpt2 {}\n", env!("CARGO_PKG_VERSION"));
    run("--version").assert().success().stdout(version.clone());
    run("-V").assert().success().stdout(version);
}

#[test]
fn help_shows_the_defaults() {
    let help = text(&mut run("generate --help"));
    for default in ["128", "0.8", "40"] {
        assert!(help.contains(&format!("[default: {default}]")), "{default}: {help}");
    }
}

#[test]
fn bad_usage_exits_with_2() {
    for arguments in [
        "",
        "--no-such-flag",
        "no-such-command",
        "generate --no-such-flag",
        "generate --max-new-tokens many",
        "generate --max-new-tokens -1",
        "generate --max-new-tokens 18446744073709551616",
        "generate --seed -1",
        "generate --threads 0",
        "generate --threads many",
        "generate --color sometimes",
        "generate one two",
        "generate one --file two",
        "generate one --ids 2",
        "generate --file one --ids 2",
        "tokenize one --file two",
        "score one --file two",
        "score --window",
        "detokenize one",
        "info surplus",
    ] {
        let assert = run(arguments).assert().code(2).stdout("");
        assert.stderr(predicate::str::is_empty().not().and(predicate::str::contains("panicked").not()));
    }
}

#[test]
fn options_out_of_range_are_named() {
    for (arguments, name) in [
        ("--temperature 0", "greedy"),
        ("--temperature 0", "temperature"),
        ("--temperature NaN", "temperature"),
        ("--temperature inf", "temperature"),
        ("--temperature=-1", "temperature"),
        ("--top-p 2", "top-p"),
        ("--top-p NaN", "top-p"),
        ("--top-p=-0.5", "top-p"),
    ] {
        let assert = run_with(fixture("base"), "generate --ids 1").args(arguments.split(' ')).assert();
        let assert = assert.code(predicate::in_iter([1, 2])).stdout("");
        assert.stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(name)));
    }
    for (arguments, name) in [
        ("--window 0", "window"),
        ("--window 1", "window"),
        ("--window 65", "window"),
        ("--stride 0", "stride"),
        ("--window 8 --stride 9", "stride"),
    ] {
        let assert = run_with(fixture("base"), "score --ids 1,2,3").args(arguments.split(' ')).assert();
        let assert = assert.code(2).stdout("");
        assert.stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(name)));
    }
}

#[test]
fn color_is_for_terminals_or_when_asked_for() {
    let escape = || predicate::str::contains("\u{1b}[");
    for arguments in ["--help", "--color auto --help", "--color never --help", "--color=never --help"] {
        run(arguments).assert().success().stdout(escape().not());
    }
    for arguments in ["--color always --help", "--color=always --help", "generate --color always --help"] {
        run(arguments).assert().success().stdout(escape());
    }
    run("--color always --no-such-flag").assert().code(2).stderr(escape());
}

// ---- generate

#[test]
fn generate_json_has_the_keys_of_the_contract() {
    let model = byte_model();
    let report = json(&mut run_with(model.path(), "generate hello --seed 7 --max-new-tokens 9"));
    let all = ["prompt_ids", "ids", "text", "seed", "finish_reason", "logprobs", "stats"];
    assert_eq!(keys(&report), all.into());
    assert_eq!(report["prompt_ids"], serde_json::json!(b"hello"));
    assert_eq!(ids(&report["ids"]).len(), 9);
    let bytes: Vec<u8> = ids(&report["ids"]).iter().map(|id| *id as u8).collect();
    assert_eq!(report["text"], *String::from_utf8_lossy(&bytes));
    assert_eq!(report["seed"], 7);
    assert_eq!(report["finish_reason"], "length");
    let logprobs = numbers(&report["logprobs"]);
    assert_eq!(logprobs.len(), 9);
    assert!(logprobs.iter().all(|l| *l <= 0.0), "{logprobs:?}");

    let stats = &report["stats"];
    let all = ["load_ms", "prefill_tokens", "prefill_ms", "decode_tokens", "decode_ms"];
    assert_eq!(keys(stats), all.into());
    assert_eq!((&stats["prefill_tokens"], &stats["decode_tokens"]), (&5.into(), &8.into()));
    for key in ["load_ms", "prefill_ms", "decode_ms"] {
        assert!(stats[key].as_f64().is_some_and(|ms| ms >= 0.0), "{key}: {}", stats[key]);
    }
}

#[test]
fn the_stream_is_the_text_and_a_line_break() {
    let model = byte_model();
    let arguments = "generate hello --seed 3 --max-new-tokens 40";
    let report = json(&mut run_with(model.path(), arguments));
    let expected = format!("{}\n", report["text"].as_str().expect("a text"));
    run_with(model.path(), arguments).assert().success().stdout(expected).stderr("");
}

#[test]
fn defaults_are_those_of_the_contract() {
    let model = fixture("base");
    let left_out = json(&mut run_with(&model, "generate --ids 5 --seed 1"));
    assert_eq!(ids(&left_out["ids"]).len(), 128);
    let arguments = "generate --ids 5 --seed 1 --max-new-tokens 128 --temperature 0.8 --top-k 40";
    assert_eq!(left_out["ids"], json(&mut run_with(&model, arguments))["ids"]);
    for other in ["--temperature 1.5", "--top-k 3", "--top-p 0.1", "--greedy"] {
        let seed = if other == "--greedy" { "" } else { "--seed 1" };
        let changed = json(&mut run_with(&model, &format!("generate --ids 5 {seed} {other}")));
        assert_ne!(left_out["ids"], changed["ids"], "{other}");
    }
}

#[test]
fn a_run_can_be_repeated_from_its_seed() {
    let model = fixture("base");
    let arguments = "generate --ids 5 --max-new-tokens 30 --temperature 1.2";
    let first = json(&mut run_with(&model, arguments));
    let other = json(&mut run_with(&model, arguments));
    assert_ne!(first["seed"], other["seed"], "the seed is drawn at random");
    let again = json(&mut run_with(&model, &format!("{arguments} --seed {}", first["seed"])));
    for key in ["seed", "ids", "text", "logprobs"] {
        assert_eq!(first[key], again[key], "{key}");
    }
    let largest = json(&mut run_with(&model, &format!("{arguments} --seed {}", u64::MAX)));
    assert_eq!(largest["seed"], u64::MAX);
}

#[test]
fn stats_show_the_seed_on_standard_error() {
    let model = fixture("base");
    let arguments = "generate --ids 5 --max-new-tokens 3 --seed 12345";
    let plain = output(&mut run_with(&model, arguments));
    let stats = predicate::str::contains("12345").and(predicate::str::contains("tokens/s"));
    run_with(&model, arguments).arg("--stats").assert().success().stdout(plain).stderr(stats);
}

#[test]
fn greedy_is_the_reference() {
    for name in ["base", "untied", "bf16"] {
        for case in reference(name)["greedy"].as_array().expect("cases") {
            let prompt = list(&ids(&case["prompt_ids"]));
            let arguments = format!("generate --greedy --max-new-tokens 40 --ignore-eos --ids {prompt}");
            assert_eq!(json(&mut run_with(fixture(name), &arguments))["ids"], case["ids"], "{name}");
        }
    }
}

#[test]
fn one_candidate_is_greedy() {
    let (prompt, expected) = greedy_reference();
    for filter in ["--top-k 1", "--top-p 0.000001", "--temperature 0.0001"] {
        let arguments = format!("generate --ids {prompt} --max-new-tokens 40 --seed 9 {filter}");
        assert_eq!(ids(&json(&mut run_with(fixture("base"), &arguments))["ids"]), expected, "{filter}");
    }
}

#[test]
fn logprobs_are_those_of_the_model_whatever_the_temperature() {
    let model = fixture("base");
    let arguments = "generate --ids 5,6,7 --max-new-tokens 20 --seed 2 --temperature 2.5 --top-k 9";
    let generated = json(&mut run_with(&model, arguments));
    let all = [ids(&generated["prompt_ids"]), ids(&generated["ids"])].concat();
    let scored = json(&mut run_with(&model, &format!("score --ids {}", list(&all))));
    let scored = scored["logprobs"].as_array().expect("a list")[3..].iter();
    for (scored, generated) in scored.zip(numbers(&generated["logprobs"])) {
        let scored = scored.as_f64().expect("a number");
        assert!((scored - generated).abs() < 1e-5, "{scored} {generated}");
    }
}

#[test]
fn threads_and_instruction_sets_change_nothing() {
    for name in ["base", "odd-heads", "wide"] {
        let generated = "generate --ids 5,6,7,8,9 --max-new-tokens 70 --seed 4";
        let scored = format!("score --ids {}", list(&Vec::from_iter((0..150).map(|i| i * 7 % 89))));
        for arguments in [generated, &scored] {
            let expected = json(&mut run_with(fixture(name), arguments));
            let same = |mut command: Command| {
                let found = json(&mut command);
                for key in ["ids", "text", "logprobs", "nll"] {
                    assert_eq!(found.get(key), expected.get(key), "{key} of {command:?}");
                }
            };
            for threads in ["1", "2", "3"] {
                let mut command = run_with(fixture(name), arguments);
                command.args(["--threads", threads]);
                same(command);
            }
            for simd in instruction_sets() {
                let mut command = run_with(fixture(name), arguments);
                command.env("GPT2_SIMD", simd);
                same(command);
            }
        }
    }
}

#[test]
fn threads_and_instruction_set_are_the_ones_asked_for() {
    for simd in instruction_sets() {
        let mut command = run_with(fixture("base"), "--threads 3 info");
        let info = json(command.env("GPT2_SIMD", simd));
        assert_eq!((&info["simd"], &info["threads"]), (&simd.into(), &3.into()));
    }
}

#[test]
fn the_end_token_ends_the_text() {
    let (prompt, expected) = greedy_reference();
    let end = 4;
    assert!(!expected[..end].contains(&expected[end]));
    let model = Checkpoint::copy("base");
    let arguments = format!("generate --greedy --max-new-tokens 40 --ids {prompt}");
    let everything = json(&mut run_with(model.path(), &arguments));

    let ended = |model: &Checkpoint| {
        let report = json(&mut run_with(model.path(), &arguments));
        assert_eq!(ids(&report["ids"]), expected[..=end], "the end token included");
        assert_eq!(numbers(&report["logprobs"]), numbers(&everything["logprobs"])[..=end]);
        assert_eq!(report["finish_reason"], "eos");
        let shorter = arguments.replace("40", &end.to_string());
        assert_eq!(
            report["text"],
            json(&mut run_with(model.path(), &shorter))["text"],
            "left out of the text"
        );
    };
    model.configure("eos_token_id", expected[end]);
    ended(&model);
    model.configure("eos_token_id", vec![999, expected[end]]);
    ended(&model);
    model.configure("eos_token_id", 999);
    model.write("generation_config.json", format!(r#"{{"eos_token_id": {}}}"#, expected[end]));
    ended(&model);

    let ignored = json(&mut run_with(model.path(), &format!("{arguments} --ignore-eos")));
    for key in ["ids", "text", "logprobs"] {
        assert_eq!(ignored[key], everything[key], "{key}");
    }
    assert_eq!(ignored["finish_reason"], "length");

    // An end token at the last allowed position still ends the text with `eos`.
    let exactly = arguments.replace("40", &(end + 1).to_string());
    assert_eq!(json(&mut run_with(model.path(), &exactly))["finish_reason"], "eos");
}

#[test]
fn zero_new_tokens_are_allowed() {
    let report = json(&mut run_with(fixture("base"), "generate --ids 5 --max-new-tokens 0"));
    assert_eq!((ids(&report["ids"]), numbers(&report["logprobs"])), (vec![], vec![]));
    assert_eq!((&report["text"], &report["finish_reason"]), (&"".into(), &"length".into()));
    run_with(fixture("base"), "generate --ids 5 --max-new-tokens 0").assert().success().stdout("\n");
}

#[test]
fn a_text_longer_than_the_context_slides_and_says_so_once() {
    let arguments = "generate --ids 5 --greedy --ignore-eos --max-new-tokens 300";
    let assert = run_with(fixture("base"), arguments).arg("--json").assert().success();
    let report: Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
    let new = ids(&report["ids"]);
    assert_eq!(new.len(), 300);
    let once = predicate::str::starts_with("note: ")
        .and(predicate::str::contains("64 positions"))
        .and(predicate::function(|stderr: &str| stderr.lines().count() == 1));
    assert.stderr(once);

    // At the 65th token only the newest 32 are read again, as if the text began with them.
    let kept = list(&new[64 - 32..64]);
    let arguments = format!("generate --ids {kept} --greedy --ignore-eos --max-new-tokens 20");
    assert_eq!(ids(&json(&mut run_with(fixture("base"), &arguments))["ids"]), new[64..84]);
}

#[test]
fn a_text_that_fits_does_not_slide() {
    let prompt = list(&Vec::from_iter(0..60));
    let arguments = format!("generate --ids {prompt} --greedy --max-new-tokens 5");
    run_with(fixture("base"), &arguments).assert().success().stderr("");
}

#[test]
fn a_prompt_longer_than_the_context_goes_on_from_its_end() {
    let prompt = Vec::from_iter((0..500).map(|i| i * 7 % 211));
    let arguments = |ids| format!("generate --ids {} --greedy --max-new-tokens 10", list(ids));
    let long = run_with(fixture("base"), &arguments(&prompt)).arg("--json").assert().success();
    let report: Value = serde_json::from_slice(&long.get_output().stdout).expect("JSON");
    assert_eq!(ids(&report["prompt_ids"]), prompt);
    let end = json(&mut run_with(fixture("base"), &arguments(&prompt[500 - 32..])));
    assert_eq!(report["ids"], end["ids"]);
    long.stderr(predicate::str::starts_with("note: ").and(predicate::str::contains("64 positions")));
}

#[test]
fn a_prompt_is_an_argument_a_file_or_a_pipe() {
    let model = byte_model();
    let arguments = "generate --greedy --max-new-tokens 12";
    let argument = json(run_with(model.path(), arguments).arg("two words"));
    assert_eq!(argument["prompt_ids"], serde_json::json!(b"two words"));
    model.write("prompt", "two words");
    let file = json(run_with(model.path(), arguments).arg("--file").arg(model.file("prompt")));
    let pipe = json(run_with(model.path(), arguments).write_stdin("two words"));
    let as_ids = json(run_with(model.path(), arguments).arg("--ids").arg(list(&b"two words".map(u32::from))));
    for other in [file, pipe, as_ids] {
        for key in ["prompt_ids", "ids", "text", "logprobs"] {
            assert_eq!(argument[key], other[key], "{key}");
        }
    }
}

#[test]
fn a_file_is_taken_byte_by_byte() {
    let model = byte_model();
    let bytes = b"\x80one\r\n\xc3\x00two \r\n\n"; // not UTF-8, not a C string, and line breaks at the end
    model.write("text", bytes);
    for (command, key) in
        [("generate --max-new-tokens 1", "prompt_ids"), ("score", "ids"), ("tokenize", "ids")]
    {
        let mut command = run_with(model.path(), command);
        let report = json(command.arg("--file").arg(model.file("text")));
        assert_eq!(report[key], serde_json::json!(bytes), "{command:?}");
    }
}

#[test]
fn the_line_break_of_echo_is_not_part_of_a_prompt() {
    let model = byte_model();
    for (piped, kept) in [("hi\n", "hi"), ("hi\r\n", "hi"), ("hi\n\n", "hi\n"), ("hi ", "hi ")] {
        let mut command = run_with(model.path(), "generate --max-new-tokens 1");
        let report = json(command.write_stdin(piped));
        assert_eq!(report["prompt_ids"], serde_json::json!(kept.as_bytes()), "{piped:?}");
    }
    for command in ["score", "tokenize"] {
        let report = json(run_with(model.path(), command).write_stdin("hi\n"));
        assert_eq!(report["ids"], serde_json::json!(b"hi\n"), "{command} takes the text as it is");
    }
}

#[test]
fn ids_are_separated_by_commas_or_spaces() {
    for ids in ["1,2,3", "1 2 3", "1, 2,\t3\n"] {
        let mut command = run_with(fixture("base"), "generate --max-new-tokens 1");
        assert_eq!(json(command.args(["--ids", ids]))["prompt_ids"], serde_json::json!([1, 2, 3]), "{ids:?}");
    }
}

#[test]
fn the_bundled_model_works_in_any_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = run("generate Once --max-new-tokens 3 --seed 1");
    assert_eq!(ids(&json(command.current_dir(folder.path()))["ids"]).len(), 3);
    let scored = json(run("score").arg("Once upon a time").current_dir(folder.path()));
    assert_eq!(scored["tokens"], 4);
    let info = json(run("info").current_dir(folder.path()));
    assert_eq!(info["vocab_size"], 50_257);
}

#[test]
fn a_model_is_a_folder_a_file_or_a_name() {
    let model = byte_model();
    let arguments = "generate --greedy --max-new-tokens 8 hello";
    let expected = json(&mut run_with(model.path(), arguments));
    let same = |command: &mut Command| {
        let found = json(command);
        for key in ["prompt_ids", "ids", "text", "logprobs"] {
            assert_eq!(found[key], expected[key], "{key}");
        }
    };
    same(&mut run_with(model.file("model.safetensors"), arguments));
    same(run_with("model.safetensors", arguments).current_dir(model.path()));
    same(run_with(".", arguments).current_dir(model.path()));
    same(run(arguments).arg("-m").arg(model.path()));

    let home = tempfile::tempdir().expect("a folder");
    let repository = home.path().join("hub/models--someone--small");
    let snapshot = repository.join("snapshots/0123abc");
    std::fs::create_dir_all(&snapshot).expect("folders");
    std::fs::create_dir_all(repository.join("refs")).expect("folders");
    std::fs::write(repository.join("refs/main"), "0123abc").expect("a file");
    for name in ["config.json", "model.safetensors", "vocab.json", "merges.txt"] {
        std::fs::copy(model.file(name), snapshot.join(name)).expect("a copy");
    }
    same(run_with("someone/small", arguments).env("HF_HOME", home.path()));
}

// ---- leaving early

/// `gpt2` as a child process in the model's folder, with pipes for its output.
fn spawn(model: impl AsRef<Path>, arguments: &str) -> Child {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("gpt2"));
    VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.args(arguments.split_whitespace()).args(["--model", "."]).current_dir(model);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program")
}

/// The exit code, and standard error without the note on sliding. `None` for a signal.
fn ending(mut child: Child) -> (Option<i32>, String) {
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a status") {
            break status;
        }
        if begin.elapsed() > Duration::from_secs(20) {
            child.kill().expect("an end");
            panic!("it goes on and on");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    (status.code(), stderr.lines().filter(|line| !line.starts_with("note: ")).collect())
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let model = byte_model();
    model.write("text", "many words ".repeat(50_000));
    for arguments in [
        "generate --ids 5 --ignore-eos --seed 1 --max-new-tokens 18446744073709551615",
        "tokenize --file text",
        "tokenize --json --file text",
        "tokenize --merges --file text",
        "tokenize --verbose --file text",
    ] {
        let mut child = spawn(model.path(), arguments);
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_exact(&mut [0; 10]).expect("ten bytes");
        drop(stdout);
        assert_eq!(ending(child), (Some(0), String::new()), "{arguments}");
    }
    for arguments in ["info", "info --json", "score --ids 1,2", "generate --ids 5 --json", "generate --ids 5"]
    {
        let mut child = spawn(model.path(), arguments);
        drop(child.stdout.take());
        assert_eq!(ending(child), (Some(0), String::new()), "{arguments}");
    }
}

#[test]
fn a_closed_standard_error_does_not_stop_a_run() {
    for arguments in [
        "generate --ids 5 --seed 1 --ignore-eos --max-new-tokens 100",
        "generate --ids 5 --seed 1 --max-new-tokens 5 --stats",
        "generate --ids 5 --seed 1 --max-new-tokens 5 --verbose",
    ] {
        let expected = output(&mut run_with(fixture("base"), arguments));
        let mut child = spawn(fixture("base"), arguments);
        drop(child.stderr.take());
        let mut stdout = Vec::new();
        child.stdout.take().expect("a pipe").read_to_end(&mut stdout).expect("the text");
        assert_eq!(child.wait().expect("a status").code(), Some(0), "{arguments}");
        assert_eq!(stdout, expected, "{arguments}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_exits_with_130_quietly() {
    for signal in ["-INT", "-TERM"] {
        let arguments = "generate --ids 5 --ignore-eos --seed 1 --max-new-tokens 18446744073709551615";
        let mut child = spawn(fixture("base"), arguments);
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_exact(&mut [0; 10]).expect("ten bytes");
        let kill = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("kill").success());
        stdout.read_to_end(&mut Vec::new()).expect("the rest");
        assert_eq!(ending(child), (Some(130), String::new()), "{signal}");
    }
}

// ---- tokenize and detokenize

#[test]
fn tokenize_prints_ids() {
    run("tokenize").arg("Hello world").assert().success().stdout("15496 995\n").stderr("");
    run("tokenize").write_stdin("Hello world\n").assert().success().stdout("15496 995 198\n");
    run("tokenize").arg("").assert().success().stdout("\n");
}

#[test]
fn tokenize_json_has_the_keys_of_the_contract() {
    let text = "Hello 🐘s";
    let report = json(run("tokenize").arg(text));
    assert_eq!(keys(&report), ["ids", "tokens", "offsets"].into());
    assert_eq!(report["tokens"][0], "Hello");
    assert_eq!(report["tokens"][1], "ĠðŁ");
    assert_eq!(report["offsets"][0], serde_json::json!([0, 5]));
    let offsets: Vec<[usize; 2]> = serde_json::from_value(report["offsets"].clone()).expect("pairs");
    assert_eq!(offsets.len(), ids(&report["ids"]).len());
    assert_eq!(offsets.len(), report["tokens"].as_array().expect("a list").len());
    assert_eq!((offsets[0][0], offsets[offsets.len() - 1][1]), (0, text.len()));
    assert!(offsets.windows(2).all(|pair| pair[0][1] == pair[1][0]), "in bytes, without gaps: {offsets:?}");
    for (id, [start, end]) in ids(&report["ids"]).into_iter().zip(offsets) {
        let bytes = output(run("detokenize").arg(id.to_string()));
        assert_eq!(bytes, text.as_bytes()[start..end], "{id}");
    }
    let chars = json(run("tokenize --offsets chars").arg("i ⭢ j é"));
    assert_eq!(
        chars["offsets"],
        serde_json::json!([[0, 1], [1, 3], [2, 3], [2, 3], [3, 5], [5, 7]]),
        "as tokenizers"
    );
    let empty = json(run("tokenize").arg(""));
    assert_eq!(empty, serde_json::json!({"ids": [], "tokens": [], "offsets": []}));
}

#[test]
fn special_tokens_are_text_unless_allowed() {
    let text = "a<|endoftext|>b";
    assert_eq!(json(run("tokenize --allow-special").arg(text))["ids"], serde_json::json!([64, 50256, 65]));
    let plain = ids(&json(run("tokenize").arg(text))["ids"]);
    assert!(!plain.contains(&50256));
    assert_eq!(output(run("detokenize").args(plain.iter().map(u32::to_string))), text.as_bytes());
    run("detokenize 64 50256 65").assert().success().stdout(text);
}

#[test]
fn merges_are_shown_step_by_step() {
    let steps = text(run("tokenize --merges").arg(" lower"));
    let expected = [
        "Ġ l o w e r",
        "merge 7: e + r Ġ l o w er",
        "merge 44: Ġ + l Ġl o w er",
        "merge 66: o + w Ġl ow er",
        "merge 533: ow + er Ġl ower",
        "merge 2537: Ġl + ower Ġlower",
    ];
    let found: Vec<String> =
        steps.lines().map(|line| Vec::from_iter(line.split_whitespace()).join(" ")).collect();
    assert_eq!(found, expected);

    let pieces = json(run("tokenize --merges").arg("a lower"));
    assert_eq!(pieces.as_array().expect("pieces").len(), 2);
    assert_eq!((&pieces[1]["start"], &pieces[1]["end"]), (&1.into(), &7.into()));
    assert_eq!(pieces[1]["symbols"].as_array().expect("symbols").len(), 6);
    let ranks: Vec<u64> =
        pieces[1]["merges"].as_array().expect("merges").iter().filter_map(|m| m["rank"].as_u64()).collect();
    assert_eq!(ranks, [7, 44, 66, 533, 2537]);
    assert_eq!(pieces[1]["merges"][4]["merged"], 2793);
}

#[test]
fn any_bytes_survive_the_round_trip() {
    let mut state = 1u32;
    let noise = (0..20_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let inputs = [
        Vec::new(),
        b"\n".to_vec(),
        Vec::from_iter(0..=255),
        noise.collect(),
        "Ein Elefant 🐘,\r\n  \u{feff}don't\u{2028}<|endoftext|>\0".into(),
    ];
    for input in inputs {
        let ids = output(run("tokenize").write_stdin(input.clone()));
        assert_eq!(output(run("detokenize").write_stdin(ids)), input);
        let report = json(run("tokenize --allow-special").write_stdin(input.clone()));
        assert_eq!(
            output(run("detokenize").write_stdin(report["ids"].to_string().replace(['[', ']'], ""))),
            input
        );
    }
}

#[test]
fn detokenize_takes_arguments_or_a_pipe() {
    run("detokenize 15496 995").assert().success().stdout("Hello world").stderr("");
    for piped in ["15496 995\n", "15496,995", "15496\r\n995\r\n"] {
        run("detokenize").write_stdin(piped).assert().success().stdout("Hello world");
    }
    run("detokenize").assert().success().stdout("");
}

#[test]
fn unknown_ids_are_named() {
    for (arguments, piped, id) in [
        ("detokenize 15496 50257", "", "50257"),
        ("detokenize 4294967295", "", "4294967295"),
        ("detokenize", "15496 50257", "50257"),
        ("detokenize", "15496 99999999999999999999", "99999999999999999999"),
        ("detokenize", "15496 -1", "-1"),
        ("detokenize", "15496 Hello", "Hello"),
    ] {
        let mut command = run(arguments);
        command.write_stdin(piped).assert().code(1).stdout("").stderr(predicate::str::contains(id));
    }
}

#[test]
fn a_model_folder_brings_its_tokenizer() {
    let model = byte_model();
    run_with(model.path(), "tokenize hi").assert().success().stdout("104 105\n");
    run_with(model.file("model.safetensors"), "tokenize hi").assert().success().stdout("104 105\n");
    run_with(model.path(), "detokenize 104 105").assert().success().stdout("hi");
    run_with(fixture("base"), "tokenize").arg("Hello world").assert().success().stdout("15496 995\n");
}

// ---- score

#[test]
fn score_json_has_the_keys_of_the_contract() {
    let report = json(run_with(byte_model().path(), "score").arg("some words"));
    let how = ["window", "stride", "leading_eot"]; // the convention behind the numbers
    assert_eq!(
        keys(&report),
        [&["ids", "logprobs", "nll", "tokens", "perplexity"], &how[..]].concat().into_iter().collect()
    );
    let said = how.map(|key| report[key].to_string());
    assert_eq!(said, ["64", "32", "false"]);
    assert_eq!(report["ids"], serde_json::json!(b"some words"));
    assert_eq!(report["tokens"], 10);
    let logprobs = report["logprobs"].as_array().expect("a list");
    assert_eq!((logprobs.len(), &logprobs[0]), (10, &Value::Null));
    let scored: Vec<f64> = logprobs[1..].iter().map(|l| l.as_f64().expect("a number")).collect();
    let nll = report["nll"].as_f64().expect("a number");
    assert!((nll + scored.iter().sum::<f64>() / 9.0).abs() < 1e-9, "{nll}");
    let perplexity = report["perplexity"].as_f64().expect("a number");
    assert!((perplexity / nll.exp() - 1.0).abs() < 1e-12, "{perplexity} {nll}");
}

#[test]
fn scores_are_the_reference() {
    for name in ["base", "scaled", "f16"] {
        let expected = &reference(name)["score"];
        let report =
            json(&mut run_with(fixture(name), &format!("score --ids {}", list(&ids(&expected["ids"])))));
        assert!((report["nll"].as_f64().expect("nll") - expected["nll"].as_f64().expect("nll")).abs() < 1e-4);
        let pairs = [&report, expected].map(|r| r["logprobs"].as_array().expect("a list").clone());
        assert_eq!(pairs[0].len(), pairs[1].len());
        for (found, expected) in pairs[0].iter().zip(&pairs[1]).skip(1) {
            let difference = found.as_f64().expect("a number") - expected.as_f64().expect("a number");
            assert!(difference.abs() < 1e-3, "{name}: {found} {expected}");
        }
    }
}

#[test]
fn a_long_text_is_scored_window_by_window() {
    let all = Vec::from_iter((0..200).map(|i| i * 13 % 211));
    let score = |ids: &[u32], options: &str| -> Vec<Option<f64>> {
        let report = json(&mut run_with(fixture("base"), &format!("score --ids {} {options}", list(ids))));
        serde_json::from_value(report["logprobs"].clone()).expect("numbers")
    };
    let default = score(&all, "");
    assert_eq!(default.len(), 200);
    assert!(default[1..].iter().all(Option::is_some), "each token is scored once");
    assert_eq!(default, score(&all, "--window 64 --stride 32"), "n_positions, and half of it");
    assert_eq!(score(&all, "--window 20"), score(&all, "--window 20 --stride 10"));
    assert_ne!(default, score(&all, "--stride 1"));

    // The second window starts at 32 and scores token 70 as if nothing came before.
    let second = score(&all[32..96], "");
    assert_eq!(default[64..96], second[32..]);
    // A stride of 1 gives each token all the context that fits.
    assert_eq!(score(&all[..100], "--window 8 --stride 1")[90], score(&all[83..91], "")[7]);
}

#[test]
fn windows_need_not_overlap() {
    let all = Vec::from_iter((0..41).map(|i| i * 13 % 211));
    let score = |ids: &[u32], options: &str| -> Vec<Option<f64>> {
        let report = json(&mut run_with(fixture("base"), &format!("score --ids {} {options}", list(ids))));
        serde_json::from_value(report["logprobs"].clone()).expect("numbers")
    };
    for length in [2, 9, 10, 11, 20, 21, 22, 41] {
        // each window is a text of its own; a last window of a single token has nothing to score
        let parts = all[..length].chunks(10);
        let alone = |part: &[u32]| if part.len() > 1 { score(part, "") } else { vec![None] };
        let apart: Vec<Option<f64>> = parts.flat_map(alone).collect();
        assert_eq!(score(&all[..length], "--window 10 --stride 10"), apart, "{length} tokens");
    }
    let five = list(&all[..5]);
    let said = text(&mut run_with(fixture("base"), &format!("score -v --window 2 --stride 2 --ids {five}")));
    assert_eq!(said.lines().filter(|line| line.trim_start().starts_with("- ")).count(), 3, "{said}");
    assert!(said.contains("5 tokens, 2 scored") && said.contains("the first token of each"), "{said}");
}

#[test]
fn score_says_how_it_scored() {
    let said = text(&mut run_with(fixture("base"), "score --ids 1,2,3,4 --window 8 --stride 2"));
    for part in ["4 tokens", "window 8", "stride 2", "no leading end-of-text", "perplexity"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = text(&mut run_with(fixture("base"), "score --ids 1,2,3,4 --leading-eot"));
    assert!(said.contains("4 tokens, 4 scored, after a leading end-of-text token (210)"), "{said}");
    let report = json(&mut run_with(fixture("base"), "score --ids 1,2,3,4 --leading-eot --window 3"));
    assert_eq!((&report["leading_eot"], &report["stride"]), (&true.into(), &1.into()));
    assert_eq!(report["ids"][0], 210);
}

#[test]
fn a_text_to_score_is_an_argument_a_file_or_a_pipe() {
    let model = byte_model();
    model.write("text", "two words");
    let argument = json(run_with(model.path(), "score").arg("two words"));
    assert_eq!(json(run_with(model.path(), "score").arg("--file").arg(model.file("text"))), argument);
    assert_eq!(json(run_with(model.path(), "score").write_stdin("two words")), argument);
}

// ---- info

#[test]
fn info_tells_what_the_model_is_made_of() {
    let info = json(&mut run_with(fixture("base"), "info"));
    let expected = serde_json::json!({
        "vocab_size": 211, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 128,
        "activation_function": "gelu_new", "tie_word_embeddings": true, "eos_token_ids": [210],
        "parameters": 34_272, "weight_bytes": 34_272 * 4, "dtype": "f32",
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&info[key], value, "{key}");
    }
    let tensors = info["tensors"].as_array().expect("a table");
    assert_eq!(tensors.len(), 28);
    let found = tensors.iter().find(|t| t["name"] == "transformer.wpe.weight").expect("wpe");
    assert_eq!((&found["dtype"], &found["shape"]), (&"F32".into(), &serde_json::json!([64, 32])));

    let said = text(&mut run_with(fixture("base"), "info"));
    for part in ["n_embd", "34272", "gelu_new", "transformer.h.1.mlp.c_proj.bias"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn verbose_says_more() {
    let model = byte_model();
    for arguments in ["tokenize -v hi", "-v tokenize hi", "score --verbose hi"] {
        let lines = |arguments: &str| text(&mut run_with(model.path(), arguments)).lines().count();
        let quiet = arguments.replace("--verbose", "").replace("-v", "");
        assert!(lines(arguments) > lines(&quiet), "{arguments}");
    }
    let assert = run_with(model.path(), "generate hi -v --max-new-tokens 1 --seed 77").assert().success();
    assert.stderr(predicate::str::contains("77"));
}

#[test]
fn keys_and_values_can_be_kept_in_halves() {
    let logprobs = |flag: &str| {
        let report = json(&mut run_with(fixture("base"), &format!("score --ids 5,9,2,77,31,8,3 {flag}")));
        let all = report["logprobs"].as_array().expect("a list")[1..].iter(); // the first token has no logprob
        all.map(|logprob| logprob.as_f64().expect("a number")).collect::<Vec<_>>()
    };
    let wide = logprobs("");
    assert_eq!(logprobs("--kv-cache-dtype f32"), wide);
    for (dtype, most) in [("f16", 1e-3), ("bf16", 1e-2)] {
        let flag = format!("--kv-cache-dtype {dtype}");
        let halves = logprobs(&flag);
        let difference = wide.iter().zip(&halves).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(0.0 < difference && difference < most, "{dtype}: {difference}");
        // a draft does not change the text
        let written = |more: &str| {
            ids(&json(&mut run(&format!("generate Once --greedy --max-new-tokens 12 {flag} {more}")))["ids"])
        };
        assert_eq!(written("--draft-int8"), written(""));
    }
    run("generate Once --kv-cache-dtype int8").assert().code(2);
}
