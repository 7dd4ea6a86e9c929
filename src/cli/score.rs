//! `gpt2 score`: how likely a text is.

use super::failure::{Failure, usage};
use super::text::PromptArgs;
use super::{CacheArgs, Common, ModelArgs};
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::score::{MeanNll, Windows, leading_eot, score_each};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    text: PromptArgs,
    /// Tokens that are read together [default: the model's n_positions]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Tokens from one window's begin to the next [default: half the window]
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
    let lm = args.model.open_to_run(&args.cache)?;
    let mut ids = args.text.encode(&lm.bpe, false)?;
    let eot = args.leading_eot.then(|| leading_eot(&lm)).transpose()?;
    if let Some(eot) = eot {
        ids.insert(0, eot);
    }
    let mut windows = Windows::of(&lm.model);
    if let Some(window) = args.window {
        windows = Windows { window, stride: (window / 2).max(1) };
    }
    windows.stride = args.stride.unwrap_or(windows.stride);
    windows.check(&lm.model).map_err(usage)?;
    let Windows { window, stride } = windows;

    let bar = progress_bar(ids.len(), windows);
    let mut mean = MeanNll::default();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failed = None; // to write
    score_each(&lm.model, &ids, windows, |i, logprob| {
        let written = match (args.json, common.verbose) {
            (true, _) => json_logprob(&mut out, &ids, i, logprob),
            (false, true) => line(&mut out, &lm, &ids, i, logprob),
            (false, false) => Ok(()),
        };
        logprob.into_iter().for_each(|logprob| mean.add(logprob));
        bar.set_position(i as u64 + 1);
        failed = written.err();
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    bar.finish_and_clear();
    if let Some(error) = failed {
        return Err(Failure::output(error));
    }
    let Some(nll) = mean.get() else {
        return Err(Failure::Work(format!(
            "nothing to score in {} token(s): the first one has no context",
            ids.len()
        )));
    };
    if args.json {
        // through serde_json, which knows that JSON has no infinity
        let [nll, perplexity] = [nll, nll.exp()].map(|x| serde_json::json!(x));
        let leading_eot = eot.is_some();
        write!(out, "],\"nll\":{nll},\"tokens\":{},\"perplexity\":{perplexity},", ids.len())
            .and_then(|()| {
                writeln!(out, "\"window\":{window},\"stride\":{stride},\"leading_eot\":{leading_eot}}}")
            })
            .map_err(Failure::output)?;
    } else {
        let before = match eot {
            Some(eot) => format!("{} scored, after a leading end-of-text token ({eot})", mean.tokens()),
            None => format!("{} scored, the first not; no leading end-of-text token", mean.tokens()),
        };
        let how = match stride < window {
            true => "each token once, with the most context",
            false => "windows do not overlap, and the first token of each is not scored",
        };
        writeln!(out, "{} tokens, {before}", ids.len() - usize::from(eot.is_some()))
            .and_then(|()| writeln!(out, "window {window}, stride {stride}: {how}"))
            .and_then(|()| writeln!(out, "{nll:.4} nats a token, perplexity {:.2}", nll.exp()))
            .map_err(Failure::output)?;
    }
    out.flush().map_err(Failure::output)
}

/// The JSON object up to the score of token `i`. A text of many megabytes is not gathered first.
fn json_logprob(out: &mut impl Write, ids: &[TokenId], i: usize, logprob: Option<f64>) -> io::Result<()> {
    if i == 1 {
        write!(out, "{{\"ids\":")?;
        serde_json::to_writer(&mut *out, ids)?;
        write!(out, ",\"logprobs\":[null")?;
    }
    write!(out, ",")?;
    Ok(serde_json::to_writer(out, &logprob)?)
}

/// One token and its score, to read; before the first of them the one that has none.
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

/// On a terminal's standard error, for texts of more than one window.
fn progress_bar(tokens: usize, windows: Windows) -> ProgressBar {
    if tokens <= windows.window || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} tokens, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(tokens as u64), ProgressDrawTarget::stderr());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
