//! Executes the stepper's commands.

use super::super::failure::Failure;
use super::super::pass::token;
use super::super::stage_names::{indexed, matches, only};
use super::super::why;
use super::Stepper;
use super::command::{self, Command, Word};
use glob::Pattern;
use gpt2::bpe::TokenId;
use gpt2::inspect::debugger::Edit;
use gpt2::inspect::how;
use gpt2::sampling::options::{Row, Scope};
use gpt2::trace::{Place, Stage};
use std::io::Write;

/// How many terms `how` shows, and parts `why`.
const TERMS: usize = 8;

impl Stepper<'_> {
    /// Executes a command. `false` if it ends the session.
    pub fn obey(&mut self, command: Command) -> Result<bool, Failure> {
        match command {
            Command::Next(n) => (0..n).try_for_each(|_| self.run_to(1, |_| true))?,
            Command::Block(n) => self.run_to(n, |place| place.stage == Stage::Block)?,
            Command::Token(n) => self.run_to(n, |place| place.stage == Stage::NextId)?,
            Command::Run(name) => {
                let glob = self.find(&name)?;
                self.run_to(1, |place| matches(&glob, &place.to_string()))?;
            }
            Command::Continue => self.go_to_the_end()?,
            Command::Back(n) => self.back(n, |_| true)?,
            Command::BackToken(n) => self.back(n, |place| place.stage == Stage::NextId)?,
            Command::BackTo(name) => {
                let glob = self.find(&name)?;
                self.back_to(&name, |place| matches(&glob, &place.to_string()))?;
            }
            Command::Restart => {
                while self.session.previous_stage() {}
                self.show_stage()?;
            }
            Command::Print(print) => {
                let here = self.session.place();
                let place = print.stage.as_ref().map_or(Ok(here), |name| self.find_place(name))?;
                let stage = self.session.values(place).ok_or_else(|| format!("this step has no {place}"))?;
                self.show_numbers(&stage, &print)?;
            }
            Command::How(number) => {
                let (name, index) = indexed(&number)?;
                let place = name.map_or(Ok(self.session.place()), |name| self.find_place(&name))?;
                let how = how(&self.session.pass(), place, &index)?;
                self.show_lines(&how.lines(TERMS))?;
            }
            Command::Why(word) => {
                let id = match word {
                    Some(word) => self.token(&word, "why")?,
                    None => self.session.result().map_err(|error| error.to_string())?,
                };
                let pass = self.session.pass();
                let mut why = gpt2::inspect::why(&pass, id, None)?;
                why.switch_off(&pass, || ());
                self.show_lines(&why::lines(&why, &self.lm.bpe, TERMS))?;
            }
            Command::Code(name) => {
                let here = self.session.place();
                let stage = name.map_or(Ok(here), |name| self.find_place(&name))?.stage;
                self.show_code(stage)?;
            }
            Command::Attention(numbers) => self.attention(&numbers)?,
            Command::Heads => self.show_heads()?,
            Command::Candidates(n) => {
                let explanation = self.session.explain(n);
                self.show_lines(&explanation.lines(|id| self.text(id)))?;
            }
            Command::Lens(n) => self.show_lens(n)?,
            Command::Text => writeln!(self.out, "{}", self.session.text())?,
            Command::Stages => self.show_stages()?,
            Command::Where => self.show_stage()?,
            Command::Set(None) => self.show_settings()?,
            Command::Set(Some((row, value))) => self.set(row, &value)?,
            Command::Force(token) => {
                let id = self.token(&token, "force")?;
                self.change(|settings| settings.forced = Some(id))?;
                self.show_settings()?;
                self.show_forced(id)?;
            }
            Command::Ablate(Some(edit)) if self.session.settings().edits.contains(&edit) => {
                return Err(format!("{edit} is already switched off").into());
            }
            Command::Ablate(edit) => {
                self.change(|settings| match edit {
                    Some(edit) => settings.edits.push(edit),
                    None => settings.edits.clear(),
                })?;
                self.show_settings()?;
            }
            Command::Undo => {
                if !self.session.undo() {
                    let why = "nothing was changed in this step; back goes to an earlier one";
                    return Err(Failure::Work(why.into()));
                }
                self.ended = false;
                self.show_stage()?;
            }
            Command::Help(only) => write!(self.out, "{}", command::help(only))?,
            Command::Quit => return Ok(false),
        }
        Ok(true)
    }

    fn attention(&mut self, numbers: &[usize]) -> Result<(), Failure> {
        let (block, head) = match (numbers, self.session.place().block) {
            ([block, head], _) => (*block, *head),
            ([head], Some(block)) => (block, *head),
            _ => return Err(Failure::Work("outside the blocks, attention needs a block and a head".into())),
        };
        Edit::Head { block, head }.check(&self.lm.model.config)?;
        Ok(self.show_attention(block, head)?)
    }

    /// The pattern for a stage name, which must match a stage of the model.
    fn find(&self, name: &str) -> Result<Pattern, String> {
        let glob = Pattern::new(name).map_err(|e| format!("{name:?} is not a stage name or pattern: {e}"))?;
        let mut places = Place::all(self.lm.model.config.n_layer);
        match places.any(|place| matches(&glob, &place.to_string())) {
            true => Ok(glob),
            false => Err(format!("no stage is called {name:?}; stages lists them")),
        }
    }

    /// The only stage of this step, or of this block, that matches a name.
    fn find_place(&self, name: &str) -> Result<Place, String> {
        let (glob, here) = (self.find(name)?, self.session.place().block);
        only(self.session.places(), &glob, here)?.ok_or_else(|| format!("this step has no {name}"))
    }

    /// The id of a token that `force` names by its id, or by its text.
    fn token(&self, Word { text, quoted }: &Word, command: &str) -> Result<TokenId, String> {
        let word = if *quoted { format!("\"{text}\"") } else { text.clone() };
        token(&self.lm.bpe, &word, command)
    }

    fn set(&mut self, row: &Row, value: &str) -> Result<(), Failure> {
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
