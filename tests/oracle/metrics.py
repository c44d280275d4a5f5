"""vq-metrics against numpy, scipy and scikit-image (f64), to 1e-6: cells written as float TIFFs, read by vq-crop --whole, compared by vq-metrics.

Random images of awkward sizes (also under 11 pixels, with a constant channel, without a mask pixel) and, where ../shared/data is there,
real cells with noise, blur and quantisation. Records of either side are padded differently, and the stream is in another order."""
import csv
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import tifffile
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

METRICS = ('mse', 'psnr', 'ssim', 'pearson', 'ms_ssim', 'rmse_grey', 'mae_grey')
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
LIMIT = 1e-6


def maps(x, y, data_range):
    """SSIM and its factor of contrast and structure at the valid centres."""
    def g(a):
        return ndimage.gaussian_filter(a, 1.5, truncate=3.5)[5:-5, 5:-5]
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    ux, uy = g(x), g(y)
    cs = (2 * (g(x * y) - ux * uy) + c2) / (g(x * x) - ux * ux + g(y * y) - uy * uy + c2)
    return (2 * ux * uy + c1) / (ux * ux + uy * uy + c1) * cs, cs


def halve(a):
    a = a[:a.shape[0] // 2 * 2, :a.shape[1] // 2 * 2]
    return a.reshape(a.shape[0] // 2, 2, -1, 2).mean((1, 3))


def ms_ssim(x, y, inside, data_range):
    """Wang et al. 2003 over as many of five scales as leave a valid centre inside."""
    means = []
    while len(means) < 5 and min(x.shape) >= 11 and inside[5:-5, 5:-5].any():
        means.append([m[inside[5:-5, 5:-5]].mean() for m in maps(x, y, data_range)])
        x, y, inside = halve(x), halve(y), halve(inside.astype('f8')) >= 0.5
    if not means:
        return None
    weights = np.array(WEIGHTS[:len(means)]) / sum(WEIGHTS[:len(means)])
    return float(np.prod(np.maximum([cs for _, cs in means[:-1]] + [means[-1][0]], 0) ** weights))


def score(x, y, mask, data_range):
    """(whole, inside), each {metric: value or None}; x, y: [h,w] f64."""
    ssim = ssim_in = None
    if min(x.shape) >= 11:
        ssim, full = structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=data_range, full=True)
        centre = mask[5:-5, 5:-5] == 1
        if centre.any():
            ssim_in = full[5:-5, 5:-5][centre].mean()

    def rest(a, b):
        if a.size == 0:
            return dict.fromkeys(METRICS)
        mse = ((a - b) ** 2).mean()
        psnr = peak_signal_noise_ratio(a, b, data_range=data_range) if mse >= 1e-10 else 10 * math.log10(data_range ** 2 / 1e-10)
        flat = np.ptp(a) == 0 or np.ptp(b) == 0
        return {'mse': mse, 'psnr': psnr, 'pearson': None if flat else np.corrcoef(a.ravel(), b.ravel())[0, 1],
                'rmse_grey': mse ** 0.5, 'mae_grey': abs(a - b).mean()}
    whole, inside = rest(x, y), rest(x[mask == 1], y[mask == 1])
    whole['ssim'], inside['ssim'] = ssim, ssim_in
    whole['ms_ssim'], inside['ms_ssim'] = ms_ssim(x, y, mask >= 0, data_range), ms_ssim(x, y, mask == 1, data_range)
    return whole, inside


def mean(values):
    values = [v for v in values if v is not None]
    return float(np.mean(values)) if values else None


def random_cells(rng):
    sizes = [(11, 11), (10, 40), (40, 10), (12, 31), (64, 21), (5, 5), (1, 1), (33, 90), (50, 50), (17, 17), (22, 45), (180, 177), (95, 300)]
    for i, (h, w) in enumerate(sizes):
        x = rng.uniform(-1, 1, (3, h, w)).astype('f4')
        if i % 2:
            x = ndimage.gaussian_filter(x, (0, 2, 2)).astype('f4')
        y = np.clip(x + rng.normal(0, 0.1 * (i % 4), x.shape), -1, 1).astype('f4')
        if i == 3:
            x[1] = 0.1
        if i == 4:
            y[2] = -0.7
        mask = (rng.uniform(size=(h, w)) < 0.5).astype('u1')
        mask.flat[0] |= not mask.any() # a cell has a pixel
        if i == 8:
            mask[:] = 0
            mask[:4] = 1
        yield x, y, mask


def real_cells(rng, limit):
    """One-channel crops of a dataset, to [-1,1] by their 5-95 % range, and what three kinds of loss make of them."""
    n = 0
    for name in ('dsb2018', 'bbbc039'):
        folder = os.path.join(ROOT, '..', 'shared', 'data', 'cells', name)
        if not os.path.isdir(folder):
            return
        rows = list(csv.DictReader(open(os.path.join(folder, 'load_data.csv'))))
        for row in rows[:6]:
            read = tifffile.imread if row['Image_FileName_DNA'].endswith('.tif') else __import__('skimage.io').io.imread
            field = read(os.path.join(folder, row['Image_FileName_DNA'])).astype('f8')
            field = field if field.ndim == 2 else field[..., 0]
            labels = read(os.path.join(folder, row['Image_ObjectsFileName_Cells']))
            for k, box in enumerate(ndimage.find_objects(labels.astype('i4'))[:limit]):
                if box is None:
                    continue
                box = tuple(slice(max(s.start - 10, 0), s.stop + 10) for s in box)
                lo, hi = np.percentile(field[box], (5, 95))
                if hi == lo:
                    continue
                x = np.clip((field[box] - lo) / (hi - lo) * 2 - 1, -1, 1)
                y = [x + rng.normal(0, 0.05, x.shape), ndimage.gaussian_filter(x, 1), np.round(x * 4) / 4][n % 3]
                n += 1
                yield x.astype('f4')[None], y.astype('f4')[None], (labels[box] == k + 1).astype('u1')


def run(*command, stdin=None):
    return subprocess.run(command, stdin=stdin, check=True, stdout=subprocess.PIPE).stdout


def stream(folder, name, step, pad):
    out = os.path.join(folder, name + '.vqt')
    images = sorted(os.path.join(folder, name, f) for f in os.listdir(os.path.join(folder, name)) if '_mask' not in f)
    cropped = run('vq-crop', '--whole', '--mask-suffix', '_mask', *images[::step])
    with open(out, 'wb') as f:
        subprocess.run(['vq-pad', *pad], input=cropped, stdout=f, check=True)
    return out


def compare(cells, data_range, label):
    worst, cells = 0, list(cells)
    with tempfile.TemporaryDirectory() as folder:
        for side in range(2):
            os.mkdir(os.path.join(folder, 'xy'[side]))
        for i, (x, y, mask) in enumerate(cells):
            for side, image in enumerate((x, y)):
                path = os.path.join(folder, 'xy'[side], f'c{i:04d}')
                tifffile.imwrite(path + '.tif', image if len(image) > 1 else image[0], photometric='minisblack',
                                 **({'planarconfig': 'separate'} if len(image) > 1 else {}))
                tifffile.imwrite(path + '_mask.tif', mask)
        table = os.path.join(folder, 'r.csv')
        out = json.loads(run('vq-metrics', '--reference', stream(folder, 'x', 1, ['--zero', '--multiple', '16']), '--per-record', table, '--range',
                             str(data_range), stream(folder, 'y', -1, ['--edge', '--pow2'])))
        rows = {os.path.basename(r['id']).split('.')[0].split('#')[0]: r for r in csv.DictReader(open(table))}
    names = list(out['per_channel'])

    def check(what, got, want):
        nonlocal worst
        if (got is None) != (want is None):
            sys.exit(f'{label}: {what}: {got}, not {want}')
        if want is not None:
            error = abs(got - want) / max(1, abs(want))
            worst = max(worst, error)
            if not error <= LIMIT:
                sys.exit(f'{label}: {what}: {got!r}, not {want!r}')

    assert out['n'] == len(cells) == len(rows), (out['n'], len(cells), len(rows))
    assert out['pixels'] == sum(m.size for _, _, m in cells)
    assert out['foreground']['pixels'] == sum(int((m == 1).sum()) for _, _, m in cells)
    every = {}
    for i, (x, y, mask) in enumerate(cells):
        scores = [score(a.astype('f8'), b.astype('f8'), mask, data_range) for a, b in zip(x, y)]
        for k, prefix in enumerate(('', 'foreground_')):
            for m in METRICS:
                parts = [s[k][m] for s in scores]
                for suffix, v in [('', mean(parts))] + [('_' + n, v) for n, v in zip(names, parts)]:
                    cell = rows[f'c{i:04d}'][prefix + m + suffix]
                    check(f'cell {i} {x.shape} {prefix}{m}{suffix}', float(cell) if cell else None, v)
                    every.setdefault((k, suffix[1:], m), []).append(v)
    for (k, channel, m), values in every.items():
        got = out['foreground'] if k else out
        got = (got['per_channel'][channel] if channel else got)[m]
        values = np.array([v for v in values if v is not None])
        assert got['n'] == len(values)
        for name, f in (('mean', np.mean), ('median', np.median), ('std', np.std), ('min', np.min), ('max', np.max)):
            check(f'{"foreground " * k}{channel} {m} {name}', got[name], float(f(values)) if len(values) else None)
    print(f'ok - vq-metrics, {label}: {len(cells)} cells, largest difference {worst:.2g} (limit {LIMIT:g})')


def main():
    rng = np.random.default_rng(1)
    compare(random_cells(rng), 2, 'random, 3 channels')
    compare([(np.round((x + 1) * 32767).astype('u2'), np.round((y + 1) * 32767).astype('u2'), m) for x, y, m in random_cells(rng)], 65535, 'random, 16 bit')
    real = list(real_cells(rng, 40))
    if real:
        compare(real, 2, 'real cells')
    else:
        print('ok - vq-metrics, real cells # skip ../shared/data is not there')


if __name__ == '__main__':
    main()
