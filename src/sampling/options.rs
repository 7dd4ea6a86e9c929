//! How is a token chosen, and when does a text end?
//!
//! All options stand in one table. A row gives a field of [`Options`] and its builder method, a flag, a key in JSON (a line
//! of a batch, the metadata of a trace), an option of the stepper, a line of the README and, where it changes scores, a
//! step; the steps are taken in the order of the table. A new way to sample is one function and one row.

mod kinds;
mod row;

pub use kinds::Encode;
pub(crate) use row::in_range;
pub use row::{Row, Scope};

use super::choice::{Processor, Sampler};
use super::watch::watched;
use super::{Uniform, bans, filters, penalties, top_k};
use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::model::Gpt2;
use crate::softmax::temperature;
use kinds::Kind;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use std::sync::Arc;

/// Rows to a struct, its defaults, its builder methods and its table. A row is
///
/// ```text
/// /// What it does.
/// field: Type, off DEFAULT, Scope, "flag" "VALUE" RANGE, (value, history, options, keep) if it is on => |x| change of x;
/// ```
///
/// with `= DEFAULT` where no value switches the option off, and `as "name"` where the step is not called as the flag.
macro_rules! options {
    (@off off $options:ident.$field:ident $default:expr) => { Some(|$options| $options.$field = $default) };
    (@off = $($default:tt)*) => { None };
    (@apply $field:ident $name:literal) => { None };
    (@apply $field:ident $name:literal $(as $step:literal)? ($($pattern:pat),+) $(if $on:expr)? => $change:expr) => {
        Some(|options, x, history, keep, watch| match (&options.$field, history, options, keep) {
            ($($pattern),+) $(if $on)? => watched([$($step,)? $name][0], x, watch, $change),
            #[allow(unreachable_patterns)] // of a step that is always taken
            _ => (),
        })
    };
    ($(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty, $off:tt $default:expr, $scope:ident, $name:literal $value:literal $range:ident
        $(, $(as $step:literal)? ($($pattern:pat),+) $(if $on:expr)? => $change:expr)?;
    )*) => {
        /// How each token is chosen, and when the text ends.
        ///
        /// ```
        /// use gpt2::generate::Options;
        ///
        /// let options = Options::sampled(1).top_k(None).top_p(0.9).max_new_tokens(20);
        /// assert_eq!((options.temperature, options.top_p), (0.8, Some(0.9)));
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Options {
            /// Draw each token; otherwise take the most likely one.
            pub sample: bool,
            /// The stream of the seed's random numbers. Several texts from one seed take streams 0, 1, 2, ...
            pub stream: u64,
            /// Processors of your own, applied in this order after all others and before the temperature.
            pub processors: Vec<Arc<dyn Processor>>,
            /// A draw of your own in place of [`draw`](super::draw).
            pub sampler: Option<Arc<dyn Sampler>>,
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl Default for Options {
            /// The most likely token each time, 128 times at most.
            fn default() -> Self {
                let (sample, stream, processors, sampler) = Default::default();
                Self { sample, stream, processors, sampler, $( $field: $default, )* }
            }
        }

        impl Options {
            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $field(mut self, value: impl Setting<$type>) -> Self {
                    self.$field = value.setting();
                    self
                }
            )*
        }

        static TABLE: &[Row] = &[GREEDY, $( Row {
            name: $name,
            value: $value,
            help: concat!($($doc),+).trim_ascii(),
            scope: Scope::$scope,
            range: row::$range,
            what: <$type>::WHAT,
            off: options!(@off $off options.$field $default),
            set: |options, given, encode| options.$field.set(given, encode),
            write: |options| options.$field.write(),
            apply: options!(@apply $field $name $($(as $step)? ($($pattern),+) $(if $on)? => $change)?),
        } ),*];
    };
}

options! {
    /// Add VALUE to the score of token ID; -inf bans it.
    logit_bias: Vec<(TokenId, f32)>, off vec![], Choice, "logit-bias" "ID=VALUE" ANY,
        (biases, ..) if !biases.is_empty() => |x| penalties::logit_bias(x, biases);
    /// Divide the score of each token that already occurs by R; multiply it where it is negative.
    repetition_penalty: f32, off 1.0, Choice, "repetition-penalty" "R" ABOVE_0,
        (&r, h, ..) if r != 1.0 => |x| penalties::repetition(x, h.ids, r);
    /// Subtract X from the score of each token that already occurs.
    presence_penalty: f32, off 0.0, Choice, "presence-penalty" "X" FINITE;
    /// Subtract X from the score of a token for each time it occurs.
    frequency_penalty: f32, off 0.0, Choice, "frequency-penalty" "X" FINITE,
        as "presence-penalty, frequency-penalty" (&f, h, o, _) if f != 0.0 || o.presence_penalty != 0.0
        => |x| penalties::presence_and_frequency(x, h.ids, o.presence_penalty, f);
    /// Never write the same N tokens in a row twice; 0 is off.
    no_repeat_ngram_size: usize, off 0, Choice, "no-repeat-ngram-size" "N" FROM_0,
        (&n, h, ..) if n > 0 => |x| bans::no_repeat_ngram(x, h.ids, n);
    /// Never write the tokens of TEXT. A space before it makes another word.
    bad_words: Vec<Vec<TokenId>>, off vec![], Choice, "bad-words" "TEXT" ANY,
        (words, h, ..) if !words.is_empty() => |x| bans::bad_words(x, h.ids, words, h.eos);
    /// Do not end the text before this many new tokens.
    min_new_tokens: usize, off 0, Choice, "min-new-tokens" "N" FROM_0,
        (&least, h, ..) if h.new_tokens() < least && !h.eos.is_empty() => |x| bans::end(x, h.eos);
    /// Sharpen the distribution below 1, flatten it above.
    temperature: f32, off 1.0, Draw, "temperature" "T" HEAT,
        (&tau, ..) => |x| temperature(x, tau);
    /// Draw from the K most likely tokens.
    top_k: Option<usize>, off None, Draw, "top-k" "K" AT_LEAST_1,
        (&Some(k), .., keep) => |x| top_k(x, k.max(keep));
    /// Draw from the most likely tokens that reach probability P together.
    top_p: Option<f64>, off None, Draw, "top-p" "P" ABOVE_0_TO_1,
        (&Some(p), .., keep) if p < 1.0 => |x| filters::top_p(x, p, keep);
    /// Drop tokens less likely than P times the most likely one.
    min_p: Option<f64>, off None, Draw, "min-p" "P" FROM_0_TO_1,
        (&Some(p), .., keep) => |x| filters::min_p(x, p, keep);
    /// Draw from the tokens about as surprising as expected that reach probability P together.
    typical_p: Option<f64>, off None, Draw, "typical-p" "P" ABOVE_0_TO_1,
        (&Some(mass), .., keep) if mass < 1.0 => |x| filters::typical_p(x, mass, keep);
    /// Drop tokens less likely than E.
    epsilon_cutoff: Option<f64>, off None, Draw, "epsilon-cutoff" "E" BELOW_1,
        (&Some(cutoff), .., keep) if cutoff > 0.0 => |x| filters::epsilon(x, cutoff, keep);
    /// Drop tokens less likely than min(E, sqrt(E) * e^-entropy).
    eta_cutoff: Option<f64>, off None, Draw, "eta-cutoff" "E" BELOW_1,
        (&Some(cutoff), .., keep) if cutoff > 0.0 => |x| filters::eta(x, cutoff, keep);
    /// Start of the random numbers; the same seed gives the same text.
    seed: u64, = 0, Draw, "seed" "S" FROM_0;
    /// Go on after the end-of-text token, which then is a token like any other.
    ignore_eos: bool, off false, Choice, "ignore-eos" "" ANY;
    /// Stop after this many new tokens.
    max_new_tokens: usize, = 128, Text, "max-new-tokens" "N" FROM_0;
    /// End the text before TEXT, wherever it appears in the continuation.
    stop: Vec<String>, off vec![], Text, "stop" "TEXT" ANY;
    /// What to do when the text has filled all positions: keep its newest half and go on (slide), end it (stop), or fail
    /// (error).
    context_policy: ContextPolicy, = ContextPolicy::Slide, Text, "context-policy" "POLICY" ANY;
}

/// [`Options::sample`] as users know it, the other way round.
const GREEDY: Row = Row {
    name: "greedy",
    value: "",
    help: "Take the most likely token each time.",
    scope: Scope::Choice,
    range: row::ANY,
    what: bool::WHAT,
    off: Some(|options| options.sample = true),
    set: |options, given, encode| {
        let mut greedy = !options.sample;
        greedy.set(given, encode)?;
        options.sample = !greedy;
        Some(())
    },
    write: |options| json!(!options.sample),
    apply: None,
};

/// What a builder method takes: a value, or of an option that can be off also the bare value within its `Some`.
pub trait Setting<T> {
    /// As the field has it.
    fn setting(self) -> T;
}

impl<T> Setting<T> for T {
    fn setting(self) -> T {
        self
    }
}

impl<T> Setting<Option<T>> for T {
    fn setting(self) -> Option<T> {
        Some(self)
    }
}

impl Options {
    /// Draws with this project's defaults: temperature 0.8, top-k 40.
    pub fn sampled(seed: u64) -> Self {
        Self::plain(seed).temperature(0.8).top_k(40)
    }

    /// Draws from the model's own distribution: temperature 1, nothing cut.
    pub fn plain(seed: u64) -> Self {
        Self { sample: true, seed, ..Self::default() }
    }

    /// Draw each token; otherwise take the most likely one.
    #[must_use]
    pub fn sample(self, sample: bool) -> Self {
        Self { sample, ..self }
    }

    /// The stream of the seed's random numbers.
    #[must_use]
    pub fn stream(self, stream: u64) -> Self {
        Self { stream, ..self }
    }

    /// One more processor of your own.
    #[must_use]
    pub fn processor(mut self, processor: Arc<dyn Processor>) -> Self {
        self.processors.push(processor);
        self
    }

    /// A draw of your own.
    #[must_use]
    pub fn sampler(self, sampler: Arc<dyn Sampler>) -> Self {
        Self { sampler: Some(sampler), ..self }
    }

    /// All options that users can set, in the order in which they act.
    pub fn table() -> &'static [Row] {
        TABLE
    }

    /// Checks every option.
    ///
    /// # Errors
    /// [`Error::Option`] that names the option and its range.
    pub fn check(&self, model: &Gpt2) -> Result<()> {
        for row in TABLE {
            let value = row.write(self);
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok()); // inf and NaN are texts
            in_range(row.name, number, row.range.within, row.range.says)?;
        }
        let size = model.config.vocab_size;
        let known = |option: &str, id: TokenId| match (id as usize) < size {
            true => Ok(()),
            false => Err(Error::option(format!(
                "{option}: token id {id} is not below the model's vocab_size {size}"
            ))),
        };
        for &(id, bias) in &self.logit_bias {
            known("logit-bias", id)?;
            let within = |bias| bias < f64::INFINITY; // -inf bans; NaN is no number
            in_range(&format!("logit-bias of id {id}:"), Some(bias.into()), within, "a number or -inf")?;
        }
        self.bad_words.iter().flatten().try_for_each(|id| known("bad-words", *id))?;
        if self.bad_words.iter().any(Vec::is_empty) {
            return Err(Error::option("bad-words: an empty text cannot be avoided; give at least one token"));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(Error::option(
                "stop: an empty text is found everywhere; give at least one character",
            ));
        }
        let (least, most) = (self.min_new_tokens, self.max_new_tokens);
        if least > most {
            return Err(Error::option(format!(
                "min-new-tokens {least} must be at most max-new-tokens, which is {most}"
            )));
        }
        Ok(())
    }

    /// The random numbers of a text, from their start.
    pub fn uniform(&self) -> Uniform {
        Uniform::with_stream(self.seed, self.stream)
    }

    /// The ids that end a text.
    pub fn ends<'m>(&self, model: &'m Gpt2) -> &'m [TokenId] {
        if self.ignore_eos { &[] } else { &model.config.eos_token_ids }
    }
}

/// As an object: greedy, temperature, top-k, top-p and the seed always, the rest where it is not the default. What has no
/// effect because nothing is drawn is null. A number that JSON lacks is a text.
impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let usual = Self::default();
        let mut object = serializer.serialize_map(None)?;
        for row in TABLE {
            let value = if self.sample || row.scope != Scope::Draw { row.write(self) } else { Value::Null };
            let always = ["greedy", "temperature", "top-k", "top-p", "seed"].contains(&row.name);
            if always || !value.is_null() && value != row.write(&usual) {
                object.serialize_entry(&row.key(), &value)?;
            }
        }
        if self.sample && self.stream != 0 {
            object.serialize_entry("stream", &self.stream)?;
        }
        for (key, own) in
            [("processors", format!("{:?}", self.processors)), ("sampler", format!("{:?}", self.sampler))]
        {
            if !["[]", "None"].contains(&&*own) {
                object.serialize_entry(key, &own)?;
            }
        }
        object.end()
    }
}

/// What happens where a text outgrows the model's positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextPolicy {
    /// The newest half is kept and read again from position 0, and the text goes on.
    #[default]
    Slide,
    /// The text ends when prompt and new tokens take all positions.
    Stop,
    /// The same place is an error.
    Error,
}

impl ContextPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Slide, Self::Stop, Self::Error];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slide => "slide",
            Self::Stop => "stop",
            Self::Error => "error",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

#[cfg(test)]
mod tests;
