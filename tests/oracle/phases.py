"""Seven phases of the cell cycle (mlcp_ifc) told apart from what vq-encode --features writes, by 5-fold logistic regression.

Cells are cropped out of their montage tiles, normalised with one set of statistics for all (intensity tells phases), and a model is trained
on them without labels, in 600 steps (44 s on two cores). Scores are balanced accuracy, with balanced classes; chance is 1/7. The data has one
file a phase, so that whatever marks a file is a confound: the score of the background alone stands beside.

The codebook has 128 codes: of 1024, a cell of some 50 positions shows too few for its histogram to say much.
PHASES_STEPS, PHASES_SET ("KEY=VALUE ...") and PHASES_MODEL (a trained model) change what is measured."""
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vqt

warnings.simplefilter('ignore', ConvergenceWarning)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
DATA = os.path.join(ROOT, '..', 'shared', 'data', 'cells', 'mlcp_ifc', 'load_data.csv')
BAR, SIDE = 0.77, 40


def sh(command):
    subprocess.run(['bash', '-e', '-o', 'pipefail', '-c', command], check=True)


def score(x, y, first=None):
    """first: a transformer fitted on the training part alone, before scaling."""
    got = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(x, y):
        steps = ([first] if first is not None else []) + [StandardScaler(), LogisticRegression(max_iter=300, class_weight='balanced')]
        model = make_pipeline(*steps).fit(x[train], y[train])
        got.append(balanced_accuracy_score(y[test], model.predict(x[test])))
    return float(np.mean(got))


def pixels(records):
    """Every cell in the middle of 40 x 40 pixels, background 0."""
    out = np.zeros((len(records), 3, SIDE, SIDE), np.float32)
    for i, r in enumerate(records):
        image = r.tensors['image'] * (r.tensors['mask'] == 1)
        top, left = ((SIDE - n) // 2 for n in image.shape[1:])
        out[i, :, top:top + image.shape[1], left:left + image.shape[2]] = image
    return out.reshape(len(records), -1)


def raw_measures(records):
    """Area, raw mean and integrated; and the background, which no other score has."""
    raw = [r.meta['raw'] for r in records]
    own = np.array([[r.meta['area'], *m['mean'], *m['integrated']] for r, m in zip(records, raw)], np.float64)
    behind = np.array([[np.nan if v is None else v for v in m['background']] for m in raw], np.float64)
    return own, np.where(np.isnan(behind), np.nanmean(behind, 0), behind)


def count_score(x, y, c):
    """Of counts or weights as they stand: columns scaled apart would drown the common codes in the rare ones."""
    got = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(x, y):
        model = LogisticRegression(C=c, max_iter=100, class_weight='balanced').fit(x[train], y[train])
        got.append(balanced_accuracy_score(y[test], model.predict(x[test])))
    return float(np.mean(got))


def main():
    if not os.path.exists(DATA):
        print('../shared/data/cells/mlcp_ifc is not there')
        sys.exit(77)
    with tempfile.TemporaryDirectory() as tmp:
        cells, model = f'{tmp}/cells.vqt', os.environ.get('PHASES_MODEL', f'{tmp}/run/model.safetensors')
        sh(f'vq-crop -q --load-data {DATA} --tile {SIDE} --border 0 -o {tmp}/raw.vqt; vq-normalize --fit -o {tmp}/stats.json {tmp}/raw.vqt')
        sh(f'vq-normalize --zscore --stats {tmp}/stats.json -o {cells} {tmp}/raw.vqt')
        if 'PHASES_MODEL' not in os.environ:
            sets = ' '.join(f'--set {s}' for s in os.environ.get('PHASES_SET', 'num_embeddings=128').split())
            sh(f'vq-train -q --split-by cell --steps {os.environ.get("PHASES_STEPS", "600")} {sets} -o {tmp}/run {cells} 2> {tmp}/log || {{ cat {tmp}/log >&2; exit 1; }}')
        sh(f'vq-encode -m {model} --features -o {tmp}/first.vqt {cells}; vq-encode -m {model} --tf-idf {tmp}/first.vqt -o {tmp}/codes.vqt {cells}')
        _, records = vqt.read(cells)
        _, codes = vqt.read(f'{tmp}/codes.vqt')
    y = np.array([r.meta['metadata']['Metadata_Label'] for r in records])
    assert [r.id for r in codes] == [r.id for r in records] and len(set(y)) == 7
    own, behind = raw_measures(records)
    latent = np.hstack([np.stack([r.tensors[k] for r in codes]) for k in ('latent_mean', 'latent_std')]).astype(np.float64)
    counts, weights = (np.stack([r.tensors[k] for r in codes]).astype(np.float64) for k in ('histogram', 'tfidf'))
    both = score(np.hstack([own, latent]), y)
    print(f'{"ok" if both >= BAR else "not ok"} - phases, raw measurements with latent mean and deviation: {both:.3f} (bar {BAR})')
    beside = {'raw measurements alone': score(own, y), 'latent mean and deviation alone': score(latent, y), 'background alone (a confound)': score(behind, y),
              '50 components of the pixels': score(pixels(records), y, PCA(50, random_state=0))}
    share = counts / counts.sum(1, keepdims=True)
    for name, x, c in (('counts', counts, 0.05), ('roots of counts', np.sqrt(counts), 0.1), ('shares', share, 1),
                       ('roots of shares', np.sqrt(share), 1), ('tf-idf', weights, 1)):
        beside[f'code histogram alone, {name}'] = count_score(x.astype(np.float32), y, c)
    for name, value in beside.items():
        print(f'# phases, {name}: {value:.3f}')


if __name__ == '__main__':
    main()
