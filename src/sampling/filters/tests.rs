//! Each filter by hand, and all of them with any scores.

use super::*;
use crate::sampling::{argmax, top_k, top_p as top_p_of_all};
use proptest::prelude::*;

const GONE: f32 = f32::NEG_INFINITY;

/// The tokens of a distribution that survive.
fn kept<const N: usize>(p: [f32; N], filter: impl FnOnce(&mut [f32])) -> Vec<usize> {
    let mut x = p.map(f32::ln);
    filter(&mut x);
    (0..N).filter(|i| x[*i] > GONE).collect()
}

#[test]
fn min_p_is_a_share_of_the_likeliest() {
    let p = [0.1, 0.5, 0.3, 0.06, 0.04];
    assert_eq!(kept(p, |x| min_p(x, 0.19, 1)), [0, 1, 2]);
    assert_eq!(kept(p, |x| min_p(x, 0.0, 1)), [0, 1, 2, 3, 4]);
    assert_eq!(kept(p, |x| min_p(x, 1.0, 1)), [1]);
    assert_eq!(kept(p, |x| min_p(x, 1.0, 3)), [0, 1, 2]);
    assert_eq!(kept([0.4, 0.4, 0.2], |x| min_p(x, 1.0, 1)), [0, 1]);
}

#[test]
fn epsilon_is_a_fixed_limit() {
    let p = [0.1, 0.5, 0.3, 0.06, 0.04];
    assert_eq!(kept(p, |x| epsilon(x, 0.05, 1)), [0, 1, 2, 3]);
    assert_eq!(kept(p, |x| epsilon(x, 0.9, 1)), [1]);
    assert_eq!(kept(p, |x| epsilon(x, 0.9, 2)), [1, 2]);
    assert_eq!(kept(p, |x| epsilon(x, 0.9, 99)), [0, 1, 2, 3, 4]);
}

#[test]
fn eta_falls_where_the_distribution_is_flat() {
    // H = ln 8: the limit is min(0.2, sqrt(0.2) / 8 = 0.056)
    assert_eq!(kept([0.125; 8], |x| eta(x, 0.2, 1)).len(), 8);
    // H = 0.39, e^-H = 0.68: the limit is min(0.2, 0.30)
    assert_eq!(kept([0.9, 0.05, 0.05], |x| eta(x, 0.2, 1)), [0]);
}

#[test]
fn typical_keeps_what_is_as_surprising_as_expected() {
    // H = 1.28; surprises: 0.69, 1.39, 2.12, 2.53. Distances: 0.59, 0.10, 0.83, 1.24
    let p = [0.5, 0.25, 0.12, 0.08];
    let p = [p[0], p[1], p[2], p[3], 1.0 - p.iter().sum::<f32>()];
    assert_eq!(kept(p, |x| typical_p(x, 0.2, 1)), [1], "not the likeliest");
    assert_eq!(kept(p, |x| typical_p(x, 0.5, 1)), [0, 1], "the token that crosses stays");
    assert_eq!(kept(p, |x| typical_p(x, 0.2, 2)), [0, 1]);
    assert_eq!(kept([0.25; 4], |x| typical_p(x, 0.3, 1)), [0, 1, 2, 3], "all at one distance");
}

#[test]
fn what_is_gone_stays_gone() {
    for filter in [min_p, epsilon, eta, typical_p] {
        let mut x = [1.0, GONE, 0.9, GONE, 0.8];
        filter(&mut x, 0.01, 1);
        assert_eq!((x[1], x[3]), (GONE, GONE));
        assert!(x.iter().any(|x| *x > GONE));
        let mut nothing = [GONE; 3];
        filter(&mut nothing, 0.5, 1);
        assert_eq!(nothing, [GONE; 3]);
        filter(&mut [], 0.5, 1);
    }
}

proptest! {
    #![proptest_config(crate::properties::config())]
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
    fn enough_is_kept(
        x in prop::collection::vec(-30.0f32..30.0, 1..80), p in 1e-6f64..0.999, keep in 1..5usize, k in 1..90usize,
    ) {
        for filter in [min_p, epsilon, eta, typical_p] {
            let mut left = x.clone();
            top_k(&mut left, k);
            let before = left.iter().filter(|x| **x > GONE).count();
            filter(&mut left, p, keep);
            let after = left.iter().filter(|x| **x > GONE).count();
            prop_assert!(after >= keep.min(before), "{} of {}", after, before);
        }
        for filter in [min_p, epsilon, eta] {
            let mut left = x.clone();
            filter(&mut left, p, keep);
            prop_assert_eq!(argmax(&left), argmax(&x));
        }
    }

    #[test]
    fn no_scores_are_too_strange(x in prop::collection::vec(prop::num::f32::ANY, 0..40), p in 0.0f64..1.0) {
        for filter in [min_p, epsilon, eta, typical_p] {
            filter(&mut x.clone(), p, 1);
        }
    }
}
