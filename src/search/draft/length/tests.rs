//! Guesses pay off, or cost little.

use super::*;
use proptest::prelude::*;

/// The cost in passes of a text of `tokens` tokens; the guess for token number i is right if `right(i)`.
fn write(length: &mut DraftLength, tokens: usize, mut right: impl FnMut(usize) -> bool) -> f64 {
    let (mut written, mut cost) = (0, 0.0);
    while written < tokens {
        let k = length.choose(tokens - written - 1, 0);
        let accepted = (1..=k).take_while(|i| right(written + i)).count();
        cost += 1.0 + length.stake(k);
        length.learn(k, accepted);
        written += accepted + 1;
    }
    cost
}

#[test]
fn an_expensive_draft_is_tried_at_once_and_a_more_expensive_one_later() {
    for (guess, tried) in [(1.02, 1), (2.0, 0)] {
        let mut length = DraftLength::new(9, guess, Dtype::F32);
        let chosen: usize = (0..30)
            .map(|_| {
                let k = length.choose(9, 0);
                length.learn(k, 0);
                k
            })
            .sum();
        assert_eq!(chosen, tried, "a guess costs {guess}");
    }
}

#[test]
fn the_better_the_guesses_the_longer() {
    let mut length = DraftLength::new(99, 0.2, Dtype::F32);
    assert!(write(&mut length, 500, |_| true) < 250.0);
    assert_eq!(length.choose(99, 0), MOST, "all were right");
    assert_eq!((length.choose(3, 0), length.choose(0, 0)), (3, 0), "no more than can be used");
    let mut length = DraftLength::new(4, 0.0, Dtype::F32);
    write(&mut length, 100, |_| true);
    assert_eq!(length.choose(99, 0), 4, "no more than is asked for");
    assert_eq!(DraftLength::new(0, 0.0, Dtype::F32).choose(99, 0), 0);
}

#[test]
fn guesses_that_never_come_true_cost_little() {
    for guess in [0.0, 0.1, 0.3, 0.6, 1.01, 3.0] {
        let cost = write(&mut DraftLength::new(99, guess, Dtype::F32), 1000, |_| false);
        assert!(
            (1000.0..=1015.0 + PURSE).contains(&cost),
            "{cost} passes for 1000 tokens, a guess costs {guess}"
        );
    }
}

#[test]
fn a_text_may_become_predictable() {
    let mut length = DraftLength::new(99, 0.27, Dtype::F32);
    write(&mut length, 300, |_| false);
    let cost = write(&mut length, 500, |_| true);
    assert!(cost < 260.0, "{cost} passes for 500 tokens");
    let cost = write(&mut length, 300, |_| false);
    assert!(cost < 313.0, "and unpredictable again: {cost} passes for 300 tokens");
}

#[test]
fn what_a_draft_must_read_first_is_counted() {
    let mut length = DraftLength::new(9, 0.5, Dtype::F32);
    assert!(length.choose(9, 0) > 0);
    assert_eq!(length.choose(9, 100), 0, "reading 100 tokens costs more than there is to lose");
}

proptest! {
    #![proptest_config(crate::properties::config())]
    /// However bad the guesses, the text costs at most 1.015 passes per token plus the initial purse.
    #[test]
    fn the_purse_is_never_overdrawn(
        guess in 0.0..2.0f64, most in 0..40usize, right in prop::collection::vec(any::<bool>(), 1..400),
    ) {
        let tokens = right.len();
        let cost = write(&mut DraftLength::new(most, guess, Dtype::F32), tokens, |i| right[i % tokens]);
        prop_assert!(cost <= 1.015 * tokens as f64 + PURSE + 0.001, "{} passes for {} tokens", cost, tokens);
    }
}
