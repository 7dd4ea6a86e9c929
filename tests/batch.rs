//! `generate --batch`: each line gives the result of a run of its own, whatever else is in the batch.

mod common;

use assert_cmd::Command;
use common::{Checkpoint, VARIABLES, fixture, gpt2};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

/// 64 positions and 211 tokens; each id is the byte of the same value. Any of three bytes ends a text.
fn byte_model() -> Checkpoint {
    let model = Checkpoint::copy("base").with_bytes_as_tokens();
    model.configure("eos_token_id", vec![16, 60, 200]);
    model
}

/// `generate` with these arguments, split at spaces.
fn generate(model: &Checkpoint, arguments: &str) -> Command {
    let mut command = gpt2();
    command.args(["generate", "--model", "."]).args(arguments.split_whitespace()).current_dir(model.path());
    command
}

/// `generate --batch` with these lines.
fn batch(model: &Checkpoint, arguments: &str, lines: impl Into<Vec<u8>>) -> Command {
    let mut command = generate(model, arguments);
    command.args(["--batch", "-"]).write_stdin(lines);
    command
}

/// The objects that a command prints, its standard error, and its exit code.
fn run(command: &mut Command) -> (Vec<Value>, String, Option<i32>) {
    let output = command.output().expect("it ran");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let objects =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (objects, text(&output.stderr), output.status.code())
}

/// The object without `stats` (times differ from run to run) and without the line number.
fn result(mut object: Value) -> Value {
    let map = object.as_object_mut().expect("an object");
    map.remove("line");
    map.remove("stats");
    object
}

/// A line, and the flags with the same meaning.
struct Request {
    line: Value,
    flags: Vec<String>,
}

/// Prompts of all lengths, some long enough to slide; greedy and sampled; with end tokens and stop strings.
fn requests() -> Vec<Request> {
    let mut requests = Vec::new();
    for (i, len) in [1, 90, 4, 63, 64, 2, 200, 7, 33, 12].into_iter().cycle().take(30).enumerate() {
        let prompt: String = (0..len).map(|t| char::from(b'a' + ((t * t + i) % 26) as u8)).collect();
        let mut line = json!({});
        let mut flags = Vec::new();
        let mut set = |key: &str, value: Value| {
            let text = value.as_str().map_or_else(|| value.to_string(), String::from);
            let flag = format!("--{}", key.replace('_', "-"));
            match value {
                Value::Bool(true) => flags.push(flag),
                Value::Array(ref all) => {
                    all.iter()
                        .for_each(|text| flags.extend([flag.clone(), text.as_str().expect("a text").into()]));
                }
                _ => flags.extend([flag, text]),
            }
            line[key] = value;
        };
        set("max_new_tokens", [20, 100, 3, 0, 45, 1][i % 6].into());
        if i % 3 != 0 {
            set("ignore_eos", true.into());
        }
        match i % 5 {
            0 => set("greedy", true.into()),
            1 => {
                set("seed", (i as u64).into());
                set("temperature", json!(0.1 + 0.37 * i as f64));
                set("top_p", json!(0.95));
            }
            2 => {
                set("seed", u64::MAX.into());
                set("top_k", 9.into());
                set("repetition_penalty", json!(1.3));
                set("stop", "e".into());
            }
            3 => {
                set("stop", json!(["\u{8}", "k", "r", "5", "n", "\u{1}"]));
                set("no_repeat_ngram_size", 2.into());
                set("logit_bias", "7=-inf".into());
                set("context_policy", "slide".into());
            }
            _ => {
                set("min_p", json!(0.03));
                set("typical_p", json!(0.9));
                set("bad_words", "a".into());
                set("min_new_tokens", 0.into());
                set("presence_penalty", json!(0.123456789));
                set("frequency_penalty", json!(0.1));
                set("epsilon_cutoff", json!(1e-4));
                set("eta_cutoff", json!(2e-4));
            }
        }
        if i % 2 == 0 {
            line["prompt"] = prompt.clone().into();
            flags.push(prompt);
        } else {
            line["prompt_ids"] = prompt.bytes().collect::<Vec<u8>>().into();
            let ids: Vec<String> = prompt.bytes().map(|byte| byte.to_string()).collect();
            flags.extend(["--ids".into(), ids.join(",")]);
        }
        requests.push(Request { line, flags });
    }
    requests
}

#[test]
fn each_result_is_that_of_its_own_run() {
    let model = byte_model();
    let requests = requests();
    let alone: Vec<Value> = (requests.iter())
        .map(|request| {
            let command = &mut generate(&model, "--json");
            if !request.flags.iter().any(|flag| flag == "--seed" || flag == "--greedy") {
                command.args(["--seed", "77"]);
            }
            let (objects, _, code) = run(command.args(&request.flags));
            assert_eq!((objects.len(), code), (1, Some(0)), "{:?}", request.flags);
            result(objects[0].clone())
        })
        .collect();
    let reasons = |reason| alone.iter().filter(|result| result["finish_reason"] == reason).count();
    assert!(reasons("stop") > 1 && reasons("eos") > 1 && reasons("length") > 9, "{alone:?}");

    let lines: String = requests.iter().map(|request| format!("{}\n", request.line)).collect();
    for arguments in
        ["--batch-size 1", "--batch-size 2", "--batch-size 5 --threads 1", "", "--batch-size 64 --threads 3"]
    {
        let (objects, stderr, code) =
            run(&mut batch(&model, &format!("{arguments} --seed 77"), lines.clone()));
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(objects.len(), alone.len());
        for (i, object) in objects.into_iter().enumerate() {
            assert_eq!(object["line"], i + 1);
            let mut expected = alone[i].clone();
            if requests[i].line["greedy"] == true {
                expected["seed"] = 77.into(); // greedy does not use it
            }
            assert_eq!(result(object), expected, "{arguments}: {:?}", requests[i].flags);
        }
        let notes = stderr.lines().filter(|line| line.starts_with("note: ")).count();
        assert_eq!((notes, stderr.lines().count()), (1, 1), "{stderr}");
    }
}

#[test]
fn a_text_is_a_line_and_options_are_for_all_lines() {
    let model = byte_model();
    let arguments = "--max-new-tokens 9 --seed 5 --temperature 1.5 --stop q";
    let (objects, _, _) =
        run(&mut batch(&model, arguments, "\"ab\"\n{\"prompt\":\"ab\",\"stop\":[\"x\",\"y\"]}"));
    let (alone, _, _) = run(generate(&model, &format!("{arguments} --json")).arg("ab"));
    assert_eq!(result(objects[0].clone()), result(alone[0].clone()));
    let own = "--max-new-tokens 9 --seed 5 --temperature 1.5 --stop x --stop y --json";
    let (alone, _, _) = run(generate(&model, own).arg("ab"));
    assert_eq!(
        result(objects[1].clone()),
        result(alone[0].clone()),
        "its own stop strings replace the others"
    );
    assert_eq!(objects[0]["seed"], 5);
    let (objects, _, _) = run(&mut batch(&model, "--max-new-tokens 9", "\"ab\"\n\"ab\"\n"));
    assert_eq!(result(objects[0].clone()), result(objects[1].clone()), "one seed is drawn for all lines");
    let (objects, _, code) =
        run(&mut batch(&model, "--greedy", r#"{"prompt":"a","greedy":false,"top_p":0.9}"#));
    assert_eq!((objects.len(), code), (1, Some(0)));
}

/// OpenAI's form of logit_bias; halves of surrogate pairs, as JavaScript writes them; no prompt at all.
#[test]
fn lines_as_other_programs_write_them() {
    let text = |mut command: Command, line: &str| {
        let (found, errors, code) = run(command.args(["--batch", "-"]).write_stdin(line));
        assert_eq!((found.len(), code), (1, Some(0)), "{line}: {errors}");
        (found[0]["prompt_ids"].clone(), found[0]["ids"].clone())
    };
    let model = byte_model();
    let own = |line: &str| text(generate(&model, "--max-new-tokens 4 --greedy"), line);
    let pairs = own(r#"{"prompt": "a", "logit_bias": [[5, 100], [7, "-inf"]]}"#);
    assert_eq!(own(r#"{"prompt": "a", "logit_bias": {"5": 100, "7": "-inf"}}"#), pairs);
    assert_eq!(pairs.1, json!([5, 5, 5, 5]));
    let end = own(r#"{"prompt_ids": [16]}"#);
    assert_eq!((own(r#""""#), own(r#"{"prompt_ids": []}"#)), (end.clone(), end), "the first end token");

    let ids = |line: &str| {
        let mut command = gpt2();
        command.args(["generate", "--max-new-tokens", "0"]);
        text(command, line).0
    };
    assert_eq!(ids(r#""a\uD83Db\uDE00\\ud800\ud83d\ude00""#), ids(r#""a\ufffdb\ufffd\\ud800😀""#));
}

/// null switches off an option that the command line switches on. For an option that cannot be off, null is as if the
/// key were left out.
#[test]
fn null_is_off() {
    let model = byte_model();
    let arguments = "--max-new-tokens 9 --seed 5 --temperature 1.5";
    let on = "--top-k 3 --stop q --ignore-eos --bad-words c";
    let line = r#"{"prompt":"ab","top_k":null,"stop":null,"bad_words":null,"seed":null,"max_new_tokens":null,"ignore_eos":null}"#;
    let (objects, _, _) = run(&mut batch(&model, &format!("{arguments} {on}"), line));
    let (alone, _, _) = run(generate(&model, &format!("{arguments} --top-k off --json")).arg("ab"));
    assert_eq!(result(objects[0].clone()), result(alone[0].clone()));
}

#[test]
fn a_bad_line_is_reported_and_the_others_go_on() {
    let model = byte_model();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bad: [(Vec<u8>, &str); 27] = [
        (b"nonsense".into(), "not a prompt"),
        (b"42".into(), "not a prompt"),
        (b"[\"a\"]".into(), "not a prompt"),
        (b"null".into(), "not a prompt"),
        (b"\0".into(), "not a prompt"),
        (deep.clone().into(), "not a prompt"),
        (format!("{{\"prompt\": {deep}}}").into(), "at byte"),
        (b"\"ab".into(), "EOF"),
        (b"\"ab\" \"cd\"".into(), "trailing"),
        (b"\"\xff\xfe\"".into(), "unicode"),
        (b"\"a\0b\"".into(), "control character"),
        (b"{\"prompt\": 5}".into(), "prompt: invalid type: integer `5`, expected a string"),
        (b"{}".into(), "no prompt"),
        (b"{\"prompt\": \"a\", \"prompt_ids\": [1]}".into(), "one of them"),
        (b"{\"prompt_ids\": [1, 211]}".into(), "token id 211"),
        (b"{\"prompt_ids\": [-1]}".into(), "prompt_ids: invalid value"),
        (b"{\"prompt_ids\": [1e99999]}".into(), "number out of range"),
        (b"{\"prompt\": \"a\", \"propmt\": 1}".into(), "unknown field `propmt`"),
        (b"{\"prompt\": \"a\", \"prompt\": \"b\"}".into(), "duplicate field"),
        (b"{\"prompt\": \"a\", \"seed\": 18446744073709551616}".into(), "expected a whole number, from 0 to 2^64 - 1"),
        (b"{\"prompt\": \"a\", \"temperature\": 1e300}".into(), "out of range"),
        (b"{\"prompt\": \"a\", \"greedy\": true, \"top_p\": 0.5}".into(), "top_p is for sampling"),
        (b"{\"prompt\": \"a\", \"stop\": [\"\"]}".into(), "stop"),
        (b"{\"prompt\": \"a\", \"logit_bias\": \"x\"}".into(), "logit_bias"),
        (b"{\"prompt\": \"a\", \"logit_bias\": {\"a\": 1}}".into(), "logit_bias"),
        (b"{\"prompt\": \"a\", \"context_policy\": \"shift\"}".into(), "context_policy \"shift\""),
        (b"{\"prompt\": \"a\", \"context_policy\": \"error\", \"max_new_tokens\": 100, \"ignore_eos\": true}".into(), "64 positions"),
    ];
    let mut lines = Vec::new();
    for (line, _) in &bad {
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\r\n \t\n\"good\"\n");
    }
    let (objects, stderr, code) = run(&mut batch(&model, "--max-new-tokens 3 --seed 1 --stats", lines));
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(objects.len(), 2 * bad.len());
    for (i, (line, part)) in bad.iter().enumerate() {
        let (failed, good) = (&objects[2 * i], &objects[2 * i + 1]);
        assert_eq!(
            (&failed["line"], &good["line"]),
            (&json!(3 * i + 1), &json!(3 * i + 3)),
            "blank lines count"
        );
        let error = failed["error"].as_str().expect("an error");
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]);
        assert!(error.to_lowercase().contains(&part.to_lowercase()), "{shown}: {error}");
        assert!(stderr.contains(&format!("line {}: {error}\n", 3 * i + 1)), "{shown}: {stderr}");
        assert_eq!(failed.as_object().map(|map| map.len()), Some(2));
        assert_eq!(result(good.clone()), result(objects[1].clone()));
    }
    assert!(stderr.contains("54 lines, "), "{stderr}");
    assert!(
        stderr
            .ends_with("error: 27 of 54 lines failed; their errors are printed in place of their results\n"),
        "{stderr}"
    );
}

#[test]
fn long_lines_and_marks_and_missing_ends() {
    let model = byte_model();
    let mut lines = b"\xef\xbb\xbf\"first\"\n\"".to_vec();
    lines.resize(lines.len() + (40 << 20), b'a');
    lines.extend_from_slice(b"\"\n\"last\"");
    model.write("lines.jsonl", lines);
    let (objects, stderr, code) =
        run(&mut generate(&model, "--max-new-tokens 2 --seed 1 --batch lines.jsonl"));
    assert_eq!((objects.len(), code), (3, Some(1)), "{stderr}");
    assert_eq!(objects[0]["prompt_ids"], json!(b"first"));
    assert!(objects[1]["error"].as_str().is_some_and(|error| error.contains("longer than 16 MiB")));
    assert_eq!((&objects[2]["line"], &objects[2]["prompt_ids"]), (&json!(3), &json!(b"last")));
    let (objects, stderr, code) = run(&mut batch(&model, "", "\n\n"));
    assert_eq!((objects.len(), stderr.as_str(), code), (0, "", Some(0)), "no lines give no results");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let model = byte_model();
    for (name, part) in [("missing.jsonl", "missing.jsonl: "), (".", ".: ")] {
        let (objects, stderr, code) = run(generate(&model, "--batch").arg(name));
        assert_eq!((objects.len(), code, stderr.lines().count()), (0, Some(1), 1), "{stderr}");
        assert!(stderr.starts_with(&format!("error: {part}")), "{stderr}");
    }
}

#[test]
fn options_that_conflict_with_a_batch_are_bad_usage() {
    let model = byte_model();
    for arguments in [
        "--batch x text",
        "--batch x --file y",
        "--batch x --ids 1",
        "--batch x --num-return-sequences 2",
        "--batch x --batch-size 0",
        "--batch x --batch-size 1025",
        "--batch x --temperature 0",
        "--batch-size 2 text",
        "--batch",
    ] {
        let (objects, stderr, code) = run(&mut generate(&model, arguments));
        assert_eq!((objects.len(), code), (0, Some(2)), "{arguments}: {stderr}");
        assert!(stderr.starts_with("error: "), "{arguments}: {stderr}");
    }
    for arguments in ["--batch - --json", "--batch - --allow-special", "--batch - --num-return-sequences 1"] {
        assert_eq!(run(&mut generate(&model, arguments)).2, Some(0), "{arguments}");
    }
}

/// `gpt2` as a child process with pipes.
fn spawn(arguments: &str) -> Child {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("gpt2"));
    VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.args(["generate", "--batch", "-", "--model"]).arg(fixture("base"));
    command.args(arguments.split_whitespace());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program")
}

/// A caller that waits for each result before it writes the next line receives every result.
#[test]
fn a_conversation_through_a_pipe() {
    let mut child = spawn("--max-new-tokens 5 --seed 1");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for i in 1..=5 {
        writeln!(stdin, "{{\"prompt_ids\":[{i}]}}").expect("it reads");
        let line = stdout.next().expect("a result").expect("UTF-8");
        let object: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&object["line"], &object["prompt_ids"]), (&json!(i), &json!([i])));
    }
    drop(stdin);
    assert!(stdout.next().is_none());
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

/// Presses Ctrl-C. The pipes stay open: the end of the input would be another reason to stop.
#[cfg(unix)]
fn interrupt(child: &Child) {
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
}

/// Waits for the program's first line of output: by then it handles Ctrl-C.
#[cfg(unix)]
fn first_line(stdout: &mut BufReader<std::process::ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    line
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_what_is_finished() {
    // The first result is printed, the second never ends, and the third waits for the second. The test cannot see when
    // the third is finished, so a slow machine gets a longer pause.
    let finished_after = |pause: u64| {
        let mut child = spawn("--seed 1 --ignore-eos");
        let mut stdin = child.stdin.take().expect("a pipe");
        for (id, tokens) in [(1, 1), (2, u64::MAX), (3, 2)] {
            writeln!(stdin, "{{\"prompt_ids\":[{id}],\"max_new_tokens\":{tokens}}}").expect("it reads");
        }
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let first = first_line(&mut stdout);
        std::thread::sleep(std::time::Duration::from_millis(pause));
        interrupt(&child);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).expect("the rest");
        assert!(first.contains("\"line\":1"), "{first}");
        assert!(!rest.contains("\"line\":2"), "{rest}");
        assert_eq!(child.wait().expect("an end").code(), Some(130));
        rest.contains("\"line\":3")
    };
    assert!([100, 1_000, 10_000].into_iter().any(finished_after));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_wait_for_a_line() {
    let mut child = spawn("--max-new-tokens 1");
    let mut stdin = child.stdin.take().expect("a pipe");
    writeln!(stdin, "{{\"prompt_ids\":[1]}}").expect("it reads");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    assert!(first_line(&mut stdout).contains("\"line\":1"));
    interrupt(&child);
    assert_eq!(child.wait().expect("an end").code(), Some(130));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = spawn("--max-new-tokens 5");
    let mut stdin = child.stdin.take().expect("a pipe");
    drop(child.stdout.take());
    let _ = (0..1000).try_for_each(|_| writeln!(stdin, "{{\"prompt_ids\":[7]}}"));
    drop(stdin);
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!((child.wait().expect("an end").code(), stderr), (Some(0), String::new()));
}
