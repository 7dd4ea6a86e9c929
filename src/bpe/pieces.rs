//! What is merged, and where in the text does it stand?
//!
//! The pattern's pieces spell the text, except where a tokenizer's files say otherwise: a space before each section, tokens
//! around the whole, bytes that have no token.

use super::added::Section;
use super::split::split;
use super::vocabulary::Vocabulary;
use crate::config::TokenId;
use std::borrow::Cow;
use std::ops::Range;

/// What a tokenizer puts around a text, and before its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Whether a text, and what follows an added token, begins with a space: `add_prefix_space`.
    pub prefix_space: bool,
    /// Tokens before a whole text: often one that begins every text.
    pub before: Vec<TokenId>,
    /// Tokens after it.
    pub after: Vec<TokenId>,
}

/// A text as the pattern sees it.
pub struct Prepared<'t> {
    /// With the spaces that the text lacks.
    text: Cow<'t, [u8]>,
    /// Each with its place in the prepared text.
    sections: Vec<(Section, Range<usize>)>,
}

/// What the pattern cuts off, or an added token.
pub struct Piece<'p> {
    /// What is merged.
    pub bytes: &'p [u8],
    /// Its place in the text.
    pub place: Range<usize>,
    /// The token, where it is an added one.
    pub token: Option<TokenId>,
}

impl<'t> Prepared<'t> {
    /// Cuts a text at its added tokens. With `framed`, the tokens around a whole text are sections too.
    pub fn new(vocabulary: &Vocabulary, text: &'t [u8], allow_special: bool, framed: bool) -> Self {
        let Frame { prefix_space, before, after } = &vocabulary.frame;
        let inside = vocabulary.added.sections(text, allow_special);
        let lacks_space =
            |s: &Section| *prefix_space && s.token.is_none() && !text[s.place.clone()].starts_with(b" ");
        let mut spaced = inside.iter().any(lacks_space).then(Vec::new);
        let inside = inside.into_iter().map(|section| {
            let mut place = section.place.clone();
            if let Some(spaced) = &mut spaced {
                let start = spaced.len();
                spaced.extend(lacks_space(&section).then_some(b' '));
                spaced.extend_from_slice(&text[place]);
                place = start..spaced.len();
            }
            (section, place)
        });
        let around = |ids: &[TokenId], at: usize| -> Vec<_> {
            let section = |id: &TokenId| (Section { place: at..at, token: Some(*id) }, 0..0);
            ids.iter().filter(|_| framed).map(section).collect()
        };
        let sections = around(before, 0).into_iter().chain(inside).chain(around(after, text.len())).collect();
        Self { text: spaced.map_or(Cow::Borrowed(text), Cow::Owned), sections }
    }

    /// Shows each piece, in order.
    #[inline]
    pub fn pieces<'p>(&'p self, mut each: impl FnMut(Piece<'p>)) {
        for (section, shown) in &self.sections {
            let (bytes, place) = (&self.text[shown.clone()], section.place.clone());
            if section.token.is_some() {
                each(Piece { bytes, place, token: section.token });
                continue;
            }
            let mut end = place.start;
            let mut extra = bytes.len() - place.len(); // the space that was put in
            for bytes in split(bytes) {
                let start = end;
                end += bytes.len() - extra;
                extra = 0;
                each(Piece { bytes, place: start..end, token: None });
            }
        }
    }
}

impl Piece<'_> {
    /// For each byte that has a token, its place in the text; a space that was put in has an empty one.
    pub fn places(&self, vocabulary: &Vocabulary) -> Vec<Range<usize>> {
        let extra = self.bytes.len() - self.place.len();
        let place = |i: usize| self.place.start + i.saturating_sub(extra);
        let known = self.bytes.iter().enumerate().filter(|(_, byte)| vocabulary.byte_id(**byte).is_some());
        known.map(|(i, _)| place(i)..place(i + 1)).collect()
    }
}
