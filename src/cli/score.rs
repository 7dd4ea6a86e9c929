//! `gpt2 score`: how likely a text is.

use super::failure::{Failure, usage};
use super::interrupt;
use super::model::Common;
use super::progress;
use super::report::output;
use super::text::RunArgs;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::score::{MeanNll, Windows, leading_eot, score_each};
use indicatif::ProgressBar;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Number of tokens in a window, read in one pass [default: the model's n_positions]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Number of tokens from the start of one window to the start of the next [default: half the window]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Put an end-of-text token before the text, so that its first token is scored too
    #[arg(long)]
    leading_eot: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, common: &Common) -> Result<(), Failure> {
    let lm = args.run.open()?;
    interrupt::watch()?;
    let mut ids = args.run.text_ids(&lm)?;
    let eot = args.leading_eot.then(|| leading_eot(&lm)).transpose()?;
    ids.splice(0..0, eot);
    let window = args.window.unwrap_or(lm.model.config.n_positions);
    let windows = Windows { window, stride: args.stride.unwrap_or((window / 2).max(1)) };
    windows.check(&lm.model).map_err(usage)?;

    let on_screen = (args.json || common.verbose) && io::stdout().is_terminal(); // the tokens themselves show progress
    let bar = if on_screen { ProgressBar::hidden() } else { progress::steps(ids.len(), "tokens") };
    let mut mean = MeanNll::default();
    let mut out = output();
    let (mut written, mut done) = (Ok(()), ids.len().min(1));
    score_each(&lm.model, &ids, windows, |i, logprob| {
        written = match (args.json, common.verbose) {
            (true, _) => json_logprob(&mut out, &ids, i, logprob),
            (false, true) => line(&mut out, &lm, &ids, i, logprob),
            (false, false) => Ok(()),
        };
        logprob.into_iter().for_each(|logprob| mean.add(logprob));
        bar.set_position(i as u64 + 1);
        done = i + 1;
        if written.is_err() || interrupt::requested() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    bar.finish_and_clear();
    written?;
    let tokens = done; // all of them, unless Ctrl-C was pressed
    let Some(nll) = mean.get() else {
        return Err(format!("nothing to score in {tokens} token(s): the first one has no context").into());
    };
    let Windows { window, stride } = windows;
    if args.json {
        let [nll, perplexity] = [nll, nll.exp()].map(|x| serde_json::json!(x)); // JSON has no infinity
        write!(out, "],\"nll\":{nll},\"tokens\":{tokens},\"perplexity\":{perplexity},")?;
        let leading_eot = eot.is_some();
        writeln!(out, "\"window\":{window},\"stride\":{stride},\"leading_eot\":{leading_eot}}}")?;
        out.flush()?;
        return interrupt::check();
    }
    let (tokens, scored) = (tokens - usize::from(eot.is_some()), mean.tokens());
    let before = match eot {
        Some(eot) => format!("after a leading end-of-text token ({eot})"),
        None => "not including the first; no leading end-of-text token".into(),
    };
    writeln!(out, "{tokens} tokens, {scored} scored, {before}")?;
    let how = match stride < window {
        true => "each token once, with the most context",
        false => "windows do not overlap, and the first token of each is not scored",
    };
    writeln!(out, "window {window}, stride {stride}: {how}")?;
    writeln!(out, "{nll:.4} nats per token, perplexity {:.2}", nll.exp())?;
    out.flush()?;
    interrupt::check()
}

/// Writes the next part of the JSON object, up to the score of token `i`. Scores are not stored: a text may have many
/// megabytes.
fn json_logprob(out: &mut impl Write, ids: &[TokenId], i: usize, logprob: Option<f64>) -> io::Result<()> {
    if i == 1 {
        write!(out, "{{\"ids\":")?;
        serde_json::to_writer(&mut *out, ids)?;
        write!(out, ",\"logprobs\":[null")?;
    }
    write!(out, ",")?;
    Ok(serde_json::to_writer(out, &logprob)?)
}

/// Writes one token and its score as text. The first token has no score; its line is written before the second's.
fn line(
    out: &mut impl Write,
    lm: &LanguageModel,
    ids: &[TokenId],
    i: usize,
    logprob: Option<f64>,
) -> io::Result<()> {
    if i == 1 {
        line(out, lm, ids, 0, None)?;
    }
    let score = logprob.map_or("-".into(), |logprob| format!("{logprob:.4}"));
    writeln!(out, "{score:>9}  {:>5}  {}", ids[i], lm.bpe.token_text(ids[i]).unwrap_or_default())
}
