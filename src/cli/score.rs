//! `gpt2 score`: how likely a text is.

use super::failure::Failure;
use super::text::PromptArgs;
use super::{Common, ModelArgs};
use gpt2::bpe::TokenId;
use gpt2::score::{Windows, mean_nll, score};
use serde::Serialize;
use std::io::{self, BufWriter, Write};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    text: PromptArgs,
    /// Tokens that are read together [default: the model's n_positions]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Tokens from one window's begin to the next [default: half the window]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    ids: Vec<TokenId>,
    logprobs: Vec<Option<f64>>,
    nll: f64,
    tokens: usize,
    perplexity: f64,
}

pub fn run(args: &Args, common: &Common) -> Result<(), Failure> {
    let lm = args.model.open()?;
    let ids = args.text.encode(&lm.bpe, false)?;
    let mut windows = Windows::of(&lm.model);
    if let Some(window) = args.window {
        windows = Windows { window, stride: (window / 2).max(1) };
    }
    windows.stride = args.stride.unwrap_or(windows.stride);
    let logprobs = score(&lm.model, &ids, windows, |_| ())?;
    let Some(nll) = mean_nll(&logprobs) else {
        return Err(Failure::Work(format!(
            "nothing to score in {} token(s): the first one has no context",
            ids.len()
        )));
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let report = Report { tokens: ids.len(), ids, logprobs, nll, perplexity: nll.exp() };
        serde_json::to_writer(&mut out, &report).map_err(|e| Failure::output(e.into()))?;
        writeln!(out).map_err(Failure::output)?;
    } else {
        if common.verbose {
            for (id, logprob) in ids.iter().zip(&logprobs) {
                let logprob = logprob.map_or("-".into(), |l| format!("{l:.4}"));
                let token = lm.bpe.token_text(*id).unwrap_or_default();
                writeln!(out, "{logprob:>9}  {id:>5}  {token}").map_err(Failure::output)?;
            }
        }
        let Windows { window, stride } = windows;
        writeln!(out, "{} tokens, the first not scored; no leading end-of-text token", ids.len())
            .and_then(|()| writeln!(out, "window {window}, stride {stride}"))
            .and_then(|()| writeln!(out, "{nll:.4} nats a token, perplexity {:.2}", nll.exp()))
            .map_err(Failure::output)?;
    }
    out.flush().map_err(Failure::output)
}
