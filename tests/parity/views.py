"""What views of the shots bring: usage: views.py PROGRAM [DRAWS]

For each set below EDGECLIP_DATA/photos, teaches from 1 and 5 photos a class with `--views` 1, 2, 4 and 8
and measures on all the others. Prints top-1 in percent, mean over DRAWS (3).
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

SETS = ("clothing", "trash", "pets")
VIEWS = (1, 2, 4, 8)


def split(folder, shots, seed, target):
    """Links `shots` photos of each class below target/learn, the others below target/rest."""
    for cls in sorted(path for path in folder.iterdir() if path.is_dir()):
        photos = sorted(cls.iterdir())
        random.Random(seed).shuffle(photos)
        for i, photo in enumerate(photos):
            place = target / ("learn" if i < shots else "rest") / cls.name
            place.mkdir(parents=True, exist_ok=True)
            (place / photo.name).symlink_to(photo)


def top1(program, folder, views):
    classifier = folder / f"{views}.ecclass"
    common = ["--classifier", str(classifier), "--quiet", "--json"]
    learn = [program, "learn", "--from", str(folder / "learn"), "--views", str(views), *common]
    subprocess.run(learn, check=True, capture_output=True)
    told = subprocess.run([program, "eval", str(folder / "rest"), *common], check=True, capture_output=True).stdout
    return 100 * json.loads(told.splitlines()[0])["top1"]


def main():
    program = str(Path(sys.argv[1]).resolve())
    draws = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    photos = Path(os.environ["EDGECLIP_DATA"]) / "photos"
    print("set       shots" + "".join(f"  {v} views" for v in VIEWS))
    for name in SETS:
        for shots in (1, 5):
            sums = dict.fromkeys(VIEWS, 0.0)
            for seed in range(draws):
                with tempfile.TemporaryDirectory() as folder:
                    split(photos / name, shots, seed, Path(folder))
                    for views in VIEWS:
                        sums[views] += top1(program, Path(folder), views)
            print(f"{name:9} {shots:5}" + "".join(f"  {sums[v] / draws:7.1f}" for v in VIEWS), flush=True)


if __name__ == "__main__":
    main()
