//! Is every option within its range, and does it fit the model and the other options?

use super::{Options, TABLE};
use crate::bpe::TokenId;
use crate::error::{Error, Result, ensure};
use crate::model::Gpt2;

impl Options {
    /// Checks every option.
    ///
    /// # Errors
    /// [`Error::Option`] that names the option and its range.
    pub fn check(&self, model: &Gpt2) -> Result<()> {
        for row in TABLE {
            let value = row.write(self);
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok()); // inf and NaN are strings
            number.map_or(Ok(()), |number| in_range(row.name, number, row.range.within, row.range.says))?;
        }
        let size = model.config.vocab_size;
        let known = |option: &str, id: TokenId| {
            ensure((id as usize) < size, Error::Option, || {
                format!("{option}: token id {id} is not below the model's vocab_size {size}")
            })
        };
        for &(id, bias) in &self.logit_bias {
            known("logit-bias", id)?;
            let within = |bias| bias < f64::INFINITY; // -inf is a ban; NaN fails the comparison
            in_range(&format!("logit-bias of id {id}:"), bias.into(), within, "a number or -inf")?;
        }
        self.bad_words.iter().flatten().try_for_each(|id| known("bad-words", *id))?;
        ensure(!self.bad_words.iter().any(Vec::is_empty), Error::Option, || {
            "bad-words: an empty text cannot be banned; give at least one token".into()
        })?;
        self.stop.iter().try_for_each(|string| check_stop(string))?;
        let (least, most) = (self.min_new_tokens, self.max_new_tokens);
        ensure(least <= most, Error::Option, || {
            format!("min-new-tokens {least} must be at most max-new-tokens, which is {most}")
        })
    }
}

/// Checks that a value is within its range.
///
/// # Errors
/// [`Error::Option`] that names the option and its range.
pub(crate) fn in_range(name: &str, value: f64, within: impl Fn(f64) -> bool, range: &str) -> Result<()> {
    ensure(within(value), Error::Option, || format!("{name} {value} must be {range}"))
}

/// Refuses an empty stop string.
pub(crate) fn check_stop(string: &str) -> Result<()> {
    ensure(!string.is_empty(), Error::Option, || {
        "stop: an empty text matches everywhere; give at least one character".into()
    })
}
