//! Stop strings are found whatever the pieces, and text that may become one is held back.

use super::*;
use proptest::prelude::*;

/// By definition: the first place where a string is complete, and the longest string that is complete there.
fn naive(text: &str, stop: &[String]) -> Option<usize> {
    let ends = (0..=text.len()).filter(|end| text.is_char_boundary(*end));
    let complete = |end| stop.iter().filter(move |s| text[..end].ends_with(*s)).map(|s| s.len()).max();
    ends.filter_map(|end| complete(end).map(|len| end - len)).next()
}

#[test]
fn an_empty_string_is_refused() {
    assert!(StopStrings::new(["a", ""]).is_err_and(|e| e.to_string().starts_with("stop: ")));
    let mut none = StopStrings::new([""; 0]).expect("no strings");
    assert_eq!((none.push("all"), none.found()), ("all".into(), false));
}

#[test]
fn the_first_complete_string_counts() {
    for (stop, shown) in [(["abcd", "bc"], "xa"), (["bc", "abc"], "x"), (["d", "abcde"], "xabc")] {
        let mut stops = StopStrings::new(stop).expect("strings");
        assert_eq!((stops.push("xabcde"), stops.found()), (shown.into(), true), "{stop:?}");
        assert_eq!((stops.push("more"), stops.finish()), (String::new(), String::new()));
    }
}

#[test]
fn what_is_held_back_comes_when_it_cannot_be_a_stop() {
    let mut stops = StopStrings::new(["aab", "ac"]).expect("strings");
    assert_eq!(["a", "a", "a", "x", "a"].map(|part| stops.push(part)), ["", "", "a", "aax", ""]);
    assert_eq!((stops.finish(), stops.found()), ("a".into(), false));
}

#[test]
fn characters_that_begin_alike_are_told_apart() {
    let bpe = Bpe::gpt2();
    let mut text = TextStream::new(&bpe, StopStrings::new(["è"]).expect("strings"));
    let shown: Vec<String> = bpe.encode("aéà\u{1f418}è b").into_iter().map(|id| text.push(id)).collect();
    assert_eq!(shown.concat() + &text.finish(), "aéà\u{1f418}");
    assert!(text.stopped());
}

#[test]
fn the_end_in_the_middle_of_a_character_is_shown() {
    let bpe = Bpe::gpt2();
    let mut text = TextStream::new(&bpe, StopStrings::new(["b!"]).expect("strings"));
    let ids = bpe.encode(b"ab\xe2\x82");
    let shown: Vec<String> = ids.into_iter().map(|id| text.push(id)).collect();
    assert_eq!(shown.concat() + &text.finish(), "ab\u{fffd}");
    assert!(!text.stopped());
    assert_eq!(text.push(4_000_000), "", "an id that the tokenizer does not have is no text");
}

proptest! {
    #![proptest_config(crate::properties::config())]
    #[test]
    fn pieces_make_no_difference(
        text in "[abé\u{1f418}]{0,40}",
        stop in prop::collection::vec("[abé\u{1f418}]{1,5}", 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(text.len() + 1)).filter(|i| text.is_char_boundary(*i)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut stops = StopStrings::new(&stop).expect("strings");
        let mut shown = String::new();
        for cut in cuts.windows(2) {
            shown += &stops.push(&text[cut[0]..cut[1]]);
            if stops.found() {
                prop_assert!(naive(&text[..cut[1]], &stop).is_some(), "found in time, not early");
                break;
            }
            prop_assert_eq!(naive(&text[..cut[1]], &stop), None);
            // Exactly the text that could still become a stop string is held back.
            let could_grow = |from: &usize| stop.iter().any(|s| s.starts_with(&text[*from..cut[1]]));
            let first = (0..=cut[1]).filter(|i| text.is_char_boundary(*i)).find(could_grow).unwrap_or(cut[1]);
            prop_assert_eq!(&shown, &text[..first]);
        }
        let found = stops.found();
        shown += &stops.finish();
        let expected = naive(&text, &stop);
        prop_assert_eq!(found, expected.is_some());
        prop_assert_eq!(shown, &text[..expected.unwrap_or(text.len())]);
    }
}
