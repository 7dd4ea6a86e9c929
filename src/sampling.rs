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

use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::math;
use crate::softmax::{softmax, temperature};
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

/// How the next token is chosen from the distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits: below 1 sharper, above 1 flatter.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keeps the most likely tokens that together reach this probability; `None` keeps all.
    pub top_p: Option<f32>,
    /// Where the random numbers start. The same seed gives the same text on every machine.
    pub seed: u64,
}

impl Sampling {
    /// This project's defaults: temperature 0.8, top-k 40.
    pub fn with_seed(seed: u64) -> Self {
        Self { temperature: 0.8, top_k: Some(40), top_p: None, seed }
    }

    /// Checks every option.
    ///
    /// # Errors
    /// [`Error::Input`] that names the option and its range.
    pub fn check(&self) -> Result<()> {
        let t = self.temperature;
        if !(t > 0.0 && t.is_finite()) {
            return Err(Error::input(format!(
                "temperature {t} must be above 0; for the likeliest token use greedy"
            )));
        }
        if self.top_k == Some(0) {
            return Err(Error::input("top-k 0 keeps no token; it must be at least 1"));
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => {
                Err(Error::input(format!("top-p {p} must be above 0 and at most 1")))
            }
            _ => Ok(()),
        }
    }

    /// logits `[V]` -> the distribution that is drawn from `[V]`, in place.
    pub fn distribution(&self, logits: &mut [f32]) {
        temperature(logits, self.temperature);
        if let Some(k) = self.top_k {
            top_k(logits, k);
        }
        if let Some(p) = self.top_p {
            top_p(logits, p);
        }
        softmax(logits);
    }
}

/// The generator of a run: ChaCha with 12 rounds, one number a token.
pub struct Uniform(ChaCha12Rng);

impl Uniform {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
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
    if k >= x.len() {
        return;
    }
    let mut sorted = x.to_vec();
    let (_, threshold, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let threshold = *threshold;
    x.iter_mut().filter(|x| **x < threshold).for_each(|x| *x = f32::NEG_INFINITY);
}

/// Drops the least likely tokens as long as they have at most 1 - p together; the likeliest stays. `[V]`, in place
///
/// Among equals the lowest id goes first, as in HF's stable ascending sort.
pub fn top_p(x: &mut [f32], p: f32) {
    let mut probabilities = x.to_vec();
    softmax(&mut probabilities);
    let mut ascending: Vec<usize> = (0..x.len()).filter(|i| probabilities[*i] > 0.0).collect();
    ascending.sort_by(|a, b| x[*a].total_cmp(&x[*b])); // stable
    x.iter_mut().zip(&probabilities).filter(|(_, p)| **p == 0.0).for_each(|(x, _)| *x = f32::NEG_INFINITY);
    let mut sum = 0.0;
    for i in ascending.iter().take(ascending.len().saturating_sub(1)) {
        sum += f64::from(probabilities[*i]);
        if sum > 1.0 - f64::from(p) {
            break;
        }
        x[*i] = f32::NEG_INFINITY;
    }
}

/// The first id at which the running sum of the probabilities exceeds `u` (of their whole sum). `[V]` -> id
///
/// `None` if no probability is above 0.
pub fn draw(probabilities: &[f32], u: f64) -> Option<TokenId> {
    let whole: f64 = probabilities.iter().map(|p| f64::from(*p)).sum();
    let mut sum = 0.0;
    let mut last = None;
    for (id, p) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        sum += f64::from(*p);
        last = Some(id as TokenId);
        if sum > u * whole {
            break;
        }
    }
    last
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
        top_p(&mut x, 0.7); // 0.1 and 0.15 have 0.25 together, at most 0.3; with 0.25 more it would be 0.5
        assert_eq!(x.map(|x| x == GONE), [true, false, false, true]);
        let mut x = logs([0.1, 0.5, 0.25, 0.15]);
        top_p(&mut x, 1e-6);
        assert_eq!(x.map(|x| x == GONE), [true, false, true, true]);
        let mut x = logs([0.25; 4]);
        top_p(&mut x, 0.6); // equals: the lowest ids go first
        assert_eq!(x.map(|x| x == GONE), [true, false, false, false]);
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
        let sampling = Sampling { temperature: 0.5, top_k: Some(3), top_p: None, seed: 7 };
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

    proptest! {
        #[test]
        fn a_token_is_always_left(
            x in proptest::collection::vec(-50.0f32..50.0, 1..60), k in 1usize..70, p in 1e-6f32..=1.0, t in 0.01f32..10.0,
        ) {
            let sampling = Sampling { temperature: t, top_k: Some(k), top_p: Some(p), seed: 0 };
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
