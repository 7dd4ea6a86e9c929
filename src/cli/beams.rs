//! `gpt2 generate --num-beams`: the likeliest texts that a beam search finds.

use super::decoding::DecodingArgs;
use super::failure::{Failure, usage};
use super::interrupt;
use super::model::at_least_1;
use super::progress;
use super::report::{Job, Report, Written, note_slide, print, print_json, remark};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{FinishReason, Options};
use gpt2::search::{BeamSearch, Beams, EarlyStopping, Hypothesis, Tree};
use std::collections::BTreeMap;
use std::time::Instant;

#[derive(clap::Args)]
#[command(next_help_heading = "Beam search")]
pub struct BeamArgs {
    /// Keep the B likeliest beginnings at each step and write the likeliest text found. Nothing is drawn:
    /// --temperature, --top-k and similar options need --beam-sampling. 1 means no beam search
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = at_least_1(), conflicts_with_all = ["draft"])]
    num_beams: usize,
    /// Divide the score of a text by its length to the power X: above 0 favors long texts, below 0 short ones
    #[arg(long, value_name = "X", default_value_t = 1.0, requires = "num_beams")]
    length_penalty: f64,
    /// When to stop once B texts are finished: when the best running beam would not be among them (false), at once
    /// (true), or when no running beam could still be among them, however long it grows (never)
    #[arg(long, value_name = "WHEN", default_value = "false", value_parser = stoppings(), requires = "num_beams")]
    early_stopping: EarlyStopping,
    /// Draw the continuations of the beams, with --temperature, --top-k and similar options
    #[arg(long, requires = "num_beams", conflicts_with = "greedy")]
    beam_sampling: bool,
    /// Search in G groups of B / G beams; --diversity-penalty keeps the groups apart
    #[arg(long, value_name = "G", default_value_t = 1, value_parser = at_least_1(), requires = "num_beams",
          conflicts_with = "beam_sampling")]
    num_beam_groups: usize,
    /// Subtract X from the score of a token for each beam of an earlier group that chose it in the same step
    #[arg(long, value_name = "X", default_value_t = 0.0, requires = "num_beam_groups")]
    diversity_penalty: f32,
    /// Show every step of the search before the text: kept, finished and pruned beginnings with their scores. With
    /// --json they are a separate object, {"tree": ...}
    #[arg(long, requires = "num_beams")]
    beam_tree: bool,
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
    pub fn options(&self, decoding: &DecodingArgs, lm: &LanguageModel) -> Result<Options, Failure> {
        if let Some(flag) = decoding.explicit_sampling().filter(|_| !self.beam_sampling) {
            return Err(Failure::Usage(format!(
                "--{flag} does nothing in a beam search without sampling; leave it out or add --beam-sampling"
            )));
        }
        decoding.options(lm, Some(self.beam_sampling))
    }

    /// Runs the search and prints the best `wanted` texts.
    pub fn run(&self, job: &Job<'_>, prompt_ids: &[TokenId], wanted: usize) -> Result<(), Failure> {
        let Job { lm, options, .. } = job;
        let beams = Beams {
            num_beams: self.num_beams,
            num_beam_groups: self.num_beam_groups,
            diversity_penalty: self.diversity_penalty,
            length_penalty: self.length_penalty,
            early_stopping: self.early_stopping,
            num_return_sequences: wanted,
        };
        beams.check(options.max_new_tokens).map_err(usage)?;
        let mut written = Written::since(Instant::now());
        let mut search = BeamSearch::new(&lm.model, prompt_ids, options.clone(), beams)?;
        if !options.stop.is_empty() {
            search = search.stopping_at(&job.stream()?);
        }
        let mut tree = Tree::default();
        let bar = progress::tokens(options.max_new_tokens, self.beam_tree && !job.json);
        while let Some(step) = search.next() {
            let step = step?;
            written.begins();
            note_slide(search.slides(), "", &lm.model, &bar);
            bar.inc(1);
            if self.beam_tree {
                tree.push(&step);
                if !job.json {
                    print(&format!("{}\n", tree.show(&step, &lm.bpe)))?;
                }
            }
            interrupt::check()?;
        }
        bar.finish_and_clear();
        let stats = written.stats(job.load, prompt_ids.len(), search.rows()); // the rows of all beams
        let found = search.into_found()?;
        if self.beam_tree && job.json {
            print_json(&BTreeMap::from([("tree", tree.to_json(&lm.bpe, &found))]))?;
        }
        let count = found.len();
        if wanted > count {
            remark(format_args!("note: the search found {count} texts, not {wanted}"));
        }
        for (n, found) in found.into_iter().enumerate() {
            let Hypothesis { ids, logprobs, score, finish_reason, .. } = found;
            let ends = usize::from(finish_reason == FinishReason::Eos);
            let text = job.stream()?.decode(&ids[..ids.len() - ends]);
            if job.json {
                let (seed, finish_reason, score) = (options.seed, finish_reason.name(), Some(score));
                let generation_config = &lm.generation_config.options;
                print_json(&Report {
                    prompt_ids,
                    ids,
                    text,
                    seed,
                    finish_reason,
                    logprobs,
                    score,
                    generation_config,
                    stats,
                })?;
                continue;
            }
            if count > 1 || self.beam_tree {
                print(&format!("=== {} of {count}, score {score:.4} ===\n", n + 1))?;
            }
            print(&format!("{text}\n"))?;
        }
        if job.stats {
            stats.print(options.seed);
        }
        Ok(())
    }
}

fn stoppings() -> impl TypedValueParser<Value = EarlyStopping> {
    let names = EarlyStopping::ALL.map(EarlyStopping::name);
    PossibleValuesParser::new(names).map(|name| EarlyStopping::from_name(&name).unwrap_or_default())
}
