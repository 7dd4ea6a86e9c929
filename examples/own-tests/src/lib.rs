//! A port of GPT-2 in candle, with a tap on each stage: what you need in your own port.
//!
//! ```text
//! let x = tap("transformer.drop", wte + wpe);
//! ```
//!
//! [`Tap`] receives every stage. [`Stages`] keeps them and writes the file that `gpt2 diff` reads. With `()` a tap does nothing.

use candle_core::{D, DType, Device, Result, Tensor};
use gpt2::format::safetensors::{Slot, Writer};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Receives the stages of a forward pass.
pub trait Tap {
    /// Stage `name`, without a batch axis. Returns it.
    fn tap(&mut self, name: &str, value: Tensor) -> Tensor;
}

/// Ignores everything.
impl Tap for () {
    fn tap(&mut self, _: &str, value: Tensor) -> Tensor {
        value
    }
}

/// Keeps every stage.
#[derive(Default)]
pub struct Stages(pub Vec<(String, Tensor)>);

impl Tap for Stages {
    fn tap(&mut self, name: &str, value: Tensor) -> Tensor {
        self.0.push((name.into(), value.clone()));
        value
    }
}

impl Stages {
    /// Keeps the ids, as numbers.
    pub fn tap_ids(&mut self, ids: &[u32]) {
        let ids = Tensor::new(ids, &Device::Cpu).and_then(|ids| ids.to_dtype(DType::F32)).expect("ids");
        self.0.push(("input_ids".into(), ids));
    }

    /// Writes all stages to a safetensors file, in f32.
    pub fn write(&self, path: &Path) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let slot = |(name, value): &(String, Tensor)| Slot {
            name: name.clone(),
            dtype: "F32",
            shape: value.dims().to_vec(),
        };
        let slots: Vec<Slot> = self.0.iter().map(slot).collect();
        let mut writer = Writer::create(path, &slots, &BTreeMap::new())?;
        for (name, value) in &self.0 {
            let numbers: Vec<f32> = value.flatten_all()?.to_vec1()?;
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            writer.write(name, &bytes)?;
        }
        Ok(writer.finish()?)
    }
}

/// The port: the weights by name, and three numbers.
pub struct Port {
    pub weights: HashMap<String, Tensor>,
    pub n_layer: usize,
    pub n_head: usize,
    pub eps: f64,
}

impl Port {
    fn affine(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weights[&format!("{name}.weight")])?
            .broadcast_add(&self.weights[&format!("{name}.bias")])
    }

    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let x = x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?)?;
        let (weight, bias) =
            (&self.weights[&format!("{name}.weight")], &self.weights[&format!("{name}.bias")]);
        x.broadcast_mul(weight)?.broadcast_add(bias)
    }

    /// ids `[T]` -> logits `[T, V]`
    pub fn forward(&self, ids: &[u32], tap: &mut impl Tap) -> Result<Tensor> {
        let t = ids.len();
        let take =
            |name: &str, ids: Vec<u32>| self.weights[name].index_select(&Tensor::new(ids, &Device::Cpu)?, 0);
        let wte = tap.tap("transformer.wte", take("transformer.wte.weight", ids.to_vec())?);
        let wpe = tap.tap("transformer.wpe", take("transformer.wpe.weight", (0..t as u32).collect())?);
        let mut x = tap.tap("transformer.drop", (wte + wpe)?);
        let later: Vec<f32> =
            (0..t * t).map(|i| if i % t > i / t { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(later, (t, t), &Device::Cpu)?;
        for i in 0..self.n_layer {
            let h = format!("transformer.h.{i}");
            let n = tap.tap(&format!("{h}.ln_1"), self.norm(&format!("{h}.ln_1"), &x)?);
            let qkv = tap.tap(&format!("{h}.attn.c_attn"), self.affine(&format!("{h}.attn.c_attn"), &n)?);
            let parts = qkv.reshape((t, 3, self.n_head, ()))?.permute((1, 2, 0, 3))?; // [3, H, T, D]
            let [q, k, v] = [0, 1, 2].map(|part| parts.get(part).and_then(|part| part.contiguous()));
            let (q, k, v) = (q?, k?, v?);
            let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
            let scores = (q.matmul(&k.t()?)? * scale)?.broadcast_add(&mask)?;
            let scores = tap.tap(&format!("{h}.attn.scores"), scores); // [H, T, T]
            let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            let weights = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
            let weights = tap.tap(&format!("{h}.attn.weights"), weights);
            let heads = weights.matmul(&v)?.transpose(0, 1)?.reshape((t, ()))?;
            let heads = tap.tap(&format!("{h}.attn.heads"), heads);
            let attn =
                tap.tap(&format!("{h}.attn.c_proj"), self.affine(&format!("{h}.attn.c_proj"), &heads)?);
            x = tap.tap(&format!("{h}.attn_residual"), (x + attn)?);
            let n = tap.tap(&format!("{h}.ln_2"), self.norm(&format!("{h}.ln_2"), &x)?);
            let a = tap.tap(&format!("{h}.mlp.c_fc"), self.affine(&format!("{h}.mlp.c_fc"), &n)?);
            let a = tap.tap(&format!("{h}.mlp.act"), a.gelu()?);
            let mlp = tap.tap(&format!("{h}.mlp.c_proj"), self.affine(&format!("{h}.mlp.c_proj"), &a)?);
            x = tap.tap(&h, (x + mlp)?);
        }
        let x = tap.tap("transformer.ln_f", self.norm("transformer.ln_f", &x)?);
        Ok(tap.tap("lm_head", x.matmul(&self.weights["transformer.wte.weight"].t()?)?))
    }
}
