//! The ways to generate a text.

use super::cases::BPE;
use super::plain::{Kind, Written};
use gpt2::config::TokenId;
use gpt2::error::Result;
use gpt2::generate::{Batch, Chosen, Draft, Generation, Options, StopStrings, TextStream, View};
use gpt2::model::Gpt2;
use gpt2::sampling::Effects;
use gpt2::search::draft::{DraftModel, Guesser, Paced, PromptLookup};
use gpt2::search::{BeamSearch, Beams};
use gpt2::trace::{NoTrace, Recorder, Trace};

/// A prompt and its options.
pub type Request = (Vec<TokenId>, Options);

/// A text that is being written.
pub struct Writer<'m, T: Trace = NoTrace> {
    pub number: usize,
    generation: Generation<'m, T>,
    written: Written,
}

impl<'m> AsMut<Generation<'m>> for Writer<'m> {
    fn as_mut(&mut self) -> &mut Generation<'m> {
        &mut self.generation
    }
}

impl<'m> Writer<'m> {
    /// Begins a text.
    pub fn new(model: &'m Gpt2, request: &Request) -> Result<Self, Written> {
        Self::with_trace(model, request, NoTrace)
    }

    pub fn with_draft(mut self, draft: impl Draft + 'm, rejection: bool) -> Self {
        self.generation = self.generation.with_draft(draft).with_rejection(rejection);
        self
    }
}

impl<'m, T: Trace> Writer<'m, T> {
    fn with_trace(model: &'m Gpt2, (prompt, options): &Request, trace: T) -> Result<Self, Written> {
        let stop = StopStrings::new(&options.stop).expect("stop strings");
        let generation = Generation::with_trace(model, prompt, options.clone(), trace);
        let generation =
            generation.map_err(|e| Written { end: Some(Err(Kind::of(&e))), ..Written::default() })?;
        let generation = generation.with_text(TextStream::new(&BPE, stop));
        Ok(Self { number: 0, generation, written: Written::default() })
    }

    /// The next token, or an error.
    fn take(&mut self, chosen: Result<Chosen>) {
        match chosen {
            Ok(chosen) => {
                self.written.ids.push(chosen.id);
                self.written.logprobs.push(chosen.logprob.to_bits());
                self.written.text += &self.generation.take_text();
            }
            Err(error) => self.written.end = Some(Err(Kind::of(&error))),
        }
        assert_eq!(self.generation.new_ids(), self.written.ids, "exactly the tokens returned so far");
    }

    fn written(mut self) -> Written {
        self.written.slides = self.generation.slides();
        self.written.end = self.written.end.or(self.generation.finish_reason().map(Ok));
        if self.written.end.is_some_and(|end| end.is_err()) {
            self.written.text.clear();
        }
        self.written
    }

    /// Token by token to the end.
    pub fn alone(mut self) -> Written {
        while let Some(chosen) = self.generation.next() {
            self.take(chosen);
        }
        self.written()
    }
}

/// Every way to write one text: what it is called, and what it writes.
pub fn each_way(
    model: &Gpt2,
    draft: &Gpt2,
    request: &Request,
) -> Result<Vec<(&'static str, Written)>, Written> {
    let new = || Writer::new(model, request);
    let greedy = !request.1.sample;
    let drafted = |draft: &Gpt2, rejection| {
        let guesser = DraftModel::new(draft, model).expect("one vocabulary");
        Ok::<_, Written>(new()?.with_draft(free(guesser, model), rejection).alone())
    };
    let mut watched = new()?;
    while let Some(chosen) = watched.generation.next_watched(&mut Effects::default()) {
        watched.take(chosen);
    }
    let mut read_before = new()?;
    read_before.generation.prefill();
    let mut whole = new()?;
    whole.generation = whole.generation.whole();
    let lookup = free(PromptLookup::default(), model);
    Ok(vec![
        ("alone", new()?.alone()),
        ("watched", watched.written()),
        ("traced", Writer::with_trace(model, request, Recorder::new())?.alone()),
        ("after a prefill", read_before.alone()),
        ("read in whole passes", whole.alone()),
        ("guessed by another model", drafted(draft, greedy)?),
        ("guessed by the int8 copy", drafted(&model.quantize(), false)?),
        ("guessed by the model itself", drafted(model, false)?),
        ("guessed from the text", new()?.with_draft(lookup, greedy).alone()),
    ])
}

/// Writes `first` tokens, and then goes on as itself and as a fork with another stream.
pub fn forked(model: &Gpt2, request: &Request, first: usize, stream: u64) -> Result<[Written; 2], Written> {
    let mut base = Writer::new(model, request)?;
    if first == 0 {
        base.generation.prefill();
    }
    for _ in 0..first {
        if let Some(chosen) = base.generation.next() {
            base.take(chosen);
        }
    }
    let fork = Writer { number: 1, generation: base.generation.fork(stream), written: base.written.clone() };
    Ok([base.alone(), fork.alone()])
}

/// Writes texts together. Text `i` joins at the turn `joins[i]`; every third has a draft.
pub fn together(model: &Gpt2, requests: &[Request], joins: &[usize]) -> Vec<Written> {
    let mut written = vec![Written::default(); requests.len()];
    let mut batch = Batch::new(model);
    for turn in 0.. {
        for number in (0..requests.len()).filter(|i| joins[*i] == turn) {
            match Writer::new(model, &requests[number]) {
                Err(refused) => written[number] = refused,
                Ok(text) if number % 3 == 2 => {
                    let text = text.with_draft(free(PromptLookup::default(), model), false);
                    batch.push(Writer { number, ..text });
                }
                Ok(text) => batch.push(Writer { number, ..text }),
            }
        }
        if batch.is_empty() && joins.iter().all(|join| *join <= turn) {
            break;
        }
        batch.step(Writer::take);
        for text in batch.take_finished() {
            let number = text.number;
            written[number] = text.written();
        }
    }
    written
}

/// The new ids and the bits of the score that a search with one beam finds.
pub fn one_beam(model: &Gpt2, (prompt, options): &Request) -> Result<(Vec<TokenId>, u32), Kind> {
    let beams = Beams { num_beams: 1, ..Beams::default() };
    let search = BeamSearch::new(model, prompt, options.clone(), beams);
    let found = search.and_then(|mut search| {
        search.by_ref().try_for_each(|step| step.map(drop))?;
        search.into_found()
    });
    let found = found.map_err(|e| Kind::of(&e))?.swap_remove(0);
    Ok((found.ids, found.score.to_bits()))
}

/// A draft that costs nothing, so that it guesses as often and as far as it can.
fn free<G: Guesser>(guesser: G, model: &Gpt2) -> Paced<Free<G>> {
    Paced::new(Free(guesser), model, 6)
}

#[derive(Clone)]
struct Free<G>(G);

impl<G: Guesser> Guesser for Free<G> {
    fn guess(&mut self, text: &View<'_>, most: usize) -> Vec<TokenId> {
        self.0.guess(text, most)
    }
    fn drawn_from(&self, k: usize) -> Option<&[f32]> {
        self.0.drawn_from(k)
    }
    fn prepare(&mut self, text: &View<'_>) {
        self.0.prepare(text);
    }
    fn cost(&self, _: &Gpt2) -> f64 {
        0.0
    }
}
