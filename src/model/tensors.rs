//! All tensors of a GPT-2 in one list, under their names in a checkpoint.
//!
//! Loading, saving, counting, quantizing and making up random models walk this list.

use super::Gpt2;
use crate::attention::Attention;
use crate::block::Block;
use crate::config::Config;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::tensor::{Dtype, Outputs, Weights};

impl Gpt2 {
    /// The list: each tensor's name, shape, role and place, in forward order.
    fn list(&mut self) -> List<'_> {
        let Config { vocab_size: v, n_positions: p, n_embd: c, n_inner: inner, .. } = self.config;
        let mut list = List(Vec::with_capacity(5 + 12 * self.h.len()));
        list.table("transformer.wte", [v, c], Role::Tokens, &mut self.wte);
        list.table("transformer.wpe", [p, c], Role::Positions, &mut self.wpe);
        for (i, Block { ln_1, attn, ln_2, mlp }) in self.h.iter_mut().enumerate() {
            list.norm(&format!("transformer.h.{i}.ln_1"), c, ln_1);
            list.linear(&format!("transformer.h.{i}.attn.c_attn"), [c, 3 * c], &mut attn.c_attn);
            list.linear(&format!("transformer.h.{i}.attn.c_proj"), [c, c], &mut attn.c_proj);
            list.norm(&format!("transformer.h.{i}.ln_2"), c, ln_2);
            list.linear(&format!("transformer.h.{i}.mlp.c_fc"), [c, inner], &mut mlp.c_fc);
            list.linear(&format!("transformer.h.{i}.mlp.c_proj"), [inner, c], &mut mlp.c_proj);
        }
        list.norm("transformer.ln_f", c, &mut self.ln_f);
        if !self.config.tie_word_embeddings {
            list.table("lm_head", [v, c], Role::Tokens, &mut self.lm_head);
        }
        list
    }

    /// All tensors of a model of this shape, in the order of a forward pass.
    pub fn specs(config: Config) -> Vec<Spec> {
        Self::without_tensors(config).list().0.into_iter().map(|(spec, _)| spec).collect()
    }

    /// The model whose tensors are what `tensor` gives for each of the list, in forward order.
    ///
    /// A vector `[n]` is given as a matrix `[1, n]`.
    ///
    /// # Errors
    /// The first error of `tensor`.
    ///
    /// # Panics
    /// If a tensor has another shape than the list says.
    pub fn build<E>(config: Config, mut tensor: impl FnMut(&Spec) -> Result<Weights, E>) -> Result<Self, E> {
        let mut model = Self::without_tensors(config);
        for (spec, place) in model.list().0 {
            place.put(&spec, tensor(&spec)?);
        }
        Ok(model.tied())
    }

    /// All tensors, in forward order; a vector `[n]` is a matrix `[1, n]`. Matrices share their bytes with the model's.
    pub fn tensors(&self) -> Vec<(Spec, Weights)> {
        self.clone().list().0.into_iter().map(|(spec, place)| (spec, place.get())).collect()
    }

    /// A copy with `f` of each tensor. Everything else is as it was.
    pub fn map_tensors(&self, mut f: impl FnMut(&Spec, Weights) -> Weights) -> Self {
        let mut model = self.clone();
        for (spec, place) in model.list().0 {
            let weights = f(&spec, place.get());
            place.put(&spec, weights);
        }
        model.tied()
    }

    /// Bytes of all weights, as they are stored; a tied head counts once.
    pub fn weight_bytes(&self) -> usize {
        self.tensors().iter().map(|(_, weights)| weights.bytes()).sum()
    }

    /// The number of weights; a tied head counts once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(spec, _)| spec.len()).sum()
    }

    /// With the output head that is `wte`, if `config` says so.
    fn tied(mut self) -> Self {
        if self.config.tie_word_embeddings {
            self.lm_head = self.wte.clone();
        }
        self
    }

    /// The layers of this configuration, still without numbers.
    fn without_tensors(config: Config) -> Self {
        let none = || Weights::from_f32(0, 0, &[]);
        let norm = || LayerNorm { weight: Vec::new(), bias: Vec::new(), eps: config.layer_norm_epsilon };
        let linear = || Linear { weight: none(), bias: Vec::new() };
        let attention = |i| Attention {
            n_head: config.n_head,
            scale: config.attention_scale(i),
            c_attn: linear(),
            c_proj: linear(),
        };
        let mlp = || Mlp { c_fc: linear(), act: config.activation, c_proj: linear() };
        let h = (0..config.n_layer)
            .map(|i| Block { ln_1: norm(), attn: attention(i), ln_2: norm(), mlp: mlp() })
            .collect();
        let (ln_f, kv_cache_dtype) = (norm(), Dtype::F32);
        Self { wte: none(), wpe: none(), h, ln_f, lm_head: none(), kv_cache_dtype, config }
    }
}

/// What is known of a tensor before its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name in a checkpoint of Hugging Face: `transformer.h.0.ln_1.weight`.
    pub name: String,
    /// Its dimensions: one or two.
    pub shape: Vec<usize>,
    /// Its part in the model.
    pub role: Role,
}

/// What a tensor is to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `[V, C]`, a row per token: `wte`, and the output head where it is not tied.
    Tokens,
    /// `[n_positions, C]`, a row per position.
    Positions,
    /// `[in, out]`, the matrix of a linear layer.
    Linear,
    /// `[C]`, the weight of a layer norm.
    Gain,
    /// `[out]` or `[C]`, the bias of a linear layer or a layer norm.
    Bias,
}

impl Spec {
    /// How many numbers the tensor has.
    #[allow(clippy::len_without_is_empty)] // none is empty
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows and columns of the tensor as a matrix: a vector is one row.
    pub fn matrix(&self) -> [usize; 2] {
        match self.shape[..] {
            [rows, cols] => [rows, cols],
            _ => [1, self.len()],
        }
    }
}

impl Role {
    /// Whether it is a matrix, not a vector.
    pub fn is_matrix(self) -> bool {
        !matches!(self, Self::Gain | Self::Bias)
    }

    /// Which dimension counts the outputs of a product, where the tensor may be stored in eight bits.
    pub fn outputs(self) -> Option<Outputs> {
        match self {
            Self::Tokens => Some(Outputs::Rows),
            Self::Linear => Some(Outputs::Cols),
            Self::Positions | Self::Gain | Self::Bias => None,
        }
    }
}

/// Each tensor with its place in the model.
struct List<'m>(Vec<(Spec, Place<'m>)>);

impl<'m> List<'m> {
    fn table(&mut self, name: &str, shape: [usize; 2], role: Role, weight: &'m mut Weights) {
        let spec = Spec { name: format!("{name}.weight"), shape: shape.to_vec(), role };
        self.0.push((spec, Place::Matrix(weight)));
    }

    fn vector(&mut self, name: String, len: usize, role: Role, vector: &'m mut Vec<f32>) {
        self.0.push((Spec { name, shape: vec![len], role }, Place::Vector(vector)));
    }

    fn norm(&mut self, name: &str, c: usize, LayerNorm { weight, bias, .. }: &'m mut LayerNorm) {
        self.vector(format!("{name}.weight"), c, Role::Gain, weight);
        self.vector(format!("{name}.bias"), c, Role::Bias, bias);
    }

    fn linear(&mut self, name: &str, shape: [usize; 2], Linear { weight, bias }: &'m mut Linear) {
        self.table(name, shape, Role::Linear, weight);
        self.vector(format!("{name}.bias"), shape[1], Role::Bias, bias);
    }
}

/// Where the model keeps a tensor.
enum Place<'m> {
    Matrix(&'m mut Weights),
    Vector(&'m mut Vec<f32>),
}

impl Place<'_> {
    fn get(&self) -> Weights {
        match self {
            Self::Matrix(weights) => (*weights).clone(),
            Self::Vector(vector) => Weights::from_f32(1, vector.len(), vector),
        }
    }

    fn put(self, spec: &Spec, weights: Weights) {
        assert_eq!([weights.rows(), weights.cols()], spec.matrix(), "the shape of {}", spec.name);
        match self {
            Self::Matrix(place) => *place = weights,
            Self::Vector(place) => *place = weights.to_f32(),
        }
    }
}

#[cfg(test)]
mod tests;
