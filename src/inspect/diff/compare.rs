//! Compares one stage of two traces.

use super::{Outcome, numbers};
use crate::format::safetensors::Tensor;
use crate::trace::{Place, Stage};
use numbers::without_batch;

/// In `attn.scores`, this value and smaller ones count as masked: many programs mask with a large finite number.
pub const MASKED: f64 = -1e4;

/// The result of comparing the values of a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// How many values there are.
    pub values: usize,
    /// How many of them differ by more than the tolerance.
    pub beyond: usize,
    /// The largest finite absolute value in either file; differences are relative to it.
    pub largest: f64,
    /// The largest difference. Infinite if one file has infinity or NaN where the other does not.
    pub max_abs: f64,
    /// The largest difference as a fraction of `largest`.
    pub max_rel: f64,
    /// Where the largest difference is.
    pub index: Vec<usize>,
    /// The value there in the first file.
    pub a: f64,
    /// The value there in the second file.
    pub b: f64,
    /// How many values are NaN in the first and in the second file.
    pub nan: [usize; 2],
}

/// Compares a stage that both files have.
pub fn tensors(a: &Tensor, b: &Tensor, place: Option<Place>, tolerance: f64) -> Outcome {
    if without_batch(&a.shape) != without_batch(&b.shape) {
        return Outcome::Shapes;
    }
    if let Some(dtype) = numbers::unreadable(a).or_else(|| numbers::unreadable(b)) {
        return Outcome::Dtype(dtype.into());
    }
    let stage = place.map(|place| place.stage);
    let masked = |x: f64| masked(stage, x);

    let mut largest = 0f64;
    numbers::for_each_piece(a, b, |_, a, b| {
        let sizes = a.iter().chain(b).map(|x| masked(*x).abs());
        largest = sizes.filter(|size| size.is_finite()).fold(largest, f64::max);
    });
    let exact = numbers::is_integer(a) || numbers::is_integer(b);
    let limit = if exact { 0.0 } else { tolerance * largest };

    let mut found = Compared { largest, ..Compared::default() };
    let mut at = None; // the index of the largest difference
    numbers::for_each_piece(a, b, |start, a, b| {
        found.values += a.len();
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            let off = distance(masked(*a), masked(*b));
            found.beyond += usize::from(off > limit);
            found.nan[0] += usize::from(a.is_nan());
            found.nan[1] += usize::from(b.is_nan());
            if off > found.max_abs || at.is_none() {
                (found.max_abs, found.a, found.b, at) = (off, *a, *b, Some(start + i));
            }
        }
    });
    found.max_rel = if found.max_abs == 0.0 { 0.0 } else { found.max_abs / largest };
    found.index = at.map_or_else(Vec::new, |i| unravel(i, &a.shape));
    Outcome::Values(found)
}

/// A value of a stage, with -inf for all masked scores.
pub fn masked(stage: Option<Stage>, x: f64) -> f64 {
    if stage == Some(Stage::AttnScores) && x <= MASKED { f64::NEG_INFINITY } else { x }
}

/// `|a - b|`; 0 for equal infinities and for two NaNs, infinity for any other pair with one of them.
pub fn distance(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        0.0
    } else if a.is_finite() && b.is_finite() {
        (a - b).abs()
    } else {
        f64::INFINITY
    }
}

/// The index of element `i` in a row-major tensor.
fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = Vec::with_capacity(shape.len());
    for n in shape.iter().rev() {
        index.push(i % n.max(&1));
        i /= n.max(&1);
    }
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices() {
        assert_eq!(unravel(23, &[2, 3, 4]), [1, 2, 3]);
        assert_eq!(unravel(4, &[2, 3]), [1, 1]);
        assert_eq!(unravel(0, &[]), [0; 0]);
        assert_eq!(without_batch(&[1, 1, 3, 1]), [3, 1]);
        assert_eq!(without_batch(&[1]), [0; 0]);
    }
}
