#!/bin/sh
# Makes the starter's bundles in models/recipe/work: a virtual environment, the packages, the models.
# About half an hour on one core the first time, four minutes when nothing that is learned from has changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$here/work
mkdir -p "$work"
if [ ! -e "$work/venv/installed" ]; then
    "${PYTHON:-python3}" -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install -q -r "$here/requirements.txt"
    touch "$work/venv/installed"
fi
PATH=$work/venv/bin:$PATH
# One thread everywhere: sums in a fixed order give the same files again. XLA would split its sums by
# the cores it sees, whatever the flag below says: NPROC tells it of one.
export OPENBLAS_NUM_THREADS=1 PYTHONHASHSEED=0 NPROC=1
export XLA_FLAGS="--xla_cpu_multi_thread_eigen=false" JAX_PLATFORMS=cpu
sh "$here/fetch.sh" "$work/packages"
python "$here/build.py" "$work"
