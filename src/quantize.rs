//! How much worse does a model get when each weight has eight bits?
//!
//! `w[k, n]` becomes `round(w[k, n] / scale[n])`, from -127 to 127, with `scale[n] = max over k of |w[k, n]| / 127`
//!
//! ```text
//! for each matrix W of the model, and each output n of it:
//!     scale[n] = max(|W[.., n]|) / 127
//!     W[.., n] = round(W[.., n] / scale[n])
//! ```
//!
//! Weights take a quarter of the bytes of f32. Decoding is up to four times as fast, for it is limited by reading them.
//! The four linear layers of each block and `wte`, which is both embedding and output head, are 99 % of GPT-2's weights;
//! `wpe`, the layer norms and the biases stay as they are. The input of a product is rounded to eight bits as well
//! (`matmul/int8/rows.rs`); between the products all numbers are f32.
//!
//! On the bundled model's held-out text (79,048 tokens, window 512, stride 256) perplexity rises from 41.65 to 41.77. Next:
//! the layout, [`tensor::Weights::int8`](crate::tensor::Weights::int8).

use crate::model::Gpt2;

impl Gpt2 {
    /// A copy whose matrices have eight bits. `wpe`, norms and biases are those of the original; matrices that have eight
    /// bits already are shared. An output channel with a weight that is not finite gives NaN, as it would have.
    pub fn quantize(&self) -> Self {
        self.quantize_with(|_| ())
    }

    /// [`quantize`](Self::quantize), which tells `progress` after each tensor how many weights it has. They add up to
    /// [`parameters`](Self::parameters).
    pub fn quantize_with(&self, mut progress: impl FnMut(usize)) -> Self {
        self.map_tensors(|spec, weights| {
            let weights = match spec.role.outputs() {
                Some(outputs) => weights.quantize(outputs),
                None => weights,
            };
            progress(spec.len());
            weights
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::bundled;
    use crate::tensor::Dtype;

    #[test]
    fn progress_counts_every_weight() {
        let (model, mut steps) = (bundled().model, Vec::new());
        let quantized = model.quantize_with(|weights| steps.push(weights));
        assert_eq!((steps.len(), steps.iter().sum()), (model.tensors().len(), model.parameters()));
        assert_eq!((quantized.wte.dtype(), quantized.wpe.dtype()), (Dtype::I8, model.wpe.dtype()));
    }

    /// What was changed in a model, and is not a tensor, stays.
    #[test]
    fn only_tensors_change() {
        let mut model = bundled().model;
        model.h[1].attn.scale = 0.25;
        model.kv_cache_dtype = Dtype::F16;
        let quantized = model.quantize();
        assert_eq!((quantized.h[1].attn.scale, quantized.kv_cache_dtype), (0.25, Dtype::F16));
    }
}
