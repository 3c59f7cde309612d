"""edgeclip beside its peers on the same weights, interleaved: usage: compare.py FOLDER WORKERS PROGRAM

FOLDER holds what models.py and litert.py wrote, WORKERS the built workers. ROUNDS, MODELS and PEERS in
the environment make it shorter: ROUNDS=3 MODELS=starter PEERS=onnxruntime,rten.

Each runtime, form of the model and number of threads is a process of its own, held to as many cores
as it has threads. All stand ready; one inference of each makes a round. Tables go to stdout, and last
a line for each model and number of threads: `ratio MODEL THREADS VALUE`, our median to that of the
fastest peer whose features are right.
"""

import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import pictures
from worker import Dead, Worker

HERE = Path(__file__).parent
OURS = "edgeclip"
WARM, OPENINGS = 2, 5
# Threads of some runtimes look for work for a while after each run, on the cores that the next one needs; and those
# that slept take a while to wake. So each runtime rests first, then runs once for nothing.
REST = 0.003
OUR_BATCH, BATCHES = 8, (4, 8)
REFERENCE = ("onnxruntime", "f32.onnx")
# So many rounds are enough for a row that takes so many times as long as the fastest.
ENOUGH, HOPELESS = 3, 10
# A form below this beside float ONNX Runtime is broken and counts for nothing.
LEAST_COSINE = 0.95
FORMS = {
    "edgeclip": ["ours.ecmodel"],
    "onnxruntime": ["f32.onnx", "dyn-s8.onnx", "dyn-u8.onnx", "qdq.onnx", "qdq7.onnx", "shipped.onnx"],
    "openvino": ["f32.onnx", "dyn-s8.onnx", "qdq.onnx", "qdq7.onnx", "shipped.onnx"],
    "litert": ["f32.tflite", "dynamic.tflite", "static.tflite"],
    "rten": ["f32.onnx", "dyn-s8.onnx", "dyn-u8.onnx", "qdq.onnx", "shipped.onnx"],
    "tract": ["f32.onnx", "dyn-s8.onnx"],
}
PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai-edge-litert"}


@dataclass
class Row:
    """One runtime with one form of the model."""

    runtime: str
    form: str
    batch: int = 1
    times: list = field(default_factory=list)
    features: np.ndarray | None = None
    cosine: float = float("nan")
    failed: str = ""

    def attempt(self, work):
        """What `work` gives; None once the worker has ended."""
        try:
            return None if self.failed else work()
        except Dead as words:
            self.failed = str(words)

    def median(self):
        return statistics.median(self.times)

    def name(self):
        return self.form.split(".")[0]

    def right(self):
        return not self.failed and self.cosine >= LEAST_COSINE


@dataclass
class Bench:
    """What the measurements of one model share."""

    folder: Path
    workers: Path
    program: str
    rounds: int
    runtimes: list

    @property
    def model(self):
        return self.folder.name

    def forms(self):
        """Rows of all runtimes, one a file that is there."""
        rows = [Row(r, f) for r in self.runtimes for f in FORMS[r]]
        return [row for row in rows if self.file(row).exists()]

    def file(self, row):
        stem, end = row.form.rsplit(".", 1)
        return self.folder / (f"{stem}-b{row.batch}.tflite" if end == "tflite" else row.form)

    def worker(self, row, threads, **environment):
        command = [self.workers / row.runtime]
        if row.runtime in PACKAGES:
            command = [sys.executable, HERE / "peers.py", row.runtime]
        ours = row.runtime == OURS
        shown = self.folder / ("pictures-rgb" if ours else "pictures-f32")
        side = pictures.SIDES[self.model] if ours else pictures.SIDE
        command += [self.file(row), shown, side, row.batch, threads]
        return Worker(command, threads, environment)

    def start(self, row, threads):
        """A worker that has opened its model and told its features."""
        worker = self.worker(row, threads)
        worker.open()
        if row.batch == 1:
            row.features = unit([worker.feature(turn) for turn in range(pictures.SHOWN)])
        return worker

    def measure(self, rows, threads, rounds):
        """Fills in the times and the features of the rows; a row whose worker ends says why."""
        workers = [row.attempt(lambda: self.start(row, threads)) for row in rows]
        for turn in range(WARM + rounds):
            pace = min((row.median() for row in rows if row.times), default=0.0)
            for row, worker in zip(rows, workers):
                if not worker or len(row.times) >= ENOUGH and row.median() > HOPELESS * pace:
                    continue
                time.sleep(REST)
                row.attempt(worker.run)
                took = row.attempt(worker.run)
                row.times += [took] * (took is not None and turn >= WARM)
        for worker in filter(None, workers):
            worker.close()

    def reference(self, rows):
        """Features of float ONNX Runtime, from the rows or from a worker of its own."""
        row = next((r for r in rows if (r.runtime, r.form) == REFERENCE), None)
        if row is None or row.features is None:
            row = Row(*REFERENCE)
            self.measure([row], 1, 0)
        return row.features


def unit(rows):
    rows = np.array(rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def version(runtime):
    if runtime in PACKAGES:
        return importlib.metadata.version(PACKAGES[runtime])
    name = {"tract": "tract-onnx"}.get(runtime, runtime)
    lock = tomllib.loads((HERE / "workers/Cargo.lock").read_text())
    return next(p["version"] for p in lock["package"] if p["name"] == name)


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def fastest(rows):
    """The fastest row of each runtime, of those that are right."""
    best = {}
    for row in sorted((r for r in rows if r.right()), key=Row.median):
        best.setdefault(row.runtime, row)
    return best


def speed(bench, threads):
    """Prints the table of one model and number of threads; our row and the peers' fastest."""
    rows = bench.forms()
    bench.measure(rows, threads, bench.rounds)
    reference = bench.reference(rows)
    for row in rows:
        if row.features is not None and not row.failed:
            row.cosine = float((row.features * reference).sum(axis=1).min())
    best = fastest(rows)
    ours = best.pop(OURS, None)
    print(f"## {bench.model}, {many(threads, 'thread')}: one picture, {many(bench.rounds, 'round')}\n")
    done = sorted((row for row in rows if not row.failed), key=Row.median)
    table(
        ["runtime", "version", "form", "median ms", "p10", "to ours", "least cosine"],
        [[row.runtime, version(row.runtime), row.name(), f"{row.median():.1f}", f"{np.percentile(row.times, 10):.1f}",
          f"{row.median() / ours.median():.2f}" if ours else "–", f"{row.cosine:.4f}" + " (wrong)" * (not row.right())] for row in done],
    )
    for row in rows:
        if row.failed:
            print(f"{row.runtime}, {row.form}: {row.failed}\n")
    return ours, best


def many(n, word):
    return f"{n} {word}{'s' * (n != 1)}"


def openings(bench, rows):
    """Prints the time to the first feature and the memory of fresh processes, one thread."""
    lines = []
    for row in rows:
        took, grown = [], []
        for _ in range(min(OPENINGS, bench.rounds)):
            worker = bench.worker(row, 1)
            before = worker.memory("VmRSS")
            took.append(worker.open())
            worker.run()
            grown.append(worker.memory("VmHWM") - before)
            worker.close()
        size = image_bytes(bench) if row.runtime == OURS else bench.file(row).stat().st_size
        grown = statistics.median(grown)
        lines.append([row.runtime, row.name(), f"{statistics.median(took):.0f}", f"{grown / 1e6:.0f}",
                      f"{size / 1e6:.1f}", f"{grown / size:.2f}"])
    table(["fresh process", "form", "open to first feature, ms", "peak above idle, MB", "weights, MB", "ratio"], lines)


def image_bytes(bench):
    """Bytes of the image encoder in our bundle, whatever form it is in."""
    told = subprocess.run([bench.program, "model", "inspect", bench.folder / "ours.ecmodel", "--json"], capture_output=True, check=True)
    return sum(s["bytes"] for s in json.loads(told.stdout)["sections"] if s["name"].startswith("image/"))


def rate(row):
    """Pictures a second."""
    return 1e3 * row.batch / row.median()


def throughput(bench, threads, ours, best):
    """Prints pictures a second: ours at a batch of 8, the peers at whichever batch suits them."""
    rows = [Row(OURS, ours.form, OUR_BATCH)] if ours else []
    rows += [Row(row.runtime, row.form, batch) for row in best.values() for batch in BATCHES]
    rows = [row for row in rows if bench.file(row).exists()]
    bench.measure(rows, threads, max(3, bench.rounds // 3))
    rows = [row for row in rows if row.times and not row.failed] + list(best.values())
    rows.sort(key=rate, reverse=True)
    table(["pictures a second", "form", "batch", "rate"],
          [[row.runtime, row.name(), str(row.batch), f"{rate(row):.1f}"] for row in rows])
    peers = [row for row in rows if row.runtime != OURS]
    mine = [row for row in rows if row.runtime == OURS]
    if mine and peers:
        print(f"{bench.model}, {many(threads, 'thread')}: {rate(mine[0]) / rate(peers[0]):.2f} of the fastest peer's rate "
              f"({peers[0].runtime}, batch {peers[0].batch})\n", flush=True)


def int8_peak(bench):
    """Multiply-adds a second of one core's int8 products, in 1e9, as edgeclip measures it."""
    told = subprocess.run(
        [bench.program, "bench", "--model", bench.folder / "ours.ecmodel", "--threads", "1", "--runs", "5", "--json"],
        capture_output=True, check=True,
    )
    peak = json.loads(told.stdout)["int8_peak_per_s"]
    return peak and peak / 1e9


def share_of_peak(bench, ours):
    macs = json.loads((bench.folder / "facts.json").read_text())["macs"] / 1e9
    rate, peak = macs / ours.median() * 1e3, int8_peak(bench)
    share = f"{100 * rate / peak:.0f} % of the core's {peak:.0f}" if peak else "share of the core's peak not measured"
    print(f"{bench.model}: {macs:.2f} GMAC a picture, {rate:.1f} int8 GMAC/s on one thread; {share}\n")


def preprocessing(bench):
    """What our times hold and the others' do not."""
    row = Row(OURS, FORMS[OURS][0])
    worker = bench.worker(row, 1, EDGECLIP_PREPROCESS="1")
    worker.open()
    median = statistics.median(worker.run() for _ in range(max(10, bench.rounds)))
    worker.close()
    print(f"{OURS}'s times hold its preprocessing of a frame that needs no resize, {median:.2f} ms; "
          "the others are given ready tensors.\n")


def compare(bench):
    """All tables of one model; (threads, ratio) for each number of threads."""
    ratios = []
    for threads in (1, 2):
        ours, best = speed(bench, threads)
        if ours and best:
            ratios.append((threads, ours.median() / min(map(Row.median, best.values()))))
        if ours and threads == 1:
            preprocessing(bench)
            share_of_peak(bench, ours)
        if threads == 1:
            openings(bench, [ours] * bool(ours) + list(best.values()))
        throughput(bench, threads, ours, best)
    return ratios


def chosen(name, default):
    """The words of an environment variable, parted by commas."""
    return [word for word in os.environ.get(name, "").split(",") if word] or list(default)


def main():
    folder, workers, program = sys.argv[1:]
    rounds = int(os.environ.get("ROUNDS") or 30)
    runtimes = [OURS] + [name for name in chosen("PEERS", FORMS) if name != OURS]
    unknown = set(runtimes) - set(FORMS)
    if unknown:
        sys.exit(f"PEERS: {', '.join(unknown)}: of {', '.join(FORMS)}")
    ratios = []
    for model in chosen("MODELS", pictures.SIDES):
        bench = Bench(Path(folder) / model, Path(workers), program, rounds, runtimes)
        ratios += [(model, threads, value) for threads, value in compare(bench)]
    for model, threads, value in ratios:
        print(f"ratio {model} {threads} {value:.3f}")


if __name__ == "__main__":
    main()
