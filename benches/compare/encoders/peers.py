"""A worker for a runtime that has a Python interface: usage: peers.py RUNTIME MODEL PICTURES SIDE BATCH THREADS

The same lines as the workers in Rust (workers/src/lib.rs). PICTURES are f32 tensors.
"""

import sys
import time

import numpy as np


class OnnxRuntime:
    def __init__(self):
        import onnxruntime

        self.library = onnxruntime

    def open(self, path, batches, threads):
        options = self.library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Its threads would go on turning in the time of the worker that runs next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Without VNNI its int8 products overflow 16 bits, and features are far off; with VNNI it changes nothing.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.session = self.library.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.name, self.batches = self.session.get_inputs()[0].name, batches

    def run(self, turn):
        return self.session.run(None, {self.name: self.batches[turn]})[0]


class OpenVino:
    def __init__(self):
        import openvino

        self.library = openvino

    def open(self, path, batches, threads):
        core = self.library.Core()
        model = core.read_model(path)
        model.reshape(list(batches[0].shape))
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()
        self.batches = batches

    def run(self, turn):
        return self.request.infer([self.batches[turn]], share_inputs=True)[0]


class LiteRt:
    def __init__(self):
        from ai_edge_litert.interpreter import Interpreter

        self.library = Interpreter

    def open(self, path, batches, threads):
        self.runner = self.library(path, num_threads=threads)
        self.runner.allocate_tensors()
        self.given, self.wanted = (ends()[0]["index"] for ends in (self.runner.get_input_details, self.runner.get_output_details))
        self.batches = [np.ascontiguousarray(batch.transpose(0, 2, 3, 1)) for batch in batches]

    def run(self, turn):
        self.runner.set_tensor(self.given, self.batches[turn])
        self.runner.invoke()
        return self.runner.get_tensor(self.wanted)


RUNTIMES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "litert": LiteRt}


def say(text):
    print(text, flush=True)


def main():
    name, path, pictures, side, batch, threads = sys.argv[1:]
    batches = np.fromfile(pictures, np.float32).reshape(-1, int(batch), 3, int(side), int(side))
    runtime, turn = RUNTIMES[name](), 0
    say("idle")
    for line in sys.stdin:
        start = time.perf_counter()
        match line.split():
            case ["open"]:
                runtime.open(path, batches, int(threads))
                runtime.run(0)
                say(f"opened {1e3 * (time.perf_counter() - start)}")
            case ["run"]:
                turn = (turn + 1) % len(batches)
                runtime.run(turn)
                say(1e3 * (time.perf_counter() - start))
            case ["features", wanted]:
                for feature in np.asarray(runtime.run(int(wanted)), np.float64).reshape(int(batch), -1):
                    say(" ".join(map(str, feature)))
            case _:
                sys.exit(f"unknown line: {line}")


if __name__ == "__main__":
    main()
