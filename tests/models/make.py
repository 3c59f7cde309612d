#!/usr/bin/env python3
"""Writes models of the exact architecture of published CLIPs, with seeded weights, in the forms that they come in.

  python make.py OUTDIR [--small | --full] [--only safetensors,exports,broken]

Real weights cannot be had everywhere, and what is tested here is the reading of a file, not what
the model knows. The weights mean nothing: use them for formats, numerics and speed only.
OUTDIR/small/cases.json (or full/) says how each is imported and run; check.py does so.
The full sizes take CLIP's own vocabulary out of the package open_clip_torch (1.5 MB, by pip).
"""
import argparse
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import broken
import exports
import folders
import pixels
import specs
import tokenizer

VOCABULARY = ("open_clip_torch==3.3.0", "open_clip/bpe_simple_vocab_16e6.txt.gz")
MAX_OFF = 1e-4  # of a value of a unit feature, to numpy in float64


def safetensors(out, models, small):
    """The folders, as cases: held against reference.py, not ONNX Runtime."""
    (folders.small if small else folders.full)(out / "safetensors", models)
    made = sorted(p.name for p in (out / "safetensors").iterdir() if (p / "reference").is_dir())
    cases = []
    for n in made:
        case = {"name": f"safetensors/{n}", "import": [f"safetensors/{n}"], "flags": [], "folder": f"safetensors/{n}", "numpy": True}
        least, mean = exports.OURS if small else exports.ROUNDED
        int8 = {"name": f"safetensors/{n} int8", "flags": ["--quantize", "int8", "--calibrate", "{dir}/../photos"],
                "least": least, "mean": mean}
        cases += [{**case, "max_off": MAX_OFF}, {**case, **int8}]
    return cases


def vocabulary(folder):
    """CLIP's merges, as open_clip ships them."""
    package, name = VOCABULARY
    path = folder / Path(name).name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", folder, package],
                       check=True)
        (wheel,) = folder.glob("open_clip_torch-*.whl")
        path.write_bytes(zipfile.ZipFile(wheel).read(name))
        wheel.unlink()
    return path


PARTS = {
    "safetensors": safetensors,
    "exports": lambda out, models, small: (exports.small if small else exports.full)(out, models),
    "broken": lambda out, models, small: broken.make(out / "broken", models) if small else [],
}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("outdir", type=Path)
    size = ap.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="small models (the default)")
    size.add_argument("--full", action="store_true", help="true sizes: 5 GB, minutes")
    ap.add_argument("--only", default=",".join(PARTS), help="parts, of: %(default)s")
    args = ap.parse_args()
    out = args.outdir / ("full" if args.full else "small")
    out.mkdir(parents=True, exist_ok=True)
    if args.full:
        tokenizer.WHEEL_FILE = vocabulary(args.outdir / "vocabulary")
    pixels.photos(args.outdir / "photos")
    index = out / "cases.json"
    cases = json.loads(index.read_text()) if index.exists() else {}
    for part in args.only.split(","):
        began = time.monotonic()
        cases[part] = PARTS[part](out, specs.ALL, not args.full)
        print(f"{part}: {len(cases[part])} cases in {time.monotonic() - began:.1f} s", flush=True)
        index.write_text(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
