#!/bin/sh
# The README's strip, from fig5-same-noise.png (58 pixels from tile to tile): three samples, each at S = 10, 20, 50, 100, 1000.
# Needs ImageMagick.
set -eu
cd "$(dirname "$0")"
row() { # the sample in column $1, its five step counts side by side
    for y in 0 58 116 174 232; do printf ' ( fig5-same-noise.png -crop 58x56+%d+%d +repage )' "$(($1 * 58))" "$y"; done
}
# shellcheck disable=SC2046 # words on purpose
convert \( $(row 0) +append \) \( $(row 4) +append \) \( $(row 8) +append \) +append -crop 868x56+0+0 +repage \
    -depth 8 -define png:exclude-chunks=date,time -strip strip.png
