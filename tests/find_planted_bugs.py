"""Plant mistakes in Hugging Face's GPT-2, and check that `gpt2 diff` names the stage of each.

    python tests/find_planted_bugs.py target/release/gpt2 [--number 5] [--seed S]

This tests the guide's way of finding a mistake in a port, on fresh random checkpoints. First it runs the guide's
Python unchanged: the code that reads a trace, and the hooks of a port. For each checkpoint it compares
tests/hf_stages.py with what transformers returns (hidden states, attention weights, logits: every bit must be equal)
and with `gpt2 trace --list` (the same names in the same order). For the model without a mistake, `diff` must name no
stage. Then it plants one mistake at a time. Prints one line per checkpoint; exit code 1 if `diff` names a wrong stage.
"""

import argparse
import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from torch.nn import GELU, Identity, Parameter
from transformers import GPT2Config, GPT2LMHeadModel

from hf_stages import stages
from make_model_fixtures import check_versions, load, save


class Wrong(Exception):
    """A check failed."""


def other_gelu(model: GPT2LMHeadModel, i: int) -> str:
    for block in model.transformer.h:
        block.mlp.act = GELU()  # erf instead of tanh
    return "transformer.h.0.mlp.act"


def transposed_c_attn(model: GPT2LMHeadModel, i: int) -> str:
    c_attn = model.transformer.h[i].attn.c_attn
    c_attn.weight = Parameter(c_attn.weight.T.reshape(c_attn.weight.shape).contiguous())  # as if it were [out, in]
    return f"transformer.h.{i}.attn.c_attn"


def missing_ln_f(model: GPT2LMHeadModel, i: int) -> str:
    model.transformer.ln_f = Identity()
    return "transformer.ln_f"


def position_off_by_one(model: GPT2LMHeadModel, i: int) -> str:
    wpe = model.transformer.wpe
    wpe.weight = Parameter(wpe.weight.roll(-1, dims=0))
    return "transformer.wpe"


def other_epsilon(model: GPT2LMHeadModel, i: int) -> str:
    for block in model.transformer.h:
        block.ln_1.eps = block.ln_2.eps = 1e-12  # BERT's
    return "transformer.h.0.ln_1"


def other_epsilon_in_ln_f(model: GPT2LMHeadModel, i: int) -> str:
    model.transformer.ln_f.eps = 1e-3  # Keras's
    return "transformer.ln_f"


MISTAKES = [
    other_gelu,
    transposed_c_attn,
    missing_ln_f,
    position_off_by_one,
    other_epsilon,
    other_epsilon_in_ln_f,
]


def random_checkpoint(rng: random.Random, folder: Path) -> list[int]:
    """Writes a checkpoint, initialised by transformers, to `folder`; returns ids to read.

    Only c_fc is larger, as after training: near 0 the two GELUs are equal.
    """
    n_head, head_size, vocab_size = rng.randint(1, 6), rng.randint(4, 32), rng.randint(50, 600)
    config = GPT2Config(
        n_layer=rng.randint(2, 5),
        n_head=n_head,
        n_embd=n_head * head_size,
        n_positions=rng.randint(24, 80),
        vocab_size=vocab_size,
        bos_token_id=vocab_size - 1,
        eos_token_id=vocab_size - 1,
    )
    torch.manual_seed(rng.getrandbits(32))
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.c_fc.weight *= rng.uniform(0.5, 2) / (config.initializer_range * config.n_embd**0.5)
    save(model, folder)
    return [rng.randrange(vocab_size) for _ in range(rng.randint(2, 20))]


def check_hooks(binary: Path, model: GPT2LMHeadModel, ids: list[int]):
    """The hooks record what transformers returns, under the names that `gpt2 trace --list` prints."""
    trace, n_layer = stages(model, torch.tensor(ids)), model.config.n_layer
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True, output_attentions=True, use_cache=False)
    wanted = {"transformer.drop": out.hidden_states[0], "lm_head": out.logits}
    wanted |= {f"transformer.h.{i}": out.hidden_states[i + 1] for i in range(n_layer - 1)}
    wanted |= {"transformer.ln_f": out.hidden_states[n_layer]}  # the last hidden state is the output of ln_f
    wanted |= {f"transformer.h.{i}.attn.weights": out.attentions[i] for i in range(n_layer)}
    for name, value in wanted.items():
        if not torch.equal(trace[name], value[0]):
            raise Wrong(f"hf_stages.py: {name} is not what transformers returns")
    for i in range(n_layer):
        h = f"transformer.h.{i}"
        sums = {f"{h}.attn_residual": ("attn.c_proj", trace["transformer.drop" if i == 0 else f"transformer.h.{i - 1}"])}
        sums |= {h: ("mlp.c_proj", trace[f"{h}.attn_residual"])}
        for name, (part, before) in sums.items():
            if not torch.equal(trace[name], before + trace[f"{h}.{part}"]):
                raise Wrong(f"hf_stages.py: {name} is not the sum of its two inputs")
        off = (trace[f"{h}.attn.scores"].softmax(dim=-1) - trace[f"{h}.attn.weights"]).abs().max()
        if off > 1e-6:
            raise Wrong(f"hf_stages.py: {h}.attn.scores miss the weights by {off}")

    listed = run(binary, "trace", "--list").stdout.splitlines()[1:-1]  # without the heading and the lens
    names = [line.split()[0] for line in listed]
    begin, end = names.index("transformer.h.{i}.ln_1"), names.index("transformer.ln_f")
    blocks = [name.replace("{i}", str(i)) for i in range(n_layer) for name in names[begin:end]]
    if names[:begin] + blocks + names[end:] != [*trace, "probs", "next_id"]:
        raise Wrong("hf_stages.py and `gpt2 trace --list` differ in names or order")


def check_guide(binary: Path, folder: Path):
    """The guide's Python reads the trace of a generation, and hooks a port whose parts have other names."""
    guide = Path(__file__).parent.parent / "src/guide"
    reads, hooks = ((guide / page).read_text().split("```python\n")[1].split("```")[0] for page in ("inside.md", "port.md"))

    config = GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=8, vocab_size=6000, bos_token_id=0, eos_token_id=0)
    save(GPT2LMHeadModel(config), folder)
    port = load(folder)
    port.blocks, port.head = port.transformer.h, port.lm_head
    for block in port.blocks:
        block.norm1, block.mlp.gelu = block.ln_1, block.mlp.act
    before = os.getcwd()
    os.chdir(folder)
    try:
        run(binary, "generate", "Once upon a time", "--max-new-tokens", 3, "--trace", "trace.safetensors")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(reads, {})
        lines = printed.getvalue().splitlines()
        if len(lines) != 4 or "'step': 'top-k'" not in lines[2] or "'uniform'" not in lines[3]:
            raise Wrong(f"the guide: reading a trace prints {lines}")
        exec(hooks, {"port": port})
        run(binary, "trace", "--model", ".", "--ids", "464,5822,531", "--out", "ours.safetensors")
        done = run(binary, "diff", "ours.safetensors", "port.safetensors")
    finally:
        os.chdir(before)
    if done.returncode != 0 or "7 stages compared, none beyond" not in done.stdout:  # three per block, and the head
        raise Wrong(f"the guide: the hooked port differs: {done.stdout[-500:]}{done.stderr}")


def run(binary: Path, *args) -> subprocess.CompletedProcess:
    return subprocess.run([str(binary), *map(str, args)], capture_output=True, encoding="utf-8", timeout=300)


def named(binary: Path, folder: Path, model: GPT2LMHeadModel, ids: list[int]) -> tuple[str | None, str | None]:
    """The first stage beyond the tolerance, and the stage to look at: where the difference jumps, else the first."""
    theirs = folder / "theirs.safetensors"
    save_file(stages(model, torch.tensor(ids)), theirs)
    done = run(binary, "diff", folder / "ours.safetensors", theirs, "--json")
    if done.returncode not in (0, 1):
        raise Wrong(f"diff: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    report = json.loads(done.stdout)
    return report["first"], report["jump"] or report["first"]


def check(binary: Path, rng: random.Random, folder: Path) -> str:
    ids = random_checkpoint(rng, folder)
    check_hooks(binary, load(folder), ids)
    ours = folder / "ours.safetensors"
    done = run(binary, "trace", "--model", folder, "--ids", ",".join(map(str, ids)), "--out", ours)
    if done.returncode != 0:
        raise Wrong(f"trace: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    if (found := named(binary, folder, load(folder), ids)) != (None, None):
        raise Wrong(f"{found} are named although there is no mistake")
    small = []
    for mistake in MISTAKES:
        model = load(folder)
        stage = mistake(model, rng.randrange(model.config.n_layer))
        first, look = named(binary, folder, model, ids)
        if look != stage:
            raise Wrong(f"{mistake.__name__}: {look} is named, but the mistake is in {stage}")
        small += [mistake.__name__] if first != stage else []
    config = load(folder).config
    about = f"layers {config.n_layer}, heads {config.n_head}, n_embd {config.n_embd}, {len(ids)} ids"
    return f"{about}: {len(MISTAKES)} found" + (f", by the jump alone: {', '.join(small)}" if small else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path, help="path of the gpt2 binary")
    parser.add_argument("--number", type=int, default=5, help="how many checkpoints (default 5)")
    parser.add_argument("--seed", type=int, help="default: drawn at random and printed")
    args = parser.parse_args()
    check_versions()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    binary, wrong = args.binary.resolve(), 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            check_guide(binary, Path(folder))
            print("    ok    the guide's Python", flush=True)
        except Wrong as problem:
            wrong += 1
            print(f"    WRONG {problem}", flush=True)
    for number in range(1, args.number + 1):
        with tempfile.TemporaryDirectory() as folder:
            rng = random.Random(f"{seed}-{number}")
            try:
                print(f"{number:3} ok    {check(binary, rng, Path(folder))}", flush=True)
            except Wrong as problem:
                wrong += 1
                print(f"{number:3} WRONG {problem}", flush=True)
    print(f"the guide and {args.number} checkpoints, {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
