//! Shared by the tests of the command line: the program, and small checkpoints that tests may damage.

#![allow(dead_code)] // each file of tests uses a part

use assert_cmd::Command;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Environment variables that would change what the program does.
pub const VARIABLES: [&str; 4] = ["GPT2_SIMD", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"];

/// `gpt2` with an empty standard input and a time limit.
pub fn gpt2() -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("gpt2");
    VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.timeout(Duration::from_secs(30)).write_stdin("");
    command
}

/// A folder of `tests/fixtures/models`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

/// A copy of a fixture in a folder of its own.
pub struct Checkpoint {
    folder: TempDir,
}

impl Checkpoint {
    /// `config.json` and `model.safetensors` of the fixture `name`.
    pub fn copy(name: &str) -> Self {
        let checkpoint = Self { folder: tempfile::tempdir().expect("a folder") };
        for file in ["config.json", "model.safetensors"] {
            checkpoint.write(file, std::fs::read(fixture(name).join(file)).expect("a fixture"));
        }
        checkpoint
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file in the folder; it need not exist.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file in the folder.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), bytes).expect("a file can be written");
    }

    /// Sets one key of `config.json`.
    pub fn configure(&self, key: &str, value: impl Into<Value>) {
        let bytes = std::fs::read(self.file("config.json")).expect("config.json");
        let mut config: Map<String, Value> = serde_json::from_slice(&bytes).expect("an object");
        config.insert(key.into(), value.into());
        self.write("config.json", Value::Object(config).to_string());
    }

    /// Adds a tokenizer in which the id of each byte is its value, so the bytes of a text are its ids.
    pub fn with_bytes_as_tokens(self) -> Self {
        let vocab: Map<String, Value> =
            (0..=255u8).map(|byte| (symbol(byte).to_string(), byte.into())).collect();
        self.write("vocab.json", Value::Object(vocab).to_string());
        self.write("merges.txt", "#version: 0.2\n");
        self
    }
}

/// How GPT-2's files spell a byte: a printable one as itself, any other as a character from U+0100 on.
fn symbol(byte: u8) -> char {
    let seen = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if seen(&byte) {
        return byte.into();
    }
    let before = (0..byte).filter(|b| !seen(b)).count() as u32;
    char::from_u32(256 + before).expect("a letter")
}
