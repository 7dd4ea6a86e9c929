"""Difficult strings tokenized by tiktoken and Hugging Face tokenizers; and GPT-2's merges as ids.

    python tests/make_tokenizer_fixtures.py            write tests/fixtures/tokenizer and data/gpt2-merges.bin
    python tests/make_tokenizer_fixtures.py --check    recompute and compare, write nothing
    python tests/make_tokenizer_fixtures.py --corpus FOLDER [--text FILE ...] [--strings N]
                                                       write a large corpus for tests/tokenizer.rs

Both libraries must agree on every string, or the script fails. Requires tiktoken 0.14.0 and tokenizers 0.23.3;
other versions are refused. The format of the fixtures is described in tests/fixtures/tokenizer/README.md.

The corpus contains the given files (English text), the source files of Python's standard library, text of mixed
scripts, and N random Unicode strings (default: a million). Writing it takes a few minutes. It is not committed.
"""

import argparse
import importlib.metadata
import json
import random
import struct
import sys
import sysconfig
from pathlib import Path

import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

VERSIONS = {"tiktoken": "0.14.0", "tokenizers": "0.23.3"}
ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures" / "tokenizer"
END = "<|endoftext|>"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def byte_symbols():
    """The character that stands for each byte in vocab.json."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(0x100 + n) for n, b in enumerate(others)}}


def hf_tokenizer(vocab, merges):
    tokenizer = Tokenizer(BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


class References:
    """GPT-2's tokenizer in both libraries."""

    def __init__(self):
        folder = ROOT / "data" / "tales-8m"
        self.vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
        self.merges = [tuple(line.split(" ")) for line in lines]
        self.spelling = {i: token for token, i in self.vocab.items()}
        byte = {symbol: b for b, symbol in byte_symbols().items()}
        ranks = {bytes(byte[s] for s in token): i for token, i in self.vocab.items() if token != END}
        special = {END: self.vocab[END]}
        self.tiktoken = tiktoken.Encoding(
            "gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens=special
        )
        self.hf = hf_tokenizer(self.vocab, self.merges)
        self.hf_special = hf_tokenizer(self.vocab, self.merges)
        self.hf_special.add_special_tokens([END])

    def encode(self, text):
        """The ids of a text without and with special tokens allowed."""
        plain = self.tiktoken.encode_ordinary(text)
        special = self.tiktoken.encode(text, allowed_special="all")
        assert plain == self.hf.encode(text).ids, repr(text)
        assert special == self.hf_special.encode(text).ids, repr(text)
        return plain, special

    def case(self, text):
        plain, special = self.encode(text)
        return {"text": text, "ids": plain} | ({"ids_with_special": special} if special != plain else {})

    def spelled_case(self, text):
        case = self.case(text)
        return case | {"tokens": [self.spelling[i] for i in case["ids"]]}


def conformance_texts():
    """Every kind of text that ports of this tokenizer are known to get wrong."""
    texts = ["", " ", "a", "Hello world", "Hello, world!", " Hello", "hello  world", "Once upon a time"]
    # contractions: lower case, upper case, in the wrong place, unfinished, with other apostrophes
    for ending in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"]:
        texts += [f"it{ending} so", f"IT{ending.upper()} SO", f"it {ending} so", ending, f"{ending}{ending}x"]
        texts += [f"x{ending}y", f"1{ending}", f"!{ending}", f"''{ending}", f"it\u2019{ending[1:]} so"]
    texts += ["'", "''", "'l", "'r", "'v", "'lx", "'Ll", "'lL", "'ſ", "'ll've", "don't've", "o'clock", "'tis"]
    # white space: runs before words, at the end, of every kind
    spaces = ["\t", "\n", "\v", "\f", "\r", " ", "\r\n", "\x85", "\xa0", "\u1680"]
    spaces += [chr(c) for c in range(0x2000, 0x200B)] + ["\u2028", "\u2029", "\u202f", "\u205f", "\u3000"]
    for space in spaces:
        texts += [f"a{space}b", f"a{space * 2}b", f"a {space}b", f"a{space} b", f"a{space * 3}", f"{space * 2}1!"]
    for n in (2, 3, 4, 7, 8, 15, 16, 17, 33, 64):
        texts += [" " * n, " " * n + "x", "x" + " " * n, "\n" * n + "x", "\t" * n + "x", "\n" + " " * n + "x = 1"]
    texts += ["a \n b", "a\n \nb", " \n", "\n ", "a\r\n\r\nb\r\n", "x\u200by", "x\u200b y", "\ufeffx", "a\u180eb"]
    # scripts
    texts += [
        "The quick brown fox jumps over the lazy dog.",
        "naïve café, Ünïcödé, Ærøskøbing, Łódź, İstanbul, ﬁne ǅ ª º",
        "Быстрая бурая лисица", "Γειά σου Κόσμε", "Բարեւ աշխարհ", "გამარჯობა", "ꙮ Ѿ",
        "中文分词测试。", "日本語のテキスト、カタカナ。", "한국어 텍스트", "한국어", "𠮷野家 𪚥", "ㄅㄆㄇ",
        "مرحبا بالعالم", "السَّلَامُ عَلَيْكُم", "٠١٢٣٤٥ ۰۱۲", "שלום עולם", "שָׁלוֹם", "ﷺ",
        "नमस्ते दुनिया", "हिन्दी में पाठ", "क्षत्रिय", "বাংলা লেখা", "தமிழ் எழுத்து", "తెలుగు", "ಕನ್ನಡ",
        "สวัสดีชาวโลก", "ภาษาไทย ๑๒๓", "ພາສາລາວ", "မြန်မာ", "ខ្មែរ", "བོད་སྐད", "ᠮᠣᠩᠭᠣᠯ", "አማርኛ", "ᏣᎳᎩ", "𐌰𐌱𐌲 𝔘𝔫𝔦",
        "e\u0301 o\u0308 n\u0303", "Z\u0351\u036b\u0343alg\u0318o", "a\u0300\u0301\u0302b", " \u0301x", "é vs e\u0301",
        "عربي English עברית 中文 mixed", "привет2world你好!", "a中b文c", "١٢٣abc", "x\u202ey\u202cz", "x\u200fy",
    ]
    # emoji
    texts += [
        "🙂", " 🙂", "🙂🙂🙂", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷🇯🇵", "❤️", "☎︎", "1️⃣2️⃣", "🫠🫡🫨", "text🙂text",
        "🙂 text", "👩🏿‍🚀 in space", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\ufe0f", "\u200d",
    ]
    # control characters, NUL, neighbours of surrogates, private use, noncharacters, unassigned
    texts += [chr(c) for c in range(32) if chr(c) not in spaces] + ["\x7f", "\x80", "\x9f", "\xad", "a\x00b", "\x00" * 5]
    texts += ["\ud7ff", "\ue000", "a\ue000b", "\uf8ff", "\ufffd", "\ufffe", "\uffff", "\U00010000", "\U000f0000"]
    texts += ["\U0010fffd", "\U0010ffff", "\u0378", "a\u0378b", "\U000e0001", "\U0001fffe", "\u2fe0", "\U000323b0"]
    # numerals: decimal digits of many scripts, letters, others
    texts += ["0", "42", " 42", "1234567890" * 3, "3.14159", "1,000,000", "1e-9", "0x1F", "v2.0", "½", "x²", "H₂O"]
    texts += ["Ⅷ", "ⅷ", "①②③", "⑴", "⒈", "〇", "一二三", "𝟘𝟙𝟚", "፩", "௧௨", "㊿", "𐄇", "ↁ", "1st2nd", "１２３", "𞱱"]
    # letters and numbers of recent Unicode versions, and code points not yet assigned
    texts += ["\U0001c900", "\U00010d40x", "\ua7da\ua7db", "\U00016d70\U00016d71", "\U000105c0", "\U0001e5d0", "\U00031350"]
    texts += ["\U00033400", "\ua7ce\ua7cf"]
    # the special token
    texts += [END, f"a{END}b", f"{END}{END}", f" {END} ", f"  {END}\n\n{END}x", "<|endoftext", "<|endoftext|", "|>"]
    texts += ["<|ENDOFTEXT|>", "<<|endoftext|>>", f"a  {END}  b", "<|end<|endoftext|>oftext|>", "<|im_start|>"]
    # code
    texts += [
        "def f(x):\n    return x**2  # square\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "x=1;y=2", "a_b_c",
        "if (a && !b || c) {\n\t\treturn -1;\n\t}\n", "<div class=\"x\">&nbsp;</div>", "SELECT * FROM t WHERE a='b';",
        "https://example.org/a?b=c&d=%20#e", "user@example.org", "C:\\path\\file.txt", "$\\frac{1}{2}$", "#!/bin/sh\n",
        "camelCase PascalCase snake_case SCREAMING_CASE kebab-case", "{\"a\": [1, 2, {\"b\": null}]}", "    \t  mixed",
        "fn main() { println!(\"{}\", 'a'); }", "/* ' */ // 's", "=>", "===", "!=", "...", "--", "----------------",
    ]
    # runs, and words that look like merged words
    texts += [c * n for c in "a^-=.é中🙂'_7" for n in (2, 3, 5, 9, 31, 100, 257)]
    texts += ["ab" * 50, "the" * 40, " the" * 40, "aaab" * 20, "-=" * 33, "!?" * 21, "lol" * 11, "na na " * 9]
    texts += ["antidisestablishmentarianism", "Pneumonoultramicroscopicsilicovolcanoconiosis", "SolidGoldMagikarp"]
    texts += [" SolidGoldMagikarp", "rawdownloadcloneembedreportprint", "ĠHello", "Ċ", "#version: 0.2", "Ġ t"]
    return list(dict.fromkeys(texts))


def ranges(*limits):
    return [chr(c) for first, last in limits for c in range(first, last + 1)]


ALPHABETS = [
    ranges((0x20, 0x7E)),
    ranges((0x61, 0x7A)) + [" "] * 5,
    [" ", "  ", "\n", "\t", "\r\n", "\xa0", "\u3000", "\u2028", "x", "1", "!"],
    ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", "'S", "'L", "l", "e", " ", "it", "!"],
    ["the", " the", "ing", " a", "er", "ed", " of", ",", ".", " and", "s", "\n"],
    ranges((0x30, 0x39), (0xB2, 0xB3), (0xBC, 0xBE), (0x660, 0x669), (0x2160, 0x2188), (0x2460, 0x249B)),
    ranges((0xA0, 0x24F)),
    ranges((0x300, 0x36F), (0x61, 0x7A)),
    ranges((0x370, 0x52F)),
    ranges((0x590, 0x74F)) + [" "] * 20,
    ranges((0x900, 0xDFF)) + [" "] * 20,
    ranges((0xE00, 0xFFF)),
    ranges((0x3040, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xADFF)),
    ranges((0x2000, 0x206F), (0x20A0, 0x214F), (0x2190, 0x23FF)),
    ranges((0x1F300, 0x1F64F), (0x1F3FB, 0x1F3FF), (0x1F1E6, 0x1F1FF)) + ["\u200d", "\ufe0f"] * 40,
    ranges((0, 0x20), (0x7F, 0xA0)),
    [END, "<|", "|>", "endoftext", "<", ">", " ", "a"],
    ["a", "aa", "-", "--", "=", ".", "_", " ", "^"],
]


def random_text(rng, length):
    """A random string from a few alphabets, or from all of Unicode."""
    alphabets = rng.sample(ALPHABETS, rng.randint(1, 3))
    if rng.random() < 0.15:
        return "".join(map(chr, rng.choices(CODE_POINTS, k=length)))
    return "".join(rng.choice(rng.choice(alphabets)) for _ in range(length))


def class_lines(references):
    """The ranges of code points in the pattern's classes."""
    one_byte_each = {bytes([b]): b for b in range(256)}
    yield "# The classes of GPT-2's pattern, Unicode 16.0: L is \\p{L}, N is \\p{N}, S is \\s. Hexadecimal ranges."
    for name, pattern in (("L", r"\p{L}"), ("N", r"\p{N}"), ("S", r"\s")):
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=one_byte_each, special_tokens={})
        split = pre_tokenizers.Split(Regex(pattern), "removed")
        found = [c for c in CODE_POINTS if encoding.encode_ordinary(chr(c))]
        assert found == [c for c in CODE_POINTS if not split.pre_tokenize_str(chr(c))]
        words, first = [name], None
        for i, c in enumerate(found):
            first = c if first is None else first
            if i + 1 == len(found) or found[i + 1] != c + 1:
                words.append(f"{first:X}" if first == c else f"{first:X}-{c:X}")
                first = None
        yield " ".join(words)


def decoding_cases(references, rng):
    """Lists of ids that split characters, and their text with errors="replace"."""
    end = references.vocab[END]
    by_length = [i for i, token in references.spelling.items() if any(ord(c) > 0x7F for c in token if c != "Ġ")]
    for n in range(300):
        pool = by_length if n % 2 else range(end + 1)
        ids = rng.choices(pool, k=rng.randint(1, 12))
        text = references.tiktoken.decode_bytes(ids).decode("utf-8", errors="replace")
        assert text == references.hf.decode(ids, skip_special_tokens=False), ids
        yield {"ids": ids, "text": text}


def small_tokenizer(rng):
    """A tokenizer with shuffled ids and with added tokens, and cases for it."""
    training = Tokenizer(BPE())
    training.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = list(byte_symbols().values())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    training.train_from_iterator([text for text in conformance_texts() if text.isascii()], trainer)
    merges = json.loads(training.to_str())["model"]["merges"]
    tokens = sorted(training.get_vocab())
    ids = rng.sample(range(len(tokens)), len(tokens))
    tokenizer = hf_tokenizer(dict(zip(tokens, ids)), [tuple(merge) for merge in merges])
    described = json.loads(tokenizer.to_str())
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for content, special in ((END, True), ("<|endoftext|>>", True), ("été", False), ("<a b>", True)):
        token = {"id": len(tokens) + len(described["added_tokens"]), "content": content, **added, "special": special}
        described["added_tokens"].append(token)
    described["post_processor"] = {
        "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True
    }
    tokenizer = Tokenizer.from_str(json.dumps(described))
    assert all(tokenizer.token_to_id(token["content"]) == token["id"] for token in described["added_tokens"])
    texts = conformance_texts()[::7] + ["un été<a b>", "<|endoftext|>>", "<|endoftext|> >", "étété", "<a  b><a b><a b"]
    cases = []
    for text in texts:
        cases.append({"text": text, "ids_with_special": tokenizer.encode(text).ids})
    files = {
        "small/tokenizer.json": json.dumps(described, ensure_ascii=False, indent=1) + "\n",
        "small/vocab.json": json.dumps(described["model"]["vocab"], ensure_ascii=False) + "\n",
        "small/merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
        "small/cases.jsonl": json_lines(cases),
    }
    return files


def json_lines(cases):
    return "".join(json.dumps(case, ensure_ascii=True) + "\n" for case in cases)


def merges_as_ids(references):
    """GPT-2's merges by rank: the ids of left and right, u16 each."""
    # the result need not be stored: its id is 256 + rank
    for rank, (left, right) in enumerate(references.merges):
        assert references.vocab[left + right] == 256 + rank
    return b"".join(struct.pack("<2H", *map(references.vocab.get, merge)) for merge in references.merges)


def fixtures():
    """The contents of each file, by path."""
    references, rng = References(), random.Random(2019)
    texts = conformance_texts()
    random_texts = [random_text(rng, rng.randint(1, 30)) for _ in range(800)]
    files = {
        "conformance.jsonl": json_lines(map(references.spelled_case, texts)),
        "random.jsonl": json_lines(map(references.case, random_texts)),
        "decoding.jsonl": json_lines(decoding_cases(references, rng)),
        "classes.txt": "".join(line + "\n" for line in class_lines(references)),
        **small_tokenizer(rng),
    }
    made = {FIXTURES / name: text.encode() for name, text in files.items()}
    return made | {ROOT / "data" / "gpt2-merges.bin": merges_as_ids(references)}


def corpus_texts(rng, files, strings):
    """Texts of up to a few thousand characters, then many short ones."""

    def cut(text):
        at = 0
        while at < len(text):
            length = rng.randint(1, 8000)
            yield text[at : at + length]
            at += length

    for file in files:
        yield from cut(Path(file).read_bytes().decode("utf-8", errors="replace")[:12_000_000])
    size = 0
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = file.read_bytes().decode("utf-8", errors="replace")
        size += len(text)
        yield from cut(text)
        if size > 12_000_000:
            break
    for _ in range(3000):
        yield "".join(random_text(rng, rng.randint(1, 60)) for _ in range(rng.randint(1, 60)))
    for _ in range(strings):
        yield random_text(rng, rng.randint(1, 24))


def write_corpus(folder, files, strings):
    """For each text, writes its length in bytes, its bytes, then for plain and for special ids their number and the ids.

    All numbers are u32, little-endian.
    """
    references, rng = References(), random.Random(1024)
    folder.mkdir(parents=True, exist_ok=True)
    count = size = 0

    def flush(texts, out):
        plain = references.tiktoken.encode_ordinary_batch(texts, num_threads=2)
        special = references.tiktoken.encode_batch(texts, num_threads=2, allowed_special="all")
        assert plain == [e.ids for e in references.hf.encode_batch_fast(texts)]
        assert special == [e.ids for e in references.hf_special.encode_batch_fast(texts)]
        for text, *lists in zip(texts, plain, special):
            raw = text.encode()
            out.write(struct.pack("<I", len(raw)) + raw)
            for ids in lists:
                out.write(struct.pack(f"<I{len(ids)}I", len(ids), *ids))

    with open(folder / "corpus.bin", "wb") as out:
        batch = []
        for text in corpus_texts(rng, files, strings):
            batch.append(text)
            count, size = count + 1, size + len(text.encode())
            if len(batch) == 2000:
                flush(batch, out)
                batch = []
        flush(batch, out)
    print(f"{count} strings, {size} bytes; tiktoken and tokenizers agree on all")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--strings", type=int, default=1_000_000)
    arguments = parser.parse_args()
    for package, version in VERSIONS.items():
        if importlib.metadata.version(package) != version:
            sys.exit(f"{package} {importlib.metadata.version(package)} is installed, but {version} is needed")
    if arguments.corpus:
        return write_corpus(arguments.corpus, arguments.text, arguments.strings)
    for path, content in fixtures().items():
        if arguments.check:
            if path.read_bytes() != content:
                sys.exit(f"{path} differs")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        print(f"{path.relative_to(ROOT)}: {len(content)} bytes")


if __name__ == "__main__":
    main()
