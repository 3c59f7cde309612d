"""Peak memory of each verb, as a table: usage: memory.py PROGRAM PHOTOS

PHOTOS is a folder of photos. Each verb runs once in a home folder of its own, with two threads.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = "cat, cup of coffee, rocket, tripod, astronaut"


def peak_mb(command, env):
    """Runs a command; its highest resident memory in MB."""
    with open(os.devnull, "wb") as sink:
        child = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.PIPE)
        words = child.stderr.read().decode()
        _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(command)}: {words}")
    return usage.ru_maxrss / 1024


def main():
    program = str(Path(sys.argv[1]).resolve())
    folder = Path(sys.argv[2])
    photos = sorted(str(p) for p in folder.iterdir() if p.suffix in (".jpg", ".png"))
    verbs = [
        ["config", "show"],
        ["classify", photos[0], "--labels", NAMES],
        ["classify", str(folder), "--labels", NAMES],
        ["embed", str(folder)],
        ["classify", photos[0], "--labels", "a name that no vocabulary holds"],
        ["classes", "add", "cat", "rocket"],
        ["learn", "cup of coffee", photos[0]],
        ["learn", "mug", *photos[1:]],
        ["classify", str(folder)],
        ["audit"],
        ["forget", "mug"],
        ["undo"],
        ["history"],
        ["classes", "list"],
        ["model", "inspect"],
        ["model", "verify"],
        ["bench", "--runs", "5"],
    ]
    with tempfile.TemporaryDirectory() as home:
        env = {"HOME": home, "PATH": os.environ["PATH"], "EDGECLIP_THREADS": "2"}
        for verb in verbs:
            shown = " ".join(Path(word).name if os.sep in word else word for word in verb)
            print(f"{peak_mb([program, *verb], env):7.1f} MB  {shown[:70]}", flush=True)


if __name__ == "__main__":
    main()
