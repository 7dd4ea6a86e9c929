"""Plant known mistakes in Hugging Face's GPT-2, and check that `gpt2 diff --model` names each and no other.

    python tests/plant_mistakes.py target/release/gpt2 [--number 4] [--seed S] [--pairs 20]

For each of some fresh random checkpoints and for the bundled model: the sound port must pass. Then each mistake of the
list is planted alone, and some pairs of mistakes together, in one block or outside the blocks. A mistake counts as found
if its stage is called wrong and the sentence names it, perhaps among few that give the same numbers. Prints a table of
what was found; exit code 1 if under 95 % of the single mistakes are found, if any single name is another mistake's, or
if a right stage is called wrong.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import types
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel
from transformers.activations import ACT2FN

from find_planted_bugs import random_checkpoint, run
from make_model_fixtures import load

BUNDLED = Path(__file__).parent.parent / "data/tales-8m"


@dataclass
class Mistake:
    """Where it shows (in block i), what `diff` must say, and how it is planted: a switch, or a change of the model."""

    stage: str
    words: str
    switch: str = ""
    plant: object = None


def norm(change):
    """Replaces the layer norm of this name by `change`."""

    def plant(model, i, name):
        parent = model.transformer if name == "ln_f" else model.transformer.h[i]
        old = getattr(parent, name)
        new = Norm(old, change)
        setattr(parent, name, new)

    return plant


class Norm(nn.Module):
    def __init__(self, old: nn.LayerNorm, change):
        super().__init__()
        self.weight, self.bias, self.eps, self.change = old.weight, old.bias, old.eps, change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x, self.weight, self.bias, self.eps)


def layer_norm(x, weight, bias, eps, n_minus=0, mean=True):
    centred = x - x.mean(-1, keepdim=True) if mean else x
    variance = (centred**2).sum(-1, keepdim=True) / (x.shape[-1] - n_minus)
    return centred / torch.sqrt(variance + eps) * weight + bias


def coarse(x: Tensor, kind: str) -> Tensor:
    if kind == "tf32":
        bits = x.contiguous().view(torch.int32)
        return ((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF).view(torch.float32)
    return x.to(getattr(torch, kind)).to(torch.float32)


class Linear(nn.Module):
    """A Conv1D with a mistake."""

    def __init__(self, old, change):
        super().__init__()
        self.weight, self.bias, self.change = old.weight, old.bias, change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x, self.weight, self.bias)


def linear(change):
    def plant(model, i, name):
        parent = model.transformer.h[i]
        *path, last = name.split(".")
        for part in path:
            parent = getattr(parent, part)
        setattr(parent, last, Linear(getattr(parent, last), change))

    return plant


def transposed(x, w, b):
    return x @ w.reshape(w.shape[1], w.shape[0]).T + b


def reshaped(x, w, b):
    return x @ w.T.reshape(w.shape) + b


def position(by):
    def plant(model, i, name):
        model.transformer.wpe.weight = nn.Parameter(model.transformer.wpe.weight.roll(by, dims=0))

    return plant


def skipped(model, i, name):
    model.transformer.ln_f = nn.Identity()


def act(name):
    def plant(model, i, _):
        model.transformer.h[i].mlp.act = ACT2FN[name]

    return plant


def tied(model, i, name):
    model.lm_head.weight = model.transformer.wte.weight


def times_root(model, i, name):
    wte = model.transformer.wte
    model.transformer.wte = Scaled(wte, model.config.n_embd**0.5)


class Scaled(nn.Module):
    def __init__(self, table, by):
        super().__init__()
        self.table, self.by, self.weight = table, by, table.weight

    def forward(self, ids):
        return self.table(ids) * self.by


MISTAKES = {
    "other GELU": Mistake("h.{i}.mlp.act", "gelu instead", plant=act("gelu")),
    "sigmoid GELU": Mistake("h.{i}.mlp.act", "quick_gelu instead", plant=act("quick_gelu")),
    "ReLU": Mistake("h.{i}.mlp.act", "relu instead", plant=act("relu")),
    "c_attn transposed": Mistake("h.{i}.attn.c_attn", "transposed", plant=linear(transposed)),
    "c_attn reshaped": Mistake("h.{i}.attn.c_attn", "transposed", plant=linear(reshaped)),
    "c_proj transposed": Mistake("h.{i}.attn.c_proj", "transposed", plant=linear(transposed)),
    "mlp.c_proj transposed": Mistake("h.{i}.mlp.c_proj", "transposed", plant=linear(transposed)),
    "c_fc without bias": Mistake("h.{i}.mlp.c_fc", "no bias", plant=linear(lambda x, w, b: x @ w)),
    "c_attn without bias": Mistake("h.{i}.attn.c_attn", "no bias", plant=linear(lambda x, w, b: x @ w)),
    "k, q, v": Mistake("h.{i}.attn.scores", "split as k, q, v", "kqv"),
    "v, k, q": Mistake("h.{i}.attn.scores", "split as v, k, q", "vkq"),
    "q, v, k": Mistake("h.{i}.attn.scores", "split as q, v, k", "qvk"),
    "[H, 3, D]": Mistake("h.{i}.attn.scores", "[H, 3, D]", "by_head"),
    "heads [D, H]": Mistake("h.{i}.attn.scores", "split as [D, H]", "strided"),
    "no scale": Mistake("h.{i}.attn.scores", "not divided by sqrt(D)", "no_scale"),
    "scale twice": Mistake("h.{i}.attn.scores", "scores multiplied by", "twice"),
    "scale of C": Mistake("h.{i}.attn.scores", "scores multiplied by", "width"),
    "no mask": Mistake("h.{i}.attn.scores", "no mask", "no_mask"),
    "mask one later": Mistake("h.{i}.attn.scores", "one later position", "later"),
    "mask hides itself": Mistake("h.{i}.attn.scores", "hides the position itself", "earlier"),
    "softmax over queries": Mistake("h.{i}.attn.weights", "over the queries", "queries"),
    "softmax over heads": Mistake("h.{i}.attn.weights", "over the heads", "heads"),
    "not merged": Mistake("h.{i}.attn.heads", "without exchanging H and T", "unmerged"),
    "no residual (attention)": Mistake("h.{i}.attn_residual", "no residual", "attn_only"),
    "residual from ln_1": Mistake("h.{i}.attn_residual", "layer norm's result", "from_ln_1"),
    "no residual (MLP)": Mistake("h.{i}", "no residual", "mlp_only"),
    "residual from ln_2": Mistake("h.{i}", "layer norm's result", "from_ln_2"),
    "residual from the input": Mistake("h.{i}", "block's input", "from_input"),
    "ln_2 of the input": Mistake("h.{i}.ln_2", "ln_2 of the block's input", "ln_2_of_input"),
    "epsilon 1e-3": Mistake("h.{i}.ln_1", "epsilon 1e-3", plant=norm(lambda x, w, b, e: layer_norm(x, w, b, 1e-3))),
    "epsilon 1e-12": Mistake("h.{i}.ln_2", "epsilon 1e-12", plant=norm(lambda x, w, b, e: layer_norm(x, w, b, 1e-12))),
    "n - 1": Mistake("h.{i}.ln_1", "n - 1", plant=norm(lambda x, w, b, e: layer_norm(x, w, b, e, n_minus=1))),
    "RMS norm": Mistake("h.{i}.ln_2", "no mean", plant=norm(lambda x, w, b, e: layer_norm(x, w, b, e, mean=False))),
    "ln_f without weight": Mistake("ln_f", "without weight", plant=norm(lambda x, w, b, e: layer_norm(x, 1, 0, e))),
    "no ln_f": Mistake("ln_f", "no layer norm", plant=skipped),
    "position + 1": Mistake("wpe", "shifted by 1", plant=position(-1)),
    "position + 2": Mistake("wpe", "shifted by 2", plant=position(-2)),
    "no position": Mistake("drop", "no position embeddings", "no_position"),
    "embeddings * sqrt(C)": Mistake("wte", "sqrt(n_embd)", plant=times_root),
    "cache's length": Mistake("step.1.wpe", "begin at 0 in each step", "no_past"),
    "head ignored": Mistake("lm_head", "wte as the output head", plant=tied),
    "MLP in bf16": Mistake(
        "h.{i}.mlp.c_fc", "bf16", plant=linear(lambda x, w, b: coarse(coarse(x, "bfloat16") @ coarse(w, "bfloat16") + b, "bfloat16"))
    ),
    "c_proj in f16": Mistake(
        "h.{i}.attn.c_proj", "f16", plant=linear(lambda x, w, b: coarse(coarse(x, "half") @ coarse(w, "half") + b, "half"))
    ),
    "TF32": Mistake("h.{i}.mlp.c_proj", "TF32", plant=linear(lambda x, w, b: coarse(x, "tf32") @ coarse(w, "tf32") + b)),
}


def attention(self, hidden_states, past_key_values=None, **_):
    """Hugging Face's GPT2Attention.forward, with switches. Records scores, weights and heads."""
    on, kept = self.switches, self.kept
    t, n_head, d = hidden_states.shape[1], self.num_heads, self.head_dim
    qkv = self.c_attn(hidden_states)
    if "by_head" in on:
        q, k, v = (x.transpose(1, 2) for x in qkv.view(1, t, n_head, 3, d).unbind(3))
    elif "strided" in on:
        q, k, v = (x.view(1, t, d, n_head).permute(0, 3, 1, 2) for x in qkv.chunk(3, dim=2))
    else:
        q, k, v = (x.view(1, t, n_head, d).transpose(1, 2) for x in qkv.chunk(3, dim=2))
    if "kqv" in on:
        q, k = k, q
    if "vkq" in on:
        q, v = v, q
    if "qvk" in on:
        k, v = v, k
    k, v = past_key_values.update(k, v, self.layer_idx)
    s = k.shape[2]
    scale = self.scaling
    scale = 1.0 if "no_scale" in on else 1 / d if "twice" in on else (n_head * d) ** -0.5 if "width" in on else scale
    scores = q @ k.transpose(2, 3) * scale
    if "no_mask" not in on:
        shift = 1 + ("later" in on) - ("earlier" in on)
        scores = scores.masked_fill(torch.ones(t, s, dtype=torch.bool).triu(s - t + shift), float("-inf"))
    weights = scores.softmax(2 if "queries" in on else 1 if "heads" in on else 3)
    mixed = weights @ v
    heads = (mixed if "unmerged" in on else mixed.transpose(1, 2)).reshape(1, t, -1)
    kept("attn.scores", scores), kept("attn.weights", weights), kept("attn.heads", heads)
    return self.c_proj(heads), weights


def block(self, hidden_states, past_key_values=None, *_, **__):
    """Hugging Face's GPT2Block.forward, with switches. Records the residual stream after attention."""
    on, x = self.attn.switches, hidden_states
    n = self.ln_1(x)
    attn, _ = self.attn(n, past_key_values)
    y = attn if "attn_only" in on else (n if "from_ln_1" in on else x) + attn
    self.attn.kept("attn_residual", y)
    n = self.ln_2(x if "ln_2_of_input" in on else y)
    mlp = self.mlp(n)
    return mlp if "mlp_only" in on else (n if "from_ln_2" in on else x if "from_input" in on else y) + mlp


def port(folder: Path, planted: dict[str, int], steps: list[list[int]]) -> dict[str, Tensor]:
    """The stages of all steps of a model with these mistakes, each in its block."""
    model = load(folder)
    kept: dict[str, Tensor] = {}
    prefix = ""
    for i, one in enumerate(model.transformer.h):
        one.attn.switches = {MISTAKES[name].switch for name, block in planted.items() if block == i} - {""}
        one.attn.kept = lambda name, x, i=i: kept.update({f"{prefix}transformer.h.{i}.{name}": x[0].clone().contiguous()})
        one.attn.forward = types.MethodType(attention, one.attn)
        one.forward = types.MethodType(block, one)
    for name, i in planted.items():
        if MISTAKES[name].plant:
            MISTAKES[name].plant(model, i, MISTAKES[name].stage.replace("h.{i}.", ""))
    switches = {MISTAKES[name].switch for name in planted}

    def keep(name):
        return lambda module, inputs, x: kept.update({prefix + name: x[0].clone().contiguous()})

    names = ["wte", "wpe", "drop", "ln_f"]
    for i in range(model.config.n_layer):
        names += [f"h.{i}{part}" for part in ["", ".ln_1", ".attn.c_attn", ".attn.c_proj", ".ln_2"]]
        names += [f"h.{i}.mlp.{part}" for part in ["c_fc", "act", "c_proj"]]
    for name in names:
        module = model.transformer.get_submodule(name)
        module.register_forward_hook(keep(f"transformer.{name}"))
    model.lm_head.register_forward_hook(keep("lm_head"))
    if "no_position" in switches:
        wpe = model.transformer.wpe
        model.transformer.drop.register_forward_pre_hook(lambda module, inputs: (inputs[0] - kept[f"{prefix}transformer.wpe"],))
    cache, past = DynamicCache(), 0
    with torch.no_grad():
        for number, ids in enumerate(steps):
            prefix = f"step.{number}." if number else ""
            first = 0 if "no_past" in switches else past
            positions = torch.arange(first, first + len(ids))[None]
            model(torch.tensor([ids]), past_key_values=cache, position_ids=positions, use_cache=True)
            kept[f"{prefix}input_ids"] = torch.tensor(ids)
            past += len(ids)
    return kept


def is_rounding(kept: dict[str, Tensor], name: str, i: int, model: GPT2LMHeadModel) -> bool:
    """Whether an epsilon changes no more than rounding does."""
    if not name.startswith("epsilon"):
        return False
    stage = stage_of(name, i)
    x = "transformer.drop" if i == 0 else f"transformer.h.{i - 1}"
    x = kept[x if stage.endswith("ln_1") else f"transformer.h.{i}.attn_residual"]
    with torch.no_grad():
        right = model.get_submodule(stage)(x)
    return (kept[stage] - right).abs().max() < 4e-6 * right.abs().max()


def shows_at(name: str, i: int, sparse: bool) -> str:
    """The stage where a mistake shows; in a sparse port, the next one that it has."""
    stage = stage_of(name, i)
    if not sparse:
        return stage
    prefix = "step.1." if stage.startswith("step.1.") else ""
    stage = stage.removeprefix(prefix)
    if stage in ("transformer.ln_f", "lm_head"):
        return "lm_head"
    return prefix + (f"transformer.h.{i}" if ".h." in stage else "transformer.drop")


def examine(
    binary: Path, folder: Path, planted: dict[str, int], steps: list[list[int]], work: Path, sparse: bool = False
) -> dict[str, str]:
    """The stages that are called wrong, and what is said of them. A sparse port has what enters and leaves each block."""
    kept = port(folder, planted, steps)
    model = load(folder)
    for name, i in list(planted.items()):
        if is_rounding(kept, name, i, model):
            del planted[name]
    if sparse:
        ends = ("input_ids", "drop", "lm_head")
        kept = {name: x for name, x in kept.items() if name.endswith(ends) or name.split(".")[-1].isdigit()}
    save_file(kept, work / "theirs.safetensors")
    arguments = [work / "ours.safetensors", work / "theirs.safetensors", "--model", folder, "--json"]
    done = run(binary, "diff", *arguments)
    if not done.stdout:
        sys.exit(f"diff: {done.stderr}")
    stages = json.loads(done.stdout)["stages"]
    return {stage["stage"]: stage["mistake"] or "" for stage in stages if stage["verdict"] == "wrong"}


def stage_of(name: str, i: int) -> str:
    stage = MISTAKES[name].stage.format(i=i)
    if stage == "lm_head":
        return stage
    return f"step.1.transformer.{stage[7:]}" if stage.startswith("step.1.") else f"transformer.{stage}"


def check(binary: Path, folder: Path, steps: list[list[int]], pairs: int, rng: random.Random, counts: Counter, work: Path):
    config = load(folder).config
    flat = ",".join(str(i) for i in steps[0])
    if run(binary, "trace", "--model", folder, "--ids", flat, "--out", work / "ours.safetensors").returncode != 0:
        sys.exit("trace failed")
    # ours has the first step alone: `diff` runs the model itself
    if found := examine(binary, folder, {}, steps, work):
        sys.exit(f"the sound port is called wrong: {found}")
    counts["sound"] += 1
    none = {"head ignored"} if config.tie_word_embeddings else set()  # these change nothing
    none |= {"[H, 3, D]", "heads [D, H]", "scale of C", "not merged", "softmax over heads"} if config.n_head == 1 else set()
    names = [name for name in MISTAKES if name not in none]
    for name in names:
        planted = {name: rng.randrange(config.n_layer)}
        judge(examine(binary, folder, planted, steps, work), planted, counts, "single")
        judge(examine(binary, folder, planted, steps, work, sparse=True), planted, counts, "sparse")
    for _ in range(pairs):
        planted = {name: rng.randrange(config.n_layer) for name in rng.sample(names, 2)}
        judge(examine(binary, folder, planted, steps, work), planted, counts, "pair")


def judge(found: dict[str, str], planted: dict[str, int], counts: Counter, kind: str):
    """Counts what was found; tells what was not."""
    for name, i in planted.items():
        counts[f"{kind}: planted"] += 1
        said = found.get(shows_at(name, i, kind == "sparse"))
        if said is None:
            counts[f"{kind}: not seen"] += 1
            print(f"  {kind} {list(planted)}: {name} in block {i} not seen; wrong are {found}")
        elif MISTAKES[name].words in said:
            counts[f"{kind}: named"] += 1
            counts[f"{kind}: among several"] += " or " in said
        elif not said or ", or " in said:
            counts[f"{kind}: seen, not named"] += 1
            print(f"  {kind} {list(planted)}: {name} in block {i} not named: {said!r}")
        elif kind == "pair" and len({stage_of(*one) for one in planted.items()}) < 2:
            counts[f"{kind}: seen, not named"] += 1
        else:
            counts[f"{kind}: WRONG NAME"] += 1
            print(f"  {kind} {list(planted)}: {name} in block {i} is called {said!r}")
    # a mistake in how c_attn is split shows in the scores and in the heads; a mask or a softmax may leave NaN behind it
    own = {shows_at(name, i, kind == "sparse") for name, i in planted.items()}
    blocks = {stage.rsplit(".attn", 1)[0] for stage in own if ".attn." in stage}
    for stage in set(found) - own:
        if not any(stage.replace("step.1.", "").startswith(f"{block}.attn.") or stage.startswith(f"step.1.{block}") for block in blocks) \
            and stage.replace("step.1.", "") not in own:
            counts[f"{kind}: right stage called wrong"] += 1
            print(f"  {kind} {planted}: {stage} is called wrong: {found[stage]!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--number", type=int, default=4, help="random checkpoints")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of mistakes for each")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    args = parser.parse_args()
    rng, counts = random.Random(args.seed), Counter()
    print(f"seed {args.seed}")
    binary = args.binary.resolve()
    with tempfile.TemporaryDirectory() as work:
        for number in range(args.number):
            folder = Path(work) / str(number)
            folder.mkdir()
            ids = random_checkpoint(rng, folder)
            as_if_trained(folder, rng, untied=number % 2 == 1)
            steps = [(ids * 3)[: max(5, len(ids))], [ids[0]]]
            check(binary, folder, steps, args.pairs, rng, counts, Path(work))
            print(f"checkpoint {number}: done")
        steps = [[7454, 2402, 257, 640, 612, 373, 257], [5822]]
        check(binary, BUNDLED, steps, args.pairs, rng, counts, Path(work))
    for name, count in sorted(counts.items()):
        print(f"{name:<36} {count}")
    share = counts["single: named"] / counts["single: planted"]
    print(f"single mistakes named: {share:.1%}")
    wrong = sum(count for name, count in counts.items() if "WRONG NAME" in name or "right stage" in name)
    sys.exit(share < 0.95 or wrong > 0)


def as_if_trained(folder: Path, rng: random.Random, untied: bool):
    """Biases and layer norms that do something, and perhaps an output head of its own."""
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": not untied}
    model = GPT2LMHeadModel(GPT2Config(**config))
    model.transformer.load_state_dict(load(folder).transformer.state_dict())
    torch.manual_seed(rng.getrandbits(32))
    with torch.no_grad():
        for name, x in model.named_parameters():
            if name.endswith("bias") or ".ln_" in name:
                x += torch.randn_like(x) * 0.1
        if untied:
            model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.05)
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
