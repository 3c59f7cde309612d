#!/usr/bin/env python3
"""Writes models of the exact architecture of published CLIPs, with seeded weights, in the forms that they come in.

  python make.py OUTDIR [--small | --full] [--only PART,PART]

Real weights cannot be had everywhere, and what is tested here is the reading of a file, not what
the model knows. The weights mean nothing: use them for formats, numerics and speed only.
"""
import argparse
import time

import folders
import specs


def parts():
    return {"safetensors": {"small": folders.small, "full": folders.full}}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("outdir")
    size = ap.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_const", const="small", dest="size", help="small models (the default)")
    size.add_argument("--full", action="store_const", const="full", dest="size", help="full-size models, gigabytes")
    ap.add_argument("--only", default=",".join(parts()), help="parts, of: %(default)s")
    args = ap.parse_args()
    for part in args.only.split(","):
        began = time.monotonic()
        parts()[part][args.size or "small"](f"{args.outdir}/{args.size or 'small'}/{part}", specs.ALL)
        print(f"{part}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
