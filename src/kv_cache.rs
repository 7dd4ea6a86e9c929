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
//! Positions are kept in pages of 64. A page is laid out as attention reads it: keys with 16 neighbouring
//! positions side by side (their scores advance together), values a position a row. Pages are shared
//! until one of their owners writes: a clone of a cache copies no keys, which is what beams need.

use crate::config::Config;
use crate::math::LANES;
use crate::model::Sequence;
use crate::tensor::Matrix;
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
    /// `[H, PAGE / 16, D, 16]`
    keys: Vec<f32>,
    /// `[H, PAGE, D rounded up to 16]`, zeros where D ends
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

    /// Bytes that the keys and values of `positions` positions take.
    pub fn bytes_for(config: &Config, positions: usize) -> usize {
        let d = config.head_size();
        let numbers = config.n_layer * config.n_head * (d + d.next_multiple_of(LANES));
        positions.next_multiple_of(PAGE) * numbers * size_of::<f32>()
    }

    /// D rounded up to whole lanes.
    fn padded(&self) -> usize {
        self.head_size.next_multiple_of(LANES)
    }

    /// Counts `rows` positions that every layer has appended.
    pub(crate) fn advance(&mut self, rows: usize) {
        self.len += rows;
    }

    /// Keeps the key and the value of one new position in one layer. `key`, `value` `[C]`, heads side by side.
    fn put(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let (d, padded) = (self.head_size, self.padded());
        let pages = &mut self.layers[layer];
        if position / PAGE == pages.len() {
            let keys = vec![0.0; self.n_head * PAGE * d];
            let values = vec![0.0; self.n_head * PAGE * padded];
            pages.push(Arc::new(Page { keys, values }));
        }
        let page = Arc::make_mut(&mut pages[position / PAGE]); // copies the page if another cache shares it
        let (panel, lane) = (position % PAGE / LANES, position % LANES);
        for h in 0..self.n_head {
            let tile = &mut page.keys[(h * PAGE + panel * LANES) * d..][..d * LANES];
            for (i, key) in key[h * d..][..d].iter().enumerate() {
                tile[i * LANES + lane] = *key;
            }
            let row = &mut page.values[(h * PAGE + position % PAGE) * padded..][..d];
            row.copy_from_slice(&value[h * d..][..d]);
        }
    }

    /// What head `h` of `layer` reads.
    pub(crate) fn head(&self, layer: usize, h: usize) -> Head<'_> {
        Head { pages: &self.layers[layer], h, d: self.head_size, padded: self.padded() }
    }
}

/// The keys and values of one head in one layer, page after page.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pages: &'a [Arc<Page>],
    h: usize,
    d: usize,
    padded: usize,
}

impl<'a> Head<'a> {
    /// The keys of positions `16 * panel ..`: `[D, 16]`.
    #[inline(always)]
    pub fn keys(&self, panel: usize) -> &'a [[f32; LANES]] {
        let (page, panel) = (panel / (PAGE / LANES), panel % (PAGE / LANES));
        let tile = &self.pages[page].keys[(self.h * PAGE + panel * LANES) * self.d..][..self.d * LANES];
        tile.as_chunks().0
    }

    /// Groups of 16 dimensions: D / 16 rounded up.
    #[inline(always)]
    pub fn groups(&self) -> usize {
        self.padded / LANES
    }

    /// The values of a page: `[PAGE, groups, 16]`.
    #[inline(always)]
    pub fn values(&self, page: usize) -> &'a [[f32; LANES]] {
        let tile = &self.pages[page].values[self.h * PAGE * self.padded..][..PAGE * self.padded];
        tile.as_chunks().0
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
