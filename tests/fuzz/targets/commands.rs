//! What a user or a program sends: commands of the stepper, lines of a batch.

use super::tiny::{self, Outcome, outcome};
use super::{is_one_line, line};
use crate::cli::batch::request::Request;
use crate::cli::debug::Stepper;
use crate::cli::failure::Failure;
use gpt2::error::Result;
use gpt2::generate::{Batch, Generation, Options};
use std::io;

/// Commands, one per line.
pub fn stepper(data: &[u8]) {
    let lm = &*tiny::LM;
    let options = Options::sampled(1).max_new_tokens(10); // with a slide
    let Ok(mut stepper) = Stepper::new(lm, &[7, 40], &options, io::sink()) else { panic!("a stepper") };
    for command in String::from_utf8_lossy(data).lines().take(40) {
        match stepper.line(command.trim()) {
            Ok(true) => (),
            Ok(false) => return,
            Err(Failure::Work(message)) => {
                assert!(!message.is_empty() && !message.contains('\n'), "{message:?}")
            }
            Err(_) => panic!("{command:?} ends the program"),
        }
    }
    if let Err(Failure::Work(message)) = stepper.finish() {
        line(&message);
    }
}

pub fn stepper_seeds() -> Vec<Vec<u8>> {
    let all = "next\nnext 3\nblock\ntoken\nrun *.attn.weights\nrun lm_head\nback 2\nback token\nback ln_1\nprint\nprint ln_1 rows 0-1 cols 2 top 3\nprint attn.weights head 1\nhow [0,1]\nhow h.0.mlp.c_fc[1,2]\nwhy\nwhy 3\nwhy \"he\"\ncode\ncode probs\nattention 0 1\nheads\ncandidates 4\nlens 3\ntext\nstages\nwhere\nset\nset temperature 0.5\nset top-k off\nset greedy on\nforce 12\nforce \" he\"\nablate head 0 1\nablate mlp 0\nablate none\nundo\nhelp\nhelp set\nrestart\ncontinue\nquit\n";
    let (first, second) = all.split_at(all.len() / 2);
    vec![
        all.into(),
        first.into(),
        second.into(),
        "token 99\nback token 3\nundo\ncontinue\nback\nwhy\n".into(),
    ]
}

/// Lines of a batch: each gives what it gives alone.
pub fn batch(data: &[u8]) {
    let lm = &*tiny::LM;
    let begin = |line: &[u8]| -> Result<Generation<'static>> {
        let request = Request::parse(line)?;
        let mut ids = request.prompt_ids(&lm.bpe, false)?;
        ids.truncate(30);
        let mut options = request.options(&Options::sampled(3), &lm.bpe)?;
        options.check(&lm.model)?;
        options.max_new_tokens = options.max_new_tokens.min(12);
        lm.generation(&lm.prompt(ids), options)
    };
    let lines = data.split(|byte| *byte == b'\n').take(6).filter(|line| !line.trim_ascii().is_empty());
    let texts: Vec<Generation<'_>> =
        lines.filter_map(|line| begin(line).map_err(|error| is_one_line(&error)).ok()).collect();
    let alone: Vec<Outcome> = texts.iter().map(|text| outcome(text.fork(text.options().stream))).collect();
    let mut batch = Batch::new(&lm.model);
    texts.into_iter().enumerate().for_each(|(i, text)| batch.push(Numbered { i, text, error: None }));
    let mut together: Vec<Option<Outcome>> = vec![None; alone.len()];
    while !batch.is_empty() {
        batch.step(|numbered, chosen| {
            if let Err(error) = chosen {
                numbered.error = Some(error.to_string());
            }
        });
        for Numbered { i, text, error } in batch.take_finished() {
            together[i] = Some((text.new_ids().to_vec(), text.finish_reason(), error));
        }
    }
    assert!(together.into_iter().flatten().eq(alone));
}

/// A text of a batch, and its place in the input.
struct Numbered {
    i: usize,
    text: Generation<'static>,
    error: Option<String>,
}

impl AsMut<Generation<'static>> for Numbered {
    fn as_mut(&mut self) -> &mut Generation<'static> {
        &mut self.text
    }
}

pub fn batch_seeds() -> Vec<Vec<u8>> {
    let long = r#"{"prompt": "the", "greedy": true, "max_new_tokens": 9, "stop": ["e", "x"], "context_policy": "stop"}
{"prompt_ids": [1, 2, 258], "seed": 7, "temperature": 0.9, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.9}
{"prompt": "\ud83e he", "logit_bias": {"5": 3, "7": "-inf"}, "repetition_penalty": 1.2, "bad_words": ["he"], "ignore_eos": true}
"he said"
{"prompt": "a", "epsilon_cutoff": 0.001, "eta_cutoff": 0.001, "no_repeat_ngram_size": 2, "min_new_tokens": 4, "presence_penalty": 1, "frequency_penalty": 0.5, "top_k": null}"#;
    vec![long.into(), b"\"\"\n{}\n[1]\n{\"prompt\": 3}".to_vec()]
}
