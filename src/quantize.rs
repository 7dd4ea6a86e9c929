//! What does a model lose when each weight has eight bits?
//!
//! `w[k, n]` becomes `round(w[k, n] / scale[n])`, from -127 to 127, with `scale[n] = max over k of |w[k, n]| / 127`
//!
//! ```text
//! for each matrix W of the model, and each output n of it:
//!     scale[n] = max(|W[.., n]|) / 127
//!     W[.., n] = round(W[.., n] / scale[n])
//! ```
//!
//! A quarter of the bytes of f32, and so up to four times the speed of decoding, which is bound by reading them. The four
//! linear layers of each block and `wte`, twice used, as embedding and as output head, are 99 % of GPT-2's weights;
//! `wpe`, the layer norms and the biases stay as they are. What enters a product is rounded to eight bits as well
//! (`matmul/int8/rows.rs`); between the products all numbers are f32.
//!
//! Measured on the bundled model and its held-out text (79,048 tokens, window 512, stride 256): see the README. Next:
//! the layout, [`tensor::Weights::int8`](crate::tensor::Weights::int8).

use crate::model::Gpt2;
use crate::tensor::Outputs;

impl Gpt2 {
    /// A copy whose matrices have eight bits. `wpe`, norms and biases are those of the original, and what has eight bits
    /// already is shared. An output channel with a weight that is not finite gives NaN, as it would have.
    pub fn quantize(&self) -> Self {
        let mut model = self.clone();
        for block in &mut model.h {
            let (attn, mlp) = (&mut block.attn, &mut block.mlp);
            for linear in [&mut attn.c_attn, &mut attn.c_proj, &mut mlp.c_fc, &mut mlp.c_proj] {
                linear.weight = linear.weight.quantize(Outputs::Cols);
            }
        }
        model.wte = self.wte.quantize(Outputs::Rows);
        model.lm_head = match self.config.tie_word_embeddings {
            true => model.wte.clone(),
            false => self.lm_head.quantize(Outputs::Rows),
        };
        model
    }
}
