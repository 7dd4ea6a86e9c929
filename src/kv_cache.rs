//! What must be kept from one token to the next?
//!
//! A new token attends to all earlier ones, through their keys and values only. These never change once
//! made, so each layer keeps them; everything else is forgotten. Without a cache the whole sequence would
//! be computed again for each new token, with the same result, bit for bit.
//!
//! ```text
//! forward(ids[0..n])                      = logits of n positions
//! forward(ids[0..m]) then forward(ids[m..n]) = the same logits
//! ```
//!
//! Positions are kept in pages of 64. A page is laid out as attention reads it: keys a dimension a row, so that the
//! scores of neighbouring positions advance together; values a position a row. Pages are shared
//! until one of their owners writes: a clone of a cache copies no keys, which is what beams need.

use crate::config::Config;
use crate::model::Sequence;
use crate::tensor::Matrix;
use rayon::prelude::*;
use std::sync::Arc;

/// Positions a page.
pub(crate) const PAGE: usize = 64;

/// The keys and values of one sequence, for every layer.
#[derive(Clone)]
pub struct KvCache {
    layers: Vec<Vec<Arc<Page>>>,
    len: usize,
    n_head: usize,
    head_size: usize,
}

/// Keys and values of [`PAGE`] positions in one layer.
#[derive(Clone)]
pub(crate) struct Page {
    /// `[H, D, PAGE]`
    keys: Vec<f32>,
    /// `[H, PAGE, D]`
    values: Vec<f32>,
}

impl KvCache {
    /// An empty cache for one sequence.
    pub fn new(config: &Config) -> Self {
        let layers = vec![Vec::new(); config.n_layer];
        Self { layers, len: 0, n_head: config.n_head, head_size: config.head_size() }
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

    /// Makes the page that the next position goes into this cache's own, in every layer: writing would copy it later,
    /// a layer at a time.
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

    /// Bytes that the keys and values of `positions` positions take.
    pub fn bytes_for(config: &Config, positions: usize) -> usize {
        let d = config.head_size();
        positions.next_multiple_of(PAGE) * 2 * config.n_layer * config.n_head * d * size_of::<f32>()
    }

    /// Counts `rows` positions that every layer has appended.
    pub(crate) fn advance(&mut self, rows: usize) {
        self.len += rows;
    }

    /// Keeps the key and the value of one new position in one layer. `key`, `value` `[C]`, heads side by side.
    fn put(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let (d, size) = (self.head_size, self.n_head * self.head_size * PAGE);
        let pages = &mut self.layers[layer];
        if position / PAGE == pages.len() {
            pages.push(Arc::new(Page { keys: vec![0.0; size], values: vec![0.0; size] }));
        }
        let page = Arc::make_mut(&mut pages[position / PAGE]); // copies the page if another cache shares it
        let s = position % PAGE;
        for (row, key) in page.keys.chunks_exact_mut(PAGE).zip(key) {
            row[s] = *key;
        }
        for (h, value) in value.chunks_exact(d).enumerate() {
            page.values[(h * PAGE + s) * d..][..d].copy_from_slice(value);
        }
    }

    /// What head `h` of `layer` reads.
    pub(crate) fn head(&self, layer: usize, h: usize) -> Head<'_> {
        Head { pages: &self.layers[layer], h, d: self.head_size }
    }
}

/// The keys and values of one head in one layer, page after page.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pages: &'a [Arc<Page>],
    h: usize,
    d: usize,
}

impl<'a> Head<'a> {
    /// Dimensions of a key and of a value: D.
    #[inline(always)]
    pub fn size(&self) -> usize {
        self.d
    }

    /// The keys of a page: `[D, PAGE]`.
    #[inline(always)]
    pub fn keys(&self, page: usize) -> &'a [f32] {
        &self.pages[page].keys[self.h * self.d * PAGE..][..self.d * PAGE]
    }

    /// The values of a page: `[PAGE, D]`.
    #[inline(always)]
    pub fn values(&self, page: usize) -> &'a [f32] {
        &self.pages[page].values[self.h * self.d * PAGE..][..self.d * PAGE]
    }
}

/// One layer's part of the caches of a batch: what attention appends to and reads.
///
/// The rows of a batch's matrices are the new positions of its first sequence, then those of the second,
/// and so on. With one sequence, row `t` is simply its `t`-th new position.
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
        let c = qkv.cols() / 3;
        let mut row = 0;
        for Sequence { ids, cache } in &mut *self.sequences {
            for t in 0..ids.len() {
                let (_q, kv) = qkv.row(row).split_at(c);
                let (key, value) = kv.split_at(c);
                cache.put(self.layer, cache.len + t, key, value);
                row += 1;
            }
        }
    }

    /// For each sequence: its first row, its new rows, and its cache.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = (usize, usize, &KvCache)> {
        self.sequences.iter().scan(0, |row, sequence| {
            let first = *row;
            *row += sequence.ids.len();
            Some((first, sequence.ids.len(), &*sequence.cache))
        })
    }

    /// The layer's index, from 0.
    pub fn layer(&self) -> usize {
        self.layer
    }
}
