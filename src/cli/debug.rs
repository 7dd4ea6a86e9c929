//! `gpt2 generate --debug`: steps through a text, one stage at a time.
//!
//! The library does the stepping ([`Session`]); this module has the commands and prints their results. Everything goes
//! to standard output in order, including the commands of a script, so that a session can be saved and compared.

mod command;
mod heads;
mod heat;
mod input;
mod numbers;
mod obey;
mod show;

use super::failure::Failure;
use super::interrupt;
use clap::ColorChoice;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{Options, StopStrings};
use gpt2::inspect::debugger::{Session, Settings};
use gpt2::trace::{Place, Stage};
use input::{Input, Line};
use std::io::{self, BufWriter, IsTerminal, Write};

/// A session and its output.
pub struct Stepper<'m> {
    lm: &'m LanguageModel,
    session: Session<'m>,
    out: Box<dyn Write + 'm>,
    color: bool,
    /// Width of the terminal in columns.
    width: usize,
    /// Whether the end was printed.
    ended: bool,
}

/// Steps through the text as standard input directs, then runs on to the end.
pub fn run(
    lm: &LanguageModel,
    prompt: &[TokenId],
    options: &Options,
    color: ColorChoice,
) -> Result<(), Failure> {
    interrupt::end_at_once()?;
    let color = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let mut stepper = Stepper::new(lm, prompt, options, BufWriter::new(io::stdout()))?;
    stepper.color = color;
    stepper.show_welcome()?;
    stepper.show_stage()?;
    let mut input = Input::new()?;
    loop {
        stepper.out.flush()?;
        let answer = match input.read()? {
            Line::End => return stepper.finish(),
            Line::NoCommand(why) => Err(Failure::Work(why.into())),
            Line::Command(line) => {
                stepper.width = input.width().unwrap_or(usize::MAX);
                if !input.is_terminal() {
                    let seen: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                    writeln!(stepper.out, "> {seen}")?;
                }
                stepper.line(&line)
            }
        };
        match answer {
            Ok(true) => (),
            Ok(false) => return Ok(stepper.out.flush()?),
            Err(Failure::Work(message)) => writeln!(stepper.out, "error: {message}")?,
            Err(failure) => return Err(failure),
        }
    }
}

impl<'m> Stepper<'m> {
    /// At the first stage of the text.
    pub fn new(
        lm: &'m LanguageModel,
        prompt: &[TokenId],
        options: &Options,
        out: impl Write + 'm,
    ) -> Result<Self, Failure> {
        let session = Session::new(lm, prompt, options.clone(), StopStrings::new(&options.stop)?)?;
        Ok(Self { lm, session, out: Box::new(out), color: false, width: usize::MAX, ended: false })
    }

    /// Executes a line. `false` if it ends the session.
    pub fn line(&mut self, line: &str) -> Result<bool, Failure> {
        match line.starts_with('#') {
            true => Ok(true), // a comment in a script
            false => self.obey(command::parse(line)?),
        }
    }

    /// Runs on to the end of the text, when the input has ended.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.go_to_the_end()?;
        self.out.flush()?;
        self.session.problem().map_or(Ok(()), |error| Err(Failure::Work(error.to_string())))
    }

    fn go_to_the_end(&mut self) -> io::Result<()> {
        while self.session.next_stage() {
            self.pass()?;
        }
        if std::mem::replace(&mut self.ended, true) { Ok(()) } else { self.show_end() }
    }

    /// Handles a stage that is passed without stopping: for a chosen token, a line is printed.
    fn pass(&mut self) -> io::Result<()> {
        self.ended = false;
        if self.session.place().stage != Stage::NextId {
            return Ok(());
        }
        self.show_token()?;
        self.out.flush() // the next token may take a while
    }

    /// Goes to the `n`-th stage from here that matches, and shows it.
    fn run_to(&mut self, n: usize, here: impl Fn(Place) -> bool) -> Result<(), Failure> {
        let mut left = n;
        while self.session.next_stage() {
            left -= usize::from(here(self.session.place()));
            if left == 0 {
                self.ended = false;
                return Ok(self.show_stage()?);
            }
            self.pass()?;
        }
        Err(Failure::Work(match self.session.problem() {
            Some(error) => error.to_string(),
            None => {
                let reason = self.session.finish_reason().map_or("length", |reason| reason.name());
                format!("the text ends here ({reason}); back goes back, quit ends the session")
            }
        }))
    }

    /// Goes back to the nearest stage before this one that matches, or stays here if none does.
    fn back_to(&mut self, name: &str, here: impl Fn(Place) -> bool) -> Result<(), Failure> {
        let mut moved = 0;
        while self.session.previous_stage() {
            moved += 1;
            if here(self.session.place()) {
                self.ended = false;
                return Ok(self.show_stage()?);
            }
        }
        for _ in 0..moved {
            self.session.next_stage();
        }
        Err(Failure::Work(format!("no earlier stage is called {name:?}")))
    }

    /// Goes back by `n` matching stages, or to the beginning.
    fn back(&mut self, n: usize, here: impl Fn(Place) -> bool) -> Result<(), Failure> {
        let (mut left, mut moved) = (n, false);
        while left > 0 && self.session.previous_stage() {
            (self.ended, moved) = (false, true);
            left -= usize::from(here(self.session.place()));
        }
        if !moved {
            return Err(Failure::Work("this is the beginning".into()));
        }
        self.show_stage()?;
        if left > 0 { Ok(self.show_lines(&["this is the beginning".into()])?) } else { Ok(()) }
    }

    /// Changes the settings of this step, and shows the effect on the current stage.
    fn change(&mut self, edit: impl FnOnce(&mut Settings)) -> Result<(), Failure> {
        let mut settings = self.session.settings().clone();
        edit(&mut settings);
        self.session.change(settings)?;
        self.ended = false;
        Ok(self.show_stage()?)
    }
}
