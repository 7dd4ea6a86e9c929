//! What ends a run from outside: Ctrl-C keeps what is finished, a kill leaves nothing that stays, and a file of weights
//! that is cut while it is mapped is an error.
#![cfg(unix)]

mod common;

use common::{Checkpoint, VARIABLES, fixture};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `gpt2` with pipes.
fn spawn(arguments: &str, model: &Path) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("gpt2"));
    VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.args(arguments.split_whitespace()).arg("--model").arg(model);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program")
}

fn send(signal: &str, child: &Child) {
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
}

/// The exit code, and standard error without notes. `None` for a signal.
fn ending(mut child: Child) -> (Option<i32>, String) {
    let status = child.wait().expect("an end");
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    (status.code(), stderr.lines().filter(|line| !line.starts_with("note: ")).collect())
}

/// A batch of two lines; `change` changes the model's file after the first result. Returns the second result.
fn while_mapped(arguments: &str, change: fn(&Path)) -> (Option<Value>, Option<i32>, String) {
    let model = Checkpoint::copy("base");
    let mut child =
        spawn(&format!("generate --batch - --greedy --max-new-tokens 3 {arguments}"), model.path());
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut results = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    writeln!(stdin, r#"{{"prompt_ids": [1, 2]}}"#).expect("it reads");
    results.next().expect("a line").expect("UTF-8");
    change(&model.file("model.safetensors"));
    writeln!(stdin, r#"{{"prompt_ids": [3, 4]}}"#).expect("it reads");
    drop(stdin);
    let second = results.next().map(|line| serde_json::from_str(&line.expect("UTF-8")).expect("JSON"));
    let (code, stderr) = ending(child);
    (second, code, stderr)
}

fn cut(path: &Path) {
    File::options().write(true).open(path).and_then(|file| file.set_len(4096)).expect("a file");
}

#[test]
fn a_file_that_is_cut_while_it_is_mapped_is_named() {
    let (second, code, stderr) = while_mapped("", cut);
    assert_eq!((second, code), (None, Some(1)), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains("model.safetensors: was cut"), "{stderr}");
    assert!(stderr.contains("--no-mmap"), "{stderr}");
}

#[test]
fn a_file_that_is_read_or_replaced_may_change() {
    let undisturbed = while_mapped("", |_| ());
    assert_eq!((undisturbed.1, &*undisturbed.2), (Some(0), ""));
    let replaced = while_mapped("", |path| {
        let other = path.with_file_name("other");
        fs::write(&other, "another file").expect("a file");
        fs::rename(other, path).expect("a file");
    });
    for (second, code, stderr) in [while_mapped("--no-mmap", cut), replaced] {
        assert_eq!((code, &*stderr), (Some(0), ""));
        let ids = |result: &Option<Value>| result.as_ref().expect("a result")["ids"].clone();
        assert_eq!(ids(&second), ids(&undisturbed.0));
    }
}

/// The next run removes the file that a killed one could not remove.
#[test]
fn what_a_kill_leaves_behind_does_not_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = || {
        let entries = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry"));
        entries.map(|entry| entry.file_name().into_string().expect("a name")).collect::<Vec<_>>()
    };
    let trace = |tokens: &str| {
        let out = folder.path().join("trace");
        let arguments =
            format!("generate --ids 1 --ignore-eos --max-new-tokens {tokens} --trace {}", out.display());
        spawn(&arguments, &fixture("base"))
    };
    let child = trace("10000000");
    while names().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    send("-KILL", &child);
    assert_eq!(ending(child).0, None);
    assert!(names()[0].ends_with(".unfinished"), "{:?}", names());
    assert_eq!(ending(trace("2")), (Some(0), String::new()));
    assert_eq!(names(), ["trace"]);
}

#[test]
fn ctrl_c_keeps_the_scores_so_far() {
    let model = Checkpoint::copy("base");
    let ids: Vec<String> = (0..30_000).map(|i| (i * i % 211).to_string()).collect();
    let ids = ids.join(",");
    for (arguments, last) in [("--verbose", "nats per token"), ("--json", "\"perplexity\":")] {
        let mut child = spawn(&format!("score {arguments} --stride 1 --ids {ids}"), model.path());
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut begin = vec![0; 9000];
        stdout.read_exact(&mut begin).expect("some scores");
        send("-INT", &child);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).expect("the rest");
        assert_eq!(ending(child), (Some(130), String::new()));
        assert!(rest.contains(last), "{rest}");
        if arguments == "--json" {
            let report: Value =
                serde_json::from_str(&(String::from_utf8(begin).expect("UTF-8") + &rest)).expect("JSON");
            let scored = report["logprobs"].as_array().expect("a list").len();
            assert!((2..30_000).contains(&scored), "{scored}");
            assert_eq!(report["tokens"], json!(scored));
        }
    }
}

#[test]
fn ctrl_c_keeps_the_continuations_so_far() {
    let kept_after = |pause: u64| {
        let arguments = "compare --ids 5 --seed 1 --ignore-eos --max-new-tokens 4000 --num-beams 150 --json";
        let child = spawn(arguments, &fixture("base"));
        std::thread::sleep(Duration::from_millis(pause));
        send("-INT", &child);
        let output = child.wait_with_output().expect("an end");
        assert_eq!(output.status.code(), Some(130));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let names: Vec<&str> =
            report["runs"].as_array().into_iter().flatten().filter_map(|run| run["name"].as_str()).collect();
        names == ["greedy", "T 0.5", "T 1", "T 1.5"]
    };
    assert!([1_000, 3_000, 10_000].into_iter().any(kept_after)); // a slow machine gets a longer pause
}
