//! The options of a beam search.

use crate::error::{Error, Result, ensure};
use crate::names::names;
use crate::sampling::in_range;

/// The largest number of beams: each is a row of the batch and has its own page of keys and values.
pub const MOST_BEAMS: usize = 1024;

/// How wide to search, how to compare texts of different lengths, and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Beams {
    /// K: how many hypotheses are followed at the same time, in all groups together.
    pub num_beams: usize,
    /// The number of groups, which search one after the other in each step, with `num_beams / num_beam_groups` beams
    /// each.
    pub num_beam_groups: usize,
    /// Subtracted from a token's score for each beam of an earlier group that has just chosen the token.
    pub diversity_penalty: f32,
    /// The score of a finished hypothesis is divided by its length to this power. Values above 0 favour long texts,
    /// values below 0 short ones.
    pub length_penalty: f64,
    /// When to stop.
    pub early_stopping: EarlyStopping,
    /// How many of the best finished hypotheses to return.
    pub num_return_sequences: usize,
}

/// When a search ends, once K hypotheses are finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyStopping {
    /// As soon as the best running hypothesis, if it ended now, would not be among the K best.
    #[default]
    False,
    /// At once.
    True,
    /// When no running hypothesis can become one of the K best, however long it grows.
    Never,
}

names!(EarlyStopping { False: "false", True: "true", Never: "never" });

impl Default for Beams {
    /// Four beams, of which the best hypothesis is returned.
    fn default() -> Self {
        Self {
            num_beams: 4,
            num_beam_groups: 1,
            diversity_penalty: 0.0,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::False,
            num_return_sequences: 1,
        }
    }
}

impl Beams {
    /// Beams per group.
    pub fn group_size(&self) -> usize {
        self.num_beams / self.num_beam_groups
    }

    /// The divisor of the score after `length` new tokens: `length ^ length_penalty`.
    ///
    /// The system's math library computes the power in f64. Rounding it to f32 hides the last bits, which differ
    /// between systems.
    pub fn divisor(&self, length: usize) -> f32 {
        (length as f64).powf(self.length_penalty) as f32
    }

    /// Checks every option, for texts of up to `longest` new tokens.
    ///
    /// # Errors
    /// [`Error::Option`] that names the option and its range.
    pub fn check(&self, longest: usize) -> Result<()> {
        let &Self { num_beams, num_beam_groups: groups, num_return_sequences: wanted, .. } = self;
        ensure((1..=MOST_BEAMS).contains(&num_beams), Error::Option, || {
            format!("num-beams {num_beams} must be from 1 to {MOST_BEAMS}")
        })?;
        ensure((1..=num_beams).contains(&wanted), Error::Option, || {
            format!("num-return-sequences {wanted} must be from 1 to num-beams, which is {num_beams}")
        })?;
        ensure(groups > 0 && num_beams.is_multiple_of(groups), Error::Option, || {
            format!("num-beam-groups {groups} must divide num-beams, which is {num_beams}")
        })?;
        let penalty = f64::from(self.diversity_penalty);
        in_range("diversity-penalty", penalty, |p| p >= 0.0 && p.is_finite(), "from 0 and finite")?;
        ensure(groups == 1 || penalty > 0.0, Error::Option, || {
            "num-beam-groups: without a diversity-penalty above 0, all groups would find the same texts"
                .into()
        })?;
        ensure(groups > 1 || penalty == 0.0, Error::Option, || {
            format!(
                "diversity-penalty {penalty} applies between groups of beams; num-beam-groups must be at least 2"
            )
        })?;
        in_range("length-penalty", self.length_penalty, f64::is_finite, "finite")?;
        ensure(self.divisor(longest.max(1)).is_normal(), Error::Option, || {
            let penalty = self.length_penalty;
            format!(
                "length-penalty {penalty} is too extreme: scores cannot be divided by {longest} to this power"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_named() {
        let beams = Beams::default;
        for (beams, part) in [
            (Beams { num_beams: 0, ..beams() }, "num-beams 0"),
            (Beams { num_beams: MOST_BEAMS + 1, ..beams() }, "num-beams 1025 must be from 1 to 1024"),
            (Beams { num_return_sequences: 0, ..beams() }, "num-return-sequences 0"),
            (
                Beams { num_return_sequences: 5, ..beams() },
                "num-return-sequences 5 must be from 1 to num-beams",
            ),
            (Beams { num_beam_groups: 0, ..beams() }, "num-beam-groups 0"),
            (
                Beams { num_beam_groups: 3, diversity_penalty: 1.0, ..beams() },
                "num-beam-groups 3 must divide",
            ),
            (Beams { num_beam_groups: 2, ..beams() }, "without a diversity-penalty"),
            (Beams { diversity_penalty: 0.5, ..beams() }, "diversity-penalty 0.5"),
            (Beams { diversity_penalty: f32::NAN, ..beams() }, "diversity-penalty NaN"),
            (Beams { num_beam_groups: 2, diversity_penalty: -1.0, ..beams() }, "diversity-penalty -1"),
            (
                Beams { num_beam_groups: 2, diversity_penalty: f32::INFINITY, ..beams() },
                "diversity-penalty inf",
            ),
            (Beams { length_penalty: f64::NAN, ..beams() }, "length-penalty NaN"),
            (Beams { length_penalty: f64::NEG_INFINITY, ..beams() }, "length-penalty -inf"),
            (Beams { length_penalty: 30.0, ..beams() }, "length-penalty 30 is too extreme"),
            (Beams { length_penalty: -30.0, ..beams() }, "length-penalty -30 is too extreme"),
        ] {
            let error = beams.check(100).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(beams().check(100).is_ok() && beams().check(0).is_ok() && beams().check(usize::MAX).is_ok());
        let extreme = Beams { length_penalty: -18.0, ..beams() };
        assert!(extreme.check(100).is_ok() && extreme.check(1000).is_err());
        for when in EarlyStopping::ALL {
            assert_eq!(EarlyStopping::from_name(when.name()), Some(when));
        }
        assert_eq!(EarlyStopping::from_name("False"), None);
    }
}
