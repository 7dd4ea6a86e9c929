//! Where may a merge never reach? Across the borders of the pieces that GPT-2's pattern cuts.
//!
//! Without borders `dog`, `dog.` and `dog!` would each earn a token of their own. So the text is first cut by
//! a regular expression, and merging happens inside a piece only. At each place the first alternative that
//! matches wins:
//!
//! | alternative | what it takes |
//! |---|---|
//! | `'s\|'t\|'re\|'ve\|'m\|'ll\|'d` | the ending of an English contraction; lower case only |
//! | ` ?\p{L}+` | a word, with the one space before it |
//! | ` ?\p{N}+` | a number, likewise |
//! | ` ?[^\s\p{L}\p{N}]+` | everything else that is not white space (punctuation, symbols, marks), likewise |
//! | `\s+(?!\S)` | white space up to the end of the text; or all of a run but its last character |
//! | `\s+` | white space: the one character that the line above had to leave |
//!
//! The look-ahead `(?!\S)` is what gives a word its own space when several come before it: in `a   b` the
//! pieces are `a`, two spaces, and ` b`. The last character of the run is left over; if it is a space, the
//! word takes it, otherwise (a line feed, say) it is a piece by itself.
//!
//! No regular-expression engine is needed: the [`Class`] of one character decides every alternative.

use super::class::Class;

/// No piece is longer: 32 bits count its bytes. A longer run is cut after 2 GiB.
const LONGEST_PIECE: usize = 1 << 31;

/// The pieces of `text`, in order. Together they are the text.
pub fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(piece_len(rest)?.min(LONGEST_PIECE));
        rest = after;
        Some(piece)
    })
}

/// The length of the first piece of `text`: at least one byte; `None` if `text` is empty.
#[inline(always)]
fn piece_len(text: &[u8]) -> Option<usize> {
    let (class, len) = Class::at(text, 0)?;
    if class != Class::Space {
        return contraction(text).or_else(|| Some(run(text, len, class).0));
    }
    if text[0] == b' '
        && let Some((next, len)) = Class::at(text, 1)
        && next != Class::Space
    {
        return Some(run(text, 1 + len, next).0); // the space belongs to what follows
    }
    let (end, last) = run(text, 0, Class::Space);
    // A run that ends the text is one piece. Otherwise its last character is left for the next piece,
    // unless it is the only one.
    Some(if end == text.len() || last == 0 { end } else { last })
}

/// The length of the contraction that `text` begins with: `'s`, `'t`, `'m`, `'d`, `'re`, `'ve` or `'ll`.
#[inline(always)]
fn contraction(text: &[u8]) -> Option<usize> {
    match text {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}

/// The end of the run of characters of class `class` that goes on at `at`, and where its last character begins.
#[inline(always)]
fn run(text: &[u8], mut at: usize, class: Class) -> (usize, usize) {
    let mut last = at;
    while let Some((next, len)) = Class::at(text, at)
        && next == class
    {
        (last, at) = (at, at + len);
    }
    (at, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        split(text.as_bytes()).map(|piece| str::from_utf8(piece).expect("cut inside a character")).collect()
    }

    #[test]
    fn words_take_the_space_before_them() {
        assert_eq!(pieces("Once upon a time,"), ["Once", " upon", " a", " time", ","]);
        assert_eq!(pieces("in 1812 , x2"), ["in", " 1812", " ,", " x", "2"]);
    }

    #[test]
    fn the_look_ahead_leaves_one_space_to_the_word() {
        assert_eq!(pieces("a   b"), ["a", "  ", " b"]);
        assert_eq!(pieces("a  "), ["a", "  "]);
        assert_eq!(pieces("a \n b"), ["a", " \n", " b"]);
        assert_eq!(pieces("a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(pieces("a\u{a0}b"), ["a", "\u{a0}", "b"]);
        assert_eq!(pieces("a \u{3000}b"), ["a", " ", "\u{3000}", "b"]);
        assert_eq!(pieces("\t\tx"), ["\t", "\t", "x"]);
    }

    #[test]
    fn contractions_are_lower_case_and_only_at_the_start_of_a_piece() {
        assert_eq!(pieces("I'll we'd"), ["I", "'ll", " we", "'d"]);
        assert_eq!(pieces("I'LL"), ["I", "'", "LL"]);
        assert_eq!(pieces("it's'"), ["it", "'s", "'"]);
        assert_eq!(pieces("x!'s"), ["x", "!'", "s"]);
        assert_eq!(pieces(" 's"), [" '", "s"]);
        assert_eq!(pieces("'re've't'm'lx"), ["'re", "'ve", "'t", "'m", "'", "lx"]);
    }

    #[test]
    fn classes_are_unicode_classes() {
        assert_eq!(pieces("naïve Ωmega"), ["naïve", " Ωmega"]);
        assert_eq!(pieces("x²½Ⅷ٣"), ["x", "²½Ⅷ٣"]); // No, No, Nl, Nd
        assert_eq!(pieces("हिन्दी"), ["ह", "ि", "न", "्", "द", "ी"]); // combining marks are no letters
        assert_eq!(pieces("ok👍🏽!"), ["ok", "👍🏽!"]);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_punctuation() {
        let cut = |text| split(text).collect::<Vec<_>>();
        assert_eq!(cut(b"a\xffb"), [&b"a"[..], b"\xff", b"b"]);
        assert_eq!(cut(b"a \x80\xe2\x82 b"), [&b"a"[..], b" \x80\xe2\x82", b" b"]); // a truncated euro sign
        assert_eq!(cut(b"\xed\xa0\x80x"), [&b"\xed\xa0\x80"[..], b"x"]); // a surrogate
        assert_eq!(cut(b"\xc0\x80\xf5\xff"), [&b"\xc0\x80\xf5\xff"[..]]);
    }
}
