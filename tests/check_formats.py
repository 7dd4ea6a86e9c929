"""What `gpt2 convert` writes, read by the tools it is for.

    python tests/check_formats.py [--gpt2 target/release/gpt2]

For each model of tests/fixtures/models that a format can hold, and for the bundled model: transformers must write the same
greedy text from the safetensors folder, with logits within 1e-4 of the largest; the `gguf` package must read the same
numbers; llama.cpp, if `llama_cpp` is installed, must write the same text from the f32 GGUF file. Requires the packages of
tests/requirements.txt.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).parent.parent
MODELS = ["base", "odd-heads", "untied", "scaled", "f16", "bf16", "quick-gelu", "loose", None]
IDS = [5, 6, 7, 90]
NEW = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpt2", type=Path, default=ROOT / "target/release/gpt2")
    program = parser.parse_args().gpt2.resolve()
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()

    def gpt2(*arguments) -> subprocess.CompletedProcess:
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)

    def ids(model) -> list[int]:
        run = gpt2("generate", "--ids", ",".join(map(str, IDS)), "--greedy", "--ignore-eos", "--max-new-tokens", NEW, "--json", *model)
        return json.loads(run.stdout)["ids"]

    failures = 0

    def compare(what: str, same: bool):
        nonlocal failures
        failures += not same
        print(f"{'same' if same else 'DIFFERENT':<10}{what}")

    for name in MODELS:
        model = ["--model", ROOT / "tests/fixtures/models" / name] if name else []
        name = name or "tales-8m"
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)
            expected = ids(model)
            if gpt2("convert", "--dtype", "f32", "--out", place / "hf", *model).returncode:
                sys.exit(f"error: {name} is not converted")
            hf = AutoModelForCausalLM.from_pretrained(place / "hf", dtype=torch.float32, attn_implementation="eager").eval()
            out = hf.generate(torch.tensor([IDS]), do_sample=False, max_new_tokens=NEW, eos_token_id=None, pad_token_id=0)
            compare(f"{name}: transformers, greedy", out[0, len(IDS) :].tolist() == expected)
            trace = place / "trace.safetensors"
            gpt2("trace", "--ids", ",".join(map(str, IDS)), "--out", trace, "--stages", "lm_head", *model)
            ours = load_file(trace)["lm_head"]
            theirs = hf(torch.tensor([IDS])).logits[0].detach().numpy()
            off = np.abs(ours - theirs).max() / np.abs(theirs).max()
            compare(f"{name}: transformers, logits off by {off:.1e}", off < 1e-4)
            if name == "tales-8m":
                text = "Once upon a time, there was\n\nan 1234 é"
                own = gpt2("tokenize", text).stdout.split()
                compare(f"{name}: AutoTokenizer", [str(i) for i in AutoTokenizer.from_pretrained(place / "hf")(text).input_ids] == own)

            if gpt2("convert", "--dtype", "f32", "--out", place / "m.gguf", *model).returncode:
                print(f"{'':<10}{name}: llama.cpp's GPT-2 lacks something that it has")
                continue
            weights = load_file(place / "hf/model.safetensors")
            tensors = {tensor.name: tensor.data for tensor in GGUFReader(place / "m.gguf").tensors}
            wte, attn = weights["transformer.wte.weight"], weights["transformer.h.0.attn.c_attn.weight"]
            compare(f"{name}: gguf, wte", np.array_equal(tensors["token_embd.weight"], wte))
            compare(f"{name}: gguf, c_attn", np.array_equal(tensors["blk.0.attn_qkv.weight"], attn.T))
            try:
                from llama_cpp import Llama
            except ImportError:
                continue
            if "tokenizer.ggml.tokens" not in GGUFReader(place / "m.gguf").fields:
                continue  # llama.cpp opens no file without a tokenizer
            llama = Llama(str(place / "m.gguf"), n_ctx=128, verbose=False)
            new = []
            for token in llama.generate(IDS, temp=0.0, repeat_penalty=1.0):
                new.append(token)
                if len(new) == NEW:
                    break
            compare(f"{name}: llama.cpp, greedy", new == expected)
    sys.exit(f"error: {failures} differences" if failures else 0)


if __name__ == "__main__":
    main()
