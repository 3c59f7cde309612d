#!/bin/sh
# Classifies photos of examples/photos by names that nobody trained for.
set -eu
program=$1
names="cat, cup of coffee, rocket, tripod, starry sky, dog, bicycle, teapot, screwdriver"
cd examples/photos
echo "Names to choose from: $names"
echo
"../../$program" classify cat.jpg coffee.jpg rocket.jpg cameraman.png galaxies.jpg --labels "$names" --top 2
echo
echo "Your own:  $program classify PHOTO --labels \"mug, screwdriver, my blue box\""
