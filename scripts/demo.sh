#!/bin/sh
# Classifies the photos of examples/photos by names that nobody trained for.
set -eu
program=$1
names="cat, cup of coffee, rocket, motorcycle, astronaut, dog, bicycle, teapot, airplane, flower"
echo "Names to choose from: $names"
echo
"$program" classify examples/photos --labels "$names" --top 2
echo
echo "Your own:  $program classify PHOTO --labels \"mug, screwdriver, my blue box\""
