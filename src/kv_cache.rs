//! What must be kept from one token to the next?
//!
//! A new token attends to all earlier ones, through their keys and values only. These never change, so each layer keeps
//! them; everything else is forgotten. Without a cache, each new token would need the whole sequence computed again, with
//! the same result, bit for bit:
//!
//! ```text
//! forward(ids[0..n])                         = logits of n positions
//! forward(ids[0..m]) then forward(ids[m..n]) = the same logits
//! ```
//!
//! Positions are kept in pages of 64, in the order in which attention reads them (`tensor/page.rs`). Caches share a page
//! until one of them writes to it: the clone of a cache copies no keys, which is what beams need.
//!
//! Keys and values are f32, or 16-bit numbers on request: half the memory, and half the reads per token. They are rounded
//! when they enter the cache; finite values stay finite. Attention reads only the cache, also for the new positions, so
//! the two lines above still give the same bits; they are not the bits of an f32 cache.

use crate::config::{Config, TokenId};
use crate::tensor::{Dtype, Head, Matrix, PAGE, Page};
use rayon::prelude::*;
use std::ops::Range;
use std::{fmt, sync::Arc};

/// The keys and values of one sequence, for every layer.
#[derive(Clone)]
pub struct KvCache {
    layers: Vec<Vec<Arc<Page>>>,
    len: usize,
    n_head: usize,
    head_size: usize,
    dtype: Dtype,
}

impl fmt::Debug for KvCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KvCache [{} of {} layers, {}]", self.len, self.layers.len(), self.dtype.name())
    }
}

impl KvCache {
    /// An empty cache for one sequence, in f32. [`Gpt2::new_cache`](crate::model::Gpt2::new_cache) makes the one that a
    /// model asks for.
    pub fn new(config: &Config) -> Self {
        Self::with_dtype(config, Dtype::F32)
    }

    /// An empty cache for one sequence.
    ///
    /// # Panics
    /// If `dtype` is I8: keys and values have no scales.
    pub fn with_dtype(config: &Config, dtype: Dtype) -> Self {
        assert_ne!(dtype, Dtype::I8, "keys and values have no scales");
        let (n_head, head_size) = (config.n_head, config.head_size());
        Self { layers: vec![Vec::new(); config.n_layer], len: 0, n_head, head_size, dtype }
    }

    /// The number of layers.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Positions kept so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all positions from `len` on. Pages are kept for what follows.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Copies the page of the next position, in every layer, if another cache shares it. Writing would copy it later, one
    /// layer after the other.
    pub(crate) fn own_last_page(&mut self) {
        let page = self.len / PAGE;
        self.layers.par_iter_mut().filter_map(|pages| pages.get_mut(page)).for_each(|page| {
            Arc::make_mut(page);
        });
    }

    /// How many pages there are, and how many of them no other cache shares.
    #[cfg(test)]
    pub(crate) fn pages(&self) -> (usize, usize) {
        let all = || self.layers.iter().flatten();
        (all().count(), all().filter(|page| Arc::strong_count(page) == 1).count())
    }

    /// Bytes of the keys and values of `positions` positions.
    pub fn bytes_for(config: &Config, dtype: Dtype, positions: usize) -> usize {
        let per_position = 2 * config.n_layer * config.n_embd * dtype.size();
        positions.next_multiple_of(PAGE) * per_position
    }

    /// Counts `rows` positions that every layer has appended.
    pub(crate) fn advance(&mut self, rows: usize) {
        self.len += rows;
    }

    /// Keeps the keys and values of the next positions in one layer: those of `rows` of qkv `[T, 3C]`.
    fn append(&mut self, layer: usize, qkv: &Matrix, rows: Range<usize>) {
        let (c, len, dtype, d) = (qkv.cols() / 3, self.len, self.dtype, self.head_size);
        let end = len + rows.len();
        let pages = &mut self.layers[layer];
        pages.par_extend(
            (pages.len()..end.div_ceil(PAGE)).into_par_iter().map(|_| Arc::new(Page::new(dtype, c))),
        );
        let first = len / PAGE;
        pages[first..end.div_ceil(PAGE)].par_iter_mut().enumerate().for_each(|(i, page)| {
            let page = Arc::make_mut(page); // copies the page if another cache shares it
            for position in len.max((first + i) * PAGE)..end.min((first + i + 1) * PAGE) {
                let (_q, kv) = qkv.row(rows.start + position - len).split_at(c);
                let (key, value) = kv.split_at(c);
                page.put(dtype, position % PAGE, d, key, value);
            }
        });
    }

    /// What head `h` of `layer` reads.
    pub(crate) fn head(&self, layer: usize, h: usize) -> Head<'_> {
        Head { pages: &self.layers[layer], h, d: self.head_size, dtype: self.dtype }
    }
}

/// New tokens of one sequence, and its past.
#[derive(Debug)]
pub struct Sequence<'a> {
    /// The ids that come next. `[T]`
    pub ids: &'a [TokenId],
    /// The keys and values of those before. The forward pass adds those of `ids`.
    pub cache: &'a mut KvCache,
}

/// One layer of the caches of a batch: attention appends to it and reads it.
///
/// The rows of a batch's matrices are the new positions of its first sequence, then those of the second, and so on. With
/// one sequence, row `t` is its `t`-th new position.
#[derive(Debug)]
pub struct LayerCache<'a, 'b> {
    sequences: &'a mut [Sequence<'b>],
    layer: usize,
}

impl<'a, 'b> LayerCache<'a, 'b> {
    /// The caches of `sequences` in one layer.
    pub(crate) fn new(sequences: &'a mut [Sequence<'b>], layer: usize) -> Self {
        Self { sequences, layer }
    }

    /// Keeps the keys and values of all new rows. qkv `[T, 3C]`: query, key, value side by side.
    pub fn append(&mut self, qkv: &Matrix) {
        let mut row = 0;
        for Sequence { ids, cache } in &mut *self.sequences {
            cache.append(self.layer, qkv, row..row + ids.len());
            row += ids.len();
        }
    }

    /// The sequences of the batch.
    pub(crate) fn sequences(&self) -> &[Sequence<'b>] {
        self.sequences
    }

    /// Whether the caches keep H heads that are C wide together.
    pub(crate) fn fits(&self, h: usize, c: usize) -> bool {
        let caches = || self.sequences.iter().map(|sequence| &sequence.cache);
        caches().all(|cache| cache.n_head == h && h * cache.head_size == c)
    }

    /// The layer's index, from 0.
    pub fn layer(&self) -> usize {
        self.layer
    }
}

#[cfg(test)]
mod tests;
