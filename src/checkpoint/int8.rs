//! Eight-bit weights in a file: the panels as they are used, their scales, and the file's metadata.
//!
//! | tensor | dtype | shape |
//! |---|---|---|
//! | `transformer.h.0.attn.c_attn.weight` | I8 | `[N / 16, K / 4, 16, 4]`, each rounded up |
//! | `transformer.h.0.attn.c_attn.weight.scale` | F32 | `[N]` |
//!
//! and so for the linear layers (K inputs, N outputs), `wte` and `lm_head` (K = C, N = V). In NumPy, the matrix is
//!
//! ```python
//! q, scale = tensors[name], tensors[name + ".scale"]
//! w = q.transpose(0, 2, 1, 3).reshape(16 * q.shape[0], -1)[:N, :K] * scale[:, None]     # [N, K]
//! ```
//!
//! A file is read only if its `__metadata__` names the version of this layout.

use crate::format::safetensors::SafeTensors;
use crate::model::Spec;
use crate::tensor::{Outputs, Weights};
use byteorder::{ByteOrder, LittleEndian};
use std::collections::BTreeMap;

/// The key of `__metadata__` under which the version of the layout is found.
const VERSION_KEY: &str = "quantization_version";

/// The version of the layout above.
const VERSION: &str = "1";

/// The metadata of a file with eight-bit weights.
pub fn metadata() -> BTreeMap<String, String> {
    let entries = [
        ("quantization", "int8"),
        (VERSION_KEY, VERSION),
        (
            "quantization_layout",
            "I8 [N/16, K/4, 16, 4]: q[k, n] is at [n/16, k/4, n%16, k%4]; the padding is 0",
        ),
        ("quantization_scales", "one F32 per output channel: weight[k, n] = q[k, n] * scale[n]"),
        (
            "quantization_activations",
            "u8 with a scale and a zero for each row and 256 consecutive k, computed on the fly",
        ),
    ];
    entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// The name of the tensor that holds the scales of another.
pub fn scale_name(name: &str) -> String {
    format!("{name}.scale")
}

/// The matrix of `spec` that the file stores as `name`.
///
/// # Errors
/// What is wrong with the tensor or its scales, in a sentence that names it.
pub fn weights(tensors: &SafeTensors, name: &str, spec: &Spec, outputs: Outputs) -> Result<Weights, String> {
    let (tensor, [rows, cols]) = (&tensors.tensors[name], spec.matrix());
    let version = tensors.metadata.get(VERSION_KEY).ok_or_else(|| {
        format!("tensor {name:?} is stored as I8, and __metadata__ has no {VERSION_KEY}; only files of gpt2 quantize are read")
    })?;
    if version != VERSION {
        return Err(format!(
            "{VERSION_KEY} is {version:?}; this program reads {VERSION:?}: quantize the model again"
        ));
    }
    let (n, depth) = outputs.split(rows, cols);
    let shape = Weights::int8_shape(n, depth);
    if tensor.shape != shape {
        return Err(format!(
            "tensor {name:?} has shape {:?}, config.json needs {shape:?} for [{rows}, {cols}] in eight bits",
            tensor.shape
        ));
    }
    let name = scale_name(name);
    let scales = tensors.tensors.get(&name);
    let scales = scales.ok_or_else(|| format!("tensor {name:?} is missing: the scales of int8"))?;
    if (scales.dtype.as_str(), &scales.shape[..]) != ("F32", &[n]) {
        return Err(format!("tensor {name:?} is {} {:?}; scales are F32 [{n}]", scales.dtype, scales.shape));
    }
    let mut numbers = vec![0.0; n];
    LittleEndian::read_f32_into(&scales.bytes, &mut numbers);
    let is_scale = |scale: &f32| scale.is_finite() && *scale >= 0.0;
    if let Some((i, scale)) = numbers.iter().enumerate().find(|(_, scale)| !is_scale(scale)) {
        return Err(format!("tensor {name:?} has {scale} at {i}; a scale is a finite number from 0 on"));
    }
    Ok(Weights::int8(rows, cols, outputs, tensor.bytes.clone(), numbers))
}
