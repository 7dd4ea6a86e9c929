"""Compare the gpt2 binary with Hugging Face transformers on fresh random checkpoints.

    python tests/compare_with_hf.py target/release/gpt2 [--number 20] [--seed S] [--keep FOLDER]

Each checkpoint has its own shape, options and weights. `gpt2 score` must give transformers'
log-probabilities, `gpt2 generate --greedy` its ids. Prints one line per checkpoint, then a summary; exit code 1
if something differs.
"""

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from make_model_fixtures import check_versions, greedy, load, logprobs, random_model, save

TOLERANCE = 1e-4  # on a log-probability; also how close two logits must be for either to count as the best
# Some checkpoints magnify rounding. A checkpoint is drawn again if transformers in f32 and in f64 differ by more than:
OWN_ERROR = 2.5e-5
NEW_TOKENS = 40
GPT2_VOCAB = 50257
TEXT = (
    "It's 1,024 positions; they'll do. Two  spaces,   three, a\ttab\n\nand an empty line. "
    "NAÏVE café, Straße, 日本語のテキスト, ελληνικά, русский, עברית, العربية 😀👩‍👩‍👧 x²=½ "
    "fn main() { println!(\"{:>8}\", 42); } https://example.org/?q=a+b&c=%20 I'M DON'T we've  \r\n end "
)


class Mismatch(Exception):
    pass


def random_config(rng: random.Random, vocab_size: int) -> tuple[GPT2Config, torch.dtype]:
    small = vocab_size == GPT2_VOCAB  # with GPT-2's large vocabulary the model is narrow, to keep the file small
    n_head = rng.randint(1, 6)
    head_size = rng.randint(1, 64 // n_head if small else 64)
    n_embd = n_head * head_size
    config = GPT2Config(
        n_layer=rng.randint(1, 4),
        n_head=n_head,
        n_embd=n_embd,
        n_inner=rng.choice([None, rng.randint(1, 4 * n_embd), rng.randint(257, 700)]),
        n_positions=rng.randint(48, 200),
        vocab_size=vocab_size,
        activation_function=rng.choice(["gelu_new", "gelu", "gelu_pytorch_tanh", "relu", "silu", "swish"]),
        layer_norm_epsilon=rng.choice([1e-5, 1e-5, 1e-6, 1e-3]),
        tie_word_embeddings=rng.random() < 0.6,
        scale_attn_weights=rng.random() < 0.8,
        scale_attn_by_inverse_layer_idx=rng.random() < 0.3,
        reorder_and_upcast_attn=rng.random() < 0.3,
        bos_token_id=vocab_size - 1,
        eos_token_id=vocab_size - 1,
    )
    return config, rng.choice([torch.float32, torch.float16, torch.bfloat16])


def random_checkpoint(rng: random.Random, vocab_size: int, folder: Path):
    """Writes a checkpoint to `folder`; returns the model in f32, the number type of its file, and ids to score."""
    while True:
        config, dtype = random_config(rng, vocab_size)
        save(random_model(config, rng.getrandbits(32)).to(dtype), folder)
        model = load(folder)
        ids = [rng.randrange(vocab_size) for _ in range(rng.randint(2, config.n_positions))]
        exact = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float64).eval()
        own_error = (logprobs(model, ids) - logprobs(exact, ids)).abs().max().item()
        if own_error < OWN_ERROR:
            return model, dtype, ids


def describe(config: GPT2Config, dtype: torch.dtype) -> str:
    flags = [str(dtype).removeprefix("torch."), "tied" if config.tie_word_embeddings else "untied"]
    flags += [] if config.scale_attn_weights else ["unscaled"]
    flags += ["by-layer"] if config.scale_attn_by_inverse_layer_idx else []
    flags += ["upcast"] if config.reorder_and_upcast_attn else []
    n_inner = config.n_inner or 4 * config.n_embd
    return (
        f"layers {config.n_layer}, heads {config.n_head}x{config.n_embd // config.n_head}, inner {n_inner}, "
        f"vocab {config.vocab_size}, positions {config.n_positions}, {config.activation_function}, "
        f"eps {config.layer_norm_epsilon:g}, {' '.join(flags)}"
    )


def run(binary: Path, *args) -> dict:
    command = [str(binary), *map(str, args)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL, timeout=300
    )
    if done.returncode != 0:
        raise Mismatch(f"gpt2 {args[0]}: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise Mismatch(f"gpt2 {args[0]}: not JSON ({error}): {done.stdout[:200]!r}") from None


def largest(what: str, found: list, wanted: torch.Tensor) -> float:
    """The largest difference between two lists of log-probabilities."""
    if len(found) != len(wanted) or not all(isinstance(x, (int, float)) for x in found):
        raise Mismatch(f"{what}: wanted {len(wanted)} log-probabilities, found {found[:4]}... ({len(found)})")
    difference = (torch.tensor(found, dtype=torch.float64) - wanted).abs()
    worst = difference.argmax().item()
    if not difference.max() <= TOLERANCE:  # also for NaN
        raise Mismatch(f"{what}: log-probability {worst} is {found[worst]}, wanted {wanted[worst].item()}")
    return difference.max().item()


def compare_score(model: GPT2LMHeadModel, ids: list[int], found: dict) -> float:
    if found["ids"] != ids:
        raise Mismatch(f"score: ids {found['ids'][:8]}..., wanted {ids[:8]}...")
    if found["logprobs"][:1] != [None]:
        raise Mismatch(f"score: the first token has the log-probability {found['logprobs'][:1]}, wanted null")
    wanted = logprobs(model, ids)
    error = largest("score", found["logprobs"][1:], wanted)
    largest("score: nll", [found["nll"]], -wanted.double().mean()[None])
    if not math.isclose(found["perplexity"], math.exp(found["nll"]), rel_tol=1e-6):
        raise Mismatch(f"score: perplexity {found['perplexity']} is not exp(nll), nll is {found['nll']}")
    return error


def compare_greedy(model: GPT2LMHeadModel, prompt: list[int], found: dict) -> tuple[float, str]:
    """The largest difference in log-probability, and a remark about the ids."""
    wanted, logits = greedy(model, prompt, NEW_TOKENS)
    if found["prompt_ids"] != prompt:
        raise Mismatch(f"generate: prompt_ids {found['prompt_ids'][:8]}..., wanted {prompt[:8]}...")
    if len(found["ids"]) != NEW_TOKENS:
        raise Mismatch(f"generate: {len(found['ids'])} new tokens, wanted {NEW_TOKENS}")
    same = next((n for n in range(NEW_TOKENS) if found["ids"][n] != wanted[n]), NEW_TOKENS)
    remark = f"{NEW_TOKENS} equal"
    if same < NEW_TOKENS:
        ours = found["ids"][same]
        margin = (
            (logits[same, wanted[same]] - logits[same, ours]).item() if ours < logits.shape[1] else math.inf
        )
        if margin >= TOLERANCE:
            raise Mismatch(
                f"generate: new token {same} is {ours}, wanted {wanted[same]}, better by {margin:.2g}"
            )
        remark = f"{same} equal, then a near-tie: two logits only {margin:.1e} apart"
    if same == 0:
        return 0.0, remark
    chosen = logits[:same].log_softmax(dim=-1).gather(1, torch.tensor(wanted[:same])[:, None])[:, 0]
    return largest("generate", found["logprobs"][:same], chosen), remark


def random_text(rng: random.Random, tokenizer: ByteLevelBPETokenizer, most: int) -> tuple[str, list[int]]:
    """A piece of TEXT with 2 to `most` tokens, and its ids."""
    while True:
        start, end = sorted(rng.sample(range(len(TEXT) + 1), 2))
        ids = tokenizer.encode(TEXT[start:end]).ids
        if 2 <= len(ids) <= most:
            return TEXT[start:end], ids


def compare_checkpoint(
    binary: Path, rng: random.Random, folder: Path, tokenizer: Path | None
) -> tuple[float, str]:
    """The largest difference in log-probability, and a line about the checkpoint."""
    vocab_size = GPT2_VOCAB if tokenizer else rng.randint(2, 600)
    model, dtype, ids = random_checkpoint(rng, vocab_size, folder)
    about = describe(model.config, dtype)
    try:
        found = run(binary, "score", "--model", folder, "--ids", ",".join(map(str, ids)), "--json")
        worst = compare_score(model, ids, found)
        about += f" | score {len(ids)} ids"
        if tokenizer:
            files = [str(shutil.copy(tokenizer / name, folder)) for name in ("vocab.json", "merges.txt")]
            text, ids = random_text(rng, ByteLevelBPETokenizer(*files), model.config.n_positions)
            (folder / "text.txt").write_bytes(text.encode())
            found = run(binary, "score", "--model", folder, "--json", "--file", folder / "text.txt")
            worst = max(worst, compare_score(model, ids, found))
            about += f", text of {len(ids)} tokens"
        length = rng.randint(1, model.config.n_positions - NEW_TOKENS)
        prompt = [rng.randrange(vocab_size) for _ in range(length)]
        flags = [
            "--ids",
            ",".join(map(str, prompt)),
            "--greedy",
            "--max-new-tokens",
            NEW_TOKENS,
            "--ignore-eos",
        ]
        found = run(binary, "generate", "--model", folder, *flags, "--json")
        error, remark = compare_greedy(model, prompt, found)
        return max(worst, error), f"{about}, greedy after {length}: {remark}"
    except Mismatch as mismatch:
        raise Mismatch(f"{about} | {mismatch}") from None
    except (KeyError, TypeError) as error:
        raise Mismatch(f"{about} | unexpected JSON: {error!r}") from None
    except subprocess.TimeoutExpired:
        raise Mismatch(f"{about} | gpt2 did not end in time") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path, help="path of the gpt2 binary")
    parser.add_argument("--number", type=int, default=20, help="how many checkpoints (default 20)")
    parser.add_argument("--seed", type=int, help="default: drawn at random and printed")
    parser.add_argument("--keep", type=Path, help="folder for the checkpoints; default: a temporary one")
    default = Path(__file__).parent.parent / "data" / "tales-8m"
    parser.add_argument(
        "--tokenizer", type=Path, default=default, help="folder with vocab.json and merges.txt"
    )
    args = parser.parse_args()
    check_versions()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    binary = args.binary.resolve()
    if not binary.is_file():
        sys.exit(f"error: no such file: {args.binary}: build it with `cargo build --release`")

    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    worst, differing, near_ties = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(1, args.number + 1):
            folder = (args.keep or Path(temporary)) / f"{seed}-{number}"
            rng = random.Random(f"{seed}-{number}")
            tokenizer = args.tokenizer if number % 4 == 0 else None
            try:
                error, line = compare_checkpoint(binary, rng, folder, tokenizer)
                worst, near_ties = max(worst, error), near_ties + ("near-tie" in line)
                print(f"{number:3} ok    {line}, largest difference {error:.1e}", flush=True)
            except Mismatch as mismatch:
                differing += 1
                print(f"{number:3} WRONG {mismatch}", flush=True)
            if not args.keep:
                shutil.rmtree(folder, ignore_errors=True)
    print(
        f"{args.number} checkpoints, {differing} wrong, {near_ties} with a near-tie, "
        f"largest difference in log-probability {worst:.1e}"
    )
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
