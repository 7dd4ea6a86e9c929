"""One of the compared systems, as a process that answers questions: used by compare.py.

    python systems.py NAME FOLDER THREADS                          one question per line of standard input
    python systems.py NAME FOLDER THREADS --generate IDS COUNT     greedy, then the end
"""

import json
import sys
import time
from pathlib import Path

STEPS = 15  # tokens that are timed when decoding
VOCABULARY = 50257


class Stepwise:
    """A system that gives one token at a time. `begin(prompts)` and `step()` return one id per text."""

    def generate(self, prompts: list[list[int]], count: int) -> list[list[int]]:
        steps = [self.begin(prompts)]
        while len(steps) < count:
            steps.append(self.step())
        return [list(map(int, ids)) for ids in zip(*steps)]

    def prefill(self, prompt: list[int]) -> float:
        begin = time.perf_counter()
        self.begin([prompt])
        return time.perf_counter() - begin

    def decode(self, prompts: list[list[int]]) -> float:
        self.begin(prompts)
        self.step()
        begin = time.perf_counter()
        for _ in range(STEPS):
            self.step()
        return time.perf_counter() - begin


class Torch(Stepwise):
    def __init__(self, work: Path, dtype: str, threads: int):
        import torch
        from transformers import DynamicCache, GPT2LMHeadModel

        torch.set_num_threads(threads)
        torch.inference_mode().__enter__()
        self.torch, self.cache_type = torch, DynamicCache
        number = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.model = GPT2LMHeadModel.from_pretrained(work / dtype, dtype=number).eval()

    def begin(self, prompts):
        self.cache = self.cache_type(config=self.model.config)
        return self.forward(self.torch.tensor(prompts))

    def step(self):
        return self.forward(self.newest[:, None])

    def forward(self, ids):
        out = self.model(ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.newest = out.logits[:, -1].argmax(-1)
        return self.newest.tolist()


class Ctranslate2:
    """It generates whole texts only: the time of a step is the time that longer texts add."""

    def __init__(self, work: Path, dtype: str, threads: int):
        import ctranslate2

        kind = {"f32": "float32", "int8": "int8"}[dtype]
        folder = str(work / f"ctranslate2-{dtype}")
        self.model = ctranslate2.Generator(folder, compute_type=kind, intra_threads=threads, inter_threads=1)

    def generate(self, prompts, count):
        prompts = [[f"t{id}" for id in prompt] for prompt in prompts]
        length = dict(max_length=count, min_length=count, end_token="t50256")
        results = self.model.generate_batch(
            prompts, beam_size=1, sampling_topk=1, include_prompt_in_result=False, **length
        )
        return [list(result.sequences_ids[0]) for result in results]

    def timed(self, prompts, count):
        begin = time.perf_counter()
        self.generate(prompts, count)
        return time.perf_counter() - begin

    def prefill(self, prompt):
        return self.timed([prompt], 1)

    def decode(self, prompts):
        return self.timed(prompts, STEPS + 1) - self.timed(prompts, 1)


class Onnxruntime(Stepwise):
    """The cache is one buffer for the keys and values of all positions."""

    POSITIONS = 1024

    def __init__(self, work: Path, dtype: str, threads: int):
        import numpy
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        path = work / f"onnxruntime-{dtype}" / "model.onnx"
        self.model = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.numpy, self.value = numpy, onnxruntime.OrtValue.ortvalue_from_numpy
        self.caches = {}

    def begin(self, prompts):
        batch = len(prompts)
        if batch not in self.caches:
            empty = lambda: self.numpy.zeros((batch, 12, self.POSITIONS, 64), self.numpy.float32)
            names = [f"{kind}.{i}" for i in range(12) for kind in ("key", "value")]
            self.caches[batch] = {name: self.value(empty()) for name in names}
        self.cache, self.past = self.caches[batch], 0
        return self.forward(self.numpy.array(prompts, self.numpy.int64))

    def step(self):
        return self.forward(self.newest[:, None])

    def forward(self, ids):
        numpy, binding = self.numpy, self.model.io_binding()
        batch, new = ids.shape
        positions = numpy.arange(self.past, self.past + new, dtype=numpy.int64)[None].repeat(batch, 0)
        self.past += new
        last, total = numpy.full(batch, self.past - 1, numpy.int32), numpy.array(self.past, numpy.int32)
        # the arrays must live as long as the binding
        inputs = {"ids": ids, "positions": positions, "last": last, "total": total}
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        for name, value in self.cache.items():
            binding.bind_ortvalue_input(f"past.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        binding.bind_output("logits")
        self.model.run_with_iobinding(binding)
        [logits] = [out for out in binding.get_outputs() if out.shape()[-1] == VOCABULARY]
        self.newest = logits.numpy().reshape(batch, -1).argmax(-1)
        return self.newest.tolist()


class Openvino(Stepwise):
    """A model with state: keys and values stay inside."""

    def __init__(self, work: Path, dtype: str, threads: int):
        import numpy
        import openvino

        kind = {"bf16": "bf16"}.get(dtype, "f32")
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        settings |= {"INFERENCE_PRECISION_HINT": kind}
        path = work / f"openvino-{dtype}" / "model.xml"
        self.numpy = numpy
        self.request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()

    def begin(self, prompts):
        self.request.reset_state()
        self.past = 0
        return self.forward(self.numpy.array(prompts, self.numpy.int64))

    def step(self):
        return self.forward(self.newest[:, None])

    def forward(self, ids):
        numpy = self.numpy
        batch, new = ids.shape
        positions = numpy.arange(self.past, self.past + new, dtype=numpy.int64)
        self.past += new
        future = numpy.arange(self.past)[None] > positions[:, None]
        mask = numpy.where(future, numpy.float32(-3e38), numpy.float32(0))[None, None]
        inputs = {"ids": ids, "positions": positions[None].repeat(batch, 0), "mask": mask}
        inputs["beams"] = numpy.arange(batch, dtype=numpy.int32)
        self.request.infer(inputs, share_inputs=True)
        self.newest = self.request.get_tensor("logits").data.reshape(batch, -1).argmax(-1)
        return self.newest.tolist()


class Llamacpp(Stepwise):
    """It keeps keys and values in 16 bits."""

    TEXTS, POSITIONS = 8, 1024

    def __init__(self, work: Path, dtype: str, threads: int):
        import ctypes

        import llama_cpp
        import numpy

        self.api, self.numpy = llama_cpp, numpy
        self.quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p())
        path = work / f"llamacpp-{dtype}" / "model.gguf"
        self.model = llama_cpp.llama_model_load_from_file(bytes(path), llama_cpp.llama_model_default_params())
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_seq_max = self.TEXTS * self.POSITIONS, self.TEXTS
        options.n_batch = self.POSITIONS
        options.n_threads = options.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.batch = llama_cpp.llama_batch_init(self.POSITIONS, 0, 1)

    def begin(self, prompts):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        self.past = 0
        return self.forward(prompts)

    def step(self):
        return self.forward([[id] for id in self.newest])

    def forward(self, ids):
        rows = [(text, i, id, i == len(new) - 1) for text, new in enumerate(ids) for i, id in enumerate(new)]
        batch = self.batch
        batch.n_tokens = len(rows)
        for place, (text, i, id, is_last) in enumerate(rows):
            batch.token[place], batch.pos[place], batch.logits[place] = id, self.past + i, is_last
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, text
        self.past += len(ids[0])
        assert self.api.llama_decode(self.context, batch) == 0, "llama.cpp decodes"
        last = [place for place, row in enumerate(rows) if row[3]]
        logits = [self.api.llama_get_logits_ith(self.context, place) for place in last]
        self.newest = [int(self.numpy.ctypeslib.as_array(x, (VOCABULARY,)).argmax()) for x in logits]
        return self.newest


def main():
    name, work, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    runtime, _, dtype = name.partition("-")
    system = globals()[runtime.capitalize()](work, dtype, threads)
    if sys.argv[4:5] == ["--generate"]:
        ids = [int(id) for id in sys.argv[5].split(",")]
        print(*system.generate([ids], int(sys.argv[6]))[0])
        return
    prompt = lambda count: [i * 7919 % VOCABULARY for i in range(count)]
    for line in sys.stdin:
        question, *arguments = json.loads(line)
        match question:
            case "ready":
                answer = True
            case "greedy":
                answer = system.generate([arguments[0]], arguments[1])[0]
            case "prefill":
                answer = arguments[0] / system.prefill(prompt(arguments[0]))
            case "decode":
                context, batch = arguments
                ids = prompt(context + batch)
                answer = batch * STEPS / system.decode([ids[i : i + context] for i in range(batch)])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
