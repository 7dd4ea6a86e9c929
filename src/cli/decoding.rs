//! The flags that control how tokens are chosen: the library's table of options, named as in HF's `generate`.

use super::failure::{Failure, usage};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use gpt2::bpe::Bpe;
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::Options;
use gpt2::sampling::options::{Row, Scope};
use rand::{TryRng, rngs::SysRng};

/// The given options, each with its values. With `TEXT` they include those that concern more than one token.
pub struct OptionArgs<const TEXT: bool>(Vec<(&'static Row, Vec<String>)>);

/// How a text is continued.
pub type DecodingArgs = OptionArgs<true>;

/// How one token is chosen.
pub type ChoiceArgs = OptionArgs<false>;

impl<const TEXT: bool> OptionArgs<TEXT> {
    /// The rows of the table, in the order of the help.
    fn rows() -> impl Iterator<Item = &'static Row> {
        let of = |scope| Options::table().iter().filter(move |row| row.scope == scope);
        [Scope::Text, Scope::Draw, Scope::Choice].into_iter().skip(usize::from(!TEXT)).flat_map(of)
    }

    /// Whether a flag was given.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(row, _)| row.name == name)
    }

    /// The first flag given that does nothing unless tokens are drawn.
    pub fn explicit_sampling(&self) -> Option<&'static str> {
        self.0.iter().map(|(row, _)| row).find(|row| row.only_when_drawn()).map(|row| row.name)
    }

    /// The given options as words of a command line.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let flag = |row: &Row, value: &String| match row.value {
            "" => vec![format!("--{}", row.name)],
            _ => vec![format!("--{}", row.name), value.clone()],
        };
        self.0.iter().flat_map(move |(row, values)| {
            values.iter().flat_map(|value| flag(row, value)).collect::<Vec<_>>()
        })
    }

    /// Applies the given options to `options`. The library checks the ranges.
    fn over(&self, mut options: Options, bpe: &Bpe) -> Result<Options, Failure> {
        for (row, values) in &self.0 {
            for value in values {
                row.parse(&mut options, value, &|text| bpe.encode(text)).map_err(usage)?;
            }
        }
        Ok(options)
    }

    /// The given options before those of the model's `generation_config.json`, before the program's own. A flag for draws
    /// asks for draws.
    pub fn for_model(&self, lm: &LanguageModel, sample: Option<bool>) -> Result<Options, Failure> {
        let begin = lm.generation_config.over(Options::sampled(0), &lm.bpe)?;
        let asks = || begin.sample || self.has("seed") || self.explicit_sampling().is_some();
        let sample = sample.unwrap_or_else(|| !self.has("greedy") && asks());
        Ok(self.over(begin, &lm.bpe)?.sample(sample))
    }
}

impl DecodingArgs {
    /// The options for the library. `sample` says whether tokens are drawn, if other flags do; a seed is drawn if none is
    /// given.
    pub fn options(&self, lm: &LanguageModel, sample: Option<bool>) -> Result<Options, Failure> {
        let options = self.for_model(lm, sample)?;
        if !options.sample || self.has("seed") {
            return Ok(options);
        }
        Ok(options.seed(random_seed()?))
    }
}

/// A seed from the system's own source of randomness.
pub fn random_seed() -> Result<u64, Failure> {
    SysRng.try_next_u64().map_err(|e| Failure::Work(format!("the system gave no random seed: {e}")))
}

impl<const TEXT: bool> clap::Args for OptionArgs<TEXT> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::rows().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const TEXT: bool> FromArgMatches for OptionArgs<TEXT> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |row: &'static Row| match row.value {
            "" => matches.get_flag(row.name).then(|| (row, vec!["on".into()])),
            _ => matches.get_many(row.name).map(|values| (row, values.cloned().collect())),
        };
        Ok(Self(Self::rows().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag for a row of the table.
fn flag(row: &'static Row) -> Arg {
    let help = row.help.trim_end_matches('.');
    let help = match row.default() {
        Some(default) => format!("{help} [default: {default}]"),
        None if row.repeats() => format!("{help} (repeatable)"),
        None => help.into(),
    };
    let arg = Arg::new(row.name).long(row.name).help(help);
    if row.value.is_empty() {
        let drawn = Options::table().iter().filter(|other| row.name == "greedy" && other.only_when_drawn());
        return arg.action(ArgAction::SetTrue).conflicts_with_all(drawn.map(|other| other.name));
    }
    arg.value_name(row.value)
        .action(if row.repeats() { ArgAction::Append } else { ArgAction::Set })
        .value_parser(move |text: &str| {
            // No model is open yet, so a text's tokens are unknown.
            row.parse(&mut Options::default(), text, &|_| Vec::new()).map(|()| text.to_string())
        })
}
