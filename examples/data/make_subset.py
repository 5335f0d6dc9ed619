#!/usr/bin/env python3
"""Make (or check) the Fashion-MNIST contact sheets of this folder.

Needs:
  * Python 3.11; requirements: pillow==13.0.0 pyoxipng==9.1.1
    (pyoxipng is the oxipng compressor as a Python module)
  * the idx files of Fashion-MNIST (Debian: apt-get install dataset-fashion-mnist)

Make both sheets next to this script (takes seconds):
    python3 make_subset.py
Compare every tile of the sheets with the idx files, writing nothing:
    python3 make_subset.py --check

The outcome is deterministic: tile i of a sheet is image number i // 10, in
file order, among those of class i % 10. Another version of the compressor
may give other bytes in the PNG files, never other pixels.
"""

import argparse
import gzip
import io
import struct
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
SIDE = 28
CLASSES = 10
SIZE_LIMIT = 1_000_000  # bytes, all files of the folder together

# file name, stem of the idx files, number of tiles, tiles per row
SHEETS = [
    ("fashion-mnist-train.png", "train", 2400, 40),
    ("fashion-mnist-test.png", "t10k", 100, 10),
]


def read_idx(path, magic):
    """Dimensions and payload of a gzipped idx file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    if struct.unpack_from(">I", raw)[0] != magic:
        sys.exit(f"{path}: not an idx file of the expected kind")
    rank = magic & 0xFF
    dims = struct.unpack_from(f">{rank}I", raw, 4)
    return dims, raw[4 + 4 * rank:]


def pick(source, stem, count):
    """The first count / 10 images of each class, in file order, interleaved by class."""
    (n, h, w), pixels = read_idx(source / f"{stem}-images-idx3-ubyte.gz", 0x803)
    (n_labels,), labels = read_idx(source / f"{stem}-labels-idx1-ubyte.gz", 0x801)
    if (h, w) != (SIDE, SIDE) or n != n_labels or len(labels) != n or len(pixels) != n * h * w:
        sys.exit(f"{source}: the {stem} files do not fit together")
    if count % CLASSES:
        sys.exit(f"{count} tiles cannot be shared evenly by {CLASSES} classes")
    of_class = [[] for _ in range(CLASSES)]
    for index, label in enumerate(labels):
        if len(of_class[label]) < count // CLASSES:
            of_class[label].append(index)
    if any(len(found) < count // CLASSES for found in of_class):
        sys.exit(f"{source}: too few {stem} images for {count} tiles")
    size = SIDE * SIDE
    indices = [of_class[i % CLASSES][i // CLASSES] for i in range(count)]
    return [pixels[k * size:(k + 1) * size] for k in indices]


def make(path, tiles, columns):
    import oxipng  # not needed to check
    if len(tiles) % columns:
        sys.exit(f"{path.name}: {len(tiles)} tiles do not fill rows of {columns}")
    sheet = Image.new("L", (columns * SIDE, len(tiles) // columns * SIDE))
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        sheet.paste(Image.frombytes("L", (SIDE, SIDE), tile), (column * SIDE, row * SIDE))
    plain = io.BytesIO()
    sheet.save(plain, "PNG")
    # One filter heuristic and Zopfli; no change of colour type or bit depth.
    path.write_bytes(oxipng.optimize_from_memory(
        plain.getvalue(), level=6, force=True, filter=[oxipng.RowFilter.MinSum],
        deflate=oxipng.Deflaters.zopfli(15), interlace=oxipng.Interlacing.Off,
        strip=oxipng.StripChunks.all(), bit_depth_reduction=False,
        color_type_reduction=False, palette_reduction=False, grayscale_reduction=False))


def check(path, tiles, columns):
    """Stop unless the sheet is plain 8-bit greyscale and holds exactly these tiles."""
    # Behind the signature: IHDR with bit depth 8, colour type 0, deflate,
    # standard filters, no interlacing.
    if path.read_bytes()[24:29] != bytes([8, 0, 0, 0, 0]):
        sys.exit(f"{path.name}: not a plain non-interlaced 8-bit greyscale PNG")
    with Image.open(path) as opened:
        sheet = opened.copy()
    if sheet.mode != "L" or sheet.size != (columns * SIDE, len(tiles) // columns * SIDE):
        sys.exit(f"{path.name}: mode {sheet.mode}, size {sheet.size}")
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        x, y = column * SIDE, row * SIDE
        if sheet.crop((x, y, x + SIDE, y + SIDE)).tobytes() != tile:
            sys.exit(f"{path.name}: tile {i} differs from its source")
    print(f"{path.name}: {len(tiles)} tiles, {columns} columns, "
          f"{len(tiles) // columns} rows, {path.stat().st_size} bytes, all as in the source")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"),
                        help="folder of the four idx files (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE,
                        help="folder of the sheets (default: that of this script)")
    parser.add_argument("--check", action="store_true", help="only compare, write nothing")
    args = parser.parse_args()
    for name, stem, count, columns in SHEETS:
        tiles = pick(args.source, stem, count)
        if not args.check:
            make(args.out / name, tiles, columns)
        check(args.out / name, tiles, columns)
    total = sum(p.stat().st_size for p in args.out.iterdir() if p.is_file())
    print(f"all files of the folder: {total} bytes")
    if total > SIZE_LIMIT:
        sys.exit(f"more than {SIZE_LIMIT} bytes")


if __name__ == "__main__":
    main()
