//! `gpt2 fetch` against a hub that misbehaves: a small HTTP server on this machine.
#![cfg(all(feature = "fetch", unix))]

mod common;

use assert_cmd::Command;
use common::{Checkpoint, gpt2};
use predicates::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request: its method, its path, and its headers with lowercase names.
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }
}

/// An answer; `announced` is its Content-Length if that is not the length of the body.
#[derive(Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    announced: Option<usize>,
    /// After how many bytes the connection ends.
    cut: Option<usize>,
    /// How long the server waits before each piece of the body.
    slow: Duration,
}

/// What the hub does that a sound one does not: an answer of its own to some requests, given the sound one.
type Mischief = Box<dyn Fn(&Request, &mut Answer, usize) + Send + Sync>;

/// A server with the model `org/tiny`; ends with the test.
struct Hub {
    endpoint: String,
    /// `METHOD PATH RANGE`, in order.
    log: Arc<Mutex<Vec<String>>>,
    cache: TempDir,
}

/// The files of the repository.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let source = Checkpoint::copy("base").with_bytes_as_tokens();
    ["config.json", "vocab.json", "merges.txt", "model.safetensors"]
        .map(|name| (name, std::fs::read(source.file(name)).expect("a file")))
        .to_vec()
}

/// What a sound hub answers.
fn sound(request: &Request, files: &[(&str, Vec<u8>)]) -> Answer {
    let ok = |body: Vec<u8>| Answer { status: 200, body, ..Answer::default() };
    if request.path == "/api/models/org/tiny/revision/main" {
        let siblings: Vec<_> = files.iter().map(|(name, _)| json!({ "rfilename": name })).collect();
        return ok(json!({"sha": COMMIT, "siblings": siblings}).to_string().into_bytes());
    }
    let name = request.path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"));
    let name = name.or_else(|| request.path.strip_prefix("/cdn/"));
    let Some((name, body)) = files.iter().find(|(own, _)| Some(*own) == name) else {
        return Answer { status: 404, ..Answer::default() };
    };
    let sha: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut answer = ok(body.clone());
    if name.ends_with(".safetensors") {
        answer.headers.push(("X-Linked-Etag", format!("\"{sha}\"")));
        answer.headers.push(("X-Linked-Size", body.len().to_string()));
    }
    answer.headers.push(("ETag", format!("\"{}\"", &sha[..40])));
    let from = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let unchanged = request.header("if-range").is_none_or(|etag| etag.contains(&sha[..40]));
    if let Some(from) = from.filter(|_| unchanged) {
        let all = body.len();
        if from >= all {
            return Answer {
                status: 416,
                headers: vec![("Content-Range", format!("bytes */{all}"))],
                ..Answer::default()
            };
        }
        answer.headers.push(("Content-Range", format!("bytes {from}-{}/{all}", all - 1)));
        answer.status = 206;
        answer.body = body[from..].to_vec();
    }
    answer
}

impl Hub {
    fn new(mischief: impl Fn(&Request, &mut Answer, usize) + Send + Sync + 'static) -> Self {
        Self::with(files(), Box::new(mischief))
    }

    fn with(files: Vec<(&'static str, Vec<u8>)>, mischief: Mischief) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (shared, seen) = (Arc::new((files, mischief)), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, seen) = (Arc::clone(&shared), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, &shared.0, &shared.1, &seen));
            }
        });
        Self { endpoint, log, cache: tempfile::tempdir().expect("a folder") }
    }

    fn fetch(&self) -> Command {
        let mut command = gpt2();
        command
            .args(["fetch", "org/tiny"])
            .env("HF_HOME", self.cache.path())
            .env("HF_ENDPOINT", &self.endpoint);
        for name in [
            "HUGGINGFACE_HUB_CACHE",
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_OFFLINE",
            "HF_HUB_DISABLE_SYMLINKS",
            "http_proxy",
            "HTTP_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn repository(&self) -> PathBuf {
        self.cache.path().join("hub/models--org--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.repository().join("snapshots").join(COMMIT)
    }

    /// What was asked since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().expect("a log"))
    }

    /// The command fails with this line, and what it leaves is no model.
    fn fails(&self, part: &str) {
        let assert = self.fetch().assert().code(1).stdout("");
        assert.stderr(predicate::str::starts_with("error: ").and(predicate::str::contains(part)));
        assert!(!self.repository().join("refs/main").exists());
    }

    /// The command succeeds, and the model is that of the fixture.
    fn succeeds(&self) {
        let expected = format!("{}\n", self.snapshot().display());
        self.fetch().assert().success().stdout(expected);
        for (name, content) in files() {
            assert_eq!(std::fs::read(self.snapshot().join(name)).expect(name), content, "{name}");
        }
        let blobs = std::fs::read_dir(self.repository().join("blobs")).expect("a folder");
        let names: Vec<_> =
            blobs.map(|blob| blob.expect("an entry").file_name().into_string().expect("a name")).collect();
        assert!(names.len() == 4 && names.iter().all(|name| !name.contains("incomplete")), "{names:?}");
    }
}

fn serve(stream: TcpStream, files: &[(&str, Vec<u8>)], mischief: &Mischief, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(String::from);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_string()))
    });
    let request = Request { method, path, headers: headers.collect() };
    let number = {
        let mut log = log.lock().expect("a log");
        log.push(
            format!("{} {} {}", request.method, request.path, request.header("range").unwrap_or(""))
                .trim()
                .into(),
        );
        log.iter().filter(|line| line.contains(&request.path) && line.starts_with(&request.method)).count()
    };
    let mut answer = sound(&request, files);
    mischief(&request, &mut answer, number);
    let mut stream = stream;
    let length = answer.announced.unwrap_or(answer.body.len());
    let mut head =
        format!("HTTP/1.1 {} X\r\nContent-Length: {length}\r\nConnection: close\r\n", answer.status);
    answer.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    if request.method != "HEAD" {
        answer.body.truncate(answer.cut.unwrap_or(usize::MAX));
        for part in answer.body.chunks(answer.body.len().div_ceil(20).max(1)) {
            if stream.write_all(part).is_err() {
                break;
            }
            std::thread::sleep(answer.slow);
        }
    }
}

/// Whether the request is for the weights themselves.
fn weights(request: &Request) -> bool {
    request.method == "GET" && request.path.ends_with("model.safetensors")
}

#[test]
fn a_model_is_fetched_once_and_opened_by_its_name() {
    let hub = Hub::new(|_, _, _| ());
    hub.succeeds();
    let asked = hub.asked();
    assert_eq!(asked.len(), 1 + 2 * 4, "{asked:?}");
    hub.succeeds();
    assert_eq!(hub.asked(), [""; 0], "nothing is asked for what is whole");
    let is_link = |name: &str| hub.snapshot().join(name).is_symlink();
    assert!(is_link("config.json") && is_link("model.safetensors"));
    assert_eq!(std::fs::read_to_string(hub.repository().join("refs/main")).expect("a file"), COMMIT);
    let text = |model: &Path| {
        let mut command = gpt2();
        command.args(["generate", "--ids", "1", "--greedy", "--max-new-tokens", "9", "--model"]).arg(model);
        command.env("HF_HOME", hub.cache.path()).assert().success().get_output().stdout.clone()
    };
    let own = Checkpoint::copy("base").with_bytes_as_tokens();
    assert_eq!(text(Path::new("org/tiny")), text(own.path()));
}

/// As on a system without links.
#[test]
fn files_are_copies_where_links_are_disabled() {
    let hub = Hub::new(|_, _, _| ());
    hub.fetch().env("HF_HUB_DISABLE_SYMLINKS", "1").assert().success();
    assert!(!hub.snapshot().join("model.safetensors").is_symlink());
    hub.asked();
    hub.succeeds();
    assert_eq!(hub.asked(), [""; 0]);
}

#[test]
fn redirects_within_the_hub_and_away_from_it() {
    let away = Hub::new(|_, _, _| ());
    let cdn = away.endpoint.clone();
    let hub = Hub::new(move |request, answer, _| {
        let Some(name) = request.path.rsplit('/').next().filter(|_| request.path.contains("/resolve/"))
        else {
            return;
        };
        answer.status = 302;
        let to =
            if name == "model.safetensors" { format!("{cdn}/cdn/{name}") } else { format!("/cdn/{name}") };
        answer.headers.push(("Location", to));
        answer.body.clear();
    });
    hub.fetch().env("HF_TOKEN", "secret").assert().success();
    hub.succeeds();
    assert_eq!(away.asked(), ["GET /cdn/model.safetensors"]);
}

#[test]
fn a_cut_connection_is_continued() {
    let hub = Hub::new(|request, answer, number| {
        if weights(request) && number < 4 {
            answer.cut = Some(30_000);
        }
    });
    hub.succeeds();
    let ranges: Vec<_> = hub.asked().into_iter().filter(|line| line.contains("bytes=")).collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
}

#[test]
fn without_ranges_a_file_is_fetched_from_its_beginning() {
    let hub = Hub::new(|request, answer, number| {
        if weights(request) {
            *answer = sound(
                &Request { headers: vec![], method: "GET".into(), path: request.path.clone() },
                &files(),
            );
            answer.cut = (number < 3).then_some(50_000);
        }
    });
    hub.succeeds();
}

#[test]
fn what_an_earlier_process_left() {
    let whole = files().pop().expect("the weights").1;
    for left in
        [whole[..1000].to_vec(), vec![0; 1000], whole.clone(), vec![7; whole.len()], vec![7; whole.len() + 9]]
    {
        let hub = Hub::new(|_, _, _| ());
        let blobs = hub.repository().join("blobs");
        std::fs::create_dir_all(&blobs).expect("folders");
        let sha: String = Sha256::digest(&whole).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(blobs.join(format!("{sha}.incomplete")), left).expect("it is written");
        hub.succeeds();
    }
}

#[test]
fn a_part_that_does_not_fit_is_fetched_again() {
    for status in [206, 416] {
        let hub = Hub::new(move |request, answer, number| {
            if weights(request) && number == 1 {
                answer.cut = Some(20_000);
            } else if weights(request) && number == 2 {
                answer.status = status;
                answer.headers.retain(|(name, _)| *name != "Content-Range");
                answer.headers.push(("Content-Range", "bytes 5-9/20".into()));
            }
        });
        hub.succeeds();
    }
    // the file changes half way: its ETag no longer fits, and the whole is sent
    let hub = Hub::new(|request, answer, number| {
        if weights(request) && number == 1 {
            answer.cut = Some(20_000);
            answer.headers.retain(|(name, _)| *name != "ETag");
            answer.headers.push(("ETag", "\"of an older version\"".into()));
        }
    });
    hub.succeeds();
}

#[test]
fn wrong_content_is_refused() {
    let hub = Hub::new(|request, answer, _| {
        if weights(request) {
            answer.body[5000] ^= 1;
        }
    });
    hub.fails("model.safetensors has not the SHA-256 that the hub gives for it");
    let hub = Hub::new(|request, answer, _| {
        if weights(request) {
            answer.body.extend([0; 9]);
        }
    });
    hub.fails("model.safetensors has not the length");
    let hub = Hub::new(|request, answer, _| {
        if weights(request) {
            answer.announced = Some(20_000);
            answer.body.truncate(if answer.status == 206 { 0 } else { 20_000 });
        }
    });
    hub.fails("run the command again to continue");
}

#[test]
fn names_that_lead_away_are_refused() {
    let index = json!({"weight_map": {"a": "../../../x.safetensors"}}).to_string().into_bytes();
    let mut of_parts: Vec<_> = files().into_iter().filter(|(name, _)| *name != "model.safetensors").collect();
    of_parts.push(("model.safetensors.index.json", index));
    Hub::with(of_parts, Box::new(|_, _, _| ())).fails("weight_map does not name files of this folder");
    for (header, part) in [("ETag", "no usable ETag"), ("X-Linked-Etag", "no usable ETag")] {
        let hub = Hub::new(move |request, answer, _| {
            if request.path.contains("/resolve/") {
                answer.headers.retain(|(name, _)| *name != header);
                answer.headers.push((header, "\"../../../x\"".into()));
            }
        });
        hub.fails(part);
    }
    let hub = Hub::new(|request, answer, _| {
        if request.path.starts_with("/api") {
            answer.body = json!({"sha": "../../x", "siblings": []}).to_string().into_bytes();
        }
    });
    hub.fails("names no commit");
    for name in ["../x", "a/b/c", "", "/etc"] {
        gpt2()
            .args(["fetch", name])
            .assert()
            .code(1)
            .stderr(predicate::str::contains("is not a model's name"));
    }
}

#[test]
fn the_hub_refuses() {
    for (status, part) in [
        (401, "set HF_TOKEN (status 401)"),
        (403, "accept the terms on"),
        (404, "the hub has no such model or file (status 404)"),
        (429, "too many requests (status 429); try again in 7 seconds"),
        (503, "the hub has a problem (status 503)"),
        (418, "an unexpected answer, status 418"),
    ] {
        for place in ["/api", "/resolve/"] {
            let hub = Hub::new(move |request, answer, _| {
                if request.path.contains(place) {
                    *answer =
                        Answer { status, headers: vec![("Retry-After", "7".into())], ..Answer::default() };
                }
            });
            hub.fails(part);
        }
    }
    let other = Hub::with(
        vec![("config.json", br#"{"model_type": "llama"}"#.to_vec()), ("model.safetensors", vec![])],
        Box::new(|_, _, _| ()),
    );
    other.fails("org/tiny: model_type is \"llama\"");
    assert!(!other.asked().iter().any(|line| line.contains("safetensors")), "before the large files");
    let pickles =
        Hub::with(vec![("config.json", vec![]), ("pytorch_model.bin", vec![])], Box::new(|_, _, _| ()));
    pickles.fails("org/tiny has pytorch_model.bin, but no model.safetensors on the hub");
    let mut nobody = Hub::new(|_, _, _| ());
    nobody.endpoint = "http://127.0.0.1:9".into();
    nobody.fails("is the network there?");
    let offline = Hub::new(|_, _, _| ());
    let assert = offline.fetch().env("HF_HUB_OFFLINE", "1").assert().code(1);
    assert.stderr(predicate::str::contains("HF_HUB_OFFLINE is set"));
    assert_eq!(offline.asked(), [""; 0]);
    let unasked =
        gpt2().args(["generate", "x", "--model", "org/tiny"]).env("HF_HOME", offline.cache.path()).assert();
    unasked.code(1).stderr(predicate::str::contains("gpt2 fetch org/tiny downloads it"));
}

/// Killed at any time, it leaves nothing broken, and the next one goes on.
#[test]
fn killed_at_random_moments() {
    let hub = Hub::new(|_, answer, _| answer.slow = Duration::from_millis(4));
    let mut state = 12_345u64;
    for _ in 0..20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("gpt2"))
            .args(["fetch", "org/tiny"])
            .env("HF_HOME", hub.cache.path())
            .env("HF_ENDPOINT", &hub.endpoint)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        std::thread::sleep(Duration::from_millis(state >> 40 & 0x1ff));
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        for (name, content) in files() {
            let file = hub.snapshot().join(name);
            assert!(
                !file.exists() || std::fs::read(file).expect(name) == content,
                "{name} is whole or not there"
            );
        }
    }
    hub.succeeds();
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let hub = Hub::new(|request, answer, _| {
        if weights(request) {
            answer.slow = Duration::from_millis(40);
        }
    });
    let mut first = std::process::Command::new(assert_cmd::cargo::cargo_bin!("gpt2"));
    first.args(["fetch", "org/tiny"]).env("HF_HOME", hub.cache.path()).env("HF_ENDPOINT", &hub.endpoint);
    let mut first = first.stdout(std::process::Stdio::null()).spawn().expect("it starts");
    while !hub
        .log
        .lock()
        .expect("a log")
        .iter()
        .any(|line| line.contains("GET") && line.contains("safetensors"))
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    hub.fails("another process is fetching this file");
    assert!(first.wait().expect("it ends").success());
    hub.succeeds();
}

/// bash takes the completions, and offers the commands.
#[test]
fn completions_and_the_manual() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = gpt2().args(["completions", shell]).assert().success();
        script.stdout(predicate::str::contains("prompt-lookup"));
    }
    let program = assert_cmd::cargo::cargo_bin!("gpt2");
    let line = r#"source <("$1" completions bash); COMP_WORDS=(gpt2 gen); COMP_CWORD=1; _gpt2 gpt2 gen gpt2; echo "${COMPREPLY[@]}""#;
    if Path::new("/bin/bash").exists() {
        let bash = Command::new("bash").args(["-c", line, "bash"]).arg(program).assert().success();
        bash.stdout("generate\n");
    }
    gpt2().arg("man").assert().success().stdout(predicate::str::contains(".TH gpt2"));
    gpt2().args(["man", "generate"]).assert().success().stdout(predicate::str::contains("prompt\\-lookup"));
    gpt2().args(["man", "x"]).assert().code(2).stderr(predicate::str::contains("there is no command \"x\""));
}
