"""vq-crop against numpy: every crop of the real data sets, pixel by pixel, with its mask and measurements.

  crop.py [SHARED]      vq-crop and zstd on PATH; SHARED defaults to ../shared beside the repository

Reads the stream through `zstd -dc`. Needs numpy, tifffile, pillow. Exits 0 when all agree, 77 when there is nothing to compare.
"""
import csv
import json
import os
import struct
import subprocess
import sys

try:
    import numpy as np
    import tifffile
    from PIL import Image
except ImportError as e:
    print(f'skip: {e}')
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHARED = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, '..', 'shared')
DTYPE = {'u8': 'u1', 'u16': '<u2', 'f32': '<f4', 'i32': '<i4'}
PERCENTILES = [0, 0.1, 1, 5, 25, 50, 75, 95, 99, 99.9, 100]


def align(n):
    return (n + 63) // 64 * 64


def records(command):
    crop = subprocess.Popen(command, stdout=subprocess.PIPE)
    plain = subprocess.run(['zstd', '-dcq'], stdin=crop.stdout, stdout=subprocess.PIPE, check=True).stdout
    assert crop.wait() == 0, command
    at = 0
    while at < len(plain):
        head = plain[at:at + 64]
        assert head[:3] == b'VQT', at
        size, = struct.unpack_from('<Q', head, 8)
        id_size, meta_size, tensors = struct.unpack_from('<III', head, 32)
        if head[3:4] == b'R':
            rows = at + 64
            text = rows + 128 * tensors
            name = plain[text:text + id_size].decode()
            meta = json.loads(plain[text + id_size:text + id_size + meta_size])
            data = align(text + id_size + meta_size - at) + at
            out = {}
            for i in range(tensors):
                row = plain[rows + 128 * i:rows + 128 * (i + 1)]
                shape = struct.unpack_from('<6q', row, 80)[:struct.unpack_from('<I', row, 72)[0]]
                kind = DTYPE[row[64:72].rstrip(b'\0').decode()]
                a = np.frombuffer(plain, kind, int(np.prod(shape)), data).reshape(shape)
                out[row[:64].rstrip(b'\0').decode()] = a
                data += align(a.nbytes)
            yield name, meta, out
        at += size


def read(path):
    im = tifffile.imread(path) if path.endswith(('.tif', '.tiff')) else np.asarray(Image.open(path))
    if im.ndim == 3:
        assert (im[..., 0] == im[..., 1]).all() and (im[..., 0] == im[..., 2]).all(), path
        im = im[..., 0]
    return im


def expected(path, border, tile):
    root = os.path.dirname(os.path.abspath(path))
    for r in csv.DictReader(open(path)):
        names = [k[15:] for k in r if k.startswith('Image_FileName_')]
        im = np.stack([read(os.path.join(root, r['Image_PathName_' + n], r['Image_FileName_' + n])) for n in names])
        lab = read(os.path.join(root, r['Image_ObjectsPathName_Cells'], r['Image_ObjectsFileName_Cells'])).astype(np.int64)
        h, w = lab.shape
        stats = [(float(c.mean()), float(c.std()), np.percentile(c, PERCENTILES)) for c in im]
        for k in np.unique(lab[lab > 0]):
            ys, xs = np.nonzero(lab == k)
            y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
            if len(ys) < 20 or y0 == 0 or x0 == 0 or y1 == h or x1 == w:
                continue
            ty0, tx0, ty1, tx1 = 0, 0, h, w
            if tile:
                ty0, tx0 = y0 // tile * tile, x0 // tile * tile
                ty1, tx1 = ty0 + tile, tx0 + tile
            box = max(ty0, y0 - border), max(tx0, x0 - border), min(ty1, y1 + border), min(tx1, x1 + border)
            cut = np.s_[box[0]:box[2], box[1]:box[3]]
            part = lab[cut]
            yield r, names, int(k), [int(v) for v in box], im[(slice(None),) + cut], np.where(part == k, 1, np.where(part > 0, 2, 0)), stats


def near(a, b, what, tol=1e-9):
    assert abs(a - b) <= tol * max(1, abs(b)), (what, a, b)


def compare(name, options, border, tile):
    path = os.path.join(SHARED, 'data', 'cells', name, 'load_data.csv')
    if not os.path.exists(path):
        print(f'skip: {path} is not there')
        return 0
    n = 0
    got = records(['vq-crop', '--load-data', path] + options)
    for row, channels, label, box, image, mask, stats in expected(path, border, tile):
        who, meta, t = next(got)
        assert who.endswith(f'#{label}') and meta['label'] == label and meta['bbox'] == box, (who, label, box, meta['bbox'])
        assert meta['channels'] == channels and meta['metadata'] == {k: v for k, v in row.items() if k.startswith('Metadata_')}, who
        assert t['image'].dtype == image.dtype and (t['image'] == image).all(), who
        assert t['mask'].dtype == np.uint8 and (t['mask'] == mask).all(), who
        assert meta['area'] == (mask == 1).sum() and meta['size'] == list(mask.shape), who
        for c in range(len(channels)):
            near(meta['raw']['mean'][c], image[c][mask == 1].mean(), who)
            near(meta['raw']['integrated'][c], image[c][mask == 1].astype(np.float64).sum(), who)
            if (mask == 0).any():
                near(meta['raw']['background'][c], image[c][mask == 0].mean(), who)
            else:
                assert meta['raw']['background'][c] is None, who
            near(meta['field_stats']['mean'][c], stats[c][0], who)
            near(meta['field_stats']['std'][c], stats[c][1], who)
            assert meta['field_stats']['percentiles']['p'] == PERCENTILES
            for a, b in zip(meta['field_stats']['percentiles']['values'][c], stats[c][2]):
                near(a, b, who)
        n += 1
    assert next(got, None) is None, f'{name}: more records than expected'
    print(f'ok: {name} {" ".join(options)}: {n} cells, every pixel')
    return n


found = [compare('bbbc039', [], 10, 0), compare('dsb2018', [], 10, 0), compare('mlcp_ifc', [], 10, 0),
         compare('mlcp_ifc', ['--tile', '40', '--border', '0'], 0, 40)]
for n, want in zip(found, (3159, 3039, 3418, 3418)):
    assert n in (0, want), (n, want)
sys.exit(0 if any(found) else 77)
