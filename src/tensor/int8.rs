//! Weights in eight bits: whole numbers, and for each output channel the size of one.
//!
//! `w[k, n] = q[k, n] * scale[n]`
//!
//! ```text
//! for each output n:
//!     pairs    = w[0::2, n] + w[1::2, n]
//!     scale[n] = max(|w[.., n]|, |pairs|) / 127
//!     q[.., n] = round(w[.., n] / scale[n])          # to nearest, ties to even: -127 ..= 127
//! ```
//!
//! So the sum of two neighbours is at most 128. AVX2 adds their products in 16 bits, and so needs [that](Known).
//!
//! The numbers lie in the order in which a product reads them ([`matmul::int8`](crate::matmul)), in memory and in a file
//! alike: *panels* of 16 outputs, within a panel four neighbouring `k` of each output together, 64 bytes:
//!
//! ```text
//! bytes: [N / 16, K / 4, 16, 4]      q[k, n] is at [n / 16, k / 4, n % 16, k % 4]; the padding is 0
//! ```

use super::{Dtype, K_BLOCK, Weights};
use crate::format::Bytes;
use crate::simd::{LANES, kernel};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// Neighbouring `k` that lie together.
pub(crate) const GROUP: usize = 4;

/// Bytes of one group of every output of a panel: a cache line.
pub(crate) const LINE: usize = LANES * GROUP;

/// The largest whole number a weight becomes.
const LARGEST: f32 = 127.0;

/// Which dimension of a matrix counts the outputs of a product with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// `[V, C]`, a table whose rows are multiplied with: `wte` and the output head.
    Rows,
    /// `[in, out]`, a linear layer.
    Cols,
}

impl Outputs {
    /// N and K of a matrix `[rows, cols]`: the number of outputs, and of the products that each sums.
    pub(crate) fn split(self, rows: usize, cols: usize) -> (usize, usize) {
        match self {
            Self::Rows => (rows, cols),
            Self::Cols => (cols, rows),
        }
    }
}

/// What eight-bit numbers need besides their bytes.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    outputs: Outputs,
    /// `[N]`
    scales: Arc<[f32]>,
    /// `[N / 16, blocks of K]`
    known: Arc<[OnceLock<Known>]>,
}

/// What a product needs to know of a panel's weights of 256 `k`. It is found when a product first needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Their sum for each output.
    pub sums: [i32; LANES],
    /// Whether the sum of two neighbours is at most 128 everywhere. Then that of their products with numbers up to 255 is at
    /// most 32,640, which fits in 16 bits.
    pub pairs_fit: bool,
}

/// Eight-bit weights as they lie in memory, for N outputs that are sums of K products.
#[derive(Clone, Copy)]
pub(crate) struct Int8<'a> {
    /// Which dimension N is.
    pub outputs: Outputs,
    /// K
    pub depth: usize,
    /// `[N / 16, K / 4, 16, 4]`
    pub panels: &'a [i8],
    /// `[N]`
    pub scales: &'a [f32],
    known: &'a [OnceLock<Known>],
}

impl<'a> Int8<'a> {
    /// Bytes of a panel whose outputs are sums of `depth` products.
    pub fn panel_bytes(depth: usize) -> usize {
        depth.div_ceil(GROUP) * LINE
    }

    /// Panel `p`: 16 outputs. `[K / 4, 16, 4]`
    pub fn panel(&self, p: usize) -> &'a [i8] {
        let bytes = Self::panel_bytes(self.depth);
        &self.panels[p * bytes..][..bytes]
    }

    /// What is known of block `b` of panel `p`.
    pub fn known(&self, p: usize, b: usize) -> &'a OnceLock<Known> {
        &self.known[p * self.depth.div_ceil(K_BLOCK) + b]
    }

    /// The number `q[k, n]`. The weight is q * scale.
    pub fn q(&self, k: usize, n: usize) -> i8 {
        self.panel(n / LANES)[k / GROUP * LINE + n % LANES * GROUP + k % GROUP]
    }

    /// Row `i` as f32: q * scale, each product rounded once. `[cols]`
    pub(super) fn read_row(&self, i: usize, row: &mut [f32]) {
        for (j, x) in row.iter_mut().enumerate() {
            let (k, n) = if self.outputs == Outputs::Rows { (j, i) } else { (i, j) };
            *x = f32::from(self.q(k, n)) * self.scales[n];
        }
    }
}

impl Weights {
    /// The shape of the tensor that holds N outputs of K products each.
    pub(crate) fn int8_shape(outputs: usize, depth: usize) -> [usize; 4] {
        [outputs.div_ceil(LANES), depth.div_ceil(GROUP), LANES, GROUP]
    }

    /// A matrix `[rows, cols]` of eight-bit numbers in panels, and the scale of each output.
    ///
    /// # Panics
    /// If there are not as many bytes and scales as the shape needs.
    pub fn int8(rows: usize, cols: usize, outputs: Outputs, panels: Bytes, scales: Vec<f32>) -> Self {
        let (n, depth) = outputs.split(rows, cols);
        let bytes = Self::int8_shape(n, depth).iter().try_fold(1usize, |bytes, n| bytes.checked_mul(*n));
        assert_eq!(Some(panels.len()), bytes, "bytes of all panels");
        assert_eq!(scales.len(), n, "one scale per output");
        let blocks = n.div_ceil(LANES) * depth.div_ceil(K_BLOCK);
        let known = std::iter::repeat_with(OnceLock::new).take(blocks).collect();
        let channels = Some(Channels { outputs, scales: scales.into(), known });
        Self { rows, cols, dtype: Dtype::I8, bytes: panels, channels }
    }

    /// These weights in eight bits. If they are already, a copy that shares their bytes.
    ///
    /// A channel with a number that is not finite gets the scale NaN, and its outputs are NaN.
    pub fn quantize(&self, outputs: Outputs) -> Self {
        if self.dtype == Dtype::I8 {
            return self.clone();
        }
        let (n, depth) = outputs.split(self.rows, self.cols);
        let wide = self.to_f32();
        let (step_k, step_n) = if outputs == Outputs::Rows { (1, depth) } else { (n, 1) };
        let mut panels = vec![0i8; Self::int8_shape(n, depth).iter().product()];
        let mut scales = vec![0.0; n];
        let by_panel =
            panels.par_chunks_mut(Int8::panel_bytes(depth).max(1)).zip(scales.par_chunks_mut(LANES));
        by_panel.enumerate().for_each(|(p, (panel, scales))| {
            let mut channel = vec![0.0; depth];
            for (lane, scale) in scales.iter_mut().enumerate() {
                let start = (p * LANES + lane) * step_n;
                for (k, w) in channel.iter_mut().enumerate() {
                    *w = wide[start + k * step_k];
                }
                *scale = quantize_channel(&channel, lane, panel);
            }
        });
        let bytes = Bytes::aligned_copy(bytemuck::cast_slice(&panels));
        Self::int8(self.rows, self.cols, outputs, bytes, scales)
    }

    /// The shape of the tensor that holds these numbers, if they have eight bits. `[N / 16, K / 4, 16, 4]`
    pub(crate) fn panel_shape(&self) -> [usize; 4] {
        let outputs = self.channels.as_ref().map_or(Outputs::Cols, |channels| channels.outputs);
        let (n, depth) = outputs.split(self.rows, self.cols);
        Self::int8_shape(n, depth)
    }

    /// The scale of each output, where the numbers have eight bits.
    pub(crate) fn scales(&self) -> Option<&[f32]> {
        self.channels.as_ref().map(|channels| &*channels.scales)
    }

    /// The numbers as bytes, as they are stored.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.bytes
    }

    /// The numbers and their scales, if they have eight bits.
    pub(crate) fn as_int8(&self) -> Option<Int8<'_>> {
        let &Channels { outputs, ref scales, ref known } = self.channels.as_ref()?;
        let (_, depth) = outputs.split(self.rows, self.cols);
        Some(Int8 { outputs, depth, panels: bytemuck::cast_slice(&self.bytes), scales, known })
    }
}

kernel! {
    /// The weights of one output `[K]` into their places in its panel; gives their scale.
    fn quantize_channel(channel: &[f32], lane: usize, panel: &mut [i8]) -> f32 {
        // in f64, where no sum overflows
        let mut largest = 0.0f64;
        for pair in channel.chunks(2) {
            let sum: f64 = pair.iter().map(|w| f64::from(*w)).sum();
            for w in pair.iter().map(|w| f64::from(*w)).chain([sum]) {
                // not `max`, which would lose a NaN
                largest = if w.abs() <= largest { largest } else { w.abs() };
            }
            if !largest.is_finite() {
                return f32::NAN; // and the panel stays 0
            }
        }
        let scale = (largest / f64::from(LARGEST)) as f32;
        if scale > 0.0 {
            for (k, w) in channel.iter().enumerate() {
                let q = (w / scale).clamp(-LARGEST, LARGEST).round_ties_even();
                panel[k / GROUP * LINE + lane * GROUP + k % GROUP] = q as i8;
            }
        }
        scale
    }
}

#[cfg(test)]
mod tests;
