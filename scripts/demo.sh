#!/bin/sh
# Names photos that nobody trained for, then teaches two new things from five photos each.
set -eu
program=$PWD/$1
cd examples
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
run() { HOME=$home XDG_DATA_HOME= XDG_CONFIG_HOME= EDGECLIP_CLASSIFIER="$home/$kind.ecclass" "$program" "$@"; }
say() { printf '\n%s\n\n' "$*"; }

kind=names
names="cat, cup of coffee, rocket, tripod, starry sky, dog, bicycle, teapot, screwdriver"
echo "1. By name alone, out of: $names"
echo
run classify photos/cat.jpg photos/coffee.jpg photos/rocket.jpg photos/cameraman.png photos/galaxies.jpg --labels "$names" --top 2

say "2. Names alone do not tell old coins and this lawn. On photos of them that are never learned:"
for kind in auto clip-adapter; do
  run -q classes add cat "cup of coffee" rocket tripod gravel "old coin" lawn >/dev/null
done
run -q eval lesson/rest | sed -n '1,4p'

say "3. Five photos of each are shown. With the default head, auto:"
kind=auto
run -q learn --from lesson/learn
echo
run -q eval lesson/rest | sed -n '1,4p'

say "   The same with --head clip-adapter:"
kind=clip-adapter
run -q learn --from lesson/learn --head clip-adapter >/dev/null
run -q eval lesson/rest | sed -n '1,4p'

say "4. Photos of something else, and of what was known before:"
kind=auto
run -q classify photos/galaxies.jpg photos/cat.jpg photos/coffee.jpg lesson/rest/old_coin/07.jpg --top 1

say "Your own:  $1 learn \"my blue mug\" PHOTO...   then:  $1 classify PHOTO"
