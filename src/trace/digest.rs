//! A stage in one line: enough to recognise it, and to see any change of it.
//!
//! Mean, standard deviation and limits say whether a stage looks right; the first values can be compared with another
//! program's by eye; the hash changes with any bit of any value. Since every stage has the same bits on every machine
//! ([`matmul`](crate::matmul)), so has its digest.

use super::{Place, Recorded};
use std::fmt;

/// Values that are shown as they are.
const FIRST: usize = 4;

/// What a stage's line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// The name in a trace file.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
    /// The mean of the finite values; of these are the next three as well.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
    /// The least value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The first values, row-major.
    pub first: Vec<f64>,
    /// Values that are not finite: masked scores, and what should not be.
    pub not_finite: usize,
    /// FNV-1a, 64 bits, of the little-endian bytes; every NaN counts as the same.
    pub hash: u64,
}

impl Digest {
    /// The digest of a stage.
    pub fn of(stage: &Recorded) -> Self {
        if stage.stage.is_ids() {
            Self::of_ids(stage.place(), &stage.ids)
        } else {
            Self::of_values(stage.name(), &stage.shape, &stage.values)
        }
    }

    /// The digest of values with this name and shape.
    pub fn of_values(name: impl Into<String>, shape: &[usize], values: &[f32]) -> Self {
        let canonical = |x: &f32| if x.is_nan() { f32::NAN } else { *x };
        let hash = fnv1a(values.iter().flat_map(|x| canonical(x).to_le_bytes()));
        Self::new(name.into(), shape, || values.iter().map(|x| f64::from(*x)), hash)
    }

    /// The digest of ids, which a trace file holds as I64.
    pub fn of_ids(place: Place, ids: &[u32]) -> Self {
        let hash = fnv1a(ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()));
        Self::new(place.to_string(), &[ids.len()], || ids.iter().map(|id| f64::from(*id)), hash)
    }

    fn new<I: Iterator<Item = f64>>(
        name: String,
        shape: &[usize],
        values: impl Fn() -> I,
        hash: u64,
    ) -> Self {
        let finite = || values().filter(|x| x.is_finite());
        let (all, count) = (values().count(), finite().count());
        let per_value = 1.0 / count.max(1) as f64;
        let mean = finite().sum::<f64>() * per_value; // in f64 and in order: the same everywhere
        let std = (finite().map(|x| (x - mean) * (x - mean)).sum::<f64>() * per_value).sqrt();
        let (min, max) = (finite().fold(f64::NAN, f64::min), finite().fold(f64::NAN, f64::max)); // NaN of nothing
        let (shape, first) = (shape.to_vec(), values().take(FIRST).collect());
        Self { name, shape, mean, std, min, max, first, not_finite: all - count, hash }
    }

    /// The heading above lines of digests.
    pub fn heading() -> String {
        let first = format!("first {FIRST}");
        format!(
            "{:<31} {:<16} {:>10} {:>10} {:>10} {:>10}  {:<16}  {first}",
            "stage", "shape", "mean", "std", "min", "max", "hash"
        )
    }
}

/// One line, in columns below [`Digest::heading`].
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = format!("{:?}", self.shape);
        write!(f, "{:<31} {shape:<16}", self.name)?;
        for x in [self.mean, self.std, self.min, self.max] {
            write!(f, " {:>10}", number(x))?;
        }
        let first: Vec<String> = self.first.iter().map(|x| number(*x)).collect();
        write!(f, "  {:016x}  {}", self.hash, first.join(" "))?;
        if self.not_finite > 0 {
            write!(f, " ({} not finite)", self.not_finite)?;
        }
        Ok(())
    }
}

/// A line for each stage, below a heading: what a snapshot of a forward pass holds.
///
/// The text is the same under every instruction set and on any number of threads, so that it can be kept beside a test
/// of one's own, with [`insta`](https://docs.rs/insta) or by comparing strings:
///
/// ```
/// use gpt2::trace::{Recorder, render};
/// use gpt2::generate::Options;
/// use gpt2::inspect::next_token;
///
/// let lm = gpt2::checkpoint::bundled();
/// let mut recorder = Recorder::new();
/// next_token(&lm.model, &lm.bpe.encode("Once upon a"), &Options::default(), &mut recorder)?;
///
/// let snapshot = render(&recorder.stages[..4]); // insta::assert_snapshot!(snapshot);
/// let names: Vec<&str> = snapshot.lines().filter_map(|line| line.split(' ').next()).collect();
/// assert_eq!(names, ["stage", "input_ids", "transformer.wte", "transformer.wpe", "transformer.drop"]);
/// # Ok::<(), gpt2::error::Error>(())
/// ```
pub fn render(stages: &[Recorded]) -> String {
    let lines = stages.iter().map(|stage| format!("{}\n", Digest::of(stage)));
    std::iter::once(format!("{}\n", Digest::heading())).chain(lines).collect()
}

/// A number for a table: at least four digits, at most ten characters for any f32, the same on every machine.
pub fn number(x: f64) -> String {
    let size = x.abs();
    if x == 0.0 || x.fract() == 0.0 && size < 1e8 {
        format!("{x:.0}")
    } else if (0.01..10.0).contains(&size) {
        format!("{x:.5}")
    } else if (10.0..1e5).contains(&size) {
        format!("{x:.2}")
    } else if x.is_finite() {
        format!("{x:.3e}")
    } else {
        x.to_string().to_lowercase() // inf, -inf, nan
    }
}

/// FNV-1a, by Fowler, Noll and Vo: for each byte, `hash = (hash xor byte) * prime`.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
