"""Small random GPT-2 checkpoints and their outputs in Hugging Face transformers.

    python tests/make_model_fixtures.py [--out tests/fixtures/models]   write them
    python tests/make_model_fixtures.py --check                         recompute and compare, write nothing

Requires torch 2.15.0 and transformers 5.23.0; other versions are refused. Seeds are fixed, so the checkpoints
are reproducible. The reference outputs are too on the same kind of processor; on another they may differ by the
rounding of f32.
"""

import argparse
import importlib.metadata
import json
import math
import shutil
import sys
from itertools import count
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from hf_stages import stages

VERSIONS = {"torch": "2.15.0", "transformers": "5.23.0", "safetensors": "0.8.0", "numpy": "2.4.6"}
T = 17  # tokens in the trace, and in the longest prompt
NEW_TOKENS = 40
MIN_MARGIN = 1e-3  # between the best and the second logit at every greedy step
MIN_DISTINCT = 8  # different tokens in every greedy continuation: a model stuck on one token tests little

BASE = dict(n_layer=2, n_head=4, n_embd=32, vocab_size=211)
TINY = dict(n_layer=2, n_head=2, n_embd=16, vocab_size=97)
FIXTURES = {
    "base": BASE,
    "odd-heads": dict(n_layer=3, n_head=3, n_embd=21, vocab_size=97),
    "inner-erf": TINY | dict(n_inner=52, activation_function="gelu"),
    "untied": TINY | dict(tie_word_embeddings=False),
    "scaled": TINY
    | dict(
        n_layer=4,
        n_inner=32,
        scale_attn_by_inverse_layer_idx=True,
        reorder_and_upcast_attn=True,
        layer_norm_epsilon=1e-3,
    ),
    "unscaled-relu": TINY | dict(scale_attn_weights=False, activation_function="relu"),
    "silu": TINY | dict(activation_function="silu"),
    "gelu-pytorch-tanh": TINY | dict(n_layer=1, n_inner=300, activation_function="gelu_pytorch_tanh"),
    "f16": BASE | dict(dtype="float16"),
    "bf16": BASE | dict(dtype="bfloat16"),
    "bare-names": TINY,
    # Sums of more than 256 products; those of mlp.c_proj are in gelu-pytorch-tanh. f16 keeps the file small.
    "wide": dict(n_layer=1, n_head=5, n_embd=260, n_inner=24, vocab_size=97, dtype="float16"),
    "quick-gelu": TINY | dict(activation_function="quick_gelu"),
    "tanh": TINY | dict(activation_function="tanh"),
    "loose": TINY | dict(tie_word_embeddings=False),
}
NO_BIAS = [".c_attn.bias", ".ln_2.bias", "ln_f.bias"]  # of `loose`


def check_versions():
    for package, wanted in VERSIONS.items():
        found = importlib.metadata.version(package).split("+")[0]
        if found != wanted:
            sys.exit(
                f"error: {package} {wanted} is needed, found {found}: pip install -r tests/requirements.txt"
            )


def random_model(config: GPT2Config, seed: int) -> GPT2LMHeadModel:
    """Weights large enough that logits and attention vary: an input of unit size gives outputs near 2."""
    random = torch.Generator().manual_seed(seed)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            if name.endswith("bias"):
                weight.copy_(0.2 * noise)
            elif ".ln_" in name:
                weight.copy_(1 + 0.2 * noise)
            elif ".wte" in name or ".wpe" in name or name == "lm_head.weight":
                weight.copy_(2 / math.sqrt(config.n_embd) * noise)
            else:  # c_attn, c_fc, c_proj: [in, out]
                weight.copy_(1.7 / math.sqrt(weight.shape[0]) * noise)
    return model


def save(model: GPT2LMHeadModel, folder: Path):
    """config.json and model.safetensors, as save_pretrained writes them."""
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def old_names(folder: Path, config: GPT2Config):
    """Rewrites a checkpoint like the first GPT-2 ones: no `transformer.`, masks among the tensors, a short config."""
    tensors = load_file(folder / "model.safetensors")
    tensors = {key.removeprefix("transformer."): value for key, value in tensors.items()}
    mask = torch.ones(config.n_positions, config.n_positions).tril()[None, None]
    tensors |= {"h.0.attn.bias": mask, "h.0.attn.masked_bias": torch.tensor(-1e4)}
    tensors |= {"h.1.attn.bias": mask.to(torch.uint8), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    old = dict(activation_function="gelu_new", architectures=["GPT2LMHeadModel"], attn_pdrop=0.1)
    old |= dict(bos_token_id=config.bos_token_id, embd_pdrop=0.1, eos_token_id=config.eos_token_id)
    old |= dict(initializer_range=0.02, layer_norm_epsilon=1e-5, model_type="gpt2", n_ctx=config.n_positions)
    old |= dict(n_embd=config.n_embd, n_head=config.n_head, n_layer=config.n_layer)
    old |= dict(n_positions=config.n_positions, resid_pdrop=0.1, vocab_size=config.vocab_size)
    (folder / "config.json").write_text(json.dumps(old, indent=2) + "\n")


def loosen(folder: Path):
    """Rewrites a checkpoint with what from_pretrained forgives: absent biases, tensors that nothing uses, F64, other names
    of keys, a head that is stored although it is said to be tied."""
    tensors = load_file(folder / "model.safetensors")
    tensors = {key: value.double() for key, value in tensors.items() if not key.endswith(tuple(NO_BIAS))}
    tensors |= {key.replace("h.1.", "h.2."): value + 1 for key, value in tensors.items() if "h.1." in key}
    tensors |= {"v_head.summary.weight": torch.ones(1, 16)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | dict(tie_word_embeddings=True)
    for alias, name in GPT2Config.attribute_map.items():
        config[alias] = config.pop(name)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load(folder: Path) -> GPT2LMHeadModel:
    """Loads a model in f32, whatever the file's type: the reference uses the rounded weights."""
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model.generation_config.eos_token_id = None  # generation never ends early
    model.generation_config.pad_token_id = 0  # unused: one sequence at a time
    return model


def greedy(model: GPT2LMHeadModel, prompt: list[int], new_tokens: int) -> tuple[list[int], torch.Tensor]:
    """The new ids, and the logits from which each was chosen."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=new_tokens,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return out.sequences[0, len(prompt) :].tolist(), torch.cat(out.logits)


def logprobs(model: GPT2LMHeadModel, ids: list[int]) -> torch.Tensor:
    """Log-probability of each id after the first: position t predicts id t + 1."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    return logits.log_softmax(dim=-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def reference(folder: Path, seed: int) -> tuple[dict, dict]:
    """The contents of reference.safetensors and reference.json."""
    model = load(folder)
    config = model.config
    random = torch.Generator().manual_seed(seed)
    eos = config.eos_token_id
    prompts = [torch.randint(eos, (n,), generator=random).tolist() for n in (1, 5, T)]
    ids = torch.randint(config.vocab_size, (config.n_positions,), generator=random).tolist()

    trace = stages(model, torch.tensor(prompts[-1]))
    for i in range(config.n_layer):
        h = f"transformer.h.{i}.attn"
        error = (trace[f"{h}.scores"].softmax(dim=-1) - trace[f"{h}.weights"]).abs().max()
        assert error < 1e-6, f"{folder.name}: softmax of the scores of layer {i} misses the weights by {error}"

    continuations = []
    for prompt in prompts:
        new, logits = greedy(model, prompt, NEW_TOKENS)
        best = logits.topk(2).values
        margin = (best[:, 0] - best[:, 1]).min().item()
        continuations.append({"prompt_ids": prompt, "ids": new, "min_margin": round(margin, 5)})

    scored = logprobs(model, ids)
    return trace, {
        "seed": seed,
        "versions": VERSIONS,
        "eos_token_id": eos,
        "greedy": continuations,
        "score": {"ids": ids, "logprobs": [None] + scored.tolist(), "nll": -scored.double().mean().item()},
    }


def weakness(trace: dict, facts: dict) -> str | None:
    """The reason why another seed is needed, or None."""
    for run in facts["greedy"]:
        if run["min_margin"] < MIN_MARGIN:
            return f"two logits are only {run['min_margin']} apart"
        if len(set(run["ids"])) < MIN_DISTINCT:
            return f"only {len(set(run['ids']))} different tokens"
        if facts["eos_token_id"] in run["ids"]:
            return "the end token occurs"
    for name, value in trace.items():
        # The last row attends to T keys. If every head's largest weight were near 1, attention would select, not mix.
        if name.endswith(".attn.weights") and value[:, -1].max(dim=-1).values.min() > 0.9:
            return f"{name} is saturated"
    return None


def write_json(path: Path, facts: dict):
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def make(name: str, options: dict, first_seed: int, folder: Path):
    shutil.rmtree(folder, ignore_errors=True)
    options = dict(options)
    dtype = getattr(torch, options.pop("dtype", "float32"))
    end = options["vocab_size"] - 1
    config = GPT2Config(n_positions=64, bos_token_id=end, eos_token_id=end, **options)
    for seed in count(first_seed):
        model = random_model(config, seed).to(dtype)
        if name == "loose":
            for key, value in model.named_parameters():
                value.data *= not key.endswith(tuple(NO_BIAS))
        save(model, folder)
        if name == "bare-names":
            old_names(folder, config)
        if name == "loose":
            loosen(folder)
        trace, facts = reference(folder, seed)
        loaded = load(folder).state_dict()
        assert all(torch.equal(loaded[key], value.float()) for key, value in model.state_dict().items())
        if weakness(trace, facts) is None:
            break
    save_file(trace, folder / "reference.safetensors")
    write_json(folder / "reference.json", facts)
    size = 0
    for file in folder.iterdir():
        file.chmod(0o644)
        size += file.stat().st_size
    print(f"{name}: {size:,} bytes, seed {seed} after {seed - first_seed} unsuitable seeds")


def check(folder: Path) -> float:
    """The largest difference between the files and what the model computes now."""
    facts = json.loads((folder / "reference.json").read_text())
    trace, again = reference(folder, facts["seed"])
    with safe_open(folder / "reference.safetensors", "pt") as file:
        assert set(file.keys()) == set(trace)
        worst = max(difference(file.get_tensor(name), value) for name, value in trace.items())
    for old, new in zip(facts["greedy"], again["greedy"], strict=True):
        assert (old["prompt_ids"], old["ids"]) == (new["prompt_ids"], new["ids"])
    assert facts["score"]["ids"] == again["score"]["ids"]
    scored = (torch.tensor(score["logprobs"][1:]) for score in (facts["score"], again["score"]))
    return max(worst, difference(*scored))


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape and a.dtype == b.dtype
    if not a.is_floating_point():
        return 0.0 if torch.equal(a, b) else math.inf
    assert torch.equal(a.isinf(), b.isinf())  # the mask of the scores
    return (a - b)[~a.isinf()].abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "fixtures" / "models")
    parser.add_argument("--check", action="store_true", help="recompute and compare, write nothing")
    args = parser.parse_args()
    check_versions()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)  # the order of summation must not depend on the machine's cores
    for number, (name, options) in enumerate(FIXTURES.items(), start=1):
        folder = args.out / name
        if args.check:
            worst = check(folder)
            print(f"{name}: largest difference {worst:.1e}")
            if worst > 1e-4:
                sys.exit(f"error: {name} does not reproduce")
        else:
            make(name, options, 1000 * number, folder)


if __name__ == "__main__":
    main()
