"""Tokenizers compared: megabytes of text per second, one thread.

    cargo bench --no-run
    python benches/peers/compare_tokenizers.py --text FILE [--rounds 5]

FILE is UTF-8 text, ideally ten megabytes of English. All must give the same ids. `cargo bench --bench tokenizer` measures
ours, in turn with the others.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests"))
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def seconds(work) -> tuple[float, object]:
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def ours(text: Path) -> dict[str, float]:
    """Megabytes per second, from the medians of divan's table."""
    command = ["cargo", "bench", "--quiet", "--bench", "tokenizer"]
    done = subprocess.run(
        command,
        cwd=HERE.parent.parent,
        env=os.environ | {"GPT2_BENCH_TEXT": str(text.resolve())},
        capture_output=True,
        text=True,
        check=True,
    )
    found, name = {}, None
    for line in done.stdout.splitlines():
        if match := re.search(r"(encode|decode)", line):
            name = match[1]
        elif name and (rates := re.findall(r"([\d.]+) ([kMG])B/s", line)):
            value, unit = rates[2]  # fastest, slowest, median, mean
            found[name] = float(value) * {"k": 1e-3, "M": 1, "G": 1e3}[unit]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from make_tokenizer_fixtures import References

    references = References()
    text = options.text.read_text(encoding="utf-8")
    size = len(text.encode()) / 1e6
    encoders = {
        "tiktoken": references.tiktoken.encode_ordinary,
        "tokenizers": lambda text: references.hf.encode(text, add_special_tokens=False).ids,
    }
    decoders = {"tiktoken": references.tiktoken.decode, "tokenizers": references.hf.decode}
    rates = {}
    for turn in range(options.rounds):
        ids = {}
        for name in encoders:
            duration, ids[name] = seconds(lambda: encoders[name](text))
            rates.setdefault((name, "encode"), []).append(size / duration)
            duration, again = seconds(lambda: decoders[name](ids[name]))
            assert again == text, name
            rates.setdefault((name, "decode"), []).append(size / duration)
        assert ids["tiktoken"] == ids["tokenizers"]
        for what, rate in ours(options.text).items():
            rates.setdefault(("ours", what), []).append(rate)
    print("| tokenizer | encode, MB/s | decode, MB/s |\n|---|---|---|")
    for name in ["ours", *encoders]:
        cells = [f"{statistics.median(rates[name, what]):.1f}" for what in ("encode", "decode")]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
