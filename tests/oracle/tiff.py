"""vq-export --tiff read by tifffile: the field again outside cells, the records inside, and clipped values counted."""
import glob
import os
import re
import subprocess
import tempfile

import numpy as np
import tifffile

import vqt

TRAIN = ('--set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 --set pixels_per_step=8192 '
         '--threads 1 -q --steps 5')


def sh(command):
    return subprocess.run(['bash', '-o', 'pipefail', '-c', command], check=True, stderr=subprocess.PIPE, text=True).stderr


def grey(r):
    n, x = r.meta['normalize'], r.tensors['image'].astype(float)
    lo, hi = (np.array(n[k])[:, None, None] for k in ('low', 'high'))
    top, _, left, _ = r.meta.get('pad', [0, 0, 0, 0])
    h, w = r.meta['size']
    return ((x + 1) / 2 * (hi - lo) + lo)[:, top:top + h, left:left + w]


def expected(fields, records):
    """Fields with records put back, values inside cells, those beyond the limits of the normalisation."""
    out, inside, clipped = {}, 0, 0
    for r in records:
        image, labels = fields[r.meta['field']]
        put = out.setdefault(r.meta['field'], image.copy())
        y0, x0, y1, x1 = r.meta['bbox']
        mine = labels[y0:y1, x0:x1] == r.meta['label']
        old, new = image[:, y0:y1, x0:x1], np.clip(np.rint(grey(r)), 0, 65535)
        lo, hi = (np.array(r.meta['normalize'][k])[:, None, None] for k in ('low', 'high'))
        inside += mine.sum() * len(image)
        clipped += (((old < lo) | (old > hi)) & mine).sum()
        put[:, y0:y1, x0:x1][:, mine] = new[:, mine]
    return out, inside, clipped


def compare(tmp, name, stream, fields, tolerance=0):
    said = sh(f'{stream} >{tmp}/{name}.vqt; vq-export --tiff --path-root {tmp}/f -o {tmp}/{name} {tmp}/{name}.vqt')
    _, records = vqt.read(f'{tmp}/{name}.vqt')
    want, inside, clipped = expected(fields, records)
    assert sorted(want) == sorted(os.path.basename(p)[:-8] for p in glob.glob(f'{tmp}/{name}/*'))
    for field, image in want.items():
        with tifffile.TiffFile(f'{tmp}/{name}/{field}.ome.tif') as t:
            got = t.asarray()
            assert t.is_ome and t.series[0].axes == 'CYX' and re.findall('Channel [^>]*Name="(.*?)"', t.ome_metadata) == ['DNA', 'ER']
        assert got.dtype == np.uint16 and got.shape == image.shape
        assert abs(got.astype(int) - image.astype(int)).max() <= tolerance, (name, field)
    return records, said, inside, clipped


with tempfile.TemporaryDirectory() as tmp:
    sh(f'vq-synth -n 40 --channels 2 --max-size 60 --fields {tmp}/f --field-size 300; vq-crop --load-data {tmp}/f/load_data.csv >{tmp}/raw.vqt')
    fields = {}
    for p in glob.glob(f'{tmp}/f/*_labels.tif'):
        stem = p[:-len('_labels.tif')]
        fields[os.path.basename(stem)] = np.stack([tifffile.imread(f'{stem}_{c}.tif') for c in ('DNA', 'ER')]), tifffile.imread(p)
    for how in ('--minmax', '--robust --no-clip'):
        records, said, inside, clipped = compare(tmp, how.split()[0][2:], f'vq-normalize {how} {tmp}/raw.vqt | vq-pad --reflect', fields)
        assert said == '' or 'no-clip' in how, said
        for field, (image, _) in fields.items():
            got = tifffile.imread(f'{tmp}/{how.split()[0][2:]}/{field}.ome.tif')
            assert abs(got.astype(int) - image.astype(int)).max() <= 1, (how, field)
        print(f'ok - vq-normalize {how} and back: within 1 of {inside} values')
    records, said, inside, clipped = compare(tmp, 'clip', f'vq-normalize --robust {tmp}/raw.vqt', fields)
    assert clipped > 0 and f'{clipped} of {inside} values inside cells had been clipped' in said, (said, clipped, inside)
    print(f'ok - clipped values are counted: {clipped} of {inside}')
    sh(f'vq-normalize {tmp}/raw.vqt | vq-train {TRAIN} -o {tmp}/run')
    m = f'{tmp}/run/model.safetensors'
    records, *_ = compare(tmp, 'recon', f'vq-encode -m {m} {tmp}/raw.vqt | vq-decode -m {m}', fields, tolerance=1)
    print(f'ok - reconstructions stand at their cells\' own pixels: {len(records)} cells')
