//! `gpt2 generate --debug`: steps through a text, one stage at a time.
//!
//! The library does the stepping ([`Session`]); this module has the commands and prints their results. Everything goes
//! to standard output in order, including the commands of a script, so that a session can be saved and compared.

mod command;
mod heat;
mod input;
mod show;

use super::failure::Failure;
use super::interrupt;
use clap::ColorChoice;
use command::{Back, Command, Token};
use glob::Pattern;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{Options, StopStrings};
use gpt2::inspect::debugger::{Session, Settings};
use gpt2::sampling::options::{Row, Scope};
use gpt2::trace::{Place, Stage};
use input::{Input, Line};
use show::Show;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// Why a command failed: the command is wrong, or the output cannot be written.
enum Problem {
    Command(String),
    Output(io::Error),
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self::Command(message)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<gpt2::error::Error> for Problem {
    fn from(error: gpt2::error::Error) -> Self {
        Self::Command(error.to_string())
    }
}

/// Steps through the text as standard input directs, then runs on to the end.
pub fn run(
    lm: &LanguageModel,
    prompt: &[TokenId],
    options: Options,
    stop: StopStrings,
    color: ColorChoice,
) -> Result<(), Failure> {
    interrupt::end_at_once()?;
    let color = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let session = Session::new(lm, prompt, options, stop)?;
    let show = Show { out: BufWriter::new(io::stdout()), lm, color, width: usize::MAX };
    let mut stepper = Stepper { lm, session, show, ended: false };
    stepper.begin().map_err(Failure::output)?;
    let mut input = Input::new()?;
    loop {
        stepper.show.out.flush().map_err(Failure::output)?;
        let line = match input.read()? {
            Line::End => break,
            Line::NoCommand(why) => {
                writeln!(stepper.show.out, "error: {why}").map_err(Failure::output)?;
                continue;
            }
            Line::Command(line) => line,
        };
        stepper.show.width = input.width().unwrap_or(usize::MAX);
        if !input.is_terminal() {
            let seen: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            writeln!(stepper.show.out, "> {seen}").map_err(Failure::output)?;
        }
        if line.starts_with('#') {
            continue; // a comment in a script
        }
        match command::parse(&line).map_err(Problem::Command).and_then(|command| stepper.obey(command)) {
            Ok(true) => (),
            Ok(false) => return stepper.show.out.flush().map_err(Failure::output),
            Err(Problem::Output(error)) => return Err(Failure::output(error)),
            Err(Problem::Command(message)) => {
                writeln!(stepper.show.out, "error: {message}").map_err(Failure::output)?;
            }
        }
    }
    stepper.finish()
}

/// A session and its output.
struct Stepper<'m> {
    lm: &'m LanguageModel,
    session: Session<'m>,
    show: Show<'m, BufWriter<Stdout>>,
    /// Whether the end was printed.
    ended: bool,
}

impl Stepper<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.show.welcome(&self.session)?;
        self.show.stage(&self.session)
    }

    /// Runs on to the end of the text, when the input has ended.
    fn finish(&mut self) -> Result<(), Failure> {
        let done = self.go_to_the_end().and_then(|()| Ok(self.show.out.flush()?));
        match done {
            Err(Problem::Output(error)) => return Err(Failure::output(error)),
            Err(Problem::Command(message)) => return Err(Failure::Work(message)),
            Ok(()) => (),
        }
        match self.session.problem() {
            None => Ok(()),
            Some(error) => Err(Failure::Work(error.to_string())),
        }
    }

    fn go_to_the_end(&mut self) -> Result<(), Problem> {
        while self.session.next_stage() {
            self.passed()?;
        }
        if !std::mem::replace(&mut self.ended, true) {
            self.show.end(&self.session)?;
        }
        Ok(())
    }

    /// Handles a stage that is passed without stopping: for a chosen token, a line is printed.
    fn passed(&mut self) -> io::Result<()> {
        self.ended = false;
        if self.session.place().stage != Stage::NextId {
            return Ok(());
        }
        self.show.token(&self.session)?;
        self.show.out.flush() // the next token may take a while
    }

    /// Executes a command. `false` if it ends the session.
    fn obey(&mut self, command: Command) -> Result<bool, Problem> {
        match command {
            Command::Next(n) => (0..n).try_for_each(|_| self.run_to(|_| true))?,
            Command::Block(n) => {
                (0..n).try_for_each(|i| self.pass_to(i + 1 == n, |p| p.stage == Stage::Block))?
            }
            Command::Token(n) => {
                (0..n).try_for_each(|i| self.pass_to(i + 1 == n, |p| p.stage == Stage::NextId))?
            }
            Command::Run(name) => {
                let glob = self.find(&name)?;
                self.run_to(|place| matches(&glob, place))?;
            }
            Command::Continue => self.go_to_the_end()?,
            Command::Back(Back::Stages(n)) => self.back(n, |_| true)?,
            Command::Back(Back::Tokens(n)) => self.back(n, |place| place.stage == Stage::NextId)?,
            Command::Back(Back::To(name)) => {
                let glob = self.find(&name)?;
                self.back(1, |place| matches(&glob, place))?;
            }
            Command::Restart => {
                while self.session.previous_stage() {}
                self.show.stage(&self.session)?;
            }
            Command::Print(print) => {
                let place = match &print.stage {
                    None => self.session.place(),
                    Some(name) => self.find_place(name)?,
                };
                let stage = self.session.values(place).ok_or_else(|| format!("this step has no {place}"))?;
                self.show.print(&self.session, &stage, &print)??;
            }
            Command::Attention(numbers) => self.attention(&numbers)?,
            Command::Heads => self.show.heads(&mut self.session)?,
            Command::Candidates(n) => {
                let explanation = self.session.explain(n);
                self.show.choice(&explanation)?;
            }
            Command::Lens(n) => self.show.lens(&mut self.session, n)?,
            Command::Text => writeln!(self.show.out, "{}", self.session.text())?,
            Command::Stages => self.show.stages(&self.session)?,
            Command::Where => self.show.stage(&self.session)?,
            Command::Set(None) => self.show.settings(&self.session)?,
            Command::Set(Some((row, value))) => self.set(row, &value)?,
            Command::Force(token) => {
                let forced = Some(self.token(token)?);
                self.change(|settings| settings.forced = forced)?;
                self.show.settings(&self.session)?;
            }
            Command::Ablate(edit) => {
                if self.session.settings().edits.contains(&edit) {
                    return Err(format!("{edit} is already switched off").into());
                }
                self.change(|settings| settings.edits.push(edit))?;
                self.show.settings(&self.session)?;
            }
            Command::AblateNone => {
                self.change(|settings| settings.edits.clear())?;
                self.show.settings(&self.session)?;
            }
            Command::Undo => {
                if !self.session.undo() {
                    return Err(String::from(
                        "nothing was changed in this step; back goes to an earlier one",
                    )
                    .into());
                }
                self.ended = false;
                self.show.stage(&self.session)?;
            }
            Command::Help => write!(self.show.out, "{}", command::help())?,
            Command::Quit => return Ok(false),
        }
        Ok(true)
    }

    /// Goes to the next stage that matches, and shows it.
    fn run_to(&mut self, here: impl Fn(Place) -> bool) -> Result<(), Problem> {
        self.pass_to(true, here)
    }

    /// Goes to the next stage that matches, and shows it if `show` is set.
    fn pass_to(&mut self, show: bool, here: impl Fn(Place) -> bool) -> Result<(), Problem> {
        while self.session.next_stage() {
            if here(self.session.place()) && show {
                self.ended = false;
                return Ok(self.show.stage(&self.session)?);
            }
            self.passed()?;
            if here(self.session.place()) {
                return Ok(());
            }
        }
        match self.session.problem() {
            Some(error) => Err(Problem::Command(error.to_string())),
            None => {
                let reason = self.session.finish_reason().map_or("length", |reason| reason.name());
                Err(format!("the text ends here ({reason}); back goes back, quit ends the session").into())
            }
        }
    }

    /// Goes back by `n` matching stages, or to the beginning.
    fn back(&mut self, n: usize, here: impl Fn(Place) -> bool) -> Result<(), Problem> {
        for _ in 0..n {
            loop {
                if !self.session.previous_stage() {
                    self.show.stage(&self.session)?;
                    return Err(String::from("this is the beginning").into());
                }
                self.ended = false;
                if here(self.session.place()) {
                    break;
                }
            }
        }
        Ok(self.show.stage(&self.session)?)
    }

    fn attention(&mut self, numbers: &[usize]) -> Result<(), Problem> {
        let config = &self.lm.model.config;
        let (block, head) = match (numbers, self.session.place().block) {
            ([block, head], _) => (*block, *head),
            ([head], Some(block)) => (block, *head),
            _ => return Err(String::from("outside the blocks, attention needs a block and a head").into()),
        };
        for (what, i, n) in [("block", block, config.n_layer), ("head", head, config.n_head)] {
            if i >= n {
                return Err(format!("there is no {what} {i}; the model has {n}, 0 to {}", n - 1).into());
            }
        }
        Ok(self.show.attention(&mut self.session, block, head)?)
    }

    /// The pattern for a stage name, which must match a stage of the model.
    fn find(&self, name: &str) -> Result<Pattern, Problem> {
        let glob = Pattern::new(name).map_err(|e| format!("{name:?} is not a stage name or pattern: {e}"))?;
        let mut places = Place::all(self.lm.model.config.n_layer);
        match places.any(|place| matches(&glob, place)) {
            true => Ok(glob),
            false => Err(format!("no stage is called {name:?}; stages lists them").into()),
        }
    }

    /// The only stage of this step that matches a name.
    fn find_place(&self, name: &str) -> Result<Place, Problem> {
        let glob = self.find(name)?;
        let found: Vec<Place> = self.session.places().filter(|place| matches(&glob, *place)).collect();
        match found[..] {
            [place] => Ok(place),
            [] => Err(format!("this step has no {name}").into()),
            [a, b, ..] => Err(format!("{name} matches {a}, {b}, ...; choose one").into()),
        }
    }

    /// The id of a token that `force` names.
    fn token(&self, token: Token) -> Result<TokenId, Problem> {
        let text = match token {
            Token::Id(id) => return Ok(id),
            Token::Text(text) => text,
        };
        match self.lm.bpe.encode_with_special(&text)[..] {
            [id] => Ok(id),
            ref ids => Err(format!("{text:?} is {} tokens, {ids:?}; force takes one", ids.len()).into()),
        }
    }

    /// Changes the settings of this step, and shows the effect on the current stage.
    fn change(&mut self, edit: impl FnOnce(&mut Settings)) -> Result<(), Problem> {
        let mut settings = self.session.settings().clone();
        edit(&mut settings);
        self.session.change(settings)?;
        self.ended = false;
        Ok(self.show.stage(&self.session)?)
    }

    fn set(&mut self, row: &Row, value: &str) -> Result<(), Problem> {
        let mut options = self.session.settings().options.clone();
        if row.scope == Scope::Draw && !options.sample {
            let name = row.name;
            return Err(format!("{name} has no effect while greedy is on; greedy off draws").into());
        }
        if !(value == "off" && row.switch_off(&mut options)) {
            row.parse(&mut options, value, &|text| self.lm.bpe.encode(text))
                .map_err(|problem| format!("{value:?} is not a value of {}; {problem}", row.name))?;
        }
        self.change(|settings| settings.options = options)
    }
}

/// Whether a pattern matches the name of this place, with or without `transformer.`.
fn matches(glob: &Pattern, place: Place) -> bool {
    let name = place.to_string();
    glob.matches(&name) || name.strip_prefix("transformer.").is_some_and(|bare| glob.matches(bare))
}
