//! The stepper's commands, one per line.

mod list;
mod words;

pub use list::help;
pub use words::Word;

use gpt2::generate::Options;
use gpt2::inspect::debugger::Edit;
use gpt2::sampling::options::Row;
use list::full_name;
use std::ops::RangeInclusive;
use words::{count, number, one, range, split};

/// A parsed command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Next(usize),
    Block(usize),
    Token(usize),
    Run(String),
    Continue,
    Back(usize),
    BackToken(usize),
    BackTo(String),
    Restart,
    Print(Print),
    /// How this number came about: `STAGE[I,J]`, or `[I,J]` of the current stage.
    How(String),
    /// Why this token, or the chosen one, has its logit.
    Why(Option<Word>),
    /// The code of this stage, or the current one.
    Code(Option<String>),
    Attention(Vec<usize>),
    Heads,
    Candidates(usize),
    Lens(usize),
    Text,
    Stages,
    Where,
    Set(Option<(&'static Row, String)>),
    Force(Word),
    /// Switches this part off, or all parts on.
    Ablate(Option<Edit>),
    Undo,
    /// All commands, or this one.
    Help(Option<&'static str>),
    Quit,
}

/// Which numbers of a stage to print.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Print {
    pub stage: Option<String>,
    pub rows: Option<RangeInclusive<usize>>,
    pub cols: Option<RangeInclusive<usize>>,
    pub heads: Option<RangeInclusive<usize>>,
    pub top: Option<usize>,
}

/// The options that `set` accepts: all but the stop strings, which are fixed when the session begins.
fn options() -> impl Iterator<Item = &'static Row> {
    Options::table().iter().filter(|row| row.name != "stop")
}

/// Parses a line.
///
/// # Errors
/// A message that says what is wrong.
pub fn parse(line: &str) -> Result<Command, String> {
    let words = split(line)?;
    let Some((first, rest)) = words.split_first() else { return Ok(Command::Next(1)) };
    if options().any(|row| row.name == first.text) {
        return set(&words);
    }
    let name = full_name(&first.text)?;
    let bare = |command: Command| match rest {
        [] => Ok(command),
        [word, ..] => Err(format!("{name} takes no arguments, but got {:?}", word.text)),
    };
    match name {
        "next" => count(name, rest).map(Command::Next),
        "block" => count(name, rest).map(Command::Block),
        "token" => count(name, rest).map(Command::Token),
        "run" => one(name, rest, "the name of a stage").map(|word| Command::Run(word.text.clone())),
        "back" => back(rest),
        "print" => print(rest).map(Command::Print),
        "how" if rest.is_empty() => Err("how needs a number: [5,17], or h.2.attn.heads[5,17]".into()),
        "how" => Ok(Command::How(rest.iter().map(|word| &*word.text).collect())),
        "why" if rest.is_empty() => Ok(Command::Why(None)),
        "why" => one(name, rest, "a token: its id, or its text in quotes")
            .cloned()
            .map(|word| Command::Why(Some(word))),
        "code" if rest.is_empty() => Ok(Command::Code(None)),
        "code" => one(name, rest, "the name of a stage").map(|word| Command::Code(Some(word.text.clone()))),
        "attention" => attention(rest),
        "candidates" => if rest.is_empty() { Ok(10) } else { count(name, rest) }.map(Command::Candidates),
        "lens" => if rest.is_empty() { Ok(5) } else { count(name, rest) }.map(Command::Lens),
        "set" if rest.is_empty() => Ok(Command::Set(None)),
        "set" => set(rest),
        "force" => one(name, rest, "a token: its id, or its text in quotes").cloned().map(Command::Force),
        "ablate" => ablate(rest),
        "continue" => bare(Command::Continue),
        "restart" => bare(Command::Restart),
        "heads" => bare(Command::Heads),
        "text" => bare(Command::Text),
        "stages" => bare(Command::Stages),
        "where" => bare(Command::Where),
        "undo" => bare(Command::Undo),
        "quit" => bare(Command::Quit),
        _ => match rest {
            [] => Ok(Command::Help(None)),
            _ => {
                let word = &*one(name, rest, "a command")?.text;
                let name = if options().any(|row| row.name == word) { "set" } else { full_name(word)? };
                Ok(Command::Help(Some(name)))
            }
        },
    }
}

fn back(words: &[Word]) -> Result<Command, String> {
    match words {
        [first, rest @ ..] if first.text == "token" => count("back token", rest).map(Command::BackToken),
        [stage] if stage.text.parse::<usize>().is_err() => Ok(Command::BackTo(stage.text.clone())),
        words => count("back", words).map(Command::Back),
    }
}

fn print(words: &[Word]) -> Result<Print, String> {
    let mut print = Print::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{} needs a number after it", word.text));
        match &*word.text {
            "row" | "rows" => print.rows = Some(range(value()?)?),
            "col" | "cols" => print.cols = Some(range(value()?)?),
            "head" | "heads" => print.heads = Some(range(value()?)?),
            "top" => print.top = Some(number(value()?, "a number")?.max(1)),
            _ if print.stage.is_none() => print.stage = Some(word.text.clone()),
            other => return Err(format!("print takes rows, cols, heads and top, not {other:?}")),
        }
    }
    Ok(print)
}

fn attention(words: &[Word]) -> Result<Command, String> {
    let numbers: Vec<usize> =
        words.iter().map(|word| number(word, "the number of a block or a head")).collect::<Result<_, _>>()?;
    match numbers.len() {
        1 | 2 => Ok(Command::Attention(numbers)),
        _ => Err("attention needs a head, or a block and a head".into()),
    }
}

fn set(words: &[Word]) -> Result<Command, String> {
    let [name, value] = words else {
        return Err(format!("{} needs one value", words[0].text));
    };
    let Some(row) = options().find(|row| row.name == name.text) else {
        let names: Vec<&str> = options().map(|row| row.name).collect();
        return Err(format!("there is no option {:?}; these can be set: {}", name.text, names.join(", ")));
    };
    Ok(Command::Set(Some((row, value.text.clone()))))
}

fn ablate(words: &[Word]) -> Result<Command, String> {
    let texts: Vec<&str> = words.iter().map(|word| &*word.text).collect();
    let at = |i: usize| number(&words[i], "the number of a block or a head");
    Ok(Command::Ablate(match texts[..] {
        ["none"] => None,
        ["head", _, _] => Some(Edit::Head { block: at(1)?, head: at(2)? }),
        ["attention", _] => Some(Edit::Attention { block: at(1)? }),
        ["mlp", _] => Some(Edit::Mlp { block: at(1)? }),
        _ => return Err("ablate needs head BLOCK HEAD, attention BLOCK, mlp BLOCK or none".into()),
    }))
}

#[cfg(test)]
mod tests;
