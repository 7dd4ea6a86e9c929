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
mod row;
pub mod steps;
mod uniform;

pub use candidates::Candidate;
pub use explain::Explanation;
pub use processors::{History, Processors};
pub use steps::{Choice, Effect, Effects, NoWatch, Step, Watch};
pub use uniform::Uniform;

use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::math;
use crate::softmax::{softmax, temperature};
pub(crate) use row::{above, drop_if, kth_largest, order, probabilities, with_list};
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
    /// [`Error::Option`] that names the option and its range.
    pub fn check(&self) -> Result<()> {
        let t = self.temperature;
        if !(t > 0.0 && t.is_finite()) {
            return Err(Error::option(format!(
                "temperature {t} must be above 0 and finite; for the likeliest token use greedy"
            )));
        }
        if self.top_k == Some(0) {
            return Err(Error::option("top-k 0 keeps no token; it must be at least 1"));
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
        Some(value) if !within(value) => Err(Error::option(format!("{name} {value} must be {range}"))),
        _ => Ok(()),
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

#[cfg(test)]
mod tests;
