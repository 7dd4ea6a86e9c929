//! How do keys and values lie in memory? As attention reads them, in pages of 64 positions.
//!
//! ```text
//! keys   [H, D, PAGE]      one dimension per row: the scores of neighbouring positions advance together
//! values [H, PAGE, D]      one position per row: it is added as a whole, times its weight
//! ```

use super::{Dtype, Number, with_number};
use std::sync::Arc;

/// Positions per page.
pub(crate) const PAGE: usize = 64;

/// Keys and values of [`PAGE`] positions in one layer, in words of one f32 or two halves.
#[derive(Clone)]
pub(crate) struct Page {
    /// `[H, D, PAGE]`
    keys: Vec<u32>,
    /// `[H, PAGE, D]`
    values: Vec<u32>,
}

impl Page {
    /// An empty page of keys and values of `c` numbers each.
    pub fn new(dtype: Dtype, c: usize) -> Self {
        let words = c * PAGE * dtype.size() / size_of::<u32>();
        Self { keys: vec![0; words], values: vec![0; words] }
    }

    /// Keeps a key and a value at place `s`, rounded to `dtype`. `key`, `value` `[C]`, heads of `d` numbers side by side.
    pub fn put(&mut self, dtype: Dtype, s: usize, d: usize, key: &[f32], value: &[f32]) {
        with_number!(dtype, N => self.put_as::<N>(s, d, key, value));
    }

    fn put_as<N: Number>(&mut self, s: usize, d: usize, key: &[f32], value: &[f32]) {
        let keys: &mut [N::Bits] = bytemuck::must_cast_slice_mut(&mut self.keys);
        let values: &mut [N::Bits] = bytemuck::must_cast_slice_mut(&mut self.values);
        for (row, key) in keys.chunks_exact_mut(PAGE).zip(key) {
            row[s] = N::round(*key);
        }
        for (h, value) in value.chunks_exact(d).enumerate() {
            let place = &mut values[(h * PAGE + s) * d..][..d];
            place.iter_mut().zip(value).for_each(|(place, value)| *place = N::round(*value));
        }
    }
}

/// The keys and values of one head in one layer, page after page.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub pages: &'a [Arc<Page>],
    /// Which head.
    pub h: usize,
    /// Dimensions of a key and of a value: D.
    pub d: usize,
    /// How keys and values are kept.
    pub dtype: Dtype,
}

impl<'a> Head<'a> {
    /// The key of position `s`, as f32. `[D]`
    pub fn key(&self, s: usize) -> Vec<f32> {
        let place = |i: usize| i * PAGE + s % PAGE;
        with_number!(self.dtype, N => (0..self.d).map(|i| N::widen(self.keys::<N>(s / PAGE)[place(i)])).collect())
    }

    /// The value of position `s`, as f32. `[D]`
    pub fn value(&self, s: usize) -> Vec<f32> {
        let value = s % PAGE * self.d..(s % PAGE + 1) * self.d;
        with_number!(self.dtype, N => {
            self.values::<N>(s / PAGE)[value].iter().map(|number| N::widen(*number)).collect()
        })
    }

    /// The keys of a page, which are kept as `N`: `[D, PAGE]`.
    #[inline(always)]
    pub fn keys<N: Number>(&self, page: usize) -> &'a [N::Bits] {
        &bytemuck::must_cast_slice(&self.pages[page].keys)[self.h * self.d * PAGE..][..self.d * PAGE]
    }

    /// The values of a page, which are kept as `N`: `[PAGE, D]`.
    #[inline(always)]
    pub fn values<N: Number>(&self, page: usize) -> &'a [N::Bits] {
        &bytemuck::must_cast_slice(&self.pages[page].values)[self.h * self.d * PAGE..][..self.d * PAGE]
    }
}
