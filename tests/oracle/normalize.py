"""vq-normalize and vq-pad against numpy on simulated cells and, where ../shared/data is there, on real ones.

Percentiles, mean, deviation, mapping, clipped fraction and --fit to 1e-6 (relative to the range), padding exactly.
"""
import json
import os
import subprocess
import tempfile

import numpy as np

import vqt

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
CELLS = os.path.join(ROOT, '..', 'shared', 'data', 'cells')
LIMIT = 1e-6
PERCENTILES = [0, 0.1, 1, 5, 25, 50, 75, 95, 99, 99.9, 100]


def limits(x, method, p):
    if method == 'robust':
        return np.percentile(x, p)
    return np.array([x.min(), x.max()]) if method == 'minmax' else np.array([x.mean(), x.std()])


def mapped(x, a, b, method, clip):
    if method == 'zscore':
        return (x - a) / b if b > 0 else np.zeros_like(x)
    if not b > a:
        return np.zeros_like(x)
    y = (x - a) / (b - a) * 2 - 1
    return np.clip(y, -1, 1) if clip else y


def check_normalize(cells, options, method, p=(5, 95), clip=True):
    _, raw = vqt.read(cells)
    header, got = vqt.run(f'vq-normalize {options} {cells}')
    assert header['chain'][-1]['tool'] == 'vq-normalize' and [r.id for r in raw] == [r.id for r in got]
    worst = 0
    for r, g in zip(raw, got):
        meta = g.meta['normalize']
        a, b = (meta['low'], meta['high']) if method != 'zscore' else (meta['mean'], meta['std'])
        assert g.tensors['image'].dtype == np.float32 and (g.tensors['mask'] == r.tensors['mask']).all()
        for c, plane in enumerate(r.tensors['image']):
            x, y = plane.astype(np.float64), g.tensors['image'][c]
            lo, hi = limits(x, method, p)
            scale = max(1, abs(lo), abs(hi))
            worst = max(worst, abs(a[c] - lo) / scale, abs(b[c] - hi) / scale)
            want = mapped(x, lo, hi, method, clip)
            worst = max(worst, (np.abs(y - want) / np.maximum(1, np.abs(want))).max())
            if clip and method != 'zscore':
                assert abs(meta['clipped'][c] - ((x < lo) | (x > hi)).mean()) < 1e-12
    assert worst <= LIMIT, (options, worst)
    return len(got), worst


def check_padding(cells, options, extent, mode):
    _, raw = vqt.read(cells)
    _, got = vqt.run(f'vq-pad {options} {cells}')
    for r, g in zip(raw, got):
        x = r.tensors['image']
        h, w = x.shape[1:]
        H, W = extent(h), extent(w)
        t, l = (H - h) // 2, (W - w) // 2
        around = ((t, H - h - t), (l, W - w - l))
        want = np.pad(x, ((0, 0),) + around, **mode)
        assert r.id == g.id and want.dtype == g.tensors['image'].dtype and np.array_equal(want, g.tensors['image']), (options, r.id)
        assert np.array_equal(np.pad(r.tensors['mask'], around), g.tensors['mask']), (options, r.id)
        assert g.meta.get('pad', [0, 0, 0, 0]) == list(around[0] + around[1]) and g.meta['size'] == [h, w]
    _, back = vqt.run(f'vq-pad {options} {cells} | vq-pad --remove')
    for r, g in zip(raw, back):
        assert r.id == g.id and r.meta == g.meta and all(np.array_equal(r.tensors[k], g.tensors[k]) for k in r.tensors)
    return len(got)


def check_fit(cells):
    _, raw = vqt.read(cells)
    fit = json.loads(subprocess.run(['vq-normalize', '--fit', '--percentiles', '2,98', cells], stdout=subprocess.PIPE, check=True).stdout)
    stats, p = fit['groups'][0], sorted(PERCENTILES + [2, 98])
    assert stats['percentiles']['p'] == p and stats['records'] == len(raw)
    for c in range(len(fit['channels'])):
        x = np.concatenate([r.tensors['image'][c].ravel() for r in raw]).astype(np.float64)
        assert stats['exact'][c] and stats['pixels'][c] == x.size
        for got, want in [(stats['mean'][c], x.mean()), (stats['std'][c], x.std())] + list(zip(stats['percentiles']['values'][c], np.percentile(x, p))):
            assert abs(got - want) <= 1e-9 * max(1, abs(want)), (got, want)
    with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
        json.dump(fit, f)
        f.flush()
        _, got = vqt.run(f'vq-normalize --percentiles 2,98 --stats {f.name} {cells}')
    for r, g in zip(raw, got):
        for c in range(len(fit['channels'])):
            v = stats['percentiles']['values'][c]
            want = mapped(r.tensors['image'][c].astype(np.float64), v[p.index(2)], v[p.index(98)], 'robust', True)
            assert np.abs(want - g.tensors['image'][c]).max() <= LIMIT
    return len(got)


def check(name, cells):
    for options, method, p, clip in [('--robust', 'robust', (5, 95), True), ('--percentiles 0.3,99.7', 'robust', (.3, 99.7), True),
                                     ('--no-clip', 'robust', (5, 95), False), ('--minmax', 'minmax', None, True), ('--zscore', 'zscore', None, False)]:
        n, worst = check_normalize(cells, options, method, p, clip)
        print(f'ok - {name}: vq-normalize {options} is numpy\'s on {n} cells (apart by {worst:.1e})')
    for options, extent, mode in [
            ('--reflect', lambda n: max(32, -(-n // 16) * 16), {'mode': 'reflect'}),
            ('--reflect --multiple 64 --min 300', lambda n: max(320, -(-n // 64) * 64), {'mode': 'reflect'}),
            ('--edge --multiple 7 --min 0', lambda n: -(-n // 7) * 7, {'mode': 'edge'}),
            ('--zero --pow2', lambda n: max(32, 1 << (n - 1).bit_length()), {'mode': 'constant'})]:
        print(f'ok - {name}: vq-pad {options} is numpy.pad on {check_padding(cells, options, extent, mode)} cells')
    print(f'ok - {name}: vq-normalize --fit and --stats are numpy\'s on {check_fit(cells)} cells')


with tempfile.TemporaryDirectory() as tmp:
    made = os.path.join(tmp, 'cells.vqt')
    subprocess.run(f'vq-synth -n 60 --channels 3 --max-size 90 > {made}', shell=True, check=True)
    check('simulated', made)
    for data in ('bbbc039', 'dsb2018', 'mlcp_ifc'):
        table = os.path.join(CELLS, data, 'load_data.csv')
        if not os.path.exists(table):
            print(f'ok - {data} # skip ../shared/data is not there')
            continue
        part = os.path.join(tmp, 'load_data.csv')
        lines = open(table).read().splitlines()
        open(part, 'w').write('\n'.join(lines[:1] + lines[1::12]) + '\n')
        tile = '--tile 40 --border 0' if data == 'mlcp_ifc' else ''
        subprocess.run(f'vq-crop --load-data {part} --path-root {os.path.dirname(table)} {tile} > {made}', shell=True, check=True)
        check(data, made)
