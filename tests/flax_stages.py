"""The stages of a GPT-2 in JAX, computed by Hugging Face's Flax classes (transformers 4, flax), as a file for `gpt2 diff`.

    python tests/flax_stages.py MODEL_FOLDER OUT.safetensors --ids 464,5822,531
    gpt2 diff ours.safetensors OUT.safetensors --model MODEL_FOLDER

Flax keeps what every module returns if `apply` is called with `capture_intermediates`. For a port of your own, call `apply` in
the same way and rename your modules to those of the table of stages (src/guide/inside.md).
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file
from transformers import FlaxGPT2LMHeadModel, GPT2Config


def stages(module, params: dict, ids: list[int]) -> dict[str, np.ndarray]:
    """ids [T] -> what each module returns, under the name of its stage, without the batch axis."""
    x = jnp.array([ids])
    positions = jnp.arange(len(ids))[None]
    call = {"deterministic": True, "output_attentions": True, "capture_intermediates": True, "mutable": ["intermediates"]}
    out, kept = module.apply({"params": params}, x, jnp.ones_like(x), positions, **call)
    found = {"input_ids": np.array(ids), "lm_head": out.logits[0]}
    for path, values in flatten_dict(kept["intermediates"]).items():
        name, value = ".".join(path[:-1]), values[0]
        if len(path) < 3:
            continue  # what the whole model returns
        if path[-2].isdigit() or path[-2] == "attn":  # a block and its attention also return the weights
            value = value[0]
        if name.endswith((".mlp", ".attn", "_dropout", ".mlp.dropout")) or not hasattr(value, "ndim"):
            continue
        found[name.replace("transformer.dropout", "transformer.drop")] = value[0]
    for i, weights in enumerate(out.attentions):
        found[f"transformer.h.{i}.attn.weights"] = weights[0]
    return {name: np.ascontiguousarray(value) for name, value in found.items()}


def load(folder: Path) -> tuple:
    """The module and its parameters from a folder with safetensors. Flax's Conv1D has the transposed kernel."""
    config = GPT2Config(**json.loads((folder / "config.json").read_text()))
    params = {}
    for name, x in load_file(folder / "model.safetensors").items():
        *path, last = name.split(".")
        kind = "embedding" if path[-1] in ("wte", "wpe") else "scale" if path[-1].startswith("ln_") else "kernel"
        if path[0] == "transformer":
            params[(*path, kind if last == "weight" else "bias")] = x.T if kind == "kernel" and last == "weight" else x
    model = FlaxGPT2LMHeadModel(config, _do_init=False)
    return model.module, unflatten_dict({path: jnp.array(x, jnp.float32) for path, x in params.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors in f32")
    parser.add_argument("out", help="safetensors file to write")
    parser.add_argument("--ids", required=True, help="token ids, separated by commas")
    args = parser.parse_args()
    jax.config.update("jax_default_matmul_precision", "highest")  # else a GPU multiplies in TF32
    save_file(stages(*load(args.model), [int(i) for i in args.ids.split(",")]), args.out)
