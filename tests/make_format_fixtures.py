"""The checkpoint `base` in llama.cpp's and llm.c's formats.

    python tests/make_format_fixtures.py    write tests/fixtures/formats

GGUF files are written by the `gguf` package as llama.cpp's convert_hf_to_gguf.py writes a GPT-2; llm.c files in the order
of write_model in its train_gpt2.py. Requires gguf 0.19.0, numpy 2.4.6 and safetensors 0.8.0; other versions are refused.
"""

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, TokenType
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file, save_file

VERSIONS = {"gguf": "0.19.0", "numpy": "2.4.6", "safetensors": "0.8.0"}
FIXTURES = Path(__file__).parent / "fixtures"
OUT = FIXTURES / "formats"
N_LAYER, N_HEAD, N_EMBD, N_POSITIONS, VOCAB = 2, 4, 32, 64, 211
BLOCK = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
KINDS = [f"{name}.{part}" for name in BLOCK for part in ("weight", "bias")]  # llm.c's order too


def symbols() -> list[str]:
    """GPT-2's spelling of each byte."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(256, 512))
    return [chr(byte) if byte in seen else chr(next(rest)) for byte in range(256)]


def gguf_name(name: str) -> str:
    name = name.removeprefix("transformer.")
    for hf, other in [("wte", "token_embd"), ("wpe", "position_embd"), ("ln_f", "output_norm")]:
        name = name.replace(hf, other)
    if name.startswith("h."):
        _, i, rest = name.split(".", 2)
        module, part = rest.rsplit(".", 1)
        name = f"blk.{i}.{BLOCK[module]}.{part}"
    return name


def write_gguf(path: Path, tensors: dict, matrices: Type, with_head: bool):
    writer = GGUFWriter(path, "gpt2")
    writer.add_name("base")
    writer.add_block_count(N_LAYER)
    writer.add_context_length(N_POSITIONS)
    writer.add_embedding_length(N_EMBD)
    writer.add_feed_forward_length(4 * N_EMBD)
    writer.add_head_count(N_HEAD)
    writer.add_layer_norm_eps(1e-5)
    tokens = symbols()[: VOCAB - 3] + ["ab", "abc", "<|end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * (VOCAB - 1) + [TokenType.CONTROL])
    writer.add_token_merges(["a b", "ab c"])
    writer.add_eos_token_id(VOCAB - 1)
    if with_head:
        tensors = tensors | {"output.weight": tensors["transformer.wte.weight"]}
    for name, value in tensors.items():
        if ".c_" in name and name.endswith(".weight"):
            value = value.T
        matrix = value.ndim == 2 and "wpe" not in name
        stored = quantize(value, matrices if matrix else Type.F32)
        writer.add_tensor(gguf_name(name), stored, raw_dtype=matrices if matrix else Type.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rounded(tensors: dict) -> dict:
    """The tensors as a Q8_0 file holds them, in f32."""
    out = {}
    for name, value in tensors.items():
        if value.ndim == 2 and "wpe" not in name:
            turn = ".c_" in name
            value = value.T if turn else value
            value = dequantize(quantize(value, Type.Q8_0), Type.Q8_0)
            value = value.T if turn else value
        out[name] = np.ascontiguousarray(value)
    return out


def write_llmc(path: Path, tensors: dict, version: int):
    wte = tensors["transformer.wte.weight"]
    padded = VOCAB if version == 1 else 256
    header = np.zeros(256, np.int32)
    header[:7] = [20240326, version, N_POSITIONS, VOCAB, N_LAYER, N_HEAD, N_EMBD]
    header[7] = 0 if version == 1 else padded
    parts = [np.pad(wte, ((0, padded - VOCAB), (0, 0))), tensors["transformer.wpe.weight"]]
    for kind in KINDS:
        for i in range(N_LAYER):
            value = tensors[f"transformer.h.{i}.{kind}"]
            parts.append(value.T if value.ndim == 2 else value)
    parts += [tensors["transformer.ln_f.weight"], tensors["transformer.ln_f.bias"]]
    path.write_bytes(header.tobytes() + b"".join(np.ascontiguousarray(part).tobytes() for part in parts))


def main():
    for package, wanted in VERSIONS.items():
        found = importlib.metadata.version(package)
        if found != wanted:
            sys.exit(f"error: {package} {wanted} is needed, found {found}: pip install -r tests/requirements.txt")
    OUT.mkdir(exist_ok=True)
    tensors = load_file(FIXTURES / "models/base/model.safetensors")
    write_gguf(OUT / "base-f32.gguf", tensors, Type.F32, with_head=False)
    write_gguf(OUT / "base-q8_0.gguf", tensors, Type.Q8_0, with_head=True)
    save_file(rounded(tensors), OUT / "base-q8_0.safetensors", metadata={"format": "pt"})
    write_llmc(OUT / "base-1.bin", tensors, 1)
    write_llmc(OUT / "base-3.bin", tensors, 3)


if __name__ == "__main__":
    main()
