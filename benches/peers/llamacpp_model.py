"""A GGUF file, by `gpt2 convert`."""

import subprocess
from pathlib import Path

GPT2 = Path(__file__).parent.parent.parent / "target/release/gpt2"


def make(folder: str, out: str, dtype: str):
    number = {"int8": "q8_0"}.get(dtype, dtype)
    Path(out).mkdir()
    subprocess.run([GPT2, "convert", "--model", folder, "--dtype", number, "--out", f"{out}/model.gguf"], check=True)
