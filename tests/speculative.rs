//! Speculative decoding gives the same bits as plain decoding, greedy and sampled.

use gpt2::bpe::TokenId;
use gpt2::checkpoint::{self, random};
use gpt2::config::Config;
use gpt2::generate::{ContextPolicy, FinishReason, Generation, Options, Passes, Rejection, View};
use gpt2::kv_cache::KvCache;
use gpt2::model::Gpt2;
use gpt2::sampling::{History, Sampler, Uniform, draw};
use gpt2::search::draft::{DraftModel, Guesser, Paced, PromptLookup};
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

/// A model with nearly the same outputs as `model`.
fn near(model: &Gpt2) -> Gpt2 {
    let mut near = model.clone();
    let mut uniform = Uniform::new(0);
    near.ln_f.weight.iter_mut().for_each(|w| *w *= 0.9);
    near.ln_f.bias.iter_mut().for_each(|b| *b += (uniform.draw() - 0.5) as f32);
    near
}

/// A random checkpoint with the same vocabulary size.
fn tiny(n_layer: usize, n_positions: usize, dtype: Dtype) -> Gpt2 {
    let json = format!(
        r#"{{"n_layer":{n_layer},"n_head":2,"n_embd":16,"n_positions":{n_positions},"vocab_size":{V},"eos_token_id":210}}"#
    );
    random::random(Config::from_json(json.as_bytes()).expect("a configuration"), dtype)
}

/// A whole text: ids, bits of the log-probabilities, finish reason, number of slides, error.
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

fn speculative<'m, G: Guesser + 'm>(
    model: &'m Gpt2,
    prompt: &[TokenId],
    options: &Options,
    draft: G,
    most: usize,
) -> (Written, Passes) {
    let text = Generation::new(model, prompt, options.clone()).expect("a prompt");
    let mut text = text.with_draft(Paced::new(draft, model, most));
    let (mut ids, mut logprobs, mut error) = (Vec::new(), Vec::new(), None);
    while let Some(chosen) = text.next() {
        match chosen {
            Ok(chosen) => {
                ids.push(chosen.id);
                logprobs.push(chosen.logprob.to_bits());
            }
            Err(e) => error = Some(e.to_string()),
        }
        assert_eq!(text.new_ids(), ids, "exactly the tokens returned so far");
    }
    ((ids, logprobs, text.finish_reason(), text.slides(), error), text.passes().expect("a draft"))
}

/// Knows the text to come, and guesses each token right with probability `right`.
#[derive(Clone)]
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

impl Guesser for Oracle {
    fn guess(&mut self, text: &View<'_>, most: usize) -> Vec<TokenId> {
        let next = self.text.iter().skip(text.ids.len()).chain(&[0; 99]).take(most);
        let spoilt =
            |id: &TokenId| if self.random.draw() < self.right { *id } else { (*id + 1) % V as TokenId };
        next.map(spoilt).collect()
    }
    fn prepare(&mut self, _: &View<'_>) {}
    fn cost(&self, _: &Gpt2) -> f64 {
        self.cost
    }
}

fn greedy(max_new_tokens: usize) -> Options {
    Options::default().max_new_tokens(max_new_tokens).ignore_eos(true)
}

/// Compares prompt lookup, oracles, other models and the model itself, with up to `most` guesses, to the plain text.
fn compare(model: &Gpt2, prompt: &[TokenId], options: &Options, most: usize, drafts: &[Gpt2]) {
    let truth = plain(model, prompt, options);
    let lookup = speculative(model, prompt, options, PromptLookup::default(), most).0;
    assert_eq!(lookup, truth, "prompt lookup");
    for right in [0.0, 0.7, 1.0] {
        let oracle = Oracle::new(prompt, &truth.0, right);
        assert_eq!(speculative(model, prompt, options, oracle, most).0, truth, "an oracle, right {right}");
    }
    for (i, draft) in drafts.iter().chain([model]).enumerate() {
        let draft = DraftModel::new(draft, model).expect("a shared vocabulary");
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

/// A seed gives the same text without a draft and with lookup, an oracle, other models, the model's int8 copy and the
/// model itself.
#[test]
fn sampled_bits_are_those_of_plain_decoding() {
    let model = fixture("base");
    let drafts = [fixture("f16"), near(&model), model.quantize()];
    for seed in 0..10 {
        for temperature in [0.3, 1.0] {
            let options =
                Options::sampled(seed).temperature(temperature).max_new_tokens(150).ignore_eos(true);
            compare(&model, &[7, 8], &options, 6, &drafts);
        }
    }
}

/// The same for the bundled model, with a draft of its first blocks.
#[test]
fn a_seeds_text_does_not_change_with_the_draft() {
    let lm = checkpoint::bundled();
    let prompt = lm.bpe.encode("The king had three sons, and the eldest of them");
    for seed in 0..10 {
        let options = Options::sampled(seed).max_new_tokens(40).ignore_eos(true);
        compare(&lm.model, &prompt, &options, 8, &[beginning(&lm.model), lm.model.quantize()]);
    }
}

/// The first three blocks of a model: a small draft with the same vocabulary.
fn beginning(model: &Gpt2) -> Gpt2 {
    let mut small = model.clone();
    small.h.truncate(3);
    small.config.n_layer = 3;
    small
}

#[test]
fn the_end_may_be_guessed() {
    let mut model = fixture("base");
    let ids = plain(&model, &[5, 6], &greedy(60)).0;
    for at in [0, 1, 7, 30] {
        model.config.eos_token_ids = vec![ids[at]];
        for max_new_tokens in [1, 2, 5, 60] {
            let plain = || Options::default().max_new_tokens(max_new_tokens);
            for options in [
                plain(),
                plain().min_new_tokens(max_new_tokens.min(9)),
                plain().repetition_penalty(1.3).no_repeat_ngram_size(3),
            ] {
                compare(&model, &[5, 6], &options, 5, &[fixture("f16")]);
            }
        }
    }
    let ended = plain(&model, &[5, 6], &Options::default().max_new_tokens(60));
    assert_eq!(ended.2, Some(FinishReason::Eos), "the last of them ends early");
}

#[test]
fn positions_end_as_in_plain_decoding() {
    let model = fixture("base");
    for context_policy in ContextPolicy::ALL {
        for prompt in [1, 50, 62, 63, 64] {
            let prompt: Vec<TokenId> = (0..prompt).map(|i| i % 3).collect();
            let options = greedy(100).context_policy(context_policy);
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
    let draft = Paced::new(Oracle::new(&[5], &ids, 1.0), &model, 9);
    let mut text = Generation::new(&model, &[5], greedy(30)).expect("a prompt").with_draft(draft);
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
    let draft = DraftModel::new(&model, &sound).expect("a shared vocabulary");
    let options = greedy(40).sample(true).seed(1);
    let (written, passes) = speculative(&sound, &[1], &options, draft, 4);
    assert_eq!((written.0.len(), written.4, passes.drafted), (40, None, 0));
    // each token may occur once: after 210 none is left
    let once = greedy(300).no_repeat_ngram_size(1);
    compare(&sound, &[1], &once, 4, &[tiny(1, 9, Dtype::F32)]);
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
    assert_eq!(run(1.0, 0.3), right, "the result does not depend on time");
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
    let options = |stream| Options::sampled(4).stream(stream).max_new_tokens(30).ignore_eos(true);
    let begin = |stream| {
        let draft = DraftModel::new(&small, &model).expect("a shared vocabulary");
        let text = Generation::new(&model, &[1, 2, 3], options(stream)).expect("a prompt");
        text.with_draft(Paced::new(draft, &model, 4))
    };
    let ids = |text: Generation<'_>| text.map(|c| c.expect("a token").id).collect::<Vec<_>>();
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
        let options = Options::default()
            .repetition_penalty(penalty.unwrap_or(1.0)).no_repeat_ngram_size(ngram).max_new_tokens(max_new_tokens);
        compare(&model, &prompt, &options, most, &[tiny(drafts.0, drafts.1, Dtype::F32)]);
    }
}

// ---- the distribution of sampled texts

/// Every text of `options.max_new_tokens` tokens after `prompt`, with its probability.
fn text_distribution(model: &Gpt2, prompt: &[TokenId], options: &Options) -> BTreeMap<Vec<TokenId>, f64> {
    let mut texts = BTreeMap::from([(Vec::new(), 1.0)]);
    for _ in 0..options.max_new_tokens {
        let mut longer = BTreeMap::new();
        for (text, probability) in texts {
            let ids = [prompt, &text].concat();
            let mut p = model.next_logits(&ids, &mut model.new_cache(), &mut NoTrace);
            let history = History { ids: &ids, prompt_len: prompt.len(), eos: &[] };
            options.distribution(p.row_mut(0), &history);
            for (id, p) in p.row(0).iter().enumerate().filter(|(_, p)| **p > 0.0) {
                longer.insert([&text[..], &[id as TokenId]].concat(), probability * f64::from(*p));
            }
        }
        texts = longer;
    }
    texts
}

/// How far counts are from a distribution: chi-square divided by its limit. Counts drawn from that distribution exceed
/// the limit once in a million times. Outcomes with fewer than eight expected counts are pooled.
fn misfit<T: Ord + std::fmt::Debug>(counts: &BTreeMap<T, usize>, distribution: &BTreeMap<T, f64>) -> f64 {
    assert!(counts.keys().all(|outcome| distribution.contains_key(outcome)), "an impossible outcome");
    let n: usize = counts.values().sum();
    let (mut chi_square, mut cells, mut rare) = (0.0, 0, (0.0, 0.0));
    let mut add = |count: f64, expected: f64| {
        chi_square += (count - expected).powi(2) / expected;
        cells += 1;
    };
    for (outcome, probability) in distribution {
        let (count, expected) = (counts.get(outcome).copied().unwrap_or(0) as f64, probability * n as f64);
        if expected >= 8.0 { add(count, expected) } else { rare = (rare.0 + count, rare.1 + expected) }
    }
    if rare.1 >= 8.0 {
        add(rare.0, rare.1);
    }
    assert!(cells >= 4, "{cells} cells are too few");
    // the chi-square quantile by Wilson and Hilferty (1931); 4.75 is the normal quantile
    let d = f64::from(cells - 1);
    chi_square / (d * (1.0 - 2.0 / (9.0 * d) + 4.75 * (2.0 / (9.0 * d)).sqrt()).powi(3))
}

/// Another draft at no cost, so that it always makes many guesses.
#[derive(Clone)]
struct Free<D>(D);

impl<D: Guesser> Guesser for Free<D> {
    fn guess(&mut self, text: &View<'_>, most: usize) -> Vec<TokenId> {
        self.0.guess(text, most)
    }
    fn prepare(&mut self, text: &View<'_>) {
        self.0.prepare(text);
    }
    fn cost(&self, _: &Gpt2) -> f64 {
        0.0
    }
}

/// The misfit of 4,000 texts generated with a draft, by rejection or by shared numbers, and the passes they took.
///
/// On one thread: for models this small, distributing the work takes longer than doing it.
fn misfit_with<'m, D: Guesser + Sync + 'm>(
    model: &'m Gpt2,
    options: &Options,
    draft: D,
    rejection: bool,
) -> (f64, Passes) {
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    thread.install(|| sample(model, options, draft, rejection, 4000))
}

fn sample<'m, D: Guesser + 'm>(
    model: &'m Gpt2,
    options: &Options,
    draft: D,
    rejection: bool,
    n: u64,
) -> (f64, Passes) {
    const PROMPT: [TokenId; 3] = [5, 9, 5];
    let distribution = text_distribution(model, &PROMPT, options);
    let (mut counts, mut all) = (BTreeMap::new(), Passes::default());
    let text = Generation::new(model, &PROMPT, options.clone()).expect("a prompt");
    let mut text = text.with_draft(Paced::new(draft, model, 4)).with_rejection(rejection);
    text.prefill();
    for stream in 0..n {
        let mut text = text.fork(stream);
        let ids: Vec<TokenId> = text.by_ref().map(|c| c.expect("a token").id).collect();
        *counts.entry(ids).or_default() += 1;
        let passes = text.passes().expect("a draft");
        all.passes += passes.passes;
        all.tokens += passes.tokens;
        all.drafted += passes.drafted;
        all.accepted += passes.accepted;
    }
    (misfit(&counts, &distribution), all)
}

/// Options under which four tokens have about 200 outcomes.
fn narrow(temperature: f32) -> Options {
    let narrow = Options::plain(11).temperature(temperature).top_k(4).top_p(0.95).repetition_penalty(1.2);
    narrow.max_new_tokens(4).ignore_eos(true)
}

#[test]
fn the_distribution_of_a_text_is_the_models_own() {
    let model = fixture("base");
    let int8 = ("its int8 copy", model.quantize());
    let drafts = [("itself", model.clone()), int8, ("near", near(&model)), ("another", fixture("f16"))];
    for (temperature, rejection) in [(0.7, false), (1.5, false), (0.7, true), (1.5, true)] {
        for (name, draft) in &drafts {
            let draft = Free(DraftModel::new(draft, &model).expect("a shared vocabulary"));
            let (misfit, passes) = misfit_with(&model, &narrow(temperature), draft, rejection);
            println!("{name}, temperature {temperature}, {rejection}: {misfit:.2} of the limit, {passes:?}");
            assert!(misfit < 1.0, "{name}: {misfit}");
            assert!(passes.drafted > 3000, "{passes:?}");
        }
    }
    let (misfit, passes) = misfit_with(&model, &narrow(1.5), PromptLookup::default(), false);
    assert!(misfit < 1.0 && passes.drafted > 3000, "{misfit}, {passes:?}");
}

/// Draws from a distribution that is not its model's. It reports that distribution if `honest`, else its model's.
#[derive(Clone)]
struct Stranger<D> {
    draft: D,
    honest: bool,
    q: Vec<Vec<f32>>,
    uniform: Uniform,
}

impl<D: Guesser> Guesser for Stranger<D> {
    fn guess(&mut self, text: &View<'_>, most: usize) -> Vec<TokenId> {
        let mut guess = self.draft.guess(text, most);
        self.q.clear();
        for (k, guessed) in guess.iter_mut().enumerate() {
            let truth = self.draft.drawn_from(k).expect("a draft that draws").to_vec();
            let mut q = truth.clone();
            for (id, q) in q.iter_mut().enumerate().filter(|(_, q)| **q > 0.0) {
                *q = (id * 31 % 7) as f32 + 0.5;
            }
            *guessed = draw(&q, self.uniform.draw()).expect("a token");
            self.q.push(if self.honest { q } else { truth });
        }
        guess
    }
    fn drawn_from(&self, k: usize) -> Option<&[f32]> {
        self.q.get(k).map(Vec::as_slice)
    }
    fn prepare(&mut self, text: &View<'_>) {
        self.draft.prepare(text);
    }
    fn cost(&self, _: &Gpt2) -> f64 {
        0.0
    }
}

#[test]
fn the_distribution_does_not_depend_on_the_draft_and_the_test_would_notice() {
    let model = fixture("base");
    let draft = DraftModel::new(&model, &model).expect("a shared vocabulary");
    for honest in [true, false] {
        // all forks would start with the same numbers, so each text has a seed of its own
        let (mut counts, distribution) =
            (BTreeMap::new(), text_distribution(&model, &[5, 9, 5], &narrow(1.5)));
        let mut accepted = 0;
        for seed in 0..4000 {
            let (q, uniform) = (Vec::new(), Uniform::new(seed));
            let stranger = Stranger { draft: draft.clone(), honest, q, uniform };
            let text = Generation::new(&model, &[5, 9, 5], narrow(1.5).stream(seed)).expect("a prompt");
            let mut text = text.with_draft(Paced::new(stranger, &model, 4)).with_rejection(true);
            let ids: Vec<TokenId> = text.by_ref().map(|c| c.expect("a token").id).collect();
            *counts.entry(ids).or_default() += 1;
            accepted += text.passes().expect("a draft").accepted;
        }
        let misfit = misfit(&counts, &distribution);
        println!("a stranger, honest: {honest}: {misfit:.2} of the limit, {accepted} accepted");
        assert!(accepted > 1000, "{accepted}");
        assert!(if honest { misfit < 1.0 } else { misfit > 2.0 }, "{misfit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..properties::config() })]
    /// The rule alone: any two distributions over eight tokens, 40,000 draws.
    #[test]
    fn kept_or_not_a_token_has_distribution_p(
        p in prop::array::uniform8(0..9u8), q in prop::array::uniform8(0..9u8), seed in any::<u64>(),
    ) {
        let [p, q] = [p, q].map(|x| x.map(f32::from));
        prop_assume!(p.iter().filter(|p| **p > 0.0).count() > 4 && q.iter().any(|q| *q > 0.0));
        let (mut uniform, mut counts) = (Uniform::new(seed), BTreeMap::new());
        for _ in 0..40_000 {
            let guess = draw(&q, uniform.draw()).expect("a token");
            let rejection = Rejection { q: q.to_vec(), guess, v: uniform.draw() };
            let id = rejection.draw(&p, uniform.draw()).expect("a token");
            *counts.entry(id).or_default() += 1;
        }
        let whole: f32 = p.iter().sum();
        let possible = (0..8).filter(|i| p[*i as usize] > 0.0);
        let distribution = possible.map(|i| (i, f64::from(p[i as usize] / whole))).collect();
        let misfit = misfit(&counts, &distribution);
        prop_assert!(misfit < 1.0, "{}", misfit);
    }
}

#[test]
fn nothing_is_drawn_from_nothing() {
    let rule = |q: &[f32], v| Rejection { q: q.to_vec(), guess: 1, v };
    assert_eq!(rule(&[0.0, 1.0, 0.0], 0.3).draw(&[0.0; 3], 0.5), None);
    assert_eq!(rule(&[0.0, 1.0, 0.0], 0.3).draw(&[0.0, 0.0, 2.0], 0.5), Some(2));
    for i in 0..100 {
        let (u, v) = (f64::from(i) / 100.0, f64::from(99 - i) / 100.0);
        assert_eq!(rule(&[1.0, 3.0], v).draw(&[0.25, 0.75], u), Some(1), "the same distribution");
        assert!(rule(&[f32::NAN, 1.0], v).draw(&[0.5, f32::NAN], u).is_some());
    }
}

#[test]
fn a_text_from_another_distribution_is_noticed() {
    let model = fixture("base");
    let counts: BTreeMap<_, _> = text_distribution(&near(&model), &[5, 9, 5], &narrow(1.5))
        .into_iter()
        .map(|(text, p)| (text, (4000.0 * p).round() as usize))
        .collect();
    let distribution = text_distribution(&model, &[5, 9, 5], &narrow(1.5));
    let known = counts.into_iter().filter(|(text, _)| distribution.contains_key(text)).collect();
    assert!(misfit(&known, &distribution) > 2.0);
}

// ---- what sharing the random number costs

/// The share of guesses kept, averaged over the positions of a text: with shared numbers, and with rejection.
fn kept(model: &Gpt2, draft: &Gpt2, ids: &[TokenId], options: &Options) -> (f64, f64) {
    let logits = |model: &Gpt2| model.forward(ids, &mut KvCache::new(&model.config), &mut NoTrace);
    let (mut p, mut q) = (logits(model), logits(draft)); // [T, V]
    let (mut shared, mut most) = (0.0, 0.0);
    for t in 0..ids.len() {
        options.distribution(p.row_mut(t), &History::default());
        options.distribution(q.row_mut(t), &History::default());
        let (mut p_sum, mut q_sum) = (0.0, 0.0); // where the token's intervals begin
        for (p, q) in p.row(t).iter().zip(q.row(t)) {
            let (p, q) = (f64::from(*p), f64::from(*q));
            most += p.min(q);
            shared += ((p_sum + p).min(q_sum + q) - f64::max(p_sum, q_sum)).max(0.0);
            (p_sum, q_sum) = (p_sum + p, q_sum + q);
        }
    }
    (shared / ids.len() as f64, most / ids.len() as f64)
}

/// The table in the docs of `search::draft`.
#[test]
fn shared_numbers_keep_as_many_guesses_as_the_docs_say() {
    let lm = checkpoint::bundled();
    let options = Options::sampled(5);
    let ids = plain(&lm.model, &lm.bpe.encode("Once upon a time"), &options.clone().max_new_tokens(400)).0;
    let (int8, half) = (lm.model.quantize(), beginning(&lm.model));
    let plain = Options::plain(5);
    let mut table = String::new();
    for (name, draft) in [("the int8 copy", int8), ("the first three of its six blocks", half)] {
        for (how, options) in
            [("temperature 0.8, top-k 40", &options), ("temperature 1, nothing cut", &plain)]
        {
            let (shared, most) = kept(&lm.model, &draft, &ids, options);
            table += &format!("//! | {name} | {how} | {:.0}% | {:.0}% |\n", 100.0 * shared, 100.0 * most);
        }
    }
    let docs = include_str!("../src/search/draft/mod.rs");
    assert!(docs.contains(&table), "the docs should have\n{table}");
}
