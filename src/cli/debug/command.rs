//! The stepper's commands, one per line.

mod words;

use gpt2::generate::Options;
use gpt2::inspect::debugger::Edit;
use gpt2::sampling::options::Row;
use std::ops::RangeInclusive;
pub use words::Word;
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
    Help,
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

/// Name, abbreviation, arguments, what it does.
const COMMANDS: [(&str, &str, &str, &str); 22] = [
    ("next", "n", "[N]", "go to the next stage, or N stages on; an empty line does the same"),
    ("block", "b", "[N]", "run to the end of this block, or of the N-th block from here"),
    ("token", "t", "[N]", "run to the next chosen token, or the N-th"),
    ("run", "r", "STAGE", "run to the next stage with this name: lm_head, h.3.attn.weights, *.mlp.act"),
    ("continue", "c", "", "run to the end of the text"),
    ("back", "k", "[N] | token [N] | STAGE", "go back N stages or tokens, or to an earlier stage"),
    ("restart", "", "", "go back to the first stage of the first step"),
    (
        "print",
        "p",
        "[STAGE] [rows A-B] [cols A-B] [heads A-B] [top N]",
        "print numbers of a stage, or the N largest of each row",
    ),
    ("attention", "a", "[BLOCK] HEAD", "show where a head attends: queries down, keys across"),
    ("heads", "", "", "show where each head attends: to the first token, the previous token, itself"),
    ("candidates", "d", "[N]", "show the N likeliest tokens before and after each processor, and the draw"),
    ("lens", "l", "[N]", "show what the model would predict if it stopped after each block"),
    ("text", "x", "", "show the new text so far"),
    ("stages", "", "", "list the stages of this step"),
    ("where", "w", "", "show this stage again"),
    (
        "set",
        "s",
        "[NAME VALUE | NAME off]",
        "show or change temperature, top-k, top-p, ..., seed, greedy (named as the flags)",
    ),
    ("force", "f", "ID | \"TEXT\"", "make this the next token instead of the chosen one"),
    (
        "ablate",
        "",
        "head BLOCK HEAD | attention BLOCK | mlp BLOCK | none",
        "switch off a part of the model, from this step on",
    ),
    ("undo", "u", "", "undo the last change made in this step"),
    ("help", "h", "", "show this list; ? does the same"),
    ("quit", "q", "", "end the session"),
    ("?", "", "", ""),
];

/// The options that `set` accepts: all but the stop strings, which are fixed when the session begins.
fn options() -> impl Iterator<Item = &'static Row> {
    Options::table().iter().filter(|row| row.name != "stop")
}

/// The help text: a list of all commands.
pub fn help() -> String {
    let line = |(name, short, arguments, about): &(&str, &str, &str, &str)| {
        let names = if short.is_empty() { name.to_string() } else { format!("{name}, {short}") };
        let usage = format!("  {names:<15} {arguments}");
        format!("{}\n                  {about}\n", usage.trim_end())
    };
    let list: String = COMMANDS.iter().filter(|command| !command.3.is_empty()).map(line).collect();
    format!(
        "{list}A command name may be shortened if it stays unambiguous. set may be left out: temperature 0.5.\n\
         A change applies to this step and to later ones. Going back to an earlier step\n\
         suspends it; going forward again restores it.\n"
    )
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
    let name = command(&first.text)?;
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
        _ => Ok(Command::Help),
    }
}

/// The full name of a command.
fn command(word: &str) -> Result<&'static str, String> {
    let named = |name: &str| name == word && !name.is_empty();
    if let Some(found) = COMMANDS.iter().find(|(name, short, ..)| named(name) || named(short)) {
        return Ok(found.0);
    }
    let begins: Vec<&str> = COMMANDS.iter().map(|c| c.0).filter(|name| name.starts_with(word)).collect();
    match begins[..] {
        [name] => Ok(name),
        [] => Err(format!("there is no command {word:?}; help lists them")),
        _ => Err(format!("{word:?} is ambiguous: {}", begins.join(" or "))),
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
