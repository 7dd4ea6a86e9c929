//! Which token comes next?
//!
//! `next = draw(softmax(top_p(top_k(logits / T))))`, or, greedily, `argmax(logits)`
//!
//! ```text
//! x = logits / T
//! x[x < the k-th largest of x] = -inf                     # top-k
//! x[the least likely, together at most 1 - p] = -inf      # top-p
//! p = softmax(x)
//! u = uniform in [0, 1)
//! next = the first id at which the running sum of p exceeds u
//! ```
//!
//! The model gives a distribution; what is drawn becomes part of the text and conditions all that follows. A
//! single unlikely draw can lead a whole text astray, so the unlikely tail is cut before the draw. The rules are
//! those of HF `transformers` (`TopKLogitsWarper`, `TopPLogitsWarper`); top-p is from Holtzman et al.,
//! "The Curious Case of Neural Text Degeneration" (2019). Next: [`generate`](crate::generate).
//!
//! A learner may stop here. The rest of what changes scores, all off unless asked for:
//!
//! | module | what |
//! |---|---|
//! | [`processors`] | before sampling, also for greedy decoding and beams: [`Processors`] applies what follows |
//! | [`penalties`] | logit bias; repetition, presence and frequency penalties |
//! | [`bans`] | no repeated n-gram, bad words, no end before a least length |
//! | [`filters`] | further ways to cut the tail: min-p, typical-p, epsilon, eta |
//! | [`steps`] | the order of all of them, [`Step::ORDER`], and a way to look at each |
//! | [`explain`] | why this token: what each step did, the number drawn, the alternatives |

pub mod bans;
pub mod candidates;
pub mod explain;
pub mod filters;
pub mod penalties;
pub mod processors;
pub mod steps;

pub use candidates::Candidate;
pub use explain::Explanation;
pub use processors::{History, Processors};
pub use steps::{Choice, Effect, Effects, NoWatch, Step, Watch};

use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::math;
use crate::softmax::{softmax, temperature};
use crate::tensor::Matrix;
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};
use std::cell::Cell;
use steps::watched;

/// How the next token is chosen from the distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits: below 1 sharper, above 1 flatter.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keeps the most likely tokens that together reach this probability; `None` keeps all.
    pub top_p: Option<f64>,
    /// Drops what is less likely than this share of the likeliest: [`filters::min_p`].
    pub min_p: Option<f64>,
    /// Keeps the tokens nearest to the entropy, up to this mass: [`filters::typical_p`].
    pub typical_p: Option<f64>,
    /// Drops what is less likely than this: [`filters::epsilon`].
    pub epsilon_cutoff: Option<f64>,
    /// The same with a limit that falls where the distribution is flat: [`filters::eta`].
    pub eta_cutoff: Option<f64>,
    /// Where the random numbers start. The same seed gives the same text on every machine.
    pub seed: u64,
    /// Which stream of random numbers of this seed: several texts from one seed take streams 0, 1, 2, ...
    pub stream: u64,
}

impl Sampling {
    /// This project's defaults: temperature 0.8, top-k 40.
    pub fn with_seed(seed: u64) -> Self {
        Self { top_k: Some(40), temperature: 0.8, ..Self::plain(seed) }
    }

    /// The model's own distribution: temperature 1, nothing cut.
    pub fn plain(seed: u64) -> Self {
        let (top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff) = Default::default();
        Self { temperature: 1.0, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff, seed, stream: 0 }
    }

    /// Checks every option.
    ///
    /// # Errors
    /// [`Error::Input`] that names the option and its range.
    pub fn check(&self) -> Result<()> {
        let t = self.temperature;
        if !(t > 0.0 && t.is_finite()) {
            return Err(Error::input(format!(
                "temperature {t} must be above 0 and finite; for the likeliest token use greedy"
            )));
        }
        if self.top_k == Some(0) {
            return Err(Error::input("top-k 0 keeps no token; it must be at least 1"));
        }
        let above_0 = |p: f64| p > 0.0 && p <= 1.0;
        let from_0 = |p: f64| (0.0..=1.0).contains(&p);
        let below_1 = |p: f64| (0.0..1.0).contains(&p);
        in_range("top-p", self.top_p, above_0, "above 0 and at most 1")?;
        in_range("min-p", self.min_p, from_0, "from 0 to 1")?;
        in_range("typical-p", self.typical_p, above_0, "above 0 and at most 1")?;
        in_range("epsilon-cutoff", self.epsilon_cutoff, below_1, "from 0 to below 1")?;
        in_range("eta-cutoff", self.eta_cutoff, below_1, "from 0 to below 1")
    }

    /// scores `[V]` -> scores that are drawn from `[V]`, in place; what is cut becomes -inf. Shown to `watch`.
    ///
    /// At least `keep` tokens survive every cut: 1, or with beams one more than there are end tokens, so that a
    /// beam can always go on.
    pub fn warp(&self, x: &mut [f32], keep: usize, watch: &mut (impl Watch + ?Sized)) {
        watched(Step::Temperature, x, watch, |x| temperature(x, self.temperature));
        if let Some(k) = self.top_k {
            watched(Step::TopK, x, watch, |x| top_k(x, k.max(keep)));
        }
        if let Some(p) = self.top_p.filter(|p| *p < 1.0) {
            watched(Step::TopP, x, watch, |x| top_p(x, p, keep));
        }
        if let Some(p) = self.min_p {
            watched(Step::MinP, x, watch, |x| filters::min_p(x, p, keep));
        }
        if let Some(mass) = self.typical_p.filter(|mass| *mass < 1.0) {
            watched(Step::TypicalP, x, watch, |x| filters::typical_p(x, mass, keep));
        }
        if let Some(cutoff) = self.epsilon_cutoff.filter(|cutoff| *cutoff > 0.0) {
            watched(Step::Epsilon, x, watch, |x| filters::epsilon(x, cutoff, keep));
        }
        if let Some(cutoff) = self.eta_cutoff.filter(|cutoff| *cutoff > 0.0) {
            watched(Step::Eta, x, watch, |x| filters::eta(x, cutoff, keep));
        }
    }

    /// scores `[V]` -> the distribution that is drawn from `[V]`, in place.
    pub fn distribution(&self, scores: &mut [f32]) {
        self.warp(scores, 1, &mut NoWatch);
        softmax(scores);
    }
}

/// An error that names the option unless its value, if there is one, is within its range.
pub(crate) fn in_range(
    name: &str,
    value: Option<f64>,
    within: impl Fn(f64) -> bool,
    range: &str,
) -> Result<()> {
    match value {
        Some(value) if !within(value) => Err(Error::input(format!("{name} {value} must be {range}"))),
        _ => Ok(()),
    }
}

/// The generator of a run: ChaCha with 12 rounds, one number a token.
pub struct Uniform(ChaCha12Rng);

impl Uniform {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_stream(seed, 0)
    }

    /// Starts at `seed`, in one of its 2^64 independent streams: ChaCha's key comes from the seed, the nonce is the
    /// stream.
    pub fn with_stream(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha12Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// Goes to the place in its stream where `n` numbers have been drawn: each takes two words of 32 bits.
    pub fn skip_to(&mut self, n: u64) {
        self.0.set_word_pos(u128::from(n) * 2);
    }

    /// The next number in [0, 1): the upper 53 bits of a u64, times 2^-53.
    pub fn draw(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The id with the highest score, the lowest of them on a tie. `[V]` -> id
pub fn argmax(x: &[f32]) -> TokenId {
    let largest = math::max(x);
    x.iter().position(|x| *x == largest).unwrap_or(0) as TokenId
}

/// Drops what is below the `k`-th largest score; ties with it survive. `[V]`, in place
pub fn top_k(x: &mut [f32], k: usize) {
    let threshold = kth_largest(x, k);
    for x in x {
        *x = if *x < threshold { f32::NEG_INFINITY } else { *x };
    }
}

/// Drops the least likely tokens as long as they have at most 1 - p together; the likeliest `keep` stay.
/// `[V]`, in place
///
/// Among equals the lowest id goes first (HF's sort leaves that open).
pub fn top_p(x: &mut [f32], p: f64, keep: usize) {
    let limit = (1.0 - p) as f32;
    let probabilities = probabilities(x);
    let probabilities = probabilities.row(0);
    // V tokens of less than (1 - p) / V each have less than 1 - p together: they go unsorted.
    let crumb = limit / x.len() as f32;
    with_list(|ascending| {
        ascending.extend(above(probabilities, crumb.next_down()).map(|i| (x[i], i as TokenId)));
        let mut sum = 0.0;
        if ascending.len() < keep {
            ascending.clear();
            ascending.extend(x.iter().copied().zip(0..));
        } else {
            sum = above(probabilities, 0.0)
                .map(|i| probabilities[i])
                .filter(|p| *p < crumb)
                .map(f64::from)
                .sum();
            drop_if(x, probabilities, |_, p| p < crumb);
        }
        ascending.sort_unstable_by(|a, b| order(a.0, b.0).then(a.1.cmp(&b.1)));
        for (_, id) in ascending.iter().take(ascending.len().saturating_sub(keep)) {
            sum += f64::from(probabilities[*id as usize]);
            if sum as f32 > limit {
                break;
            }
            x[*id as usize] = f32::NEG_INFINITY;
        }
    });
}

/// The first id at which the running sum of the probabilities exceeds `u` (of their whole sum). `[V]` -> id
///
/// `None` if no probability is above 0.
pub fn draw(probabilities: &[f32], u: f64) -> Option<TokenId> {
    let whole: f64 = above(probabilities, 0.0).map(|id| f64::from(probabilities[id])).sum();
    let mut sum = 0.0;
    let mut last = None;
    for id in above(probabilities, 0.0) {
        sum += f64::from(probabilities[id]);
        last = Some(id as TokenId);
        if sum > u * whole {
            break;
        }
    }
    last
}

/// Elements looked at together when most of a row is of no interest.
const BLOCK: usize = 64;

/// The indices of what is above `floor`, ascending. Blocks without any are skipped at the speed of memory.
pub(crate) fn above(x: &[f32], floor: f32) -> impl Iterator<Item = usize> {
    let blocks = x.chunks(BLOCK).enumerate().filter(move |(_, block)| math::max(block) > floor);
    blocks.flat_map(move |(b, block)| {
        let found = block.iter().enumerate().filter(move |(_, x)| **x > floor);
        found.map(move |(i, _)| b * BLOCK + i)
    })
}

/// The `k`-th largest of `x` `[V]`; -inf if there are no `k` numbers.
///
/// Each of `k` blocks has an element at or above the `k`-th largest of all blocks' maxima: so have at least `k`
/// elements, and only those need to be looked at.
pub(crate) fn kth_largest(x: &[f32], k: usize) -> f32 {
    with_list(|list| {
        list.extend(x.chunks(BLOCK).map(|block| (math::max(block), 0)));
        let floor = select(list, k).unwrap_or(f32::NEG_INFINITY);
        list.clear();
        list.extend(above(x, floor.next_down()).map(|i| (x[i], 0)));
        select(list, k).unwrap_or(f32::NEG_INFINITY)
    })
}

/// The `k`-th largest, `k` from 1.
fn select(list: &mut [(f32, TokenId)], k: usize) -> Option<f32> {
    let k = k.checked_sub(1).filter(|k| *k < list.len())?;
    Some(list.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0)).1.0)
}

/// Lends an empty list of numbers and ids. Its memory stays with the thread: a token allocates none.
pub(crate) fn with_list<R>(work: impl FnOnce(&mut Vec<(f32, TokenId)>) -> R) -> R {
    thread_local! {
        static LIST: Cell<Vec<(f32, TokenId)>> = const { Cell::new(Vec::new()) };
    }
    let mut list = LIST.take();
    list.clear();
    let result = work(&mut list);
    LIST.set(list);
    result
}

/// By size, where both zeros are equal.
pub(crate) fn order(a: f32, b: f32) -> std::cmp::Ordering {
    (a + 0.0).total_cmp(&(b + 0.0))
}

/// scores `[V]` -> probabilities `[1, V]`
pub(crate) fn probabilities(x: &[f32]) -> Matrix {
    let mut probabilities = Matrix::scratch(1, x.len());
    probabilities.row_mut(0).copy_from_slice(x);
    softmax(probabilities.row_mut(0));
    probabilities
}

/// Removes the tokens of which `gone(score, probability)` is true.
pub(crate) fn drop_if(x: &mut [f32], probabilities: &[f32], gone: impl Fn(f32, f32) -> bool) {
    for (x, p) in x.iter_mut().zip(probabilities) {
        *x = if gone(*x, *p) { f32::NEG_INFINITY } else { *x };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GONE: f32 = f32::NEG_INFINITY;

    #[test]
    fn greedy_takes_the_lowest_id_on_a_tie() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(argmax(&[f32::NAN, 3.0]), 1);
    }

    #[test]
    fn top_k_keeps_ties() {
        let mut x = [1.0, 4.0, 3.0, 3.0, 0.0];
        top_k(&mut x, 2);
        assert_eq!(x, [GONE, 4.0, 3.0, 3.0, GONE]);
        top_k(&mut x, 99);
        assert_eq!(x, [GONE, 4.0, 3.0, 3.0, GONE]);
    }

    #[test]
    fn top_p_keeps_what_reaches_p() {
        let logs = |p: [f32; 4]| p.map(f32::ln);
        let mut x = logs([0.1, 0.5, 0.25, 0.15]);
        top_p(&mut x, 0.7, 1); // 0.1 and 0.15 have 0.25 together, at most 0.3; with 0.25 more it would be 0.5
        assert_eq!(x.map(|x| x == GONE), [true, false, false, true]);
        let mut x = logs([0.1, 0.5, 0.25, 0.15]);
        top_p(&mut x, 1e-6, 1);
        assert_eq!(x.map(|x| x == GONE), [true, false, true, true]);
        let mut x = logs([0.25; 4]);
        top_p(&mut x, 0.6, 1); // equals: the lowest ids go first
        assert_eq!(x.map(|x| x == GONE), [true, false, false, false]);
    }

    #[test]
    fn more_than_one_can_be_kept() {
        let logs = |p: [f32; 4]| p.map(f32::ln);
        let mut x = logs([0.9, 0.05, 0.04, 0.01]);
        top_p(&mut x, 0.5, 3);
        assert_eq!(x.map(|x| x == GONE), [false, false, false, true]);
        let mut x = [0.0, 0.0, 200.0, 0.0]; // the others are so unlikely that they are not sorted otherwise
        top_p(&mut x, 0.5, 2);
        assert_eq!(x.map(|x| x == GONE), [true, true, false, false]);
        top_p(&mut x, 0.5, 9);
        top_p(&mut [], 0.5, 1);
        assert_eq!(x, [GONE, GONE, 200.0, 0.0]);
    }

    #[test]
    fn any_number_of_a_stream_can_be_drawn_again() {
        let mut in_order = Uniform::with_stream(5, 3);
        for n in 0..300 {
            let mut again = Uniform::with_stream(5, 3);
            again.skip_to(n);
            assert_eq!(again.draw(), in_order.draw(), "{n}");
        }
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let draws = |mut uniform: Uniform| [0; 4].map(|_| uniform.draw().to_bits());
        assert_eq!(draws(Uniform::new(5)), draws(Uniform::with_stream(5, 0)));
        assert_ne!(draws(Uniform::new(5)), draws(Uniform::with_stream(5, 1)));
        assert_ne!(draws(Uniform::with_stream(6, 1)), draws(Uniform::with_stream(5, 1)));
    }

    #[test]
    fn options_out_of_range_are_named() {
        let plain = || Sampling::plain(0);
        for (sampling, part) in [
            (Sampling { temperature: 0.0, ..plain() }, "temperature 0"),
            (Sampling { temperature: f32::NAN, ..plain() }, "temperature NaN"),
            (Sampling { top_k: Some(0), ..plain() }, "top-k 0"),
            (Sampling { top_p: Some(0.0), ..plain() }, "top-p 0 must be above 0 and at most 1"),
            (Sampling { min_p: Some(1.5), ..plain() }, "min-p 1.5 must be from 0 to 1"),
            (Sampling { min_p: Some(-0.5), ..plain() }, "min-p -0.5"),
            (Sampling { typical_p: Some(0.0), ..plain() }, "typical-p 0 must be above 0"),
            (Sampling { typical_p: Some(f64::NAN), ..plain() }, "typical-p NaN"),
            (Sampling { epsilon_cutoff: Some(1.0), ..plain() }, "epsilon-cutoff 1 must be from 0 to below 1"),
            (Sampling { eta_cutoff: Some(-1.0), ..plain() }, "eta-cutoff -1"),
        ] {
            let error = sampling.check().expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        let ends = Sampling {
            top_p: Some(1.0),
            min_p: Some(0.0),
            typical_p: Some(1.0),
            epsilon_cutoff: Some(0.0),
            eta_cutoff: Some(0.0),
            ..plain()
        };
        let (mut x, scores) = ([0.5, 0.0, GONE, -3.0], [0.5, 0.0, GONE, -3.0]);
        ends.check().expect("the ends of the ranges");
        ends.warp(&mut x, 1, &mut NoWatch);
        assert_eq!(x, scores, "and they change nothing");
    }

    #[test]
    fn the_draw_follows_the_running_sum() {
        let p = [0.0, 0.25, 0.5, 0.0, 0.25];
        for (u, id) in [(0.0, 1), (0.24, 1), (0.25, 2), (0.74, 2), (0.75, 4), (0.999_999, 4)] {
            assert_eq!(draw(&p, u), Some(id), "{u}");
        }
        assert_eq!(draw(&[0.0; 3], 0.5), None);
    }

    #[test]
    fn the_generator_is_fixed() {
        let mut uniform = Uniform::new(42);
        let first: Vec<String> = (0..3).map(|_| format!("{:.12}", uniform.draw())).collect();
        insta::assert_debug_snapshot!(first);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let sampling = Sampling { temperature: 0.5, top_k: Some(3), ..Sampling::plain(7) };
        let mut p = [0.3, 1.0, 0.1, -2.0, 0.7];
        sampling.distribution(&mut p);
        let (mut uniform, mut counts) = (Uniform::new(sampling.seed), [0.0f64; 5]);
        let draws = 20_000.0;
        for _ in 0..draws as usize {
            counts[draw(&p, uniform.draw()).expect("a token") as usize] += 1.0;
        }
        let chi_square: f64 = (p.iter().zip(counts).filter(|(p, _)| **p > 0.0))
            .map(|(p, n)| (n - draws * f64::from(*p)).powi(2) / (draws * f64::from(*p)))
            .sum();
        assert_eq!((counts[2], counts[3]), (0.0, 0.0));
        assert!(chi_square < 13.8, "{chi_square} with 2 degrees of freedom"); // 0.1 %
    }

    /// The rule as HF writes it: sort everything, sum, cut.
    fn top_p_of_all(x: &mut [f32], p: f64, keep: usize) {
        let probabilities = probabilities(x);
        let mut ascending: Vec<usize> = (0..x.len()).collect();
        ascending.sort_by(|a, b| order(x[*a], x[*b]));
        let mut sum = 0.0;
        for i in &ascending[..x.len().saturating_sub(keep)] {
            sum += f64::from(probabilities.row(0)[*i]);
            if sum as f32 <= (1.0 - p) as f32 {
                x[*i] = GONE;
            }
        }
    }

    proptest! {
        #[test]
        fn sorting_a_part_is_enough(
            x in proptest::collection::vec(-12.0f32..3.0, 1..400), p in 1e-3f64..0.9999, keep in 1usize..4,
            gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let mut x = x;
            for i in gone { let i = i.index(x.len()); x[i] = GONE; }
            let mut expected = x.clone();
            top_p_of_all(&mut expected, p, keep);
            top_p(&mut x, p, keep);
            prop_assert_eq!(x, expected);
        }

        #[test]
        fn the_kth_largest_is_that_of_a_sort(
            x in proptest::collection::vec(prop_oneof![(-4i8..4).prop_map(f32::from), -4.0f32..4.0], 0..400),
            k in 1usize..450,
        ) {
            let mut sorted = x.clone();
            sorted.sort_by(|a, b| order(*b, *a));
            prop_assert_eq!(kth_largest(&x, k), sorted.get(k - 1).copied().unwrap_or(GONE));
        }

        #[test]
        fn no_scores_are_too_strange(x in proptest::collection::vec(prop::num::f32::ANY, 0..200), p in 0.0f64..1.0, k in 0usize..9) {
            top_k(&mut x.clone(), k);
            top_p(&mut x.clone(), p, k);
            let mut d = x.clone();
            Sampling { top_k: Some(k), ..Sampling::plain(0) }.distribution(&mut d);
            if let Some(id) = draw(&d, p) {
                prop_assert!(x[id as usize] > GONE);
            }
        }

        #[test]
        fn a_token_is_always_left(
            x in proptest::collection::vec(-50.0f32..50.0, 1..60), k in 1usize..70, p in 1e-6f64..=1.0, t in 0.01f32..10.0,
        ) {
            let sampling = Sampling { temperature: t, top_k: Some(k), top_p: Some(p), ..Sampling::plain(0) };
            let mut d = x.clone();
            sampling.distribution(&mut d);
            prop_assert!((d.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            prop_assert!(d[argmax(&x) as usize] > 0.0);
            let largest_dropped = x.iter().zip(&d).filter(|(_, d)| **d == 0.0).map(|(x, _)| *x).fold(GONE, f32::max);
            let smallest_kept = x.iter().zip(&d).filter(|(_, d)| **d > 0.0).map(|(x, _)| *x).fold(f32::INFINITY, f32::min);
            prop_assert!(largest_dropped <= smallest_kept);
        }
    }
}
