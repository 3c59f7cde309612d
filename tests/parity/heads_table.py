"""Heads on feature packs beside the reference table: usage: heads_table.py PROGRAM [HEAD...]

Runs `edgeclip eval` on every pack below EDGECLIP_DATA/features and prints, for each cell of
reference.json, our top-1 in percent and how far it is from the reference; clip-adapter is the mean
of five seeds. Without heads: all that the reference knows, and auto. Exit status 1 if a head is off by
more than half a point (clip-adapter: one), or auto misses one of its bounds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SHOTS = (1, 2, 4, 8, 16)
HEADS = ("nearest-mean", "linear-probe", "clip-adapter", "tip", "tip-f", "taskres", "clap", "gda")


def measure(program, pack, head, shots, seed=0):
    command = [program, "eval", "--features", pack, "--shots", str(shots), "--head", head, "--seed", str(seed), "--uncalibrated", "--json"]
    if pack.stem == "pets37":  # half its classes have no text: measured on photos alone
        command += ["--text", "ignore"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def top1(program, pack, head, shots):
    seeds = range(5) if head == "clip-adapter" else (0,)
    return 100 * sum(measure(program, pack, head, shots, seed)["top1"] for seed in seeds) / len(seeds)


def named(program, packs, reference, heads):
    worst = {}
    print("cell              " + "".join(f"{head:>22}" for head in heads))
    for cell, known in reference.items():
        name, shots = cell.split("/")
        row = []
        for head in heads:
            ours = top1(program, packs[name], head, int(shots))
            off = ours - known[head]
            worst[head] = max(worst.get(head, 0), abs(off))
            row.append(f"{ours:14.2f} ({off:+.2f})")
        print(f"{cell:18}" + "".join(f"{text:>22}" for text in row), flush=True)
    print("largest difference" + "".join(f"{worst[head]:22.2f}" for head in heads))
    return [f"{head} is off by {off:.2f}" for head, off in worst.items() if off > (1.0 if head == "clip-adapter" else 0.5)]


def auto(program, packs, reference):
    best_sum = ours_sum = 0
    worst, errors, calibration = {1: 0, 2: 0}, [], []
    print("cell            zero-shot   best   auto    off  own estimate  interval        ECE")
    for cell, known in reference.items():
        name, shots = cell.split("/")[0], int(cell.split("/")[1])
        best = max(value for head, value in known.items() if value is not None)
        got = measure(program, packs[name], "auto", shots)
        ours, zero = 100 * got["top1"], got["zero_shot"]
        best_sum, ours_sum = best_sum + best, ours_sum + ours
        kind = 1 if shots == 1 else 2
        worst[kind] = min(worst[kind], ours - best)
        shown = "            –" if got["estimate"] is None else f"{100 * got['estimate']:13.1f}"
        interval = got["estimate_interval"]
        shown += "               " if interval is None else f"  {100 * interval[0]:5.1f} to {100 * interval[1]:5.1f}"
        if shots >= 4:
            errors.append(abs(100 * got["estimate"] - ours))
            calibration.append(100 * got["ece"])
        zero = "    –" if zero is None else f"{100 * zero:5.1f}"
        print(f"{cell:16}    {zero}  {best:5.1f}  {ours:5.1f}  {ours - best:+5.1f}{shown}  {100 * got['ece']:5.1f}", flush=True)
    count = len(reference)
    print(f"mean of {count} cells: best {best_sum / count:.2f}, auto {ours_sum / count:.2f}")
    print(f"furthest below the best: {worst[1]:.2f} at 1 shot, {worst[2]:.2f} at more")
    print(f"from 4 shots on: own estimate off by {sum(errors) / len(errors):.2f} in the mean, "
          f"ECE {sum(calibration) / len(calibration):.2f} in the mean, {max(calibration):.2f} at most")
    bounds = {
        "auto is below the mean of the best": ours_sum >= best_sum,
        "auto is more than 1.5 below the best at one shot": worst[1] >= -1.5,
        "auto is more than 1.0 below the best at more shots": worst[2] >= -1.0,
        "its own estimate is off by more than 4 points": sum(errors) <= 4 * len(errors),
        "ECE is above 2.5 in the mean or 4 anywhere": sum(calibration) <= 2.5 * len(calibration) and max(calibration) <= 4,
    }
    return [words for words, holds in bounds.items() if not holds]


def main():
    program = sys.argv[1]
    folder = Path(os.environ["EDGECLIP_DATA"]) / "features"
    packs = {path.stem: path for path in folder.glob("*.safetensors")}
    reference = json.loads((folder / "reference.json").read_text())
    heads = sys.argv[2:] or [*HEADS, "auto"]
    missed = auto(program, packs, reference) if "auto" in heads else []
    if rest := [head for head in heads if head != "auto"]:
        missed += named(program, packs, reference, rest)
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
