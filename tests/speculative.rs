//! Speculative decoding against plain decoding: the same bits, or the same law.

use gpt2::bpe::TokenId;
use gpt2::checkpoint::{self, random};
use gpt2::config::Config;
use gpt2::generate::{ContextPolicy, FinishReason, Generation, Options, View};
use gpt2::kv_cache::KvCache;
use gpt2::model::Gpt2;
use gpt2::sampling::{History, NoWatch, Processors, Sampling, Uniform, draw};
use gpt2::search::draft::{Draft, DraftModel, Guess, PromptLookup};
use gpt2::search::speculative::{Passes, Speculation, accept};
use gpt2::tensor::Dtype;
use gpt2::trace::NoTrace;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

#[path = "common/properties.rs"]
mod properties;

const V: usize = 211;

/// A checkpoint with 211 tokens and 64 positions.
fn fixture(name: &str) -> Gpt2 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
    checkpoint::open(&folder).expect("a fixture").model
}

/// A model that says nearly what `model` says.
fn near(model: &Gpt2) -> Gpt2 {
    let mut near = model.clone();
    let mut uniform = Uniform::new(0);
    near.ln_f.weight.iter_mut().for_each(|w| *w *= 0.9);
    near.ln_f.bias.iter_mut().for_each(|b| *b += (uniform.draw() - 0.5) as f32);
    near
}

/// A random checkpoint with as many tokens.
fn tiny(n_layer: usize, n_positions: usize, dtype: Dtype) -> Gpt2 {
    let json = format!(
        r#"{{"n_layer":{n_layer},"n_head":2,"n_embd":16,"n_positions":{n_positions},"vocab_size":{V},"eos_token_id":210}}"#
    );
    random::random(Config::from_json(json.as_bytes()).expect("a configuration"), dtype)
}

/// All of a text: ids, log-probabilities by their bits, why it ended, how often it slid, what went wrong.
type Written = (Vec<TokenId>, Vec<u64>, Option<FinishReason>, usize, Option<String>);

fn plain(model: &Gpt2, prompt: &[TokenId], options: &Options) -> Written {
    let mut text = Generation::new(model, prompt, options.clone()).expect("a prompt");
    let (mut logprobs, mut error) = (Vec::new(), None);
    for chosen in text.by_ref() {
        match chosen {
            Ok(chosen) => logprobs.push(chosen.logprob.to_bits()),
            Err(e) => error = Some(e.to_string()),
        }
    }
    (text.new_ids().to_vec(), logprobs, text.finish_reason(), text.slides(), error)
}

fn speculative<D: Draft>(
    model: &Gpt2,
    prompt: &[TokenId],
    options: &Options,
    draft: D,
    most: usize,
) -> (Written, Passes) {
    let text = Generation::new(model, prompt, options.clone()).expect("a prompt");
    let mut text = Speculation::new(text, draft, most);
    let (mut ids, mut logprobs, mut error) = (Vec::new(), Vec::new(), None);
    while let Some(chosen) = text.next() {
        match chosen {
            Ok(chosen) => {
                ids.push(chosen.id);
                logprobs.push(chosen.logprob.to_bits());
            }
            Err(e) => error = Some(e.to_string()),
        }
        assert_eq!(text.new_ids(), ids, "what was given out, and no more");
    }
    ((ids, logprobs, text.finish_reason(), text.slides(), error), text.passes())
}

/// Knows the text that is to come, and spoils each token with some probability.
struct Oracle {
    text: Vec<TokenId>,
    right: f64,
    random: Uniform,
    cost: f64,
}

impl Oracle {
    fn new(prompt: &[TokenId], ids: &[TokenId], right: f64) -> Self {
        Self { text: [prompt, ids].concat(), right, random: Uniform::new(3), cost: 0.0 }
    }
}

impl Draft for Oracle {
    fn guess(&mut self, text: View<'_>, most: usize, _: &mut Uniform) -> Guess {
        let next = self.text.iter().skip(text.ids.len()).chain(&[0; 99]).take(most);
        let spoilt =
            |id: &TokenId| if self.random.draw() < self.right { *id } else { (*id + 1) % V as TokenId };
        Guess { ids: next.map(spoilt).collect(), q: None }
    }
    fn prepare(&mut self, _: View<'_>) {}
    fn cost(&self, _: &Gpt2) -> f64 {
        self.cost
    }
}

fn greedy(max_new_tokens: usize) -> Options {
    Options { max_new_tokens, ignore_eos: true, ..Options::default() }
}

/// Prompt lookup, other models, the model itself, oracles: all against the plain text, `most` tokens at a time.
fn compare(model: &Gpt2, prompt: &[TokenId], options: &Options, most: usize, drafts: &[Gpt2]) {
    let truth = plain(model, prompt, options);
    let lookup = speculative(model, prompt, options, PromptLookup::default(), most).0;
    assert_eq!(lookup, truth, "prompt lookup");
    for right in [0.0, 0.7, 1.0] {
        let oracle = Oracle::new(prompt, &truth.0, right);
        assert_eq!(speculative(model, prompt, options, oracle, most).0, truth, "an oracle, right {right}");
    }
    if options.sampling.is_some() {
        return; // a draft that draws gives another text of the same law
    }
    for (i, draft) in drafts.iter().chain([model]).enumerate() {
        let draft = DraftModel::new(draft, model).expect("a vocabulary shared");
        assert_eq!(speculative(model, prompt, options, draft, most).0, truth, "draft model {i}");
    }
}

#[test]
fn the_bits_are_those_of_plain_decoding() {
    let others = [fixture("f16"), near(&fixture("base"))];
    let prompts: [Vec<TokenId>; 4] =
        [vec![5], vec![1, 2, 3, 1, 2], (0..64).map(|i| i * 7 % 211).collect(), (0..150).collect()];
    for name in ["base", "bf16", "f16"] {
        let model = fixture(name);
        let drafts = [&others[..], &[model.quantize()]].concat();
        for prompt in &prompts {
            for most in [0, 1, 4, usize::MAX] {
                compare(&model, prompt, &greedy(150), most, &drafts);
            }
        }
    }
}

#[test]
fn sampled_bits_are_those_of_plain_decoding_where_the_draft_does_not_draw() {
    let model = fixture("base");
    for seed in 0..6 {
        let sampling = Sampling { temperature: 0.3, ..Sampling::with_seed(seed) };
        compare(&model, &[7, 8], &Options { sampling: Some(sampling), ..greedy(150) }, 6, &[]);
    }
}

#[test]
fn the_end_may_be_guessed() {
    let mut model = fixture("base");
    let ids = plain(&model, &[5, 6], &greedy(60)).0;
    for at in [0, 1, 7, 30] {
        model.config.eos_token_ids = vec![ids[at]];
        for max_new_tokens in [1, 2, 5, 60] {
            let options = Options { max_new_tokens, ..Options::default() };
            for processors in [
                Processors::default(),
                Processors { min_new_tokens: max_new_tokens.min(9), ..Processors::default() },
                Processors { repetition_penalty: 1.3, no_repeat_ngram_size: 3, ..Processors::default() },
            ] {
                let options = Options { processors, ..options.clone() };
                compare(&model, &[5, 6], &options, 5, &[fixture("f16")]);
            }
        }
    }
    let ended = plain(&model, &[5, 6], &Options { max_new_tokens: 60, ..Options::default() });
    assert_eq!(ended.2, Some(FinishReason::Eos), "the last of them ends early");
}

#[test]
fn positions_end_as_in_plain_decoding() {
    let model = fixture("base");
    for context_policy in ContextPolicy::ALL {
        for prompt in [1, 50, 62, 63, 64] {
            let prompt: Vec<TokenId> = (0..prompt).map(|i| i % 3).collect();
            let options = Options { context_policy, ..greedy(100) };
            compare(&model, &prompt, &options, 9, &[tiny(1, 7, Dtype::F32)]);
        }
    }
}

#[test]
fn a_draft_may_have_few_positions_or_many() {
    let model = fixture("base");
    let drafts = [1, 2, 3, 16, 63, 64, 65, 300].map(|n| tiny(1, n, Dtype::F32));
    compare(&model, &[9; 3], &greedy(150), 7, &drafts);
    let other = tiny(1, 1, Dtype::F32); // a model with a single position slides at every token
    compare(&other, &[9; 3], &greedy(20), 7, &drafts);
}

#[test]
fn a_finish_from_outside_counts_at_once() {
    let model = fixture("base");
    let ids = plain(&model, &[5], &greedy(30)).0;
    let text = Generation::new(&model, &[5], greedy(30)).expect("a prompt");
    let mut text = Speculation::new(text, Oracle::new(&[5], &ids, 1.0), 9);
    text.by_ref().take(11).for_each(|chosen| assert!(chosen.is_ok()));
    assert_eq!(text.finish_reason(), None);
    text.finish(FinishReason::Stop);
    assert!(text.next().is_none());
    assert_eq!((text.new_ids(), text.finish_reason()), (&ids[..11], Some(FinishReason::Stop)));
}

#[test]
fn errors_come_where_plain_decoding_has_them() {
    let mut model = tiny(1, 32, Dtype::F32);
    model.ln_f.weight.fill(f32::NAN);
    let (truth, sound) = (plain(&model, &[1], &greedy(9)), tiny(2, 32, Dtype::F32));
    assert!(truth.4.as_ref().is_some_and(|e| e.contains("damaged")));
    compare(&model, &[1], &greedy(9), 4, std::slice::from_ref(&sound));
    compare(&sound, &[1], &greedy(40), 4, std::slice::from_ref(&model)); // the draft is the damaged one
    let draft = DraftModel::new(&model, &sound).expect("a vocabulary shared");
    let options = Options { sampling: Some(Sampling::plain(1)), ..greedy(40) };
    let (written, passes) = speculative(&sound, &[1], &options, draft, 4);
    assert_eq!((written.0.len(), written.4, passes.drafted), (40, None, 0));
    // each token once: after 210 none is left
    let once = Processors { no_repeat_ngram_size: 1, ..Processors::default() };
    compare(&sound, &[1], &Options { processors: once, ..greedy(300) }, 4, &[tiny(1, 9, Dtype::F32)]);
}

#[test]
fn right_guesses_save_passes_and_wrong_ones_cost_few_rows() {
    let model = fixture("base");
    let ids = plain(&model, &[5], &greedy(200)).0;
    let run = |right, cost| {
        let oracle = Oracle { cost, ..Oracle::new(&[5], &ids, right) };
        speculative(&model, &[5], &greedy(200), oracle, 15).1
    };
    let right = run(1.0, 0.3);
    assert_eq!(right.accepted, right.drafted);
    assert_eq!(right.tokens, 200);
    assert!(right.tokens_per_pass() > 6.0, "{right:?}");
    let wrong = run(0.0, 0.3);
    assert_eq!((wrong.accepted, wrong.passes), (0, 200));
    assert!(wrong.drafted < 20, "{wrong:?}");
    assert_eq!(run(1.0, 0.3), right, "no clock decides");
}

#[test]
fn vocabularies_must_be_shared() {
    let (model, mut other) = (fixture("base"), fixture("base"));
    other.config.vocab_size = 210;
    let error = DraftModel::new(&other, &model).expect_err("another vocabulary").to_string();
    assert!(error.contains("210") && error.contains("211"), "{error}");
}

#[test]
fn forks_are_runs_of_their_own_stream() {
    let model = fixture("base");
    let small = near(&model);
    let options = |stream| {
        let sampling = Sampling { stream, ..Sampling::with_seed(4) };
        Options { sampling: Some(sampling), ..greedy(30) }
    };
    let begin = |stream| {
        let text = Generation::new(&model, &[1, 2, 3], options(stream)).expect("a prompt");
        Speculation::new(text, DraftModel::new(&small, &model).expect("a vocabulary shared"), 4)
    };
    let ids = |text: Speculation<'_, _>| text.map(|c| c.expect("a token").id).collect::<Vec<_>>();
    let mut base = begin(0);
    base.prefill();
    let texts = [0, 1, 2].map(|stream| ids(base.fork(stream)));
    assert_eq!(texts, [0, 1, 2].map(|stream| ids(begin(stream))));
    assert_ne!(texts[0], texts[1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..properties::config() })]
    /// Any small checkpoint, prompt, options and draft.
    #[test]
    fn greedy_is_exact(
        shape in (1..3usize, 2..40usize, 0..3usize),
        drafts in (1..3usize, 1..50usize),
        prompt in prop::collection::vec(0..V as TokenId, 1..50),
        most in 0..20usize, max_new_tokens in 0..60usize,
        penalty in prop::option::of(0.5..2.0f32), ngram in 0..4usize,
    ) {
        let dtype = [Dtype::F32, Dtype::Bf16, Dtype::F16][shape.2];
        let model = tiny(shape.0, shape.1, dtype);
        let processors = Processors {
            repetition_penalty: penalty.unwrap_or(1.0), no_repeat_ngram_size: ngram, ..Processors::default()
        };
        let options = Options { max_new_tokens, processors, ..Options::default() };
        compare(&model, &prompt, &options, most, &[tiny(drafts.0, drafts.1, Dtype::F32)]);
    }
}

// ---- the law of sampled texts

/// Every text of `options.max_new_tokens` tokens after `prompt`, with its probability.
fn law(model: &Gpt2, prompt: &[TokenId], options: &Options) -> BTreeMap<Vec<TokenId>, f64> {
    let mut texts = BTreeMap::from([(Vec::new(), 1.0)]);
    for _ in 0..options.max_new_tokens {
        let mut longer = BTreeMap::new();
        for (text, probability) in texts {
            let ids = [prompt, &text].concat();
            let mut p = model.next_logits(&ids, &mut KvCache::new(&model.config), &mut NoTrace);
            let history = History { ids: &ids, prompt_len: prompt.len(), eos: &[] };
            options.processors.apply(&history, p.row_mut(0), &mut NoWatch);
            options.sampling.as_ref().expect("sampling").distribution(p.row_mut(0));
            for (id, p) in p.row(0).iter().enumerate().filter(|(_, p)| **p > 0.0) {
                longer.insert([&text[..], &[id as TokenId]].concat(), probability * f64::from(*p));
            }
        }
        texts = longer;
    }
    texts
}

/// How far counts are from a law: chi-square over its limit, which counts of that law exceed once in a million times.
/// Outcomes that are expected less than eight times are taken together.
fn misfit<T: Ord + std::fmt::Debug>(counts: &BTreeMap<T, usize>, law: &BTreeMap<T, f64>) -> f64 {
    assert!(counts.keys().all(|outcome| law.contains_key(outcome)), "an outcome that cannot be");
    let n: usize = counts.values().sum();
    let (mut chi_square, mut cells, mut rare) = (0.0, 0, (0.0, 0.0));
    let mut add = |count: f64, expected: f64| {
        chi_square += (count - expected).powi(2) / expected;
        cells += 1;
    };
    for (outcome, probability) in law {
        let (count, expected) = (counts.get(outcome).copied().unwrap_or(0) as f64, probability * n as f64);
        if expected >= 8.0 { add(count, expected) } else { rare = (rare.0 + count, rare.1 + expected) }
    }
    if rare.1 >= 8.0 {
        add(rare.0, rare.1);
    }
    assert!(cells >= 4, "{cells} cells show nothing");
    // the quantile of Wilson and Hilferty (1931); 4.75 is the normal one
    let d = f64::from(cells - 1);
    chi_square / (d * (1.0 - 2.0 / (9.0 * d) + 4.75 * (2.0 / (9.0 * d)).sqrt()).powi(3))
}

/// Another draft, as if it were free: so that it guesses far.
#[derive(Clone)]
struct Free<D>(D);

impl<D: Draft> Draft for Free<D> {
    fn guess(&mut self, text: View<'_>, most: usize, uniform: &mut Uniform) -> Guess {
        self.0.guess(text, most, uniform)
    }
    fn prepare(&mut self, text: View<'_>) {
        self.0.prepare(text);
    }
    fn cost(&self, _: &Gpt2) -> f64 {
        0.0
    }
}

/// Draws from another law than its own model would, and says from which.
#[derive(Clone)]
struct Stranger<D> {
    draft: D,
    honest: bool,
}

impl<D: Draft> Draft for Stranger<D> {
    fn guess(&mut self, text: View<'_>, most: usize, uniform: &mut Uniform) -> Guess {
        let mut guess = self.draft.guess(text, most, uniform);
        let q = guess.q.as_mut().expect("a draft that draws");
        for (k, guessed) in guess.ids.iter_mut().enumerate() {
            let truth = q.row(k).to_vec();
            for (id, q) in q.row_mut(k).iter_mut().enumerate().filter(|(_, q)| **q > 0.0) {
                *q = (id * 31 % 7) as f32 + 0.5;
            }
            *guessed = draw(q.row(k), uniform.draw()).expect("a token");
            if !self.honest {
                q.row_mut(k).copy_from_slice(&truth);
            }
        }
        guess
    }
    fn prepare(&mut self, text: View<'_>) {
        self.draft.prepare(text);
    }
    fn cost(&self, _: &Gpt2) -> f64 {
        0.0
    }
}

/// The misfit of `n` texts written with a draft, and the passes they took.
///
/// On one thread: for models this small, sharing the work out takes longer than doing it.
fn misfit_with<D: Draft + Clone + Sync>(model: &Gpt2, options: &Options, draft: &D) -> (f64, Passes) {
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    thread.install(|| sample(model, options, draft, 4000))
}

fn sample<D: Draft + Clone>(model: &Gpt2, options: &Options, draft: &D, n: u64) -> (f64, Passes) {
    const PROMPT: [TokenId; 3] = [5, 9, 5];
    let law = law(model, &PROMPT, options);
    let (mut counts, mut all) = (BTreeMap::new(), Passes::default());
    let text = Generation::new(model, &PROMPT, options.clone()).expect("a prompt");
    let mut text = Speculation::new(text, draft.clone(), 4);
    text.prefill();
    for stream in 0..n {
        let mut text = text.fork(stream);
        let ids: Vec<TokenId> = text.by_ref().map(|c| c.expect("a token").id).collect();
        *counts.entry(ids).or_default() += 1;
        all.passes += text.passes().passes;
        all.tokens += text.passes().tokens;
        all.drafted += text.passes().drafted;
        all.accepted += text.passes().accepted;
    }
    (misfit(&counts, &law), all)
}

/// Options under which four tokens have some 200 outcomes.
fn narrow(temperature: f32) -> Options {
    let sampling = Sampling { temperature, top_k: Some(4), top_p: Some(0.95), ..Sampling::plain(11) };
    let processors = Processors { repetition_penalty: 1.2, ..Processors::default() };
    Options { sampling: Some(sampling), processors, ..greedy(4) }
}

#[test]
fn the_law_of_a_text_is_the_models_own() {
    let model = fixture("base");
    let int8 = ("its int8 copy", model.quantize());
    let drafts = [("itself", model.clone()), int8, ("near", near(&model)), ("another", fixture("f16"))];
    for temperature in [0.7, 1.5] {
        for (name, draft) in &drafts {
            let draft = Free(DraftModel::new(draft, &model).expect("a vocabulary shared"));
            let (misfit, passes) = misfit_with(&model, &narrow(temperature), &draft);
            println!("{name}, temperature {temperature}: {misfit:.2} of the limit, {passes:?}");
            assert!(misfit < 1.0, "{name}: {misfit}");
            assert!(passes.drafted > 3000, "{passes:?}");
        }
        let (misfit, passes) = misfit_with(&model, &narrow(temperature), &PromptLookup::default());
        println!("prompt lookup, temperature {temperature}: {misfit:.2} of the limit, {passes:?}");
        assert!(misfit < 1.0 && passes.drafted > 3000, "{misfit}, {passes:?}");
    }
}

#[test]
fn the_law_does_not_depend_on_the_drafts_and_the_test_sees_it_if_it_does() {
    let model = fixture("base");
    let draft = DraftModel::new(&model, &model).expect("a vocabulary shared");
    for honest in [true, false] {
        let stranger = Stranger { draft: draft.clone(), honest };
        let (misfit, passes) = misfit_with(&model, &narrow(1.5), &stranger);
        println!("a stranger, honest: {honest}: {misfit:.2} of the limit, {passes:?}");
        assert!(passes.accepted > 1000, "{passes:?}");
        assert!(if honest { misfit < 1.0 } else { misfit > 2.0 }, "{misfit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..properties::config() })]
    /// The rule alone: any two laws over eight tokens, 40,000 draws.
    #[test]
    fn accepted_or_not_a_token_has_law_p(
        p in prop::array::uniform8(0..9u8), q in prop::array::uniform8(0..9u8), seed in any::<u64>(),
    ) {
        let [p, q] = [p, q].map(|x| x.map(f32::from));
        prop_assume!(p.iter().filter(|p| **p > 0.0).count() > 4 && q.iter().any(|q| *q > 0.0));
        let (mut uniform, mut counts) = (Uniform::new(seed), BTreeMap::new());
        for _ in 0..40_000 {
            let guess = draw(&q, uniform.draw()).expect("a token");
            let id = accept(&mut p.clone(), &q, guess, &mut uniform).expect("a token");
            *counts.entry(id).or_default() += 1;
        }
        let whole: f32 = p.iter().sum();
        let law = (0..8).filter(|i| p[*i as usize] > 0.0).map(|i| (i, f64::from(p[i as usize] / whole))).collect();
        let misfit = misfit(&counts, &law);
        prop_assert!(misfit < 1.0, "{}", misfit);
    }
}

#[test]
fn nothing_is_drawn_from_nothing() {
    let mut uniform = Uniform::new(1);
    assert_eq!(accept(&mut [0.0; 3], &[0.0, 1.0, 0.0], 1, &mut uniform), None);
    assert_eq!(accept(&mut [0.0, 0.0, 2.0], &[0.0, 1.0, 0.0], 1, &mut uniform), Some(2));
    for _ in 0..100 {
        assert_eq!(accept(&mut [0.25, 0.75], &[1.0, 3.0], 1, &mut uniform), Some(1), "the same law");
        assert!(accept(&mut [f32::NAN, 0.5], &[1.0, f32::NAN], 0, &mut uniform).is_some());
    }
}
