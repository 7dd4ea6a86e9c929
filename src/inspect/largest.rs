//! Which addends of a sum matter most?

/// The `n` of the largest values, the largest first; the number of all others, and their sum.
pub fn largest<T>(all: &[T], value: impl Fn(&T) -> f64, n: usize) -> (Vec<&T>, usize, f64) {
    let mut sorted: Vec<&T> = all.iter().collect();
    sorted.sort_by(|a, b| value(b).abs().total_cmp(&value(a).abs())); // stable
    let rest = sorted.split_off(n.min(sorted.len()));
    let sum = rest.iter().map(|x| value(x)).fold(0.0, |sum, x| sum + x); // `sum` would make it -0 without any
    (sorted, rest.len(), sum)
}
