#!/usr/bin/env python3
"""Writes models of the exact architecture of published CLIPs, with seeded weights, in the forms that they come in.

  python make.py OUTDIR [--small | --full] [--only safetensors,exports,broken]

Real weights cannot be had everywhere, and what is tested here is the reading of a file, not what
the model knows. The weights mean nothing: use them for formats, numerics and speed only.
OUTDIR/small/cases.json (or full/) says how each is imported and run; check.py does so.
The full sizes need CLIP's own vocabulary: bpe_simple_vocab_16e6.txt.gz of the package
open_clip_torch, given as $CLIP_VOCABULARY.
"""
import argparse
import json
import os
import time
from pathlib import Path

import broken
import exports
import folders
import specs
import tokenizer

MAX_OFF = 1e-4  # of a value of a unit feature, to numpy in float64


def safetensors(out, models, small):
    """The folders, as cases: held against reference.py, not ONNX Runtime."""
    (folders.small if small else folders.full)(out / "safetensors", models)
    made = sorted(p.name for p in (out / "safetensors").iterdir() if (p / "reference").is_dir())
    return [{"name": f"safetensors/{n}", "import": [f"safetensors/{n}"], "flags": [], "folder": f"safetensors/{n}",
             "numpy": True, "max_off": MAX_OFF, "family": "siglip" if "siglip" in n else "clip"} for n in made]


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
    size.add_argument("--full", action="store_true", help="true sizes: 3 GB, minutes")
    ap.add_argument("--only", default=",".join(PARTS), help="parts, of: %(default)s")
    args = ap.parse_args()
    out = args.outdir / ("full" if args.full else "small")
    out.mkdir(parents=True, exist_ok=True)
    if args.full:
        tokenizer.WHEEL_FILE = os.environ.get("CLIP_VOCABULARY") or ap.error("--full needs $CLIP_VOCABULARY")
    index = out / "cases.json"
    cases = json.loads(index.read_text()) if index.exists() else {}
    for part in args.only.split(","):
        began = time.monotonic()
        cases[part] = PARTS[part](out, specs.ALL, not args.full)
        print(f"{part}: {len(cases[part])} cases in {time.monotonic() - began:.1f} s", flush=True)
        index.write_text(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
