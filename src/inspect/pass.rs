//! One pass of the model and the choice after it, which can be run again to look at other parts of it.

use super::edit::{Edit, apply};
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::generate::{Options, check_ids};
use crate::kv_cache::KvCache;
use crate::model::Gpt2;
use crate::sampling::{History, Watch};
use crate::tensor::Matrix;
use crate::trace::{NoTrace, Place, Recorder, Stage, Trace};
use std::sync::Arc;

/// What one pass reads and how the token after it is chosen.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    pub(super) model: &'a Gpt2,
    /// Prompt and new tokens so far. The pass reads the last T of them.
    pub(super) ids: Vec<TokenId>,
    pub(super) prompt_len: usize,
    /// T
    pub(super) read: usize,
    /// The keys and values of the positions before those that it reads.
    pub(super) past: KvCache,
    pub(super) options: Options,
    pub(super) edits: Vec<Edit>,
    /// The token that comes next instead of the chosen one.
    pub(super) forced: Option<TokenId>,
    /// All stages, and the cache after the pass, if they were [remembered](Self::remember).
    pub(super) kept: Option<(Keep, KvCache)>,
}

impl<'a> Pass<'a> {
    /// The pass that reads a whole prompt.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no id, one is unknown, or there are more than `n_positions`; [`Error::Option`] if an
    /// option is out of its range.
    pub fn of_prompt(model: &'a Gpt2, ids: &[TokenId], options: Options) -> Result<Self> {
        let most = model.config.n_positions;
        if ids.is_empty() || ids.len() > most {
            let problem =
                format!("{} tokens; a pass reads from 1 to the model's n_positions, {most}", ids.len());
            return Err(Error::input(problem));
        }
        check_ids(model, ids)?;
        options.check(model)?;
        let (ids, prompt_len, read, past) = (ids.to_vec(), ids.len(), ids.len(), model.new_cache());
        Ok(Self { model, ids, prompt_len, read, past, options, edits: Vec::new(), forced: None, kept: None })
    }

    /// The same pass after `prompt_len` of its ids: the others count as new tokens.
    #[must_use]
    pub fn with_prompt_len(self, prompt_len: usize) -> Self {
        Self { prompt_len: prompt_len.min(self.ids.len()), ..self }
    }

    /// The model.
    pub fn model(&self) -> &'a Gpt2 {
        self.model
    }

    /// How the token after it is chosen.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The ids that it reads. `[T]`
    pub fn read_ids(&self) -> &[TokenId] {
        &self.ids[self.ids.len() - self.read..]
    }

    /// How many positions lie before those that it reads.
    pub fn past(&self) -> usize {
        self.past.len()
    }

    /// The same pass without these parts of the model.
    ///
    /// # Errors
    /// [`Error::Input`] if the model has no such part.
    pub fn without(mut self, edits: Vec<Edit>) -> Result<Self> {
        edits.iter().try_for_each(|edit| edit.check(&self.model.config))?;
        (self.edits, self.kept) = (edits, None);
        Ok(self)
    }

    /// Runs the model and keeps all its stages, so that many questions about the pass take no further run.
    #[must_use]
    pub fn remember(mut self) -> Self {
        self.kept = Some(self.keep_all());
        self
    }

    /// All stages of the pass.
    pub fn stages(&self) -> Arc<Recorder> {
        self.keep_all().0.recorder
    }

    /// The token that is chosen, if one can be, and what the next pass needs. `watch` sees every step of the choice.
    pub fn next(&self, watch: &mut dyn Watch) -> (Option<TokenId>, KvCache) {
        let logits = Place::new(Stage::LmHead, None);
        let (keep, cache) = self.keep(&[logits]);
        (self.choose(keep.row(logits, self.read - 1), &mut NoTrace, watch), cache)
    }

    /// The pass that reads token `id` after this one; `cache` is what [`next`](Self::next) returned.
    ///
    /// # Errors
    /// [`Error::Input`] if the id is unknown.
    pub fn after(&self, cache: KvCache, id: TokenId) -> Result<Self> {
        check_ids(self.model, &[id])?;
        let ids = [&self.ids[..], &[id]].concat();
        let Self { model, prompt_len, ref options, ref edits, .. } = *self;
        let (options, edits) = (options.clone(), edits.clone());
        Ok(Self { model, ids, prompt_len, read: 1, past: cache, options, edits, forced: None, kept: None })
    }

    /// The prompt and the new tokens that it or an earlier pass reads. `[S]`
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// Runs the model: `trace` sees every stage, after the edits. Returns the logits `[T, V]`, and the cache with the keys and
    /// values of all positions.
    pub(super) fn forward(&self, trace: &mut impl Trace) -> (Matrix, KvCache) {
        let mut cache = self.past.clone();
        let mut edited = Edited { edits: &self.edits, model: self.model, block: None, trace };
        let logits = self.model.forward(self.read_ids(), &mut cache, &mut edited);
        (logits, cache)
    }

    /// The logits `[1, V]` of the last position, without these parts either.
    pub(super) fn last_logits(&self, without: &[Edit]) -> Matrix {
        let edits = &[&self.edits, without].concat();
        let trace = &mut Edited { edits, model: self.model, block: None, trace: &mut NoTrace };
        self.model.next_logits(self.read_ids(), &mut self.past.clone(), trace)
    }

    /// logits `[V]` of the last position -> the token that is chosen. `watch` sees every step of the choice.
    pub(super) fn choose(
        &self,
        logits: &[f32],
        trace: &mut impl Trace,
        watch: &mut dyn Watch,
    ) -> Option<TokenId> {
        let eos = self.options.ends(self.model);
        let history = History { ids: &self.ids, prompt_len: self.prompt_len, eos };
        let mut scores = Matrix::of_row(logits); // [1, V]
        self.options.choose(scores.row_mut(0), &history, self.uniform(), trace, watch)
    }

    /// The uniform number for the token after it.
    pub(super) fn uniform(&self) -> f64 {
        self.options.uniform().at((self.ids.len() - self.prompt_len) as u64)
    }

    fn keep_all(&self) -> (Keep, KvCache) {
        self.keep(&Place::all(self.model.config.n_layer).collect::<Vec<_>>())
    }

    /// The numbers of these stages.
    pub(super) fn keep(&self, places: &[Place]) -> (Keep, KvCache) {
        if let Some(kept) = &self.kept {
            return kept.clone();
        }
        let mut keep = Keep { places: places.to_vec(), block: None, recorder: Arc::default() };
        let (_, cache) = self.forward(&mut keep);
        (keep, cache)
    }
}

/// A trace that keeps some stages. Its clones share them.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    places: Vec<Place>,
    block: Option<usize>,
    pub recorder: Arc<Recorder>,
}

impl Keep {
    /// Row `i` of a stage that was kept, of matrices one below the other.
    pub fn row(&self, place: Place, i: usize) -> &[f32] {
        let stage = self.recorder.stages.iter().find(|stage| stage.place() == place).expect("it was kept");
        let width = stage.shape.last().copied().unwrap_or(1);
        &stage.values[i * width..][..width]
    }
}

impl Trace for Keep {
    fn wants(&self, stage: Stage) -> bool {
        self.places.contains(&Place::new(stage, self.block))
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
        Arc::make_mut(&mut self.recorder).enter_block(i);
    }

    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        if self.wants(stage) {
            Arc::make_mut(&mut self.recorder).record(stage, shape, values);
        }
    }
}

/// Applies edits before another trace sees a stage.
struct Edited<'e, 't, T> {
    edits: &'e [Edit],
    model: &'e Gpt2,
    block: Option<usize>,
    trace: &'t mut T,
}

impl<T: Trace> Trace for Edited<'_, '_, T> {
    fn wants(&self, stage: Stage) -> bool {
        self.trace.wants(stage)
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
        self.trace.enter_block(i);
    }

    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        let place = Place::new(stage, self.block);
        apply(self.edits, self.model, place, values);
        self.trace.record(stage, shape, values);
    }

    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        self.trace.record_ids(stage, ids);
    }
}
