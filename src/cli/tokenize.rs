//! `gpt2 tokenize` and `gpt2 detokenize`.

use super::failure::Failure;
use super::model::{Common, ModelArgs};
use super::text::{TextArgs, encode, parse_ids, while_encoding};
use gpt2::bpe::{Bpe, PieceMerges, TokenId};
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
    let text = args.text.read()?;
    let mut out = BufWriter::new(io::stdout().lock());
    print(&bpe, &text, args, common.verbose, &mut out).map_err(Failure::output)
}

fn print(bpe: &Bpe, text: &[u8], args: &Args, verbose: bool, out: &mut impl Write) -> io::Result<()> {
    let special = args.text.allow_special;
    if args.merges {
        let pieces = while_encoding(text, || bpe.merges(text, special));
        if args.json { print_json(&pieces, out)? } else { print_merges(bpe, &pieces, out)? }
    } else if args.json || verbose {
        let tokens = while_encoding(text, || bpe.tokens(text, special));
        if args.json {
            let report = Report {
                ids: tokens.iter().map(|t| t.id).collect(),
                tokens: tokens.iter().map(|t| spelling(bpe, t.id)).collect(),
                offsets: tokens.iter().map(|t| [t.start, t.end]).collect(),
            };
            print_json(&report, out)?;
        } else {
            for t in tokens {
                writeln!(out, "{:>6}  {:>6}..{:<6}  {}", t.id, t.start, t.end, spelling(bpe, t.id))?;
            }
        }
    } else {
        for (i, id) in encode(bpe, text, special).iter().enumerate() {
            write!(out, "{}{id}", if i == 0 { "" } else { " " })?;
        }
        writeln!(out)?;
    }
    out.flush()
}

fn print_json(report: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    writeln!(out)
}

/// Prints the symbols of each piece of the text, then each merge and the symbols after it.
fn print_merges(bpe: &Bpe, pieces: &[PieceMerges], out: &mut impl Write) -> io::Result<()> {
    let spell = |ids: &[TokenId]| ids.iter().map(|id| spelling(bpe, *id)).collect::<Vec<_>>().join(" ");
    for piece in pieces {
        writeln!(out, "{}", spell(&piece.symbols))?;
        for (merge, state) in piece.merges.iter().zip(piece.states()) {
            let [left, right] = [merge.left, merge.right].map(|id| spelling(bpe, id));
            let line = format!("merge {:>5}: {left} + {right}", merge.rank);
            writeln!(out, "  {line:<40} {}", spell(&state))?;
        }
    }
    Ok(())
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
    let end = if out.is_terminal() { "\n" } else { "" };
    (out.write_all(&text))
        .and_then(|()| out.write_all(end.as_bytes()))
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}
