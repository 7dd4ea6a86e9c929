"""The compared models: random weights of GPT-2 124M's shape, in each system's own format."""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SEED = 0


def make(work: Path, systems: list[str]):
    """Writes the missing models of `systems`: `f32`, `bf16`, `f16`, `ctranslate2-f32`, ..."""
    hugging_face(work)
    for name in systems:
        runtime, _, dtype = name.partition("-")
        folder = work / name
        if runtime in ("ours", "torch") or folder.exists():
            continue
        print(f"making {folder}", flush=True)
        partial = work / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        # in a process of its own: the libraries keep threads and memory
        code = f"import {runtime}_model as m; m.make(r'{work / 'f32'}', r'{partial}', '{dtype}')"
        subprocess.run([sys.executable, "-c", code], cwd=HERE, check=True)
        partial.rename(folder)
    int8 = work / "int8"
    if any(name.startswith("ours-int8") for name in systems) and not int8.exists():
        sys.exit(f"error: there is no {int8}; make it with: gpt2 quantize --model {work / 'f32'} --out {int8}")


def hugging_face(work: Path):
    """`f32`, `bf16` and `f16`, saved by transformers."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    types = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
    if all((work / name / "model.safetensors").exists() for name in types):
        return
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    weights = GPT2LMHeadModel(GPT2Config()).state_dict()
    for name, dtype in types.items():
        model = GPT2LMHeadModel(GPT2Config())
        model.load_state_dict(weights)
        model.to(dtype).save_pretrained(work / name)


def tensors(folder: str) -> dict:
    """The weights as numpy arrays, without the prefix."""
    from safetensors.numpy import load_file

    found = load_file(Path(folder) / "model.safetensors")
    return {name.removeprefix("transformer."): tensor for name, tensor in found.items()}
