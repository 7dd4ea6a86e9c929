"""What speculative decoding gains where a draft predicts the text, and what it costs where none does.

    pip install numpy safetensors
    cargo build --release
    python benches/speculative.py --work FOLDER [--rounds 5] [--threads 2] [--gpt2 target/release/gpt2]

Speed needs a model of GPT-2 124M's shape, and a text that a small draft predicts. Where OpenAI's weights are at hand, name
them with `--model` and `--draft`. Otherwise both are made here, of the bundled model:

- *wide* has the shape of 124M in f32, and writes nearly what the bundled model writes. Its 768 columns are the 128 of the
  bundled model, six times; every second block is one of the bundled model's, and those between them are noise, so that
  the small model is wrong now and then (about every fifth guess).
- *stranger* has the shape of the bundled model and random weights: a draft that is never right.

Texts must be equal, token for token, else the run fails. In each round every draft has a plain run right before its own;
what is shown is the median over the rounds of plain time / time with the draft, the reading of the prompt and the draft's
own work included. Below 1 the draft makes it slower.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

BUNDLED = Path(__file__).parent.parent / "data" / "tales-8m"
PROMPTS = ["Once upon a time", "The king said", "There was a little girl who"]
TOKENS = 128
NOISE = 0.004  # standard deviation of what the noisy blocks add through their last layer
NARROW, WIDE, COPIES = 128, 768, 6
NARROW_HEAD, WIDE_HEAD, HEADS = 32, 64, 4


def read_bf16(path: Path) -> dict[str, np.ndarray]:
    """Tensors by their names without `transformer.`; the upper half of an f32 is a bf16."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        content = file.read()
    tensors = {}
    for name, about in header.items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            bits = np.frombuffer(content[begin:end], dtype="<u2").astype(np.uint32) << 16
            tensors[name.removeprefix("transformer.")] = bits.view(np.float32).reshape(about["shape"])
    return tensors


def widen(narrow: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A row of the wide model is a row of the narrow one, six times: so it has the same mean and variance, and the layer
    norms agree. A layer that reads it takes a sixth from each copy."""
    random = np.random.default_rng(1)
    normal = lambda deviation, *shape: random.normal(0, deviation, shape)
    wide = {}

    def norm(name: str, source: str, factor: float = 1.0):
        for part in ("weight", "bias"):
            wide[f"{name}.{part}"] = np.tile(narrow[f"{source}.{part}"], COPIES) * factor

    def linear(name: str, weight: np.ndarray, bias: np.ndarray):
        wide[f"{name}.weight"], wide[f"{name}.bias"] = weight, bias

    def block(name: str, source: str):
        norm(f"{name}.ln_1", f"{source}.ln_1")
        norm(f"{name}.ln_2", f"{source}.ln_2")
        tensor = lambda layer, part: narrow[f"{source}.{layer}.{part}"]
        read = lambda layer: np.tile(tensor(layer, "weight") / COPIES, (COPIES, 1))

        weight, bias = np.zeros((WIDE, 3 * WIDE)), np.zeros(3 * WIDE)
        out = np.zeros((WIDE, WIDE))
        for head in range(HEADS):
            for part in range(3):
                scale = (WIDE_HEAD / NARROW_HEAD) ** 0.5 if part == 0 else 1.0  # queries: scores are divided by sqrt(D)
                old = slice(part * NARROW + head * NARROW_HEAD, part * NARROW + (head + 1) * NARROW_HEAD)
                new = slice(part * WIDE + head * WIDE_HEAD, part * WIDE + head * WIDE_HEAD + NARROW_HEAD)
                weight[:, new] = read("attn.c_attn")[:, old] * scale
                bias[new] = tensor("attn.c_attn", "bias")[old] * scale
            old = slice(head * NARROW_HEAD, (head + 1) * NARROW_HEAD)
            new = slice(head * WIDE_HEAD, head * WIDE_HEAD + NARROW_HEAD)
            out[new] = np.tile(tensor("attn.c_proj", "weight")[old], (1, COPIES))
        linear(f"{name}.attn.c_attn", weight, bias)
        linear(f"{name}.attn.c_proj", out, np.tile(tensor("attn.c_proj", "bias"), COPIES))

        inner = 4 * NARROW
        weight, bias, out = np.zeros((WIDE, 4 * WIDE)), np.zeros(4 * WIDE), np.zeros((4 * WIDE, WIDE))
        weight[:, :inner], bias[:inner] = read("mlp.c_fc"), tensor("mlp.c_fc", "bias")
        out[:inner] = np.tile(tensor("mlp.c_proj", "weight"), (1, COPIES))
        linear(f"{name}.mlp.c_fc", weight, bias)
        linear(f"{name}.mlp.c_proj", out, np.tile(tensor("mlp.c_proj", "bias"), COPIES))

    def noise(name: str):
        for layer in ("ln_1", "ln_2"):
            linear(f"{name}.{layer}", np.ones(WIDE), np.zeros(WIDE))
        linear(f"{name}.attn.c_attn", normal(0.05, WIDE, 3 * WIDE), np.zeros(3 * WIDE))
        linear(f"{name}.attn.c_proj", normal(NOISE, WIDE, WIDE), np.zeros(WIDE))
        linear(f"{name}.mlp.c_fc", normal(0.05, WIDE, 4 * WIDE), np.zeros(4 * WIDE))
        linear(f"{name}.mlp.c_proj", normal(NOISE, 4 * WIDE, WIDE), np.zeros(WIDE))

    wide["wte.weight"] = np.tile(narrow["wte.weight"], (1, COPIES))
    positions = np.tile(narrow["wpe.weight"], (1, COPIES))
    wide["wpe.weight"] = np.vstack([positions, normal(0.02, 1024 - len(positions), WIDE)])
    for i in range(12):
        noise(f"h.{i}") if i % 2 else block(f"h.{i}", f"h.{i // 2}")
    norm("ln_f", "ln_f", 1 / COPIES)  # the head adds up the copies
    return wide


def stranger(like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    return {name: random.normal(0, 0.3, tensor.shape) for name, tensor in like.items()}


def write(folder: Path, tensors: dict[str, np.ndarray], **shape):
    folder.mkdir(parents=True, exist_ok=True)
    as_f32 = {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}
    save_file(as_f32, folder / "model.safetensors")
    config = json.loads((BUNDLED / "config.json").read_text()) | dict(dtype="float32") | shape
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(BUNDLED / name, folder)


def make(work: Path) -> tuple[Path, Path, Path]:
    """The folders of the wide model, of its draft and of the stranger."""
    wide, other = work / "wide", work / "stranger"
    if not (other / "vocab.json").exists():
        narrow = read_bf16(BUNDLED / "model.safetensors")
        write(wide, widen(narrow), n_embd=WIDE, n_head=12, n_layer=12, n_positions=1024)
        write(other, stranger(narrow))
    return wide, BUNDLED, other


def run(gpt2: Path, threads: int, model: Path, options: list) -> tuple[float, list, dict]:
    """Seconds, tokens and what the drafts brought, of all prompts."""
    seconds, tokens, drafted = 0.0, [], dict(drafted=0, accepted=0)
    for prompt in PROMPTS:
        command = [gpt2, "generate", prompt, "--model", model, "--max-new-tokens", TOKENS, "--ignore-eos", "--json"]
        command += ["--threads", threads, *options]
        output = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if output.returncode:
            sys.exit(output.stderr)
        report = json.loads(output.stdout)
        stats = report["stats"]
        seconds += (stats["prefill_ms"] + stats["decode_ms"]) / 1e3
        tokens.append(report["ids"])
        drafted = {key: drafted[key] + stats.get(key, 0) for key in drafted}
    return seconds, tokens, drafted


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where the models are made, 500 MB")
    parser.add_argument("--model", type=Path, help="a model of your own, with --draft")
    parser.add_argument("--draft", type=Path, help="and a small one with the same tokenizer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpt2", type=Path, default=Path("target/release/gpt2"))
    args = parser.parse_args()
    model, draft, other = make(args.work)
    if args.model and args.draft:
        model, draft = args.model, args.draft

    greedy = ["--greedy"]
    flat = ["--seed", 1, "--temperature", 1.5, "--top-k", 50257]  # hardly a token of these can be foreseen
    cases = [
        ("greedy", greedy, "small draft", ["--draft-model", draft]),
        ("greedy", greedy, "int8 copy", ["--draft-int8"]),
        ("greedy", greedy, "lookup", ["--prompt-lookup", 15]),
        ("greedy", greedy, "stranger", ["--draft-model", other]),
        ("temperature 1.5", flat, "lookup", ["--prompt-lookup", 15]),
    ]

    ratios, speeds, brought = {}, {}, {}
    for _ in range(args.rounds):
        for text, options, name, drafting in cases:
            plain, expected, _ = run(args.gpt2, args.threads, model, options)
            seconds, tokens, brought[text, name] = run(args.gpt2, args.threads, model, options + drafting)
            if tokens != expected:  # lookup draws nothing, so sampled texts are equal too
                sys.exit(f"error: with the draft '{name}' another text came out")
            ratios.setdefault((text, name), []).append(plain / seconds)
            speeds.setdefault(text, []).append(len(PROMPTS) * TOKENS / plain)

    print("| text | plain, tokens/s | draft | guessed | right | times plain speed |\n|---|---|---|---|---|---|")
    for (text, name), all_of_them in ratios.items():
        speed, ratio = statistics.median(speeds[text]), statistics.median(all_of_them)
        guessed, right = brought[text, name].values()
        spread = f"{min(all_of_them):.2f} to {max(all_of_them):.2f}"
        print(f"| {text} | {speed:.1f} | {name} | {guessed} | {right} | {ratio:.2f} ({spread}) |")


if __name__ == "__main__":
    main()
