"""A CTranslate2 model, by its own converter."""

import json
import shutil
import tempfile
from pathlib import Path

from ctranslate2.converters import TransformersConverter
from transformers import PreTrainedTokenizerFast
from tokenizers import Tokenizer, models

VOCABULARY = 50257


def make(folder: str, out: str, dtype: str):
    # The converter needs a tokenizer. Texts are ids here, so each id is a word of its own.
    with tempfile.TemporaryDirectory() as copy:
        for name in ("config.json", "generation_config.json", "model.safetensors"):
            shutil.copy(Path(folder) / name, copy)
        words = {f"t{id}": id for id in range(VOCABULARY)}
        end = f"t{VOCABULARY - 1}"
        tokenizer = Tokenizer(models.WordLevel(words, unk_token=end))
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=end, eos_token=end, unk_token=end
        ).save_pretrained(copy)
        quantization = {"f32": "float32", "int8": "int8"}[dtype]
        TransformersConverter(copy).convert(out, quantization=quantization)
    words = json.loads((Path(out) / "vocabulary.json").read_text())
    assert words[:2] == ["t0", "t1"] and len(words) == VOCABULARY, "each id is the number of its word"
