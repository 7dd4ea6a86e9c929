//! Which stage of which block and step: the keys of a trace, in the order in which they are computed.
//!
//! A trace of one forward pass has the names of the stages. A generation has several passes: those of its first step,
//! which reads the prompt, have the same names, so that both can be compared; those of later steps have `step.1.`,
//! `step.2.` and so on before them. Where several texts are written after one prompt, those of the second have
//! `sequence.1.` before all that, and so on.

use super::Stage;
use std::{cmp::Ordering, fmt};

/// A stage of one block, or one outside the blocks. They are ordered as they are computed.
///
/// ```
/// use gpt2::trace::{Place, Stage};
///
/// let place = Place::parse("transformer.h.3.mlp.act").expect("a name of a stage");
/// assert_eq!((place.stage, place.block), (Stage::MlpAct, Some(3)));
/// assert_eq!(Place::parse("h.3.mlp.act"), Some(place)); // as OpenAI's checkpoints have it
/// assert!(place < Place::new(Stage::Ln1, Some(4)));
///
/// let later = Place::parse("step.2.lm_head").expect("a name of a stage");
/// assert_eq!((later.stage, later.step), (Stage::LmHead, 2));
/// assert!(later > Place::new(Stage::NextId, None));
/// assert_eq!(later.of(1).to_string(), "sequence.1.step.2.lm_head");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which stage.
    pub stage: Stage,
    /// In which block; `None` for a stage outside the blocks.
    pub block: Option<usize>,
    /// In which step of a generation: 0 reads the prompt.
    pub step: usize,
    /// Of which of several texts after one prompt.
    pub sequence: usize,
}

impl Place {
    /// The stage, in this block if it is one of a block, in the first step.
    pub fn new(stage: Stage, block: Option<usize>) -> Self {
        Self { stage, block: block.filter(|_| stage.in_block()), step: 0, sequence: 0 }
    }

    /// The same stage in this step of a generation.
    pub fn at(self, step: usize) -> Self {
        Self { step, ..self }
    }

    /// The same stage of this text, where several are written.
    pub fn of(self, sequence: usize) -> Self {
        Self { sequence, ..self }
    }

    /// The residual stream that enters the block of this stage: what the block before it gives, and at first the embeddings. For
    /// a stage after the `n_layer` blocks, the one that enters `ln_f`.
    pub fn entering(self, n_layer: usize) -> Self {
        match self.block.unwrap_or(n_layer).checked_sub(1) {
            Some(before) => Self::new(Stage::Block, Some(before)),
            None => Self::new(Stage::Drop, None),
        }
    }

    /// All places of a forward pass with `n_layer` blocks, in order.
    pub fn all(n_layer: usize) -> impl Iterator<Item = Self> {
        let (before, rest) = Stage::ALL.split_at(Stage::Ln1 as usize);
        let (within, after) = rest.split_at(Stage::LnF as usize - Stage::Ln1 as usize);
        let outside = |stage: &Stage| Self::new(*stage, None);
        let blocks = (0..n_layer).flat_map(|i| within.iter().map(move |stage| Self::new(*stage, Some(i))));
        before.iter().map(outside).chain(blocks).chain(after.iter().map(outside))
    }

    /// The place of this name, with or without the leading `transformer.`.
    pub fn parse(name: &str) -> Option<Self> {
        let (sequence, name) = numbered("sequence.", name);
        let (step, name) = numbered("step.", name);
        let name = bare(name);
        let block = name.strip_prefix("h.").and_then(|rest| rest.split('.').next()?.parse().ok());
        (Stage::ALL.into_iter())
            .filter(|stage| stage.in_block() == block.is_some())
            .map(|stage| Self::new(stage, block))
            .find(|place| bare(&place.to_string()) == name)
            .map(|place| place.at(step).of(sequence))
    }

    /// What decides the order: the text; the step; before, within or after the blocks; the block; the stage.
    fn order(self) -> (usize, usize, bool, Option<usize>, Stage) {
        (self.sequence, self.step, self.stage >= Stage::LnF, self.block, self.stage)
    }
}

/// Splits `<prefix>N.<rest>` into N, which is at least 1, and the rest; any other name is number 0 and its own rest.
fn numbered<'a>(prefix: &str, name: &'a str) -> (usize, &'a str) {
    let number = |digits: &str| digits.parse().ok().filter(|n: &usize| *n > 0 && n.to_string() == digits);
    let parts = name.strip_prefix(prefix).and_then(|rest| rest.split_once('.'));
    parts.and_then(|(digits, rest)| Some((number(digits)?, rest))).unwrap_or((0, name))
}

/// A name without the leading `transformer.`, which the first checkpoints did not have.
fn bare(name: &str) -> &str {
    name.strip_prefix("transformer.").unwrap_or(name)
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The name in a trace file.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |name: &str, n: usize| if n == 0 { String::new() } else { format!("{name}.{n}.") };
        let (sequence, step) = (part("sequence", self.sequence), part("step", self.step));
        f.pad(&format!("{sequence}{step}{}", self.stage.name(self.block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_are_in_order_and_known_by_name() {
        let all: Vec<Place> = Place::all(12).collect();
        assert_eq!(all.len(), 4 + 12 * 12 + 4);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        for place in all {
            assert_eq!(Place::parse(&place.to_string()), Some(place));
            assert_eq!(Place::new(place.stage, place.block), place);
            let later = place.at(12);
            assert_eq!(Place::parse(&later.to_string()), Some(later));
            assert!(later < place.at(13) && later > Place::new(Stage::NextId, None));
            for other in [place.of(3), later.of(3)] {
                assert_eq!(Place::parse(&other.to_string()), Some(other));
                assert!(other < place.of(4) && other > Place::new(Stage::NextId, None).at(99));
            }
        }
    }

    #[test]
    fn what_enters_a_block() {
        let entering = |stage, block| Place::new(stage, block).entering(2).to_string();
        assert_eq!(entering(Stage::Ln1, Some(0)), "transformer.drop");
        assert_eq!(entering(Stage::AttnResidual, Some(1)), "transformer.h.0");
        assert_eq!(entering(Stage::LnF, None), "transformer.h.1");
    }

    #[test]
    fn what_is_no_stage_has_no_place() {
        for name in [
            "",
            "transformer.",
            "h",
            "h.",
            "h.1.",
            "h.x.ln_1",
            "h.01.ln_1",
            "h.+1.ln_1",
            "h.{i}.ln_1",
            "ln_1",
            "transformer.h.99999999999999999999.ln_1",
            "transformer.transformer.wte",
            "lens.0",
            "h.0.lm_head",
            "step.0.lm_head",
            "step.01.lm_head",
            "step.1.",
            "step.1",
            "step.1.step.2.lm_head",
            "step.-1.lm_head",
            "transformer.step.1.lm_head",
            "sequence.0.lm_head",
            "sequence.1",
            "sequence.1.sequence.2.lm_head",
            "step.1.sequence.1.lm_head",
            "sequence.1.lens.0",
        ] {
            assert_eq!(Place::parse(name), None, "{name}");
        }
    }
}
