//! The learner's path, from scores to a token.

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
