"""figures.py LLVM_MCA ASSEMBLY: cycles of the kernels' inner loops by LLVM's models of processors.

A model knows the pipes and latencies, and takes every load from the first cache. Estimates.
"""
import re
import subprocess
import sys

# Products of one instruction.
PRODUCTS = {"smull": 8, "smull2": 8, "sdot": 16, "smmla": 32, "fmla": 4}

# What runs where: (function, rows of floats, set, core, LLVM's model, most products a cycle).
# Peaks are those of the models: SMULL goes to one pipe on Cortex-A72, FMLA of
# four floats takes both for a cycle; from Cortex-A76 on SDOT, SMMLA and FMLA go to every pipe, of which
# A76 and A710 have two, Neoverse V1 four. LLVM models A72 as A57, A76 by its twin Neoverse N1, A710 by N2.
LOOPS = [
    ("tile_neon", 0, "neon", "Cortex-A72", "cortex-a72", 8),
    ("float_tile", 3, "neon, floats", "Cortex-A72", "cortex-a72", 4),
    ("tile_dotprod", 0, "dotprod", "Cortex-A76", "neoverse-n1", 32),
    ("floats", 5, "dotprod, floats", "Cortex-A76", "neoverse-n1", 8),
    ("half_i8mm", 0, "i8mm", "Cortex-A710", "neoverse-n2", 64),
    ("half_i8mm", 0, "i8mm", "Neoverse V1", "neoverse-v1", 128),
    ("floats", 5, "i8mm, floats", "Neoverse V1", "neoverse-v1", 16),
]
TURNS = 1000


def inner_loops(assembly):
    """Blocks that jump back to their own beginning, as (function, instructions)."""
    functions = re.findall(r"^(_\S*7kernels7aarch64\S*):\n(.*?)\.cfi_endproc", assembly, re.S | re.M)
    for name, body in functions:
        name = re.search(r"7aarch64\d+(\w+?)17h", name).group(1)
        lines = [line.split("//")[0].strip() for line in body.splitlines()]
        lines = [line for line in lines if line and not line.startswith(".cfi")]
        begun = {}
        for at, line in enumerate(lines):
            if line.endswith(":"):
                begun = {line[:-1]: at}  # a label ends the block before it
            jump = re.match(r"(?:b\.\w+|cbnz\s+\w+,)\s+(\.L\w+)$", line)
            if jump and jump.group(1) in begun:
                yield name, lines[begun[jump.group(1)] + 1 : at + 1]


def products(block):
    return sum(PRODUCTS.get(line.split()[0], 0) for line in block)


def cycles(mca, model, block):
    command = [mca, "-mtriple=aarch64", f"-mcpu={model}", "-mattr=+dotprod,+i8mm", f"-iterations={TURNS}"]
    run = subprocess.run(command, input="\n".join(block) + "\n", capture_output=True, text=True, check=True)
    return int(re.search(r"Total Cycles:\s+(\d+)", run.stdout).group(1)) / TURNS


def main():
    mca, assembly = sys.argv[1:]
    loops = list(inner_loops(open(assembly, encoding="utf-8").read()))
    print("Inner loops, estimated by", mca.rsplit("/", 1)[1])
    print(f"{'set':16} {'core':12} {'products':>8} {'instructions':>12} {'cycles':>7} {'a cycle':>8} {'peak':>5} {'share':>6}")
    for function, rows, shown, core, model, peak in LOOPS:
        found = [b for n, b in loops if n == function and products(b) and (not rows or products(b) == rows * 64)]
        if len(found) != 1:
            sys.exit(f"figures: {function} has {len(found)} inner loops, expected 1")
        block = found[0]
        if any("[sp" in line for line in block):
            sys.exit(f"figures: {function} keeps sums in memory")
        took, count = cycles(mca, model, block), products(block)
        rate = count / took
        print(f"{shown:16} {core:12} {count:8} {len(block):12} {took:7.1f} {rate:8.2f} {peak:5} {rate / peak:6.1%}")


main()
