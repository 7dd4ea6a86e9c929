//! `gpt2 tokenize` and `gpt2 detokenize`.

use super::failure::Failure;
use super::text::{TextArgs, parse_ids};
use super::{Common, ModelArgs};
use gpt2::bpe::{Bpe, TokenId};
use gpt2::error::Error;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Read, Write};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    text: TextArgs,
    /// Show every merge of the byte-pair encoding
    #[arg(long)]
    merges: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct DetokenizeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Token ids; left out, they are read from a pipe
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
    let text = args.text.read()?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.merges {
        print_merges(&bpe, &text, args, &mut out)?;
    } else if args.json {
        let tokens = bpe.tokens(&text, args.text.allow_special);
        let report = Report {
            ids: tokens.iter().map(|t| t.id).collect(),
            tokens: tokens.iter().map(|t| spelling(&bpe, t.id)).collect(),
            offsets: tokens.iter().map(|t| [t.start, t.end]).collect(),
        };
        serde_json::to_writer(&mut out, &report).map_err(|e| Failure::output(e.into()))?;
        writeln!(out).map_err(Failure::output)?;
    } else if common.verbose {
        for t in bpe.tokens(&text, args.text.allow_special) {
            writeln!(out, "{:>6}  {:>6}..{:<6}  {}", t.id, t.start, t.end, spelling(&bpe, t.id))
                .map_err(Failure::output)?;
        }
    } else {
        let ids = if args.text.allow_special { bpe.encode_with_special(&text) } else { bpe.encode(&text) };
        for (i, id) in ids.iter().enumerate() {
            write!(out, "{}{id}", if i == 0 { "" } else { " " }).map_err(Failure::output)?;
        }
        writeln!(out).map_err(Failure::output)?;
    }
    out.flush().map_err(Failure::output)
}

/// A token as the vocabulary's file spells it.
fn spelling(bpe: &Bpe, id: TokenId) -> String {
    bpe.token_text(id).unwrap_or_default()
}

/// Each piece of the text, the bytes it starts as, and each merge with what it leaves.
fn print_merges(bpe: &Bpe, text: &[u8], args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let pieces = bpe.merges(text, args.text.allow_special);
    if args.json {
        serde_json::to_writer(&mut *out, &pieces).map_err(|e| Failure::output(e.into()))?;
        return writeln!(out).map_err(Failure::output);
    }
    let spell = |ids: &[TokenId]| ids.iter().map(|id| spelling(bpe, *id)).collect::<Vec<_>>().join(" ");
    for piece in pieces {
        writeln!(out, "{}", spell(&piece.symbols)).map_err(Failure::output)?;
        for (merge, state) in piece.merges.iter().zip(piece.states()) {
            let [left, right] = [merge.left, merge.right].map(|id| spelling(bpe, id));
            let line = format!("merge {:>5}: {left} + {right}", merge.rank);
            writeln!(out, "  {line:<40} {}", spell(&state)).map_err(Failure::output)?;
        }
    }
    Ok(())
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
    let mut out = io::stdout().lock();
    out.write_all(&bpe.decode(&ids)?).map_err(Failure::output)?;
    if out.is_terminal() {
        writeln!(out).map_err(Failure::output)?;
    }
    out.flush().map_err(Failure::output)
}
