//! Any options, on the tiny model: every way to generate gives the same text.

use super::is_one_line;
use super::tiny::{self, outcome};
use gpt2::bpe::TokenId;
use gpt2::generate::{Batch, Options};
use gpt2::kv_cache::KvCache;
use gpt2::model::Gpt2;
use gpt2::sampling::{History, NoWatch};
use gpt2::search::draft::{DraftModel, Paced, PromptLookup};
use gpt2::trace::NoTrace;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::LazyLock;

static TWO_THREADS: LazyLock<ThreadPool> =
    LazyLock::new(|| ThreadPoolBuilder::new().num_threads(2).build().expect("two threads"));

/// A smaller model with the same tokens.
static DRAFT: LazyLock<Gpt2> =
    LazyLock::new(|| tiny::model(&tiny::CONFIG.replace("\"n_embd\": 4", "\"n_embd\": 2")));

/// A prompt in bytes on the first line, then an option and its value on each line.
pub fn options(data: &[u8]) {
    let lm = &*tiny::LM;
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let prompt = tiny::ids(lines.next().unwrap_or_default().as_bytes(), &lm.model, 20);
    let mut options = Options::plain(0);
    for line in lines.take(30) {
        let (name, value) = line.split_once(' ').unwrap_or((line, "on"));
        let Some(row) = Options::table().iter().find(|row| row.name == name) else { continue };
        if let Err(error) = row.parse(&mut options, value, &|text| lm.bpe.encode(text)) {
            is_one_line(&error);
        }
    }
    options.max_new_tokens = options.max_new_tokens.min(12);
    if let Err(error) = options.check(&lm.model) {
        return is_one_line(&error);
    }
    let prompt = lm.prompt(prompt);
    match lm.generation(&prompt, options.clone()) {
        Ok(_) => agree(&prompt, &options),
        Err(error) => is_one_line(&error), // a prompt without positions
    }
}

fn agree(prompt: &[TokenId], options: &Options) {
    let lm = &*tiny::LM;
    let begin = || lm.generation(prompt, options.clone()).expect("checked options");
    let alone = outcome(begin());
    assert!(alone.0.len() <= options.max_new_tokens);
    assert!(alone.0.iter().all(|id| (*id as usize) < lm.model.config.vocab_size));
    assert_eq!(TWO_THREADS.install(|| outcome(begin())), alone, "two threads");
    let lookup = Paced::new(PromptLookup::default(), &lm.model, 10);
    assert_eq!(outcome(begin().with_draft(lookup)), alone, "prompt lookup");
    let draft = DraftModel::new(&DRAFT, &lm.model).expect("the same tokens");
    assert_eq!(outcome(begin().with_draft(Paced::new(draft, &lm.model, 5))), alone, "a draft model");

    let mut batch = Batch::new(&lm.model);
    // a neighbour; the options above ask for 12 tokens at most, so its own are others
    batch.push(lm.generation(&[1, 2], Options::default().max_new_tokens(13)).expect("a text"));
    batch.push(begin());
    while !batch.is_empty() {
        batch.step(|_, _| ());
        for text in batch.take_finished().filter(|text| text.options() == options) {
            assert_eq!((text.new_ids(), text.finish_reason()), (&alone.0[..], alone.1), "in a batch");
        }
    }
    recomputed(prompt, options, &alone.0);
}

/// Each token again, from the whole text and without a cache; as long as all of it has positions.
fn recomputed(prompt: &[TokenId], options: &Options, new: &[TokenId]) {
    let model = &tiny::LM.model;
    let (mut ids, uniform) = (prompt.to_vec(), options.uniform());
    for (n, id) in new.iter().enumerate().take_while(|(n, _)| prompt.len() + n <= model.config.n_positions) {
        let logits = model.forward(&ids, &mut KvCache::new(&model.config), &mut NoTrace); // [S, V]
        let mut scores = logits.row(ids.len() - 1).to_vec();
        let history = History { ids: &ids, prompt_len: prompt.len(), eos: options.ends(model) };
        let chosen = options.choose(&mut scores, &history, uniform.at(n as u64), &mut NoTrace, &mut NoWatch);
        assert_eq!(chosen, Some(*id), "token {n} without a cache");
        ids.push(*id);
    }
}

pub fn options_seeds() -> Vec<Vec<u8>> {
    let all = "the prompt\ngreedy off\nseed 7\nmax-new-tokens 9\ntemperature 0.7\ntop-k 30\ntop-p 0.9\nmin-p 0.01\ntypical-p 0.95\nepsilon-cutoff 0.0001\neta-cutoff 0.0001\nrepetition-penalty 1.3\npresence-penalty 0.5\nfrequency-penalty -0.25\nno-repeat-ngram-size 2\nbad-words he\nlogit-bias 5=2.5\nlogit-bias 7=-inf\nmin-new-tokens 3\nstop e\ncontext-policy slide\nignore-eos";
    vec![
        all.into(),
        b"abcabcabcabc\ngreedy on\nmax-new-tokens 12\n".to_vec(),
        b"ab\nseed 1\ncontext-policy stop\n".to_vec(),
    ]
}
