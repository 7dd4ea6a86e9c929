//! From logits to the next token, as it is written down: every step by a loop or a full sort over the vocabulary.
//!
//! Scores are f32; sums run in f64. Nothing here is shared with the crate but `exp` and `ln`.

use gpt2::config::TokenId;
use gpt2::generate::Options;
use gpt2::math::{exp, ln};

const GONE: f32 = f32::NEG_INFINITY;

/// The text so far.
#[derive(Clone, Copy)]
pub struct History<'a> {
    pub ids: &'a [TokenId],
    pub prompt_len: usize,
    pub eos: &'a [TokenId],
}

/// logits `[V]` -> the next id; `u` is used only if the options sample. `None` if no token is left.
pub fn choose(logits: &[f32], o: &Options, history: History<'_>, u: f64) -> Option<TokenId> {
    let mut x = logits.to_vec();
    process(&mut x, o, history);
    if !o.sample {
        return argmax(&x);
    }
    warp(&mut x, o);
    draw(&softmax(&x), u)
}

/// The steps of every way to decode.
pub fn process(x: &mut [f32], o: &Options, history: History<'_>) {
    let History { ids, prompt_len, eos } = history;
    let v = x.len() as TokenId;
    for (id, bias) in &o.logit_bias {
        x[*id as usize] += bias;
    }
    for id in (0..v).filter(|id| ids.contains(id)) {
        let (s, r) = (x[id as usize], o.repetition_penalty);
        x[id as usize] = if s < 0.0 { s * r } else { s / r };
    }
    for id in (0..v).filter(|id| ids.contains(id)) {
        let count = ids.iter().filter(|other| **other == id).count() as f32;
        x[id as usize] = x[id as usize] - count * o.frequency_penalty - o.presence_penalty;
    }
    let n = o.no_repeat_ngram_size;
    for id in 0..v {
        let whole = [ids, &[id]].concat();
        let gram = &whole[whole.len().saturating_sub(n)..];
        if n > 0 && ids.windows(n).any(|earlier| earlier == gram) {
            x[id as usize] = GONE;
        }
        if o.bad_words.iter().any(|word| whole.ends_with(word) && !(word.len() == 1 && eos.contains(&id))) {
            x[id as usize] = GONE;
        }
        if ids.len() - prompt_len < o.min_new_tokens && eos.contains(&id) {
            x[id as usize] = GONE;
        }
    }
}

/// The steps of sampling.
fn warp(x: &mut [f32], o: &Options) {
    let most = largest(x);
    if most.is_finite() && !(most / o.temperature).is_finite() {
        x.iter_mut().for_each(|x| *x -= most);
    }
    x.iter_mut().for_each(|x| *x /= o.temperature);
    if let Some(k) = o.top_k.filter(|k| (1..=x.len()).contains(k)) {
        let mut sorted = x.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        keep(x, |x, _| x >= sorted[k - 1]);
    }
    if let Some(p) = o.top_p.filter(|p| *p < 1.0) {
        let probabilities = softmax(x);
        let ascending = sorted_by(x);
        let mut sum = 0.0;
        for id in &ascending[..x.len() - 1] {
            sum += f64::from(probabilities[*id]);
            if sum as f32 <= (1.0 - p) as f32 {
                x[*id] = GONE;
            }
        }
    }
    if let Some(min_p) = o.min_p {
        let limit = min_p as f32 * largest(&softmax(x));
        drop_below(x, limit);
    }
    if let Some(mass) = o.typical_p.filter(|mass| *mass < 1.0) {
        typical(x, mass);
    }
    if let Some(epsilon) = o.epsilon_cutoff {
        drop_below(x, epsilon as f32);
    }
    if let Some(epsilon) = o.eta_cutoff.map(|epsilon| epsilon as f32) {
        let h = entropy(&log_softmax(x));
        drop_below(x, epsilon.min(epsilon.sqrt() * exp(-h)));
    }
}

/// Keeps the smallest distances to the entropy until the mass is reached, and all that are no farther than the last.
fn typical(x: &mut [f32], mass: f64) {
    let (p, logs) = (softmax(x), log_softmax(x));
    let h = entropy(&logs);
    let distance: Vec<f32> = logs.iter().map(|log| (-log - h).abs()).collect();
    let mut sum = 0.0;
    for id in sorted_by(&distance) {
        sum += f64::from(p[id]);
        if sum as f32 >= mass as f32 {
            let limit = distance[id];
            return keep(x, |_, i| distance[i] <= limit);
        }
    }
}

/// Drops what is less likely than `limit`, but never the most likely token.
fn drop_below(x: &mut [f32], limit: f32) {
    let (p, most) = (softmax(x), largest(x));
    keep(x, |x, i| p[i] >= limit || x == most);
}

fn keep(x: &mut [f32], kept: impl Fn(f32, usize) -> bool) {
    for i in 0..x.len() {
        x[i] = if kept(x[i], i) { x[i] } else { GONE };
    }
}

/// The indices in ascending order of the numbers; among equals, the lowest first.
fn sorted_by(x: &[f32]) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..x.len()).collect();
    ids.sort_by(|a, b| x[*a].partial_cmp(&x[*b]).unwrap_or(std::cmp::Ordering::Equal)); // stable
    ids
}

/// The highest score, and on a tie the lowest id; `None` if no score is above -inf.
pub fn argmax(x: &[f32]) -> Option<TokenId> {
    (0..x.len()).find(|i| x[*i] > GONE && x[*i] == largest(x)).map(|i| i as TokenId)
}

/// The first id at which the running sum exceeds `u` times the whole.
fn draw(p: &[f32], u: f64) -> Option<TokenId> {
    let running = |i: usize| p[..=i].iter().map(|p| f64::from(*p)).sum::<f64>();
    let last = p.iter().rposition(|p| *p > 0.0)?;
    let crosses = (0..p.len()).find(|i| running(*i) > u * running(last));
    Some(crosses.unwrap_or(last) as TokenId)
}

fn largest(x: &[f32]) -> f32 {
    x.iter().copied().fold(GONE, f32::max)
}

/// In the order that [`gpt2::arithmetic`] fixes: sixteen sums in turn, which then fold in halves.
fn sum(x: impl IntoIterator<Item = f32>) -> f64 {
    let mut sums = [0.0; 16];
    x.into_iter().enumerate().for_each(|(i, x)| sums[i % 16] += f64::from(x));
    for width in [8, 4, 2, 1] {
        (0..width).for_each(|i| sums[i] += sums[i + width]);
    }
    sums[0]
}

fn softmax(x: &[f32]) -> Vec<f32> {
    let most = largest(x);
    if most == GONE {
        return vec![0.0; x.len()];
    }
    let whole = sum(x.iter().map(|x| exp(x - most))) as f32;
    x.iter().map(|x| exp(x - most) / whole).collect()
}

/// The logarithm of the sum of e^(x - max).
fn log_sum(x: &[f32]) -> f64 {
    ln(sum(x.iter().map(|y| exp(y - largest(x)))))
}

/// Log-probabilities, in f32.
pub fn log_softmax(x: &[f32]) -> Vec<f32> {
    let (most, log_sum) = (largest(x), log_sum(x) as f32);
    x.iter().map(|x| if most == GONE { *x } else { x - most - log_sum }).collect()
}

/// The log-probability of one token, in f64.
pub fn logprob(x: &[f32], id: TokenId) -> f64 {
    f64::from(x[id as usize]) - f64::from(largest(x)) - log_sum(x)
}

/// -sum(p ln p), in nats.
fn entropy(logs: &[f32]) -> f32 {
    -sum(logs.iter().map(|log| if *log > GONE { exp(*log) * log } else { 0.0 })) as f32
}
