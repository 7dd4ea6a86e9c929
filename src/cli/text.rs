//! Where a command's text comes from: an argument, a file, a pipe, or token ids.

use super::failure::Failure;
use super::model::{AccessArgs, CacheArgs, ModelArgs};
use super::progress;
use super::report::remark;
use gpt2::bpe::{Bpe, TokenId};
use gpt2::checkpoint::LanguageModel;
use gpt2::error::Error;
use gpt2::tensor::Dtype;
use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// The text of a command.
#[derive(clap::Args)]
pub struct TextArgs {
    /// The text; if omitted, it is read from a pipe
    #[arg(value_name = "TEXT")]
    text: Option<OsString>,
    /// Read the text from a file, exactly its bytes
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Read <|endoftext|> in the text as the special token instead of plain text
    #[arg(long)]
    pub allow_special: bool,
}

/// The text for a model, as text or as token ids.
#[derive(clap::Args)]
pub struct PromptArgs {
    #[command(flatten)]
    text: TextArgs,
    /// Token ids instead of a text, separated by commas or spaces
    #[arg(long, value_name = "IDS", conflicts_with_all = ["text", "file"])]
    ids: Option<String>,
}

/// A model to run, and the text for it.
#[derive(clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    pub prompt: PromptArgs,
}

impl RunArgs {
    pub fn open(&self) -> gpt2::error::Result<LanguageModel> {
        self.model.open_to_run(&self.cache)
    }

    /// How weights come into memory.
    pub fn access(&self) -> AccessArgs {
        self.model.access
    }

    /// The ids of the whole text.
    pub fn text_ids(&self, lm: &LanguageModel) -> Result<Vec<TokenId>, Failure> {
        self.note_tokenizer();
        self.prompt.encode(&lm.bpe, false)
    }

    /// Notes that the model has no tokenizer of its own, if a text is given.
    pub fn note_tokenizer(&self) {
        if self.prompt.ids.is_none() {
            self.model.note_tokenizer();
        }
    }

    /// Model and text as words of a command line; a text that is none, or has special tokens, as its ids.
    pub fn words(&self, ids: &[TokenId]) -> impl Iterator<Item = String> {
        let TextArgs { text, allow_special, .. } = &self.prompt.text;
        let text = text
            .as_ref()
            .and_then(|text| text.to_str())
            .filter(|text| !allow_special && !text.starts_with('-'));
        let listed = || ids.iter().map(TokenId::to_string).collect::<Vec<_>>().join(",");
        let prompt = match text {
            Some(text) => vec![text.to_string()],
            None => vec!["--ids".into(), listed()],
        };
        let model = self.model.model.iter().flat_map(|model| ["--model".into(), model.display().to_string()]);
        let cache = (self.cache.kv_cache_dtype != Dtype::F32)
            .then(|| ["--kv-cache-dtype".into(), self.cache.kv_cache_dtype.name().into()]);
        prompt.into_iter().chain(model.collect::<Vec<_>>()).chain(cache.into_iter().flatten())
    }

    /// The ids after which the model writes.
    pub fn prompt_ids(&self, lm: &LanguageModel) -> Result<Vec<TokenId>, Failure> {
        self.note_tokenizer();
        let given = self.prompt.encode(&lm.bpe, true)?;
        let empty = given.is_empty();
        let ids = lm.prompt(given);
        if empty && let [end] = ids[..] {
            remark(format_args!(
                "note: the prompt is empty; the text begins after the end-of-text token {end}"
            ));
        }
        Ok(ids)
    }
}

impl TextArgs {
    /// The bytes of the text.
    pub fn read(&self) -> Result<Vec<u8>, Failure> {
        if let Some(text) = &self.text {
            return Ok(text.as_encoded_bytes().to_vec());
        }
        if let Some(path) = &self.file {
            return read_all(std::fs::File::open(path).map_err(Error::io(path))?, path);
        }
        if io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "no text; give it as an argument, with --file, or through a pipe".into(),
            ));
        }
        read_all(io::stdin(), Path::new("standard input"))
    }
}

/// Reads to the end, up to 1 GiB: a device may never end.
fn read_all(from: impl Read, name: &Path) -> Result<Vec<u8>, Failure> {
    const LONGEST: u64 = 1 << 30;
    let mut text = Vec::new();
    from.take(LONGEST + 1).read_to_end(&mut text).map_err(Error::io(name))?;
    if text.len() as u64 > LONGEST {
        return Err(Error::file(name, "longer than 1 GiB; give the text in parts").into());
    }
    Ok(text)
}

/// What [`read_line`] found.
pub enum RawLine {
    /// A line of any bytes, with its line break.
    Whole(Vec<u8>),
    /// A line that was skipped because it is too long.
    TooLong,
    /// A line that goes on and on: a device may never end.
    Endless,
    /// The end of the input.
    End,
}

/// Reads a line. A line of more than `longest` bytes is skipped, if it ends within the next `endless` bytes.
pub fn read_line(input: &mut impl BufRead, longest: u64, endless: u64) -> io::Result<RawLine> {
    let mut line = Vec::new();
    let length = input.by_ref().take(longest).read_until(b'\n', &mut line)? as u64;
    Ok(match length {
        0 => RawLine::End,
        _ if length < longest || line.ends_with(b"\n") => RawLine::Whole(line),
        _ if input.by_ref().take(endless).skip_until(b'\n')? as u64 == endless => RawLine::Endless,
        _ => RawLine::TooLong,
    })
}

impl PromptArgs {
    /// Whether the arguments give a text, so that standard input is not read.
    pub fn is_given(&self) -> bool {
        self.ids.is_some() || self.text.text.is_some() || self.text.file.is_some()
    }

    /// Whether `<|endoftext|>` in the text is the special token.
    pub fn allow_special(&self) -> bool {
        self.text.allow_special
    }

    /// The ids of the text, or the given ids. `trim` drops one line break at the end of piped text, as `echo` adds it.
    pub fn encode(&self, bpe: &Bpe, trim: bool) -> Result<Vec<TokenId>, Failure> {
        if let Some(ids) = &self.ids {
            return parse_ids(ids);
        }
        let mut text = self.text.read()?;
        if trim && self.text.text.is_none() && self.text.file.is_none() && text.ends_with(b"\n") {
            text.pop();
            text.pop_if(|last| *last == b'\r');
        }
        Ok(encode(bpe, &text, self.text.allow_special))
    }
}

/// The tokens of a text.
pub fn encode(bpe: &Bpe, text: &[u8], special: bool) -> Vec<TokenId> {
    while_encoding(text, || if special { bpe.encode_with_special(text) } else { bpe.encode(text) })
}

/// Runs `work`, with a spinner if the text is long enough for this to take seconds.
pub fn while_encoding<T>(text: &[u8], work: impl FnOnce() -> T) -> T {
    const LONG: usize = 8 << 20;
    let _spinner = (text.len() > LONG).then(|| progress::spinner("encoding the text"));
    work()
}

/// Parses ids separated by commas or white space.
pub fn parse_ids(text: &str) -> Result<Vec<TokenId>, Failure> {
    let parts = text.split([',', ' ', '\t', '\r', '\n']).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_| Failure::Work(format!("{part:?} is not a token id")))).collect()
}

/// Shortens a text to at most `most` characters, the last an ellipsis.
pub fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => text.into(),
    }
}

/// A token's text in quotes, with invisible characters escaped so that it fits on one line.
pub fn quoted(bpe: &Bpe, id: TokenId) -> String {
    format!("{:?}", bpe.decode_lossy(&[id]).unwrap_or_default())
}
