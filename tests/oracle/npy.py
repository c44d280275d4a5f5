"""vq-export --npz, --npy, --csv and --png read by numpy, csv and (where it is there) pillow, against the stream itself."""
import csv
import os
import subprocess
import tempfile

import numpy as np

import vqt


def sh(command):
    subprocess.run(['bash', '-o', 'pipefail', '-c', command], check=True)


def same(got, want):
    return got.dtype == want.dtype and got.shape == want.shape and np.array_equal(got, want)


def check_npz(cells, records, tmp):
    sh(f'vq-export --npz -o {tmp}/a.npz {cells}')
    with np.load(f'{tmp}/a.npz', allow_pickle=False) as z:
        assert sorted(z.files) == sorted(f'{r.id}/{k}' for r in records for k in r.tensors)
        for r in records:
            for k, v in r.tensors.items():
                assert same(z[f'{r.id}/{k}'], v), (r.id, k)
        return len(z.files)


def check_npy(cells, tmp):
    pad = f'vq-normalize --robust {cells} | vq-pad --reflect --min 128'
    _, records = vqt.run(pad)
    for k in ('image', 'mask'):
        sh(f'{pad} | vq-export --npy --tensor {k} -o {tmp}/a.npy')
        for mode in (None, 'r'):
            a = np.load(f'{tmp}/a.npy', mmap_mode=mode, allow_pickle=False)
            assert same(a, np.stack([r.tensors[k] for r in records])), k
    return a.shape


def check_csv(cells, header, records, tmp):
    sh(f'vq-export --csv -o {tmp}/a.csv {cells}')
    with open(f'{tmp}/a.csv', newline='', encoding='utf-8') as f:
        rows = list(csv.DictReader(f))
    assert [r['id'] for r in rows] == [r.id for r in records]
    for row, r in zip(rows, records):
        inside = r.tensors['mask'] == 1
        assert int(row['area']) == inside.sum() and [int(row['height']), int(row['width'])] == list(r.tensors['mask'].shape)
        for c, name in enumerate(header['channels']):
            x = r.tensors['image'][c][inside].astype(float)
            assert abs(float(row[f'mean_{name}']) - x.mean()) < 1e-6 * x.mean() and float(row[f'integrated_{name}']) == x.sum()
        assert all(row[k] == v for k, v in r.meta['metadata'].items())
    return len(rows)


def check_png(cells, records, tmp):
    from PIL import Image
    sh(f'vq-normalize --robust {cells} | vq-pad --reflect | vq-export --png --channel ER -o {tmp}/png')
    _, normal = vqt.run(f'vq-normalize --robust {cells}')
    for r in normal:
        got = np.asarray(Image.open(f'{tmp}/png/{r.id.replace("#", "_")}.png'))
        want = (r.tensors['image'][1].astype(float) + 1) / 2 * 255
        assert got.shape == want.shape and np.abs(got - want).max() <= 0.5 + 1e-6, r.id
    return len(records)


with tempfile.TemporaryDirectory() as tmp:
    cells = os.path.join(tmp, 'cells.vqt')
    sh(f'vq-synth -n 40 --channels 3 --max-size 100 > {cells}')
    header, records = vqt.read(cells)
    print(f'ok - numpy reads vq-export --npz: {check_npz(cells, records, tmp)} arrays')
    print(f'ok - numpy reads vq-export --npy: {check_npy(cells, tmp)}')
    print(f'ok - vq-export --csv says what the pixels say: {check_csv(cells, header, records, tmp)} rows')
    try:
        print(f'ok - vq-export --png shows the pixels: {check_png(cells, records, tmp)} pictures')
    except ImportError:
        print('ok - vq-export --png # skip no pillow')
