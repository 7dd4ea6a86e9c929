//! Operations on a row of scores that the filters share: they neither sort the whole row nor allocate memory.

use crate::bpe::TokenId;
use crate::math;
use crate::softmax::softmax;
use crate::tensor::Matrix;
use std::cell::Cell;

/// Elements per block; a block is skipped if none of its elements is large enough.
const BLOCK: usize = 64;

/// The indices of the elements above `floor`, ascending. Blocks without any are skipped at memory speed.
pub(crate) fn above(x: &[f32], floor: f32) -> impl Iterator<Item = usize> {
    let blocks = x.chunks(BLOCK).enumerate().filter(move |(_, block)| math::max(block) > floor);
    blocks.flat_map(move |(b, block)| {
        let found = block.iter().enumerate().filter(move |(_, x)| **x > floor);
        found.map(move |(i, _)| b * BLOCK + i)
    })
}

/// The `k`-th largest element of `x` `[V]`; -inf if there are fewer than `k` numbers.
///
/// At least `k` elements reach the `k`-th largest of the block maxima, one in each of `k` blocks. So only elements that
/// reach it can be the answer.
pub(crate) fn kth_largest(x: &[f32], k: usize) -> f32 {
    with_list(|list| {
        list.extend(x.chunks(BLOCK).map(|block| (math::max(block), 0)));
        let floor = select(list, k).unwrap_or(f32::NEG_INFINITY);
        list.clear();
        list.extend(above(x, floor.next_down()).map(|i| (x[i], 0)));
        select(list, k).unwrap_or(f32::NEG_INFINITY)
    })
}

/// The `k`-th largest, counted from 1.
fn select(list: &mut [(f32, TokenId)], k: usize) -> Option<f32> {
    let k = k.checked_sub(1).filter(|k| *k < list.len())?;
    Some(list.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0)).1.0)
}

/// Lends an empty list of numbers and ids. The thread keeps its memory, so that a token allocates none.
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

/// A total order in which both zeros are equal.
pub(crate) fn order(a: f32, b: f32) -> std::cmp::Ordering {
    (a + 0.0).total_cmp(&(b + 0.0))
}

/// scores `[V]` -> probabilities `[1, V]`
pub(crate) fn probabilities(x: &[f32]) -> Matrix {
    let mut probabilities = Matrix::of_row(x);
    softmax(probabilities.row_mut(0));
    probabilities
}

/// Removes the tokens for which `gone(score, probability)` is true.
pub(crate) fn drop_if(x: &mut [f32], probabilities: &[f32], gone: impl Fn(f32, f32) -> bool) {
    for (x, p) in x.iter_mut().zip(probabilities) {
        *x = if gone(*x, *p) { f32::NEG_INFINITY } else { *x };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::properties::config())]
        #[test]
        fn the_kth_largest_is_that_of_a_sort(
            x in proptest::collection::vec(prop_oneof![(-4i8..4).prop_map(f32::from), -4.0f32..4.0], 0..400),
            k in 1usize..450,
        ) {
            let mut sorted = x.clone();
            sorted.sort_by(|a, b| order(*b, *a));
            prop_assert_eq!(kth_largest(&x, k), sorted.get(k - 1).copied().unwrap_or(f32::NEG_INFINITY));
        }
    }
}
