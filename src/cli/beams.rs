//! `gpt2 generate --num-beams`: the likeliest texts that a beam search finds.

use super::decoding::DecodingArgs;
use super::failure::Failure;
use super::failure::usage;
use super::report::{Report, Stats, json, ms, note_slide, print, remark};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gpt2::bpe::{Bpe, TokenId};
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{FinishReason, Options, StopStrings, TextStream};
use gpt2::search::{BeamSearch, Beams, EarlyStopping, Tree};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
#[command(next_help_heading = "Beam search")]
pub struct BeamArgs {
    /// Keep the B likeliest beginnings at each step and write the likeliest text found. Nothing is drawn:
    /// --temperature, --top-k and similar options need --beam-sampling. 1 means no beam search
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["draft"])]
    num_beams: u64,
    /// Divide the score of a text by its length to the power X: above 0 favors long texts, below 0 short ones
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1.0,
        allow_negative_numbers = true,
        requires = "num_beams"
    )]
    length_penalty: f64,
    /// When to stop once B texts are finished: when the best running beam would not be among them (false), at once
    /// (true), or when no running beam could still be among them, however long it grows (never)
    #[arg(long, value_name = "WHEN", default_value = "false", value_parser = stoppings(), requires = "num_beams")]
    early_stopping: EarlyStopping,
    /// Draw the continuations of the beams, with --temperature, --top-k and similar options
    #[arg(long, requires = "num_beams", conflicts_with = "greedy")]
    beam_sampling: bool,
    /// Search in G groups of B / G beams; --diversity-penalty keeps the groups apart
    #[arg(
        long,
        value_name = "G",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..),
        requires = "num_beams",
        conflicts_with = "beam_sampling"
    )]
    num_beam_groups: u64,
    /// Subtract X from the score of a token for each beam of an earlier group that chose it in the same step
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        requires = "num_beam_groups"
    )]
    diversity_penalty: f32,
    /// Show every step of the search before the text: kept, finished and pruned beginnings with their scores. With
    /// --json they are a separate object, {"tree": ...}
    #[arg(long, requires = "num_beams")]
    beam_tree: bool,
}

/// What to search for, and how to show it.
pub struct Search<'a> {
    pub lm: &'a LanguageModel,
    pub prompt_ids: &'a [TokenId],
    pub options: Options,
    pub seed: u64,
    pub stop: &'a StopStrings,
    pub json: bool,
    /// Whether to print timings.
    pub stats: bool,
    pub load: Duration,
}

/// The tree, as `--json` prints it.
#[derive(Serialize)]
struct TreeReport<T> {
    tree: T,
}

impl BeamArgs {
    /// Whether the options request a beam search.
    pub fn are_wanted(&self) -> Result<bool, Failure> {
        if self.num_beams == 1 && (self.beam_tree || self.beam_sampling) {
            let flag = if self.beam_tree { "--beam-tree" } else { "--beam-sampling" };
            return Err(Failure::Usage(format!("{flag} is for beam search: --num-beams must be at least 2")));
        }
        Ok(self.num_beams > 1)
    }

    /// As [`DecodingArgs::options`], but sampling only with `--beam-sampling`.
    pub fn options(&self, decoding: &DecodingArgs, bpe: &Bpe) -> Result<Options, Failure> {
        if let Some(flag) = decoding.explicit_sampling().filter(|_| !self.beam_sampling) {
            return Err(Failure::Usage(format!(
                "--{flag} does nothing in a beam search without sampling; leave it out or add --beam-sampling"
            )));
        }
        decoding.options(bpe, self.beam_sampling)
    }

    /// Runs the search and prints the best `wanted` texts.
    pub fn run(&self, job: Search<'_>, wanted: u64, interrupted: &AtomicBool) -> Result<(), Failure> {
        let Search { lm, prompt_ids, options, stop, .. } = &job;
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let beams = Beams {
            num_beams: size(self.num_beams),
            num_beam_groups: size(self.num_beam_groups),
            diversity_penalty: self.diversity_penalty,
            length_penalty: self.length_penalty,
            early_stopping: self.early_stopping,
            num_return_sequences: size(wanted),
        };
        beams.check(options.max_new_tokens).map_err(usage)?;
        let begin = Instant::now();
        let mut search = BeamSearch::new(&lm.model, prompt_ids, options.clone(), beams)?;
        if !stop.is_empty() {
            search = search.stopping_at(&TextStream::new(&lm.bpe, (*stop).clone()));
        }
        let (mut tree, mut first, mut slid) = (Tree::default(), None, false);
        while let Some(step) = search.next() {
            let step = step?;
            first.get_or_insert_with(|| begin.elapsed());
            note_slide(search.slides(), &mut slid, "", &lm.model);
            if self.beam_tree {
                tree.push(&step);
                if !job.json {
                    print(&format!("{}\n", tree.show(&step, &lm.bpe)))?;
                }
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
        }
        let (all, first) = (begin.elapsed(), first.unwrap_or_default());
        let stats = Stats {
            load_ms: ms(job.load),
            prefill_tokens: prompt_ids.len(),
            prefill_ms: ms(first),
            decode_tokens: search.rows(), // of all beams
            decode_ms: ms(all.saturating_sub(first)),
            speculated: None,
        };
        let found = search.into_found()?;
        if self.beam_tree && job.json {
            print(&format!("{}\n", json(&TreeReport { tree: tree.to_json(&lm.bpe, &found) })?))?;
        }
        let count = found.len();
        if size(wanted) > count {
            remark(format_args!("note: the search found {count} texts, not {wanted}"));
        }
        for (n, found) in found.into_iter().enumerate() {
            if !job.json && (count > 1 || self.beam_tree) {
                print(&format!("=== {} of {count}, score {:.4} ===\n", n + 1, found.score))?;
            }
            let text_len = found.ids.len() - usize::from(found.finish_reason == FinishReason::Eos);
            let mut stream = TextStream::new(&lm.bpe, (*stop).clone());
            let mut text: String = found.ids[..text_len].iter().map(|id| stream.push(*id)).collect();
            text += &stream.finish();
            if !job.json {
                print(&format!("{text}\n"))?;
            }
            if job.json {
                let (finish_reason, score) = (found.finish_reason.name(), Some(found.score));
                Report {
                    prompt_ids,
                    ids: found.ids,
                    text,
                    seed: job.seed,
                    finish_reason,
                    logprobs: found.logprobs,
                    score,
                    stats,
                }
                .print()?;
            }
        }
        if job.stats {
            stats.print(job.seed);
        }
        Ok(())
    }
}

fn stoppings() -> impl TypedValueParser<Value = EarlyStopping> {
    let names = EarlyStopping::ALL.map(EarlyStopping::name);
    PossibleValuesParser::new(names).map(|name| EarlyStopping::from_name(&name).unwrap_or_default())
}
