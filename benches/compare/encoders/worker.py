"""A worker process: opens a model on request, runs one inference a line (workers/src/lib.rs)."""

import os
import subprocess
import tempfile
import time

# A worker that has just run may still be going to sleep.
PAUSE_S = 0.005


class Dead(Exception):
    """The worker ended; its last words."""


class Worker:
    def __init__(self, command, threads, environment):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        pools = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "RTEN_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self.words = tempfile.TemporaryFile("w+")
        try:
            self.process = subprocess.Popen(
                [str(word) for word in command], env={**os.environ, **pools, **environment}, text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.words,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        except OSError as words:
            raise Dead(str(words)) from None
        self.answer("idle")

    def answer(self, start=""):
        line = self.process.stdout.readline()
        if not line.endswith("\n") or not line.startswith(start):
            raise Dead(self.last_words(line))
        return line[len(start) :].strip()

    def ask(self, line, start=""):
        try:
            self.process.stdin.write(line + "\n")
        except BrokenPipeError:
            raise Dead(self.last_words("")) from None
        return self.answer(start)

    def last_words(self, line):
        self.process.kill()
        self.process.wait()
        self.words.seek(0)
        said = [text.strip() for text in self.words.read().splitlines() if text.strip()]
        return (line + (said[-1] if said else f"ended with {self.process.returncode}"))[:300]

    def open(self):
        """Milliseconds to the first feature."""
        return float(self.ask("open", "opened"))

    def run(self):
        """Milliseconds of one inference."""
        time.sleep(PAUSE_S)
        return float(self.ask("run"))

    def feature(self, turn):
        """Of one picture; only of workers with batches of one."""
        return [float(word) for word in self.ask(f"features {turn}").split()]

    def memory(self, field):
        """VmRSS or VmHWM, in bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field + ":"))

    def close(self):
        self.process.stdin.close()
        self.process.wait()
