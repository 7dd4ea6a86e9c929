//! `gpt2 tokenize` and `gpt2 detokenize`.

use super::failure::Failure;
use super::model::{Common, ModelArgs};
use super::report::{output, print_json};
use super::text::{TextArgs, encode, parse_ids, while_encoding};
use gpt2::bpe::{Bpe, PieceMerges, Token, TokenId};
use gpt2::error::Error;
use serde::Serialize;
use std::io::{self, IsTerminal, Read, Write};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    text: TextArgs,
    /// Show every merge of the byte-pair encoding
    #[arg(long)]
    merges: bool,
    /// Print JSON: ids, tokens, and the place of each token in the text, by default in bytes
    #[arg(long)]
    json: bool,
    /// What the places of --json and -v count. A token that is part of a character has the place of the whole character
    /// in chars
    #[arg(long, value_name = "UNIT", default_value = "bytes")]
    offsets: Unit,
}

/// What the place of a token counts.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Unit {
    Bytes,
    Chars,
}

#[derive(clap::Args)]
pub struct DetokenizeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Token ids; if omitted, they are read from a pipe
    #[arg(value_name = "ID")]
    ids: Vec<TokenId>,
}

#[derive(Serialize)]
struct Report {
    ids: Vec<TokenId>,
    tokens: Vec<String>,
    offsets: Vec<[usize; 2]>,
}

pub fn run(args: &Args, common: &Common) -> Result<(), Failure> {
    let bpe = args.model.tokenizer()?;
    let (text, special) = (&args.text.read()?[..], args.text.allow_special);
    let mut out = output();
    if args.merges {
        let pieces = while_encoding(text, || bpe.merges(text, special));
        return if args.json { print_json(&pieces) } else { print_merges(&bpe, &pieces, out) };
    }
    if args.json || common.verbose {
        let mut tokens = while_encoding(text, || bpe.tokens(text, special));
        if let Unit::Chars = args.offsets {
            count_characters(&mut tokens, text);
        }
        if args.json {
            return print_json(&Report {
                ids: tokens.iter().map(|t| t.id).collect(),
                tokens: tokens.iter().map(|t| spelling(&bpe, t.id)).collect(),
                offsets: tokens.iter().map(|t| [t.start, t.end]).collect(),
            });
        }
        for t in tokens {
            writeln!(out, "{:>6}  {:>6}..{:<6}  {}", t.id, t.start, t.end, spelling(&bpe, t.id))?;
        }
    } else {
        for (i, id) in encode(&bpe, text, special).iter().enumerate() {
            write!(out, "{}{id}", if i == 0 { "" } else { " " })?;
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

/// Turns places in bytes into places in characters. A token that is part of a character covers it whole, as in HF's
/// `tokenizers`; bytes that are not UTF-8 count as the replacement characters that stand for them.
fn count_characters(tokens: &mut [Token], text: &[u8]) {
    let mut character_of = Vec::with_capacity(text.len()); // of each byte
    let mut count = 0;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().chars().map(char::len_utf8);
        for length in valid.chain(Some(chunk.invalid().len()).filter(|length| *length > 0)) {
            character_of.extend(std::iter::repeat_n(count, length));
            count += 1;
        }
    }
    for token in tokens {
        let (start, end) = (token.start, token.end);
        token.start = character_of.get(start).copied().unwrap_or(count);
        token.end = if end > start { character_of[end - 1] + 1 } else { token.start };
    }
}

/// Prints the symbols of each piece of the text, then each merge and the symbols after it.
fn print_merges(bpe: &Bpe, pieces: &[PieceMerges], mut out: impl Write) -> Result<(), Failure> {
    let spell = |ids: &[TokenId]| ids.iter().map(|id| spelling(bpe, *id)).collect::<Vec<_>>().join(" ");
    for piece in pieces {
        writeln!(out, "{}", spell(&piece.symbols))?;
        for (merge, state) in piece.merges.iter().zip(piece.states()) {
            let [left, right] = [merge.left, merge.right].map(|id| spelling(bpe, id));
            let line = format!("merge {:>5}: {left} + {right}", merge.rank);
            writeln!(out, "  {line:<40} {}", spell(&state))?;
        }
    }
    Ok(out.flush()?)
}

/// A token as the vocabulary file spells it.
fn spelling(bpe: &Bpe, id: TokenId) -> String {
    bpe.token_text(id).unwrap_or_default()
}

pub fn detokenize(args: &DetokenizeArgs) -> Result<(), Failure> {
    let bpe = args.model.tokenizer()?;
    let mut ids = args.ids.clone();
    if ids.is_empty() {
        if io::stdin().is_terminal() {
            return Err(Failure::Usage("no token ids; give them as arguments or through a pipe".into()));
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(Error::io("standard input"))?;
        ids = parse_ids(&text)?;
    }
    let text = bpe.decode(&ids)?;
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    if out.is_terminal() {
        writeln!(out)?;
    }
    Ok(out.flush()?)
}
