"""Random tokenizer folders, and how Hugging Face's AutoTokenizer reads them.

    python tests/make_folder_fixtures.py            write tests/fixtures/tokenizer/folders.jsonl
    python tests/make_folder_fixtures.py --check    recompute and compare, write nothing

Each folder has the tokens and merges of tests/fixtures/tokenizer/small, or a few tokens of its own, and random added
tokens with random flags, spread over the files that transformers reads. Requires transformers 5.23.0 and tokenizers
0.23.3; other versions are refused. The format of the fixtures is described in tests/fixtures/tokenizer/README.md.
"""

import argparse
import importlib.metadata
import json
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import transformers
from transformers import AutoTokenizer

VERSIONS = {"transformers": "5.23.0", "tokenizers": "0.23.3"}
FIXTURES = Path(__file__).resolve().parent / "fixtures" / "tokenizer"
SMALL = json.loads((FIXTURES / "small" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
END = "<|endoftext|>"
CONTENTS = ["<a>", "<b>", "<a>x", "a>", "a", "ab", "the", " the", "The end", "<|x|>", "<|x|>y", "été", "日本", "_x", "x y"]
CONTENTS += [" ", "  ", "\n", "<", "<mask>", "<pad>", "<s>", "</s>", "<unk>", "Ünïcödé", "1", "ing", END, "'s", "👍🏽"]
WORDS = ["the", " the", "a", "ab", "x", "y", "1", "_", "-", ".", "'s", "é", "e\u0301", "日", "\u200d", "Once upon", "\ufeff"]
SPACES = [" ", "  ", "\n", "\t", "\u00a0", "\u2003", "\u3000", "\r\n"]
NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "own_token", "image_token"]


class Random(random.Random):
    def maybe(self, probability):
        return self.random() < probability

    def flags(self):
        return {key: self.maybe(0.3) for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}

    def token(self):
        """A token as tokenizer_config.json may write it."""
        content = self.choice(CONTENTS)
        return {"__type": "AddedToken", "content": content, **self.flags()} if self.maybe(0.3) else content

    def contents(self, most):
        return self.sample(CONTENTS, self.randint(0, most))

    def ids(self, contents, first):
        """An id for each: most often those that follow the vocabulary, in any order."""
        ids = list(range(first, first + len(contents)))
        if self.maybe(0.5):
            self.shuffle(ids)
        return [i + self.randint(0, 3) for i in ids] if self.maybe(0.1) else ids

    def text(self, contents):
        parts = (contents or CONTENTS) + WORDS
        return "".join(
            self.choice(SPACES) if self.maybe(0.35) else self.choice(parts) for _ in range(self.randint(0, 12))
        )


def few_tokens(rng):
    """A vocabulary without tokens for most bytes."""
    symbols = rng.sample(list("abcdefghijklmnopqrstuvwxyz<>|Ġ_x1Ċ"), 24)
    tokens = list(dict.fromkeys(symbols + ([END] if rng.maybe(0.5) else [])))
    merges = []
    for _ in range(12):
        left, right = (rng.choice([t for t in tokens if t != END]) for _ in "lr")
        if left + right not in tokens:
            tokens.append(left + right)
            merges.append([left, right])
    return {"vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges}


def template(rng, vocab):
    special = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    single = [special("x")] * rng.randint(0, 2) + [{"Sequence": {"id": "A", "type_id": 0}}] + [special("y")] * rng.randint(0, 1)
    ids = {name: rng.choices(sorted(vocab.values()), k=rng.randint(1, 2)) for name in "xy"}
    special_tokens = {name: {"id": name, "ids": ids[name], "tokens": ["?"] * len(ids[name])} for name in "xy"}
    pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special_tokens}


def byte_level(prefix_space=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": True, "use_regex": True}


def tokenizer_json(rng, model):
    """All of a tokenizer.json but its tokens and merges."""
    contents = rng.contents(6)
    added = [{"id": i, "content": c, **rng.flags()} for i, c in zip(rng.ids(contents, len(model["vocab"])), contents)]
    pre, post = byte_level(rng.maybe(0.3)), rng.choice([None, byte_level(), template(rng, model["vocab"])])
    if rng.maybe(0.2):
        pre = {"type": "Sequence", "pretokenizers": [pre]}
    if post and rng.maybe(0.3):
        post = {"type": "Sequence", "processors": [byte_level(), post]}
    return {"added_tokens": added, "normalizer": None, "pre_tokenizer": pre, "post_processor": post, "decoder": byte_level()}


def config(rng, size):
    """A tokenizer_config.json."""
    found = {name: rng.token() for name in rng.sample(NAMES, rng.randint(0, 3))}
    if rng.maybe(0.1):
        found[rng.choice(NAMES[:3])] = None
    if rng.maybe(0.3):
        contents = rng.contents(5)
        tokens = [{"content": c, **(rng.flags() if rng.maybe(0.8) else {})} for c in contents]
        found["added_tokens_decoder"] = {str(i): token for i, token in zip(rng.ids(contents, size), tokens)}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        if rng.maybe(0.2):
            found[key] = [rng.token() for _ in range(rng.randint(0, 3))]
    if rng.maybe(0.1):
        found["extra_special_tokens"] = {"b_token": "<b>", "a_token": "<a>"}
    for key, probability in {"add_bos_token": 0.3, "add_eos_token": 0.2, "add_prefix_space": 0.3}.items():
        if rng.maybe(probability):
            found[key] = rng.maybe(0.7)
    if rng.maybe(0.5):
        found["tokenizer_class"] = rng.choice(["GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast"])
    return found


def folder(rng):
    """The files of a random folder, by name; and its tokens and merges, unless they are those of the small tokenizer."""
    own = few_tokens(rng) if rng.maybe(0.15) else None
    model, files = own or SMALL, {}
    size = len(model["vocab"])
    if rng.maybe(0.8):
        files["tokenizer_config.json"] = config(rng, size)
    if rng.maybe(0.5) or files.get("tokenizer_config.json", {}).get("tokenizer_class") == "PreTrainedTokenizerFast":
        files["tokenizer.json"] = tokenizer_json(rng, model)
    if rng.maybe(0.3):
        contents = rng.contents(5)
        files["added_tokens.json"] = dict(zip(contents, rng.ids(contents, size)))
    if rng.maybe(0.3):
        flags = ("single_word", "lstrip", "rstrip", "normalized")
        token = lambda: {"content": rng.choice(CONTENTS)} | {key: rng.maybe(0.3) for key in flags} if rng.maybe(0.3) else rng.choice(CONTENTS)
        files["special_tokens_map.json"] = {name: token() for name in rng.sample(NAMES, rng.randint(0, 3))}
        if rng.maybe(0.4):
            files["special_tokens_map.json"]["additional_special_tokens"] = rng.contents(3)
    return own, files


def write(path, own, files):
    model = own or SMALL
    (path / "config.json").write_text('{"model_type": "gpt2"}')
    for name, content in files.items():
        if name == "tokenizer.json":
            settings = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False}
            content = {"version": "1.0", **content, "model": settings | {"vocab": model["vocab"], "merges": model["merges"]}}
        (path / name).write_text(json.dumps(content), encoding="utf-8")
    if "tokenizer.json" not in files:
        (path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
        merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
        (path / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")


def contents(files):
    """Everything in the files that may be the content of a token."""
    if isinstance(files, dict):
        return [text for key, value in files.items() for text in [key, *contents(value)]]
    if isinstance(files, list):
        return [text for value in files for text in contents(value)]
    return [files] if isinstance(files, str) else []


def case(seed):
    rng = Random(seed)
    own, files = folder(rng)
    known = [text for text in dict.fromkeys(contents(files)) if text in CONTENTS]
    # as text, which keeps the order of keys: ids depend on it
    found = {"files": {name: json.dumps(content) for name, content in files.items()}} | ({"model": own} if own else {})
    with tempfile.TemporaryDirectory() as path:
        write(Path(path), own, files)
        tokenizer = AutoTokenizer.from_pretrained(path)
    added = sorted(tokenizer.added_tokens_decoder.items())
    texts = []
    for text in [rng.text(known) for _ in range(6)]:
        try:
            special, plain = tokenizer(text)["input_ids"], tokenizer(text, split_special_tokens=True)["input_ids"]
        except BaseException as error:  # tokenizers panics where two tokens strip the same white space
            if type(error).__name__ != "PanicException":
                raise
            print(f"{seed}: {text!r}: {error}")
            continue
        texts.append([text, special, plain])
    return found | {"added": [[i, token.content] for i, token in added], "texts": texts}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="recompute and compare, write nothing")
    parser.add_argument("--folders", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path, default=FIXTURES / "folders.jsonl")
    args = parser.parse_args()
    for package, wanted in VERSIONS.items():
        found = importlib.metadata.version(package)
        if found != wanted:
            sys.exit(f"error: {package} {wanted} is needed, found {found}: pip install -r tests/requirements.txt")
    transformers.logging.set_verbosity_error()
    lines = []
    for seed in range(args.first, args.first + args.folders):
        try:
            lines.append(json.dumps(case(seed)) + "\n")
        except (TypeError, ValueError) as error:  # transformers cannot open the folder
            print(f"{seed}: {error}")
    text = "".join(lines)
    if args.check:
        if args.out.read_text(encoding="utf-8") != text:
            sys.exit(f"error: {args.out.name} does not reproduce")
    else:
        args.out.write_text(text, encoding="utf-8")
        print(f"{args.out.name}: {len(lines)} folders, {len(text):,} bytes")


if __name__ == "__main__":
    main()
