//! The whole model computes the same bits everywhere, as [`gpt2`] promises.
//!
//! - [`matrix`]: all numbers of threads, batch sizes and ways to read a prompt give the same logits;
//! - [`golden`]: hashes of those logits and of other results, kept in the repository;
//! - here: both again under every instruction set. A process uses one instruction set, so each gets its own process.
//!   All must match the hashes in the same file, so all have the same bits.
//! - in WebAssembly, `tests/wasm` computes the hashes.
//!
//! The hashes are the same on every machine. After an intended change of arithmetic (note it in the changelog, and
//! raise [`gpt2::ARITHMETIC`]): `INSTA_UPDATE=always cargo test --test bits`

mod golden;
mod matrix;
mod models;

use gpt2::model::Gpt2;
use gpt2::simd::Simd;
use std::path::Path;
use std::process::Command;

/// The environment variable that keeps a child process from starting children.
const CHILD: &str = "GPT2_BITS_CHILD";

/// `tests/fixtures/models`, by name. `tests/wasm` has them in memory.
fn fixtures() -> Vec<(String, Gpt2)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let entries = std::fs::read_dir(&folder).expect("fixtures").map(|entry| entry.expect("an entry").path());
    let open = |path: std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, gpt2::checkpoint::open(path).expect("a checkpoint").model)
    };
    entries.filter(|path| path.is_dir()).map(open).collect()
}

#[test]
fn under_every_instruction_set() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let this_test = std::env::current_exe().expect("the path of this test");
    for simd in Simd::available().iter().filter(|simd| **simd != Simd::current()) {
        let mut child = Command::new(&this_test);
        child.env("GPT2_SIMD", simd.name()).env(CHILD, "1").env("INSTA_UPDATE", "no");
        let output = child.output().expect("a child process");
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "under {}:\n{}", simd.name(), String::from_utf8_lossy(&text));
    }
}
