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
//! pieces are `a`, two spaces, and ` b`. The last character of the run is left behind; if it is a space, the
//! word takes it, otherwise (a line feed, say) it is a piece by itself.
//!
//! There is no need for a regular-expression engine: every alternative is decided by the class of one
//! character. `\p{L}` and `\p{N}` are those of **Unicode 16.0**, and `\s` is the property `White_Space`.
//!
//! A byte that is not part of valid UTF-8 counts as a character of its own, neither letter nor number nor
//! white space. So any bytes can be encoded, and come back.

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// No piece is longer: a run that is gets cut after 2 GiB, which no other limit of a machine lets matter.
const LONGEST_PIECE: usize = 1 << 31;

/// What the pattern distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`
    Space,
    /// `[^\s\p{L}\p{N}]`
    Other,
}

impl Class {
    /// The class of a character.
    pub(super) fn of(c: char) -> Self {
        use Category::*;
        match get_general_category(c) {
            UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter => {
                Self::Letter
            }
            DecimalNumber | LetterNumber | OtherNumber => Self::Number,
            _ if c.is_whitespace() => Self::Space,
            _ => Self::Other,
        }
    }
}

/// The class of each ASCII byte; `None` where more than one byte has to be looked at.
const ASCII: [Option<Class>; 256] = {
    let mut table = [None; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = Some(match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Number,
            b'\t'..=b'\r' | b' ' => Class::Space, // tab, line feed, vertical tab, form feed, carriage return
            _ => Class::Other,
        });
        byte += 1;
    }
    table
};

/// The class and the length in bytes of the character at `at`; `None` at the end of the text.
#[inline(always)]
fn class_at(text: &[u8], at: usize) -> Option<(Class, usize)> {
    match ASCII[usize::from(*text.get(at)?)] {
        Some(class) => Some((class, 1)),
        None => Some(beyond_ascii(&text[at..])),
    }
}

/// The class and the length of the character that `text` begins with, which is not ASCII.
fn beyond_ascii(text: &[u8]) -> (Class, usize) {
    let len = match text[0] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return (Class::Other, 1), // never the first byte of a character
    };
    match text.get(..len).map(str::from_utf8) {
        Some(Ok(s)) => s.chars().next().map_or((Class::Other, 1), |c| (Class::of(c), len)),
        _ => (Class::Other, 1),
    }
}

/// The end of the run of characters of class `class` that goes on at `at`.
#[inline(always)]
fn run_end(text: &[u8], mut at: usize, class: Class) -> usize {
    while let Some((next, len)) = class_at(text, at)
        && next == class
    {
        at += len;
    }
    at
}

/// The end of the run of white space at `at`, and where its last character begins.
fn space_run(text: &[u8], mut at: usize) -> (usize, usize) {
    let mut last = at;
    while let Some((Class::Space, len)) = class_at(text, at) {
        last = at;
        at += len;
    }
    (at, last)
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

/// The pieces of `text`, in order. Together they are the text.
pub(super) fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
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
    let (class, len) = class_at(text, 0)?;
    if class != Class::Space {
        return contraction(text).or_else(|| Some(run_end(text, len, class)));
    }
    if text[0] == b' '
        && let Some((next, len)) = class_at(text, 1)
        && next != Class::Space
    {
        return Some(run_end(text, 1 + len, next)); // the space belongs to what follows
    }
    let (end, last) = space_run(text, 0);
    // A run that ends the text is one piece. Otherwise its last character is left for the next piece,
    // unless it is the only one.
    Some(if end == text.len() || last == 0 { end } else { last })
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

    #[test]
    fn the_ascii_table_agrees_with_the_classes() {
        for byte in 0..=255u8 {
            let expected = byte.is_ascii().then(|| Class::of(char::from(byte)));
            assert_eq!(ASCII[usize::from(byte)], expected, "{byte:#x}");
        }
    }

    #[test]
    fn the_unicode_version_is_the_one_documented() {
        assert_eq!(unicode_general_category::UNICODE_VERSION, (16, 0, 0));
    }

    /// `classes.txt` has the ranges of each class that tiktoken and HF's tokenizers agree on.
    #[test]
    fn every_code_point_has_the_class_of_the_reference() {
        let mut expected = vec![Class::Other; 0x11_0000];
        for line in include_str!("../../tests/fixtures/tokenizer/classes.txt").lines() {
            let mut words = line.split(' ');
            let class = match words.next() {
                Some("L") => Class::Letter,
                Some("N") => Class::Number,
                Some("S") => Class::Space,
                _ => continue, // a comment
            };
            for range in words {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number = |hex| usize::from_str_radix(hex, 16).expect("a code point in hexadecimal");
                expected[number(first)..=number(last)].fill(class);
            }
        }
        for c in '\0'..=char::MAX {
            assert_eq!(Class::of(c), expected[c as usize], "U+{:04X}", c as u32);
        }
    }
}
