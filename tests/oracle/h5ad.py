"""vq-export --h5ad read by anndata, against --csv, --npz and numpy's own principal components; and written back."""
import csv
import json
import os
import subprocess
import tempfile

import anndata
import numpy as np

import vqt


def sh(command):
    subprocess.run(['bash', '-o', 'pipefail', '-c', command], check=True)


def weights(path, name):
    with open(path, 'rb') as f:
        at = 8 + int.from_bytes(f.read(8), 'little')
        entry = json.loads(f.read(at - 8))[name]
        f.seek(at + entry['data_offsets'][0])
        return np.fromfile(f, '<f4', int(np.prod(entry['shape']))).reshape(entry['shape'])


def raw_columns(channels):
    names = {'Cells_VQ_Raw_Area': 'area'}
    for c in channels:
        for k in ('mean', 'integrated', 'background'):
            names[f'Cells_VQ_Raw_{k.capitalize()}_{c}'] = f'{k}_{c}'
    return names


def check_raw(a, rows, channels):
    df = a.to_df()
    for name, column in raw_columns(channels).items():
        want = np.array([float(r[column] or 'nan') for r in rows], np.float32)
        assert np.allclose(df[name], want, rtol=1e-6, equal_nan=True), name
    return len(raw_columns(channels))


def check_obs(a, rows):
    assert list(a.obs_names) == [str(i) for i in range(len(rows))]
    assert list(a.obs['Metadata_CellID']) == [r['id'] for r in rows]
    assert a.obs['Metadata_ObjectNumber'].dtype == np.int64
    assert list(a.obs['Metadata_ObjectNumber']) == [int(r['label']) for r in rows]
    assert a.obs['Metadata_ImageNumber'].dtype == np.int64 and a.obs['Metadata_ImageNumber'].nunique() == len({r['field'] for r in rows})
    columns = [k for k in rows[0] if k.startswith('Metadata_')]
    for k in columns:
        assert [str(v) for v in a.obs[k]] == [r[k] for r in rows], k
    assert list(a.obs.columns)[:3] == ['Metadata_Plate', 'Metadata_Well', 'Metadata_Site'], list(a.obs.columns)
    assert isinstance(a.obs['Metadata_Plate'].iloc[0], str)
    return len(columns) + 2


def check_pca(a):
    x = a.X.astype(np.float64)
    x = np.where(np.isfinite(x), x, np.nanmean(x, 0))
    std = x.std(0)
    z = np.divide(x - x.mean(0), std, out=np.zeros_like(x), where=std > 1e-12 * abs(x.mean(0)))
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    k = a.obsm['X_pca'].shape[1]
    assert k == min(50, len(x) - 1, (std > 0).sum()) and a.varm['PCs'].shape == (x.shape[1], k)
    assert np.allclose(a.uns['pca']['variance'], s[:k] ** 2 / len(x), rtol=1e-6, atol=1e-9)
    assert np.allclose(a.uns['pca']['variance_ratio'], s[:k] ** 2 / (s ** 2).sum(), rtol=1e-6, atol=1e-9)
    assert np.allclose(z @ a.varm['PCs'], a.obsm['X_pca'], atol=1e-4)
    assert np.allclose(a.varm['PCs'].T @ a.varm['PCs'], np.eye(k), atol=1e-9)
    top = np.take_along_axis(a.varm['PCs'], abs(a.varm['PCs']).argmax(0)[None], 0)
    assert (top > 0).all()
    return k


def check_written_back(a, tmp):
    a.write_h5ad(f'{tmp}/back.h5ad')
    b = anndata.read_h5ad(f'{tmp}/back.h5ad')
    assert np.array_equal(a.X, b.X, equal_nan=True) and (a.obs == b.obs).all().all() and list(a.var_names) == list(b.var_names)
    assert all(np.array_equal(a.obsm[k], b.obsm[k]) for k in a.obsm)
    return b.shape


def check_features(tmp, cells, rows, channels):
    train = ('--set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 --set pixels_per_step=8192 '
             '--threads 1 -q --steps 20')
    sh(f'vq-normalize {cells} | vq-train {train} -o {tmp}/run')
    m = f'{tmp}/run/model.safetensors'
    header, codes = vqt.run(f'vq-encode -m {m} --features {cells}')
    sh(f'vq-encode -m {m} --features {cells} > {tmp}/f.vqt; vq-export --h5ad -m {m} -o {tmp}/f.h5ad {tmp}/f.vqt; vq-export --csv -o {tmp}/f.csv.gz {tmp}/f.vqt')
    a = anndata.read_h5ad(f'{tmp}/f.h5ad')
    assert a.shape == (len(codes), 2 * 16 + 1 + 3 * len(channels))
    assert list(a.var_names[:17]) == [f'Cells_VQ_LatentMean_{i}' for i in range(16)] + ['Cells_VQ_LatentStd_0']
    for k, at in (('latent_mean', 0), ('latent_std', 16)):
        assert np.array_equal(a.X[:, at:at + 16], np.stack([r.tensors[k] for r in codes])), k
    assert np.array_equal(a.obsm['X_codes'], np.stack([r.tensors['histogram'] for r in codes]))
    assert a.obsm['X_codes'].dtype == np.float32 and a.X.dtype == np.float32
    assert json.loads(a.uns['chain']) == header['chain'] and list(a.uns['channels']) == header['channels']
    assert np.array_equal(a.uns['codebook'], weights(m, header['model']['levels'][0]['tensor']))
    check_raw(a, rows, channels)
    check_obs(a, rows)
    return a


def check_weights(tmp, cells):
    """obsm/X_tfidf: histograms times log((1 + n) / (1 + cells that have the code)) + 1, rows of length 1."""
    sh(f'vq-encode -m {tmp}/run/model.safetensors --tf-idf {tmp}/f.vqt {cells} > {tmp}/w.vqt; vq-export --h5ad -o {tmp}/w.h5ad {tmp}/w.vqt')
    a = anndata.read_h5ad(f'{tmp}/w.h5ad')
    h = a.obsm['X_codes'].astype(np.float64)
    want = h * (np.log((1 + len(h)) / (1 + (h > 0).sum(0))) + 1)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert a.obsm['X_tfidf'].shape == h.shape and np.allclose(a.obsm['X_tfidf'], want, atol=1e-5)
    return h.shape


def check_text(tmp):
    """Text of digits alone stays text: a plate 0012 and a code 007."""
    sh(f'vq-synth -n 20 --channels 1 --max-size 40 --fields {tmp}/fields --field-size 160 2>/dev/null')
    with open(f'{tmp}/fields/load_data.csv', newline='', encoding='utf-8') as f:
        table = list(csv.DictReader(f))
    with open(f'{tmp}/fields/text.csv', 'w', newline='', encoding='utf-8') as f:
        out = csv.DictWriter(f, list(table[0]) + ['Metadata_Code', 'ImageNumber'])
        out.writeheader()
        for i, row in enumerate(table):
            out.writerow(dict(row, Metadata_Plate='0012', Metadata_Code='007', ImageNumber=30 + 7 * i))
    sh(f'vq-crop -q --load-data {tmp}/fields/text.csv > {tmp}/text.vqt; vq-export -q --h5ad -o {tmp}/text.h5ad {tmp}/text.vqt; '
       f'vq-export --csv -o {tmp}/text.csv {tmp}/text.vqt')
    obs = anndata.read_h5ad(f'{tmp}/text.h5ad').obs
    with open(f'{tmp}/text.csv', newline='', encoding='utf-8') as f:
        rows = list(csv.DictReader(f))
    number = {f"0012_{r['Metadata_Well']}_{r['Metadata_Site']}": 30 + 7 * i for i, r in enumerate(table)}
    for k, v in (('Metadata_Plate', '0012'), ('Metadata_Code', '007')):
        assert all(isinstance(x, str) and x == v for x in obs[k]) and all(r[k] == v for r in rows), k
    assert all(isinstance(x, str) for x in obs['Metadata_Site'])
    assert obs['Metadata_ImageNumber'].dtype == np.int64 and list(obs['Metadata_ImageNumber']) == [number[r['field']] for r in rows]
    assert [int(r['Metadata_ImageNumber']) for r in rows] == list(obs['Metadata_ImageNumber'])
    return len(rows)


def check_pycytominer(path, a):
    import pycytominer
    from pycytominer.cyto_utils import load_profiles
    df = load_profiles(path)
    features = [c for c in df.columns if c.startswith('Cells_')]
    assert features == list(a.var_names)
    wells = pycytominer.aggregate(df, strata=['Metadata_Plate', 'Metadata_Well'], features='infer')
    want = a.to_df().groupby([a.obs['Metadata_Plate'].astype(str), a.obs['Metadata_Well'].astype(str)], observed=True).median()
    got = wells.set_index([wells['Metadata_Plate'].astype(str), wells['Metadata_Well'].astype(str)])[features].sort_index()
    assert list(got.index) == list(want.index) and np.allclose(got, want[features], rtol=1e-5, equal_nan=True)
    normal = pycytominer.normalize(df, features='infer', meta_features='infer', method='standardize')
    std = normal[features].std(ddof=0).to_numpy()
    assert len(normal) == len(a) and (np.isclose(std, 1, atol=1e-3) | (a.X.std(0) < 1e-6)).all()
    return f'{len(wells)} wells, {len(features)} features'


def check_profile_table(path, a):
    """The same features out of --csv, compressed."""
    import pycytominer
    from pycytominer.cyto_utils import infer_cp_features, load_profiles
    df = load_profiles(path)
    features = infer_cp_features(df)
    assert set(features) == set(a.var_names) and {'Metadata_Plate', 'Metadata_Well', 'Metadata_ObjectNumber', 'Metadata_CellID'} <= set(df.columns)
    assert list(df['Metadata_CellID']) == list(a.obs['Metadata_CellID']) and np.allclose(df[list(a.var_names)], a.X, rtol=1e-5, equal_nan=True)
    wells = pycytominer.aggregate(df, strata=['Metadata_Plate', 'Metadata_Well'], features='infer')
    return f'{len(wells)} wells, {len(features)} features'


with tempfile.TemporaryDirectory() as tmp:
    cells = os.path.join(tmp, 'cells.vqt')
    sh(f'vq-synth -n 300 --channels 3 --max-size 40 > {cells}; vq-export --csv -o {tmp}/cells.csv {cells}')
    header, _ = vqt.read(cells)
    with open(f'{tmp}/cells.csv', newline='', encoding='utf-8') as f:
        rows = list(csv.DictReader(f))
    sh(f'vq-export -q --h5ad -o {tmp}/raw.h5ad {cells}')
    a = anndata.read_h5ad(f'{tmp}/raw.h5ad')
    assert a.shape == (300, 10)
    print(f'ok - anndata reads raw measurements as --csv has them: {check_raw(a, rows, header["channels"])} columns')
    print(f'ok - anndata reads the metadata as --csv has it: {check_obs(a, rows)} columns')
    print(f'ok - principal components are numpy\'s: {check_pca(a)}')
    f = check_features(tmp, cells, rows, header['channels'])
    print(f'ok - anndata reads features, histograms, codebook and chain: {f.shape}')
    print(f'ok - principal components of features: {check_pca(f)}')
    print(f'ok - anndata writes it back: {check_written_back(f, tmp)}')
    print(f'ok - tf-idf weights are what the histograms say: {check_weights(tmp, cells)}')
    print(f'ok - digits stay text, image numbers are integers: {check_text(tmp)} cells')
    backed = anndata.read_h5ad(f'{tmp}/f.h5ad', backed='r')
    assert np.array_equal(backed[5:9].to_memory().X, f.X[5:9])
    print('ok - anndata reads rows of it from the disk')
    try:
        print(f'ok - pycytominer aggregates and normalises it: {check_pycytominer(f"{tmp}/f.h5ad", f)}')
        print(f'ok - pycytominer aggregates --csv: {check_profile_table(f"{tmp}/f.csv.gz", f)}')
    except ImportError:
        print('ok - pycytominer # skip it is not installed')
