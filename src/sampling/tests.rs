//! The learner's path, from scores to a token.

use super::*;
use crate::trace::NoTrace;
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
    top_p(&mut x, 0.7, 1); // 0.1 + 0.15 = 0.25 is at most 0.3; with another 0.25 the sum would be 0.5
    assert_eq!(x.map(|x| x == GONE), [true, false, false, true]);
    let mut x = logs([0.1, 0.5, 0.25, 0.15]);
    top_p(&mut x, 1e-6, 1);
    assert_eq!(x.map(|x| x == GONE), [true, false, true, true]);
    let mut x = logs([0.25; 4]);
    top_p(&mut x, 0.6, 1); // among equals, the lowest id is dropped first
    assert_eq!(x.map(|x| x == GONE), [true, false, false, false]);
}

#[test]
fn more_than_one_can_be_kept() {
    let logs = |p: [f32; 4]| p.map(f32::ln);
    let mut x = logs([0.9, 0.05, 0.04, 0.01]);
    top_p(&mut x, 0.5, 3);
    assert_eq!(x.map(|x| x == GONE), [false, false, false, true]);
    let mut x = [0.0, 0.0, 200.0, 0.0]; // with keep = 1 the others would be too unlikely to be sorted
    top_p(&mut x, 0.5, 2);
    assert_eq!(x.map(|x| x == GONE), [true, true, false, false]);
    top_p(&mut x, 0.5, 9);
    top_p(&mut [], 0.5, 1);
    assert_eq!(x, [GONE, GONE, 200.0, 0.0]);
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
    let options = Options::plain(7).temperature(0.5).top_k(3);
    let mut p = [0.3, 1.0, 0.1, -2.0, 0.7];
    options.distribution(&mut p, &History::default());
    let (mut uniform, mut counts) = (options.uniform(), [0.0f64; 5]);
    let draws = 20_000.0;
    for _ in 0..draws as usize {
        counts[draw(&p, uniform.draw()).expect("a token") as usize] += 1.0;
    }
    let chi_square: f64 = (p.iter().zip(counts).filter(|(p, _)| **p > 0.0))
        .map(|(p, n)| (n - draws * f64::from(*p)).powi(2) / (draws * f64::from(*p)))
        .sum();
    assert_eq!((counts[2], counts[3]), (0.0, 0.0));
    assert!(chi_square < 13.8, "{chi_square} with 2 degrees of freedom"); // p = 0.001
}

proptest! {
    #![proptest_config(crate::properties::config())]
    #[test]
    fn no_scores_are_too_strange(x in proptest::collection::vec(prop::num::f32::ANY, 0..200), p in 0.0f64..1.0, k in 0usize..9) {
        top_k(&mut x.clone(), k);
        top_p(&mut x.clone(), p, k);
        filters::top_p(&mut x.clone(), p, k);
        let mut d = x.clone();
        Options::plain(0).top_k(k).distribution(&mut d, &History::default());
        if let Some(id) = draw(&d, p) {
            prop_assert!(x[id as usize] > GONE);
        }
    }

    /// The lesson's five lines give what [`Options::choose`] gives if the other options are off.
    #[test]
    fn the_lesson_draws_the_same_token(
        x in proptest::collection::vec(-9.0f32..9.0, 1..300), tau in 0.1f32..3.0, k in 1usize..50, p in 0.1f64..0.99, u in 0.0f64..1.0,
    ) {
        let options = Options::plain(0).temperature(tau).top_k(k).top_p(p);
        let mut scores = x.clone();
        let id = options.choose(&mut scores, &History::default(), u, &mut NoTrace, &mut NoWatch);
        let mut lesson = x;
        prop_assert_eq!(sample(&mut lesson, tau, k, p, u), id);
        prop_assert_eq!(lesson, scores);
    }

    #[test]
    fn a_token_is_always_left(
        x in proptest::collection::vec(-50.0f32..50.0, 1..60), k in 1usize..70, p in 1e-6f64..=1.0, t in 0.01f32..10.0,
    ) {
        let options = Options::plain(0).temperature(t).top_k(k).top_p(p);
        let mut d = x.clone();
        options.distribution(&mut d, &History::default());
        prop_assert!((d.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        prop_assert!(d[argmax(&x) as usize] > 0.0);
        let largest_dropped = x.iter().zip(&d).filter(|(_, d)| **d == 0.0).map(|(x, _)| *x).fold(GONE, f32::max);
        let smallest_kept = x.iter().zip(&d).filter(|(_, d)| **d > 0.0).map(|(x, _)| *x).fold(f32::INFINITY, f32::min);
        prop_assert!(largest_dropped <= smallest_kept);
    }
}
