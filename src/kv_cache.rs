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
//! Positions are kept in pages of 64, laid out as attention reads them (`tensor/page.rs`). Pages are shared until one of their
//! owners writes: a clone of a cache copies no keys, which is what beams need.
//!
//! Keys and values are f32, or sixteen-bit numbers if [`Config::kv_cache_dtype`] says so: half the memory, and half of
//! what a token must read. They are rounded when they are put in, finite ones to finite ones, and attention reads
//! nothing but the cache, the new positions' own keys included: the two ways above still give the same bits, which are
//! not those of an f32 cache.

use crate::config::Config;
use crate::config::TokenId;
use crate::tensor::{Dtype, Head, Matrix, PAGE, Page};
use rayon::prelude::*;
use std::sync::Arc;

/// The keys and values of one sequence, for every layer.
#[derive(Clone)]
pub struct KvCache {
    layers: Vec<Vec<Arc<Page>>>,
    len: usize,
    head_size: usize,
    dtype: Dtype,
}

impl std::fmt::Debug for KvCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvCache").field("len", &self.len).field("dtype", &self.dtype).finish_non_exhaustive()
    }
}

impl KvCache {
    /// An empty cache for one sequence.
    ///
    /// # Panics
    /// If the [`kv_cache_dtype`](Config::kv_cache_dtype) is I8.
    pub fn new(config: &Config) -> Self {
        assert_ne!(config.kv_cache_dtype, Dtype::I8, "keys and values have no scales");
        let layers = vec![Vec::new(); config.n_layer];
        Self { layers, len: 0, head_size: config.head_size(), dtype: config.kv_cache_dtype }
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
        positions.next_multiple_of(PAGE)
            * 2
            * config.n_layer
            * config.n_head
            * d
            * config.kv_cache_dtype.size()
    }

    /// Counts `rows` positions that every layer has appended.
    pub(crate) fn advance(&mut self, rows: usize) {
        self.len += rows;
    }

    /// Keeps the key and the value of one new position in one layer. `key`, `value` `[C]`, heads side by side.
    fn put(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let pages = &mut self.layers[layer];
        if position / PAGE == pages.len() {
            pages.push(Arc::new(Page::new(self.dtype, key.len())));
        }
        let page = Arc::make_mut(&mut pages[position / PAGE]); // copies the page if another cache shares it
        page.put(self.dtype, position % PAGE, self.head_size, key, value);
    }

    /// What head `h` of `layer` reads.
    pub(crate) fn head(&self, layer: usize, h: usize) -> Head<'_> {
        Head::new(&self.layers[layer], h, self.head_size, self.dtype)
    }
}

/// New tokens of one sequence, and its past.
pub struct Sequence<'a> {
    /// The ids that come next. `[T]`
    pub ids: &'a [TokenId],
    /// What is kept of those before; the new ones join it.
    pub cache: &'a mut KvCache,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::random;
    use crate::model::Gpt2;
    use crate::simd::tests::under_each;
    use crate::tensor::{Bf16, F16, Number};
    use crate::trace::{NoTrace, Stage, Trace};
    use std::marker::PhantomData;

    /// Rounds the keys and values that go into the cache.
    struct Rounded<N>(PhantomData<N>);

    impl<N: Number> Trace for Rounded<N> {
        fn wants(&self, _: Stage) -> bool {
            false
        }
        fn enter_block(&mut self, _: Option<usize>) {}
        fn record_ids(&mut self, _: Stage, _: &[u32]) {}
        fn record(&mut self, stage: Stage, shape: &[usize], qkv: &mut [f32]) {
            if stage == Stage::AttnCAttn {
                for row in qkv.chunks_exact_mut(shape[1]) {
                    row[shape[1] / 3..].iter_mut().for_each(|x| *x = N::widen(N::round(*x)));
                }
            }
        }
    }

    /// Five heads of 66 dimensions, no whole number of registers; texts of several pages, and past a block of sums.
    fn model(dtype: Dtype) -> Gpt2 {
        let shape = br#"{"n_layer": 2, "n_embd": 330, "n_head": 5, "n_positions": 300, "vocab_size": 97}"#;
        let mut config = Config::from_json(shape).expect("a configuration");
        config.kv_cache_dtype = dtype;
        random::random(config, Dtype::F32)
    }

    fn logits(model: &Gpt2, steps: usize, trace: &mut impl Trace) -> Vec<u32> {
        let ids: Vec<u32> = (0..270).map(|i| i * i % 97).collect();
        let mut cache = KvCache::new(&model.config);
        let all = ids.chunks(steps).flat_map(|ids| model.forward(ids, &mut cache, trace).data().to_vec());
        all.map(f32::to_bits).collect()
    }

    fn keeps_rounded_numbers<N: Number>(dtype: Dtype) {
        let (halves, wide) = (model(dtype), model(Dtype::F32));
        let expected = logits(&wide, 270, &mut Rounded::<N>(PhantomData));
        assert_ne!(logits(&wide, 270, &mut NoTrace), expected, "rounding is seen");
        under_each(|simd| {
            for steps in [270, 7] {
                let got = logits(&halves, steps, &mut NoTrace);
                assert!(got == expected, "{simd:?}, {} in steps of {steps}", dtype.name());
            }
        });
    }

    #[test]
    fn a_cache_of_halves_is_one_of_rounded_numbers() {
        keeps_rounded_numbers::<F16>(Dtype::F16);
        keeps_rounded_numbers::<Bf16>(Dtype::Bf16);
    }

    #[test]
    fn halves_take_half() {
        let bytes = |dtype| KvCache::bytes_for(&model(dtype).config, 100);
        assert_eq!(bytes(Dtype::F32), 2 * 128 * 2 * 330 * 4); // whole pages
        assert_eq!((bytes(Dtype::F16), bytes(Dtype::Bf16)), (bytes(Dtype::F32) / 2, bytes(Dtype::F32) / 2));
    }
}
