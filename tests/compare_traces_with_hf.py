"""Compare `gpt2 trace` and `gpt2 diff` with Hugging Face transformers, stage by stage, on random checkpoints.

    python tests/compare_traces_with_hf.py target/release/gpt2 [--number 10] [--seed S] [--keep FOLDER]

Each checkpoint has its own shape, options and weights. For prompts of 1, 2, 17 and n_positions tokens, the binary's
trace must equal what forward hooks record (tests/hf_stages.py): every stage within 1e-4 of its largest value. Both
`gpt2 diff` and NumPy compare the traces, so that neither is trusted alone. `gpt2 generate --trace` continues 17 tokens:
each step uses the cache and must equal the last row of what the hooks record for all tokens so far. Prints one line per
checkpoint, then a summary; exit code 1 if something differs.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from compare_with_hf import Mismatch, describe, random_config
from hf_stages import stages
from make_model_fixtures import check_versions, load, random_model, save

TOLERANCE = 1e-4  # of a stage's largest value
# Some checkpoints magnify rounding. A checkpoint is drawn again if transformers in f32 and in f64 differ by more than:
OWN_ERROR = 2.5e-5
STEPS = 5  # of a generation


def reference(model: GPT2LMHeadModel, ids: list[int]) -> dict[str, torch.Tensor]:
    """All stages, with the greedy `probs` and `next_id` of the last position."""
    trace = stages(model, torch.tensor(ids))
    last = trace["lm_head"][-1]
    return trace | {"probs": last.softmax(dim=-1), "next_id": last.argmax()[None]}


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, as a share of the largest value; infinities must be equal."""
    if found.shape != wanted.shape:
        return np.inf
    finite = np.isfinite(wanted)
    if not np.array_equal(found[~finite], wanted[~finite]):
        return np.inf
    if not finite.any():
        return 0.0
    off = np.abs(found[finite].astype(np.float64) - wanted[finite]).max()
    return off / max(np.abs(wanted[finite]).max(), 1e-30)


def random_checkpoint(rng: random.Random, folder: Path) -> tuple[GPT2Config, torch.dtype, dict[int, list[int]], dict]:
    """Writes a checkpoint to `folder`; returns its prompts by length, and the reference trace of each."""
    while True:
        config, dtype = random_config(rng, rng.randint(2, 600))
        save(random_model(config, rng.getrandbits(32)).to(dtype), folder)
        model = load(folder)
        # transformers supports reorder_and_upcast_attn, an order of operations, in f32 only.
        options = dict(dtype=torch.float64, attn_implementation="eager", reorder_and_upcast_attn=False)
        exact = GPT2LMHeadModel.from_pretrained(folder, **options).eval()
        lengths = [1, 2, 17, config.n_positions]
        prompts = {n: [rng.randrange(config.vocab_size) for _ in range(n)] for n in lengths}
        traces = {n: reference(model, ids) for n, ids in prompts.items()}
        truth = {n: reference(exact, ids) for n, ids in prompts.items()}
        pairs = ((traces[n][name].numpy(), truth[n][name].numpy()) for n in lengths for name in traces[n])
        if max(difference(*pair) for pair in pairs) < OWN_ERROR:
            return config, dtype, prompts, traces


def run(binary: Path, *args) -> subprocess.CompletedProcess:
    return subprocess.run([str(binary), *map(str, args)], capture_output=True, encoding="utf-8", timeout=300)


def compare(binary: Path, folder: Path, ids: list[int], wanted: dict[str, torch.Tensor]) -> tuple[float, str]:
    """The largest difference, and its stage."""
    ours, theirs = folder / "ours.safetensors", folder / "theirs.safetensors"
    save_file(wanted, theirs)
    listed = ",".join(map(str, ids))
    done = run(binary, "trace", "--model", folder, "--ids", listed, "--greedy", "--out", ours)
    if done.returncode != 0:
        raise Mismatch(f"{len(ids)} ids: trace: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    found = load_file(ours)
    if set(found) != set(wanted):
        raise Mismatch(f"{len(ids)} ids: stages {set(found) ^ set(wanted)} are in only one trace")
    off = {name: difference(found[name], value.numpy()) for name, value in wanted.items()}
    worst = max(off, key=off.get)

    done = run(binary, "diff", theirs, ours, "--json")
    if done.returncode not in (0, 1):
        raise Mismatch(f"{len(ids)} ids: diff: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    report = json.loads(done.stdout)
    beyond = [name for name in wanted if off[name] > TOLERANCE]  # in forward order
    if report["first"] != (beyond[0] if beyond else None) or done.returncode != bool(beyond):
        raise Mismatch(f"{len(ids)} ids: diff names {report['first']}, NumPy {beyond[:1]}")
    by_name = {stage["name"]: stage["values"]["max_rel"] for stage in report["stages"]}
    for name in wanted:
        if abs(by_name[name] - off[name]) > 1e-7:
            raise Mismatch(f"{len(ids)} ids: {name}: diff says {by_name[name]}, NumPy {off[name]}")
    if report["jump"] and not beyond:
        raise Mismatch(f"{len(ids)} ids: diff sees a jump in {report['jump']}, but there is no mistake")
    if beyond:
        raise Mismatch(f"{len(ids)} ids: {beyond[0]} is off by {off[beyond[0]]:.1e} of its largest value")
    return off[worst], worst


def compare_steps(binary: Path, folder: Path, model: GPT2LMHeadModel, ids: list[int]) -> tuple[float, str]:
    """The largest difference in the steps of a generation, and its stage."""
    ours = folder / "steps.safetensors"
    options = ["--greedy", "--ignore-eos", "--max-new-tokens", STEPS, "--json", "--trace", ours]
    done = run(binary, "generate", "--model", folder, "--ids", ",".join(map(str, ids)), *options)
    if done.returncode != 0:
        raise Mismatch(f"generate --trace: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    new, found, worst = json.loads(done.stdout)["ids"], load_file(ours), (0.0, "")
    for step in range(STEPS):
        wanted = reference(model, ids + new[:step])
        for name, value in wanted.items():
            key = f"step.{step}.{name}" if step else name
            steps = found.pop(key)
            value = value.numpy()
            if name not in ("probs", "next_id"):
                rows = steps.shape[-2] if steps.ndim > 1 else steps.shape[0]
                value = value[..., -rows:, :] if steps.ndim > 1 else value[-rows:]
            off = difference(steps, value)
            if off > TOLERANCE:
                raise Mismatch(f"{key} is off by {off:.1e} of its largest value")
            worst = max(worst, (float(off), key))
    if found:
        raise Mismatch(f"generate --trace: {list(found)} are not stages")
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path, help="path of the gpt2 binary")
    parser.add_argument("--number", type=int, default=10, help="how many checkpoints (default 10)")
    parser.add_argument("--seed", type=int, help="default: drawn at random and printed")
    parser.add_argument("--keep", type=Path, help="folder for the checkpoints; default: a temporary one")
    args = parser.parse_args()
    check_versions()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    binary = args.binary.resolve()
    if not binary.is_file():
        sys.exit(f"error: no such file: {args.binary}: build it with `cargo build --release`")

    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    largest, differing = 0.0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(1, args.number + 1):
            folder = (args.keep or Path(temporary)) / f"{seed}-{number}"
            config, dtype, prompts, traces = random_checkpoint(random.Random(f"{seed}-{number}"), folder)
            about = describe(config, dtype)
            try:
                worst = max(compare(binary, folder, prompts[n], traces[n]) for n in prompts)
                worst = max(worst, compare_steps(binary, folder, load(folder), prompts[17]))
                largest = max(largest, worst[0])
                lengths = ", ".join(map(str, prompts))
                print(f"{number:3} ok    {about} | {lengths} ids, {STEPS} steps: {worst[0]:.1e} in {worst[1]}", flush=True)
            except Mismatch as mismatch:
                differing += 1
                print(f"{number:3} WRONG {about} | {mismatch}", flush=True)
            if not args.keep:
                shutil.rmtree(folder, ignore_errors=True)
    print(f"{args.number} checkpoints, {differing} wrong, largest difference {largest:.1e} of a stage's largest value")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
