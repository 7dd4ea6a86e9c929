//! How are vocabularies written in files? Most often as `vocab.json` and `merges.txt`.
//!
//! - `vocab.json` is an object from spelling to id.
//! - `merges.txt` has one merge per line: two spellings with a space between, the lowest rank first. A first line
//!   `#version: 0.2` is no merge.
//!
//! Files are not trusted: whatever they hold, the result is a vocabulary that works or an error of one line.

use super::builder::{Builder, quoted};
use super::{GPT2_MERGES, GPT2_VOCAB};
use crate::error::{Error, Result};
use crate::format::{Folder, Pairs, foreign};
use serde::Deserialize;
use std::{fs::File, io::Read, path::Path};

/// A vocabulary file is at most this long. GPT-2's has 1 MB, the largest known about 30 MB.
const MOST_BYTES: u64 = 256 << 20;

/// The tokens of a `vocab.json`.
pub fn vocab(path: &Path, text: &str) -> Result<Vec<(String, u64)>> {
    parse(path, text).map(|Pairs(tokens)| tokens)
}

/// The vocabulary of these tokens, with the merges of a `merges.txt`. Both files are given with their text.
pub fn builder<'a>(tokens: &'a [(String, u64)], vocab: &Path, merges: (&Path, &str)) -> Result<Builder<'a>> {
    let mut builder = Builder::new(tokens).map_err(Error::in_file(vocab))?;
    let lines = (1..)
        .zip(merges.1.lines())
        .filter(|(number, line)| !(line.is_empty() || *number == 1 && line.starts_with("#version")));
    let pairs = lines.map(|(number, line)| {
        let problem =
            || format!("line {number}: {} is not a merge: two tokens with one space between", quoted(line));
        two_tokens(line).map(|pair| (number, pair)).ok_or_else(problem)
    });
    builder.merges("line", pairs).map_err(Error::in_file(merges.0))?;
    Ok(builder)
}

/// Whether `vocab.json` and `merges.txt` are unchanged copies of GPT-2's, which need no check. A web page need not hold
/// copies for that: there they are read like any others.
pub fn are_gpt2s(texts: &[String; 2]) -> bool {
    !cfg!(target_arch = "wasm32") && texts == &[GPT2_VOCAB, GPT2_MERGES]
}

/// The two tokens of `a b`.
pub fn two_tokens(merge: &str) -> Option<[&str; 2]> {
    let (left, right) = merge.split_once(' ')?;
    (!left.is_empty() && !right.is_empty() && !right.contains(' ')).then_some([left, right])
}

/// A whole file of text.
pub fn read(path: &Path) -> Result<String> {
    text(path, bytes(path)?)
}

/// A whole file of text, of a folder.
pub fn read_in(folder: &Folder, name: &str) -> Result<String> {
    text(&folder.path(name), folder.read(name, bytes)?)
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut len = file.metadata().map_err(Error::io(path))?.len();
    let mut bytes = Vec::new();
    if len <= MOST_BYTES {
        // A device or a pipe has no length: no more is read than allowed.
        len = file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path))? as u64;
    }
    if len > MOST_BYTES {
        return Err(Error::file(path, format!("longer than {} MiB: not a vocabulary", MOST_BYTES >> 20)));
    }
    Ok(bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String> {
    if let Some(problem) = foreign::text(path, &bytes) {
        return Err(Error::file(path, problem));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Error::file(path, format!("the byte at {place} is not UTF-8: fetch the file again"))
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0); // a byte-order mark, which some editors add
    }
    Ok(text)
}

/// The JSON of a file.
pub fn parse<'a, T: Deserialize<'a>>(path: &Path, text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column, message) = (error.line(), error.column(), error.to_string());
        let what = message.trim_end_matches(&format!(" at line {line} column {column}"));
        let what: String = what.chars().take(120).collect(); // it may quote the file at length
        let problem =
            format!("line {line}, column {column}: not the expected JSON: {what}: fetch the file again");
        Error::file(path, problem)
    })
}
