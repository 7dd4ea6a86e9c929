//! Is a character a letter, a number, white space or something else?
//!
//! `\p{L}` and `\p{N}` are those of **Unicode 16.0**, and `\s` is the property `White_Space`. A byte that is not part of
//! valid UTF-8 counts as a character of its own: neither letter nor number nor white space. So any bytes can be encoded,
//! and come back.

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// What GPT-2's pattern distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
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
    fn of(c: char) -> Self {
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

    /// The class and the length in bytes of the character at `at`; `None` at the end of the text.
    #[inline(always)]
    pub fn at(text: &[u8], at: usize) -> Option<(Self, usize)> {
        match ASCII[usize::from(*text.get(at)?)] {
            Some(class) => Some((class, 1)),
            None => Some(beyond_ascii(&text[at..])),
        }
    }
}

/// The class of each ASCII byte; `None` where a character has more bytes.
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

/// The class and the length of the character that `text` begins with, which is not ASCII.
fn beyond_ascii(text: &[u8]) -> (Class, usize) {
    let len = match text[0] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    };
    let c = text.get(..len).and_then(|c| str::from_utf8(c).ok()?.chars().next());
    c.map_or((Class::Other, 1), |c| (Class::of(c), len))
}

/// The first character of a text; `None` where it is not valid UTF-8, or there is none.
pub fn first_char(text: &[u8]) -> Option<char> {
    (1..=text.len().min(4)).find_map(|len| str::from_utf8(&text[..len]).ok()?.chars().next())
}

/// The last character, likewise.
pub fn last_char(text: &[u8]) -> Option<char> {
    (1..=text.len().min(4)).find_map(|len| str::from_utf8(&text[text.len() - len..]).ok()?.chars().next())
}

/// Whether a character is part of a word: `\w`, in Unicode 16.0.
pub fn is_word(c: char) -> bool {
    match get_general_category(c) {
        Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark => true,
        Category::DecimalNumber | Category::ConnectorPunctuation => true,
        Category::Unassigned => false, // the standard library knows newer letters
        _ => c.is_alphabetic() || matches!(c, '\u{200c}' | '\u{200d}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let text = c.to_string();
            assert_eq!(Class::at(text.as_bytes(), 0), Some((Class::of(c), text.len())));
        }
    }
}
