"""The speed of gpt2 and its peers: one machine, one run, in turn.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    python benches/peers/compare.py --work FOLDER [--systems ours-f32,torch-f32,...] [--tasks prefill-512,...]
                                    [--rounds 5] [--threads 2] [--gpt2 target/release/gpt2]
    python benches/peers/compare.py --work FOLDER --table

All systems run the same random weights of GPT-2 124M's shape (seeded, saved by transformers) in FOLDER. Before anything is
timed, each one continues a prompt greedily: a system that computes in f32 must write the tokens of torch's f32; for the
others, the number of equal tokens is printed. For each task the systems take turns, round after round, while the others
are stopped; medians count. Machines differ and are noisy: compare ratios of one run.

Results are added to FOLDER/results.json, so a long comparison can be made in parts; `--table` prints them as markdown.
"""

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PREFILL = [f"prefill-{n}" for n in (64, 128, 512, 1023)]
TASKS = PREFILL + ["decode-32x1", "decode-900x1", "decode-32x8", "start", "memory"]
HEADINGS = {"start": "process to first token, s", "memory": "peak RSS, MB"}
OURS = ["ours-f32", "ours-bf16", "ours-f16", "ours-int8"]
OURS += [f"{name}-kvf16" for name in OURS]  # keys and values in 16 bits
PEERS = "torch-f32 torch-bf16 ctranslate2-f32 ctranslate2-int8 onnxruntime-f32 onnxruntime-int8".split()
PEERS += "openvino-f32 openvino-bf16 openvino-int8 llamacpp-f32 llamacpp-bf16 llamacpp-int8".split()
VOCABULARY = 50257
PROMPT = [464, 3616, 286, 1204, 318]  # five tokens
CONTINUED = 24


def ids(count: int) -> list[int]:
    """The ids that `gpt2 bench` uses: they jump through the vocabulary."""
    return [i * 7919 % VOCABULARY for i in range(count)]


class Ours:
    """The gpt2 binary: one process per measurement."""

    def __init__(self, name: str, options):
        dtype, _, kept = name.removeprefix("ours-").partition("-kv")
        self.model = options.work / dtype
        self.command = [str(options.gpt2)]
        self.options = ["--threads", str(options.threads), "--kv-cache-dtype", kept or "f32"]

    def run(self, *arguments) -> dict:
        command = [*self.command, *map(str, arguments), "--model", str(self.model), "--json", *self.options]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def generate(self, prompt: list[int], count: int) -> list[str]:
        prompt = ["--ids", ",".join(map(str, prompt)), "--max-new-tokens", str(count)]
        return [*self.command, "generate", "--greedy", "--ignore-eos", "--json", *prompt, *self.options, "--model", str(self.model)]

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        return json.loads(subprocess.check_output(self.generate(prompt, count)))["ids"]

    def measure(self, task: str) -> float:
        kind, _, size = task.partition("-")
        nothing = {"prefill": ["--decode", "1000000x1"], "decode": ["--prefill", "1000000"]}[kind]
        [result] = self.run("bench", "--repeat", 1, f"--{kind}", size, *nothing)[kind]
        return result["tokens_per_s"]

    def stop(self):
        pass

    go = stop


class Peer:
    """A worker process of systems.py, stopped while others are measured."""

    def __init__(self, name: str, options):
        self.once = [sys.executable, str(HERE / "systems.py"), name, str(options.work), str(options.threads)]
        self.worker = subprocess.Popen(self.once, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask("ready")

    def ask(self, *question):
        self.worker.stdin.write(json.dumps(question) + "\n")
        self.worker.stdin.flush()
        line = self.worker.stdout.readline()
        if not line:
            sys.exit(f"error: {' '.join(self.once)} ended")
        return json.loads(line)

    def generate(self, prompt: list[int], count: int) -> list[str]:
        return [*self.once, "--generate", ",".join(map(str, prompt)), str(count)]

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        return self.ask("greedy", prompt, count)

    def measure(self, task: str) -> float:
        kind, _, size = task.partition("-")
        return self.ask(kind, *map(int, size.split("x")))

    def stop(self):
        self.worker.send_signal(signal.SIGSTOP)

    def go(self):
        self.worker.send_signal(signal.SIGCONT)


# A process inherits the memory peak of its parent. This program's is large, so a small process starts the measured one.
LAUNCHER = """
import json, os, resource, subprocess, sys, time
begin = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([code, seconds, peak / 1e6]))
"""


def fresh(command: list[str]) -> tuple[float, float]:
    """A process of its own: seconds until it ends, and its peak memory in MB."""
    launched = subprocess.run([sys.executable, "-c", LAUNCHER, *command], check=True, stdout=subprocess.PIPE)
    code, seconds, peak = json.loads(launched.stdout)
    if code:
        sys.exit(f"error: {' '.join(command)}: exit code {code}")
    return seconds, peak


def measure(system, task: str) -> float:
    if task == "start":
        return fresh(system.generate(PROMPT, 1))[0]
    if task == "memory":
        return fresh(system.generate(ids(1000), 16))[1]
    return system.measure(task)


def compare(options):
    from models import make

    make(options.work, options.systems)
    path = options.work / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    prompt, systems, wanted = ids(40), {}, None
    for name in ["torch-f32"] + [name for name in options.systems if name != "torch-f32"]:
        system = (Ours if name in OURS else Peer)(name, options)
        tokens = system.greedy(prompt, CONTINUED)
        wanted = wanted or tokens
        same = next((i for i, (a, b) in enumerate(zip(tokens, wanted)) if a != b), len(wanted))
        print(f"{name}: {same} of {CONTINUED} tokens as torch-f32", flush=True)
        if name.endswith("-f32") and tokens != wanted:
            sys.exit(f"error: {name} computes something else: {tokens}, not {wanted}")
        system.stop()
        if name in options.systems:
            systems[name] = system
        elif isinstance(system, Peer):
            system.worker.kill()
    for task in options.tasks:
        tries = {name: [] for name in systems}
        for turn in range(-1, options.rounds):  # the first is not counted
            for name, system in systems.items():
                system.go()
                value = measure(system, task)
                system.stop()
                if turn >= 0:
                    tries[name].append(value)
        for name, values in tries.items():
            results.setdefault(task, {})[name] = statistics.median(values)
            spread = f"{min(values):.4g} to {max(values):.4g}"
            print(f"{task:<14} {name:<18} {results[task][name]:10.2f}   ({spread})", flush=True)
        path.write_text(json.dumps(results, indent=1))
    for system in systems.values():
        if isinstance(system, Peer):
            system.worker.kill()


def table(work: Path) -> str:
    """Medians; below, ours as a multiple of the best peer of the same number type."""
    results = json.loads((work / "results.json").read_text())
    tasks = [task for task in TASKS if task in results]
    lines = ["| system | " + " | ".join(HEADINGS.get(task, task) for task in tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    show = lambda task, x: f"{x:.2f}" if task == "start" else f"{x:.0f}" if x >= 100 else f"{x:.1f}"
    for name in OURS + PEERS:
        if any(name in results[task] for task in tasks):
            cells = [show(task, results[task][name]) if name in results[task] else "-" for task in tasks]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for ours in OURS:
        dtype = ours.removeprefix("ours-").partition("-kv")[0]
        kind = "bf16" if dtype == "f16" else dtype
        rivals = [name for name in PEERS if name.endswith("-" + kind)]
        cells = []
        for task in tasks:
            found = [results[task][name] for name in rivals if name in results[task]]
            if ours not in results[task] or not found:
                cells.append("-")
            elif task in HEADINGS:  # less is better
                cells.append(f"{min(found) / results[task][ours]:.2f}x")
            else:
                cells.append(f"{results[task][ours] / max(found):.2f}x")
        if any(cell != "-" for cell in cells):
            lines.append(f"| {ours} / best {kind} peer | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = lambda text: text.split(",")
    parser.add_argument("--work", type=Path, required=True, help="a folder for models and results; about 4 GB")
    parser.add_argument("--systems", type=names, default=OURS[:2] + PEERS)
    parser.add_argument("--tasks", type=names, default=TASKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpt2", type=Path, default=HERE.parent.parent / "target/release/gpt2")
    parser.add_argument("--table", action="store_true", help="print the results so far and end")
    options = parser.parse_args()
    for given, known in [(options.systems, OURS + PEERS), (options.tasks, TASKS)]:
        for name in given:
            if name not in known:
                parser.error(f"{name} is not one of {', '.join(known)}")
    if not options.table:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        compare(options)
    print(table(options.work))


if __name__ == "__main__":
    main()
