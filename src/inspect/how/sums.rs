//! Sums of products and the quotient of a softmax, term by term, in the order of the arithmetic.

use super::{Factor, Step, Term};
use crate::math;
use crate::matmul::{Int8Rows, K_BLOCK};
use crate::tensor::{Matrix, Weights};

/// A sum and how it came about.
#[derive(Default)]
pub struct Sum {
    pub value: f32,
    pub terms: Vec<Term>,
    pub steps: Vec<Step>,
}

/// A term of these factors, each a name and a value.
pub fn term<const N: usize>(factors: [(String, f32); N]) -> Term {
    let factors = factors.map(|(name, value)| Factor { name, value });
    Term { value: factors.iter().map(|factor| f64::from(factor.value)).product(), factors: factors.into() }
}

/// An intermediate result.
pub fn step(name: impl Into<String>, value: impl Into<f64>) -> Step {
    Step { name: name.into(), value: value.into() }
}

/// `bias + sum over k of x[k] * w[k]`, in blocks of 256. `k` names the index, `names` the two factors.
pub fn products(
    bias: Option<(String, f32)>,
    x: &[f32],
    w: &[f32],
    k: &str,
    names: impl Fn(usize) -> [String; 2],
) -> Sum {
    let mut sum = Sum { value: bias.as_ref().map_or(0.0, |(_, bias)| *bias) + 0.0, ..Sum::default() };
    sum.terms.extend(bias.map(|bias| term([bias])));
    for begin in (0..x.len()).step_by(K_BLOCK) {
        let end = (begin + K_BLOCK).min(x.len());
        let mut p = 0.0f32;
        for i in begin..end {
            p = x[i].mul_add(w[i], p);
            let [a, b] = names(i);
            sum.terms.push(term([(a, x[i]), (b, w[i])]));
        }
        sum.value += p;
        sum.steps.push(step(format!("after {k} = {}", end - 1), sum.value));
    }
    sum
}

/// Output `n` of a product with weights: `[K]` · column `n` of a linear layer, or row `n` of a table if `by_rows`.
pub fn product(
    bias: Option<(String, f32)>,
    x: &[f32],
    w: &Weights,
    n: usize,
    by_rows: bool,
    names: impl Fn(usize) -> [String; 2],
) -> Sum {
    let Some(int8) = w.as_int8() else {
        let mut row = vec![0.0; w.cols()];
        if by_rows {
            w.read_row(n, &mut row);
            return products(bias, x, &row, "k", names);
        }
        let column: Vec<f32> = (0..w.rows())
            .map(|k| {
                w.read_row(k, &mut row);
                row[n]
            })
            .collect();
        return products(bias, x, &column, "k", names);
    };
    let rows = Int8Rows::quantize(&Matrix::of_row(x));
    let start = bias.as_ref().map_or(0.0, |(_, bias)| *bias);
    let mut sum = Sum { terms: bias.map(|bias| term([bias])).into_iter().collect(), ..Sum::default() };
    let scale_w = int8.scales[n];
    for (b, begin) in (0..x.len()).step_by(K_BLOCK).enumerate() {
        let end = (begin + K_BLOCK).min(x.len());
        let (scale, zero) = rows.step(0, b);
        let mut whole = 0i64;
        for k in begin..end {
            let (q, q_w) = (i64::from(rows.row(0)[k]) - i64::from(zero), i64::from(int8.q(k, n)));
            whole += q * q_w;
            let [a, b] = names(k);
            sum.terms.push(term([(a, q as f32 * scale), (b, q_w as f32 * scale_w)]));
        }
        sum.value = scale.mul_add(whole as f32, sum.value);
        sum.steps.push(step(format!("scale of x up to k = {}", end - 1), scale));
        sum.steps.push(step(format!("sum of whole numbers up to k = {}", end - 1), whole as f64));
        sum.steps.push(step(format!("after k = {}", end - 1), sum.value));
    }
    sum.steps.push(step("scale of the weights", scale_w));
    sum.value = scale_w.mul_add(sum.value, start);
    sum
}

/// Element `i` of a softmax; its terms are those of the denominator.
pub fn quotient(x: &[f32], i: usize, name: impl Fn(usize) -> String) -> Sum {
    let max = math::max(x);
    if max == f32::NEG_INFINITY {
        return Sum { steps: vec![step("max", max)], ..Sum::default() };
    }
    let exps: Vec<f32> = x.iter().map(|x| math::exp(x - max)).collect();
    let sum = math::sum(&exps) as f32;
    let all = exps.iter().enumerate().filter(|(_, e)| **e != 0.0);
    let terms = all.map(|(i, e)| term([(format!("exp({} - max)", name(i)), *e)])).collect();
    let steps =
        vec![step("max", max), step(format!("exp({} - max)", name(i)), exps[i]), step("sum of all exp", sum)];
    Sum { value: exps[i] / sum, terms, steps }
}
