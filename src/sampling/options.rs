//! How is a token chosen, and when does a text end?
//!
//! All options are in one table. A row defines a field of [`Options`] and its builder method, a flag, a JSON key (in
//! batch files and in the metadata of traces), an option of the stepper, a line of the guide and, if it changes
//! scores, a step. Steps run in the order of the table. A new sampling method takes one function and one row.

mod check;
mod json;
mod kinds;
mod row;

pub(crate) use check::{check_stop, in_range};
pub use kinds::{ContextPolicy, Encode, Setting};
pub use row::{Row, Scope};

use super::choice::{Processor, Sampler};
use super::watch::watched;
use super::{Uniform, bans, filters, penalties, top_k};
use crate::bpe::TokenId;
use crate::model::Gpt2;
use crate::softmax::temperature;
use kinds::Kind;
use serde_json::json;
use std::sync::Arc;

/// Turns rows into a struct, its defaults, its builder methods and its table. A row is
///
/// ```text
/// /// What it does.
/// field: Type, off DEFAULT, Scope, "flag" "VALUE" RANGE, (value, history, options, keep) if it is on => |x| change x;
/// ```
///
/// with `= DEFAULT` if no value switches the option off, and `as "name"` if the step's name differs from the flag.
macro_rules! options {
    (@off off $options:ident.$field:ident $default:expr) => { Some(|$options| $options.$field = $default) };
    (@off = $($default:tt)*) => { None };
    (@apply $field:ident $name:literal) => { None };
    (@apply $field:ident $name:literal $(as $step:literal)? ($($pattern:pat),+) $(if $on:expr)? => $change:expr) => {
        Some(|options, x, history, keep, watch| match (&options.$field, history, options, keep) {
            ($($pattern),+) $(if $on)? => watched([$($step,)? $name][0], x, watch, $change),
            #[allow(unreachable_patterns)] // if the step is always on
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
            /// The stream of the seed's random numbers. Several texts from one seed use streams 0, 1, 2, ...
            pub stream: u64,
            /// Custom processors, applied in this order after all others and before the temperature.
            pub processors: Vec<Arc<dyn Processor>>,
            /// A custom draw in place of [`draw`](super::draw).
            pub sampler: Option<Arc<dyn Sampler>>,
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl Default for Options {
            /// Greedy decoding of at most 128 new tokens.
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
    /// Divide the scores of tokens that already occur by R; multiply negative scores instead.
    repetition_penalty: f32, off 1.0, Choice, "repetition-penalty" "R" ABOVE_0,
        (&r, h, ..) if r != 1.0 => |x| penalties::repetition(x, h.ids, r);
    /// Subtract X from the score of each token that already occurs.
    presence_penalty: f32, off 0.0, Choice, "presence-penalty" "X" FINITE;
    /// Subtract X from the score of a token for each time it occurs.
    frequency_penalty: f32, off 0.0, Choice, "frequency-penalty" "X" FINITE,
        as "presence-penalty, frequency-penalty" (&f, h, o, _) if f != 0.0 || o.presence_penalty != 0.0
        => |x| penalties::presence_and_frequency(x, h.ids, o.presence_penalty, f);
    /// Never repeat a sequence of N tokens; 0 turns this off.
    no_repeat_ngram_size: usize, off 0, Choice, "no-repeat-ngram-size" "N" FROM_0,
        (&n, h, ..) if n > 0 => |x| bans::no_repeat_ngram(x, h.ids, n);
    /// Never write the tokens of TEXT. A leading space makes it a different word.
    bad_words: Vec<Vec<TokenId>>, off vec![], Choice, "bad-words" "TEXT" ANY,
        (words, h, ..) if !words.is_empty() => |x| bans::bad_words(x, h.ids, words, h.eos);
    /// Do not end the text before this many new tokens.
    min_new_tokens: usize, off 0, Choice, "min-new-tokens" "N" FROM_0,
        (&least, h, ..) if h.new_tokens() < least && !h.eos.is_empty() => |x| bans::end(x, h.eos);
    /// Values below 1 sharpen the distribution; values above 1 flatten it.
    temperature: f32, off 1.0, Draw, "temperature" "T" HEAT,
        (&tau, ..) => |x| temperature(x, tau);
    /// Draw from the K most likely tokens; 0 turns this off.
    top_k: Option<usize>, off None, Draw, "top-k" "K" FROM_0,
        (&Some(k), .., keep) if k > 0 => |x| top_k(x, k.max(keep));
    /// Draw from the most likely tokens whose total probability reaches P.
    top_p: Option<f64>, off None, Draw, "top-p" "P" FROM_0_TO_1,
        (&Some(p), .., keep) if p < 1.0 => |x| filters::top_p(x, p, keep);
    /// Drop tokens less likely than P times the most likely one.
    min_p: Option<f64>, off None, Draw, "min-p" "P" FROM_0_TO_1,
        (&Some(p), .., keep) => |x| filters::min_p(x, p, keep);
    /// Draw from the tokens closest to the expected surprise whose total probability reaches P.
    typical_p: Option<f64>, off None, Draw, "typical-p" "P" ABOVE_0_TO_1,
        (&Some(mass), .., keep) if mass < 1.0 => |x| filters::typical_p(x, mass, keep);
    /// Drop tokens less likely than E.
    epsilon_cutoff: Option<f64>, off None, Draw, "epsilon-cutoff" "E" BELOW_1,
        (&Some(cutoff), .., keep) if cutoff > 0.0 => |x| filters::epsilon(x, cutoff, keep);
    /// Drop tokens less likely than min(E, sqrt(E) * e^-entropy).
    eta_cutoff: Option<f64>, off None, Draw, "eta-cutoff" "E" BELOW_1,
        (&Some(cutoff), .., keep) if cutoff > 0.0 => |x| filters::eta(x, cutoff, keep);
    /// Seed of the random numbers; the same seed gives the same text.
    seed: u64, = 0, Draw, "seed" "S" SEEDS;
    /// Continue past the end-of-text token and treat it like any other token.
    ignore_eos: bool, off false, Choice, "ignore-eos" "" ANY;
    /// Stop after this many new tokens.
    max_new_tokens: usize, = 128, Text, "max-new-tokens" "N" FROM_0;
    /// End the text before TEXT, wherever it appears in the continuation.
    stop: Vec<String>, off vec![], Text, "stop" "TEXT" ANY;
    /// What to do when the text fills all positions: keep its newest half and continue (slide), end it (stop), or fail
    /// (error).
    context_policy: ContextPolicy, = ContextPolicy::Slide, Text, "context-policy" "POLICY" ANY;
}

/// The flag for [`Options::sample`], negated.
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

impl Options {
    /// Sampling with the command line's defaults: temperature 0.8, top-k 40.
    pub fn sampled(seed: u64) -> Self {
        Self::plain(seed).temperature(0.8).top_k(40)
    }

    /// Sampling from the model's own distribution: temperature 1, nothing cut.
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

    /// Adds a custom processor.
    #[must_use]
    pub fn processor(mut self, processor: Arc<dyn Processor>) -> Self {
        self.processors.push(processor);
        self
    }

    /// Sets a custom draw.
    #[must_use]
    pub fn sampler(self, sampler: Arc<dyn Sampler>) -> Self {
        Self { sampler: Some(sampler), ..self }
    }

    /// All options that users can set, in the order in which they act.
    pub fn table() -> &'static [Row] {
        TABLE
    }

    /// The random numbers of a text, from the first one on.
    pub fn uniform(&self) -> Uniform {
        Uniform::with_stream(self.seed, self.stream)
    }

    /// The ids that end a text: none if end tokens are ignored.
    pub fn ends<'m>(&self, model: &'m Gpt2) -> &'m [TokenId] {
        if self.ignore_eos { &[] } else { &model.config.eos_token_ids }
    }
}

#[cfg(test)]
mod tests;
