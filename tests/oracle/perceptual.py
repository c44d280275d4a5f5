"""The perceptual loss against PyTorch: what ../shared/weights/reference and tests/unit/test_perceptual.c say of two pairs of pictures, computed
again from the weights; and the term that vq-train reports, from the cells and reconstructions of the model that it kept."""
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

import vqt
from safetensors_check import read

WEIGHTS = '../shared/weights'
SHIFT, SCALE = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in ((-.030, -.088, -.188), (.458, .448, .450)))
VGG = {'vgg16': (2, 2, 3, 3, 3), 'vgg19': (2, 2, 4, 4, 4)}
# kind, side of the window, stride, padding
RELU, FIRE, POOL, UP = ('relu', 1, 1, 0), ('fire', 1, 1, 0), ('pool', 3, 2, 0), ('up', 3, 2, 0)
ALEX = [('conv', 11, 4, 2), RELU, POOL, ('conv', 5, 1, 2), RELU, POOL] + 3 * [('conv', 3, 1, 1), RELU] + [POOL]
SQUEEZE = [('conv', 3, 2, 0), RELU, UP, FIRE, FIRE, UP, FIRE, FIRE, UP] + 4 * [FIRE]
TAPS = {'alexnet': [1, 4, 7, 9, 11], 'squeezenet': [1, 4, 7, 9, 10, 11, 12]}
# name: (network, weights, heads, layers compared or None for the network's usual ones)
NETS = {'alexnet': ('alexnet', 'alexnet_features', 'alex_v0.1', None), 'squeezenet': ('squeezenet', 'squeezenet1_1_features', 'squeeze_v0.1', None),
        'vgg16 with heads': ('vgg16', 'vgg16_features_to_relu2_2', 'vgg_v0.1', [3, 8]), 'vgg16': ('vgg16', 'vgg16_features_to_relu2_2', None, [3, 8]),
        'vgg19': ('vgg19', 'vgg19_distilled16x_features', None, [0, 5, 10, 19, 28])}


def layers(net):
    if net in VGG:
        return [layer for n in VGG[net] for layer in n * [('conv', 3, 1, 1), RELU] + [('pool', 2, 2, 0)]]
    return ALEX if net == 'alexnet' else SQUEEZE


def fits(net, last, side):
    for kind, k, stride, pad in layers(net)[:last]:
        if side + 2 * pad < k:
            return False
        side = (side + 2 * pad - k + (stride - 1 if kind == 'up' else 0)) // stride + 1
    return True


class Network:
    def __init__(self, name):
        self.net, file, heads, taps = NETS[name]
        self.taps = taps or TAPS[self.net]
        self.least = next(side for side in range(1, 100) if fits(self.net, self.taps[-1] + 1, side))  # smaller images are stretched
        self.w = {k: torch.from_numpy(v.astype('f8')) for k, v in read(f'{WEIGHTS}/{file}.safetensors')[0].items()}
        self.heads = heads and {k: torch.from_numpy(v.astype('f8')) for k, v in read(f'{WEIGHTS}/lpips/{heads}.safetensors')[0].items()}

    def conv(self, x, name, stride=1, pad=0):
        return F.conv2d(x, self.w[name + '.weight'], self.w[name + '.bias'], stride, pad)

    def features(self, x):
        x = self.conv((x + 1) / 2, 'conv0') if 'conv0.weight' in self.w else (x - SHIFT) / SCALE
        for i, (kind, k, stride, pad) in enumerate(layers(self.net)):
            name = f'features.{i}'
            if kind == 'conv':
                x = self.conv(x, name, stride, pad)
            elif kind == 'relu':
                x = F.relu(x)
            elif kind == 'fire':
                s = F.relu(self.conv(x, name + '.squeeze'))
                x = F.relu(torch.cat([self.conv(s, name + '.expand1x1'), self.conv(s, name + '.expand3x3', 1, 1)], 1))
            else:
                x = F.max_pool2d(x, k, stride, ceil_mode=kind == 'up')
            if i in self.taps:
                yield x
            if i == self.taps[-1]:
                return

    def colours(self, a, b):
        """Of images of three colours, [1,3,h,w]."""
        if min(a.shape[2:]) < self.least:
            a, b = (F.interpolate(v, [max(s, self.least) for s in v.shape[2:]], mode='bilinear') for v in (a, b))
        total = 0
        for i, (f, g) in enumerate(zip(self.features(a), self.features(b))):
            if self.heads:
                f, g = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-10) for v in (f, g))
                total += F.conv2d((f - g).square(), self.heads[f'lin{i}.model.1.weight']).mean()
            else:
                total += (f - g).square().mean()
        return float(total)

    def distance(self, a, b, scales=1):
        """Of images [c,h,w] in [-1, 1], as the manual page has channels."""
        c, total = len(a), 0
        looks = [[0] * 3] if c == 1 else [[0, 1, 2]] if c in (3, 4) else [[k] * 3 for k in range(c)]
        a, b = (torch.from_numpy(np.asarray(v, 'f8'))[None] for v in (a, b))
        for _ in range(scales):
            total += sum(self.colours(a[:, k], b[:, k]) for k in looks) / len(looks)
            a, b = (F.interpolate(v, [s // 2 for s in v.shape[2:]], mode='bilinear') for v in (a, b))
        return total / scales


def say(what, got, want, limit):
    off = abs(got - want) / limit[1] if limit[0] == 'absolute' else abs(got - want) / abs(want) / limit[1]
    print(f"{'ok' if off <= 1 else 'not ok'} - {what}: {got:.7g} and {want:.7g}")


def picture(name):
    from PIL import Image
    return np.asarray(Image.open(f'{WEIGHTS}/reference/{name}.png').convert('RGB'), 'f8').transpose(2, 0, 1) / 127.5 - 1


def references():
    with open(f'{WEIGHTS}/reference/lpips_values.json') as f:
        known = json.load(f)
    with open('tests/unit/test_perceptual.c') as f:
        rows = re.findall(r'\{ "(vgg\d+)", "[^"]*", ("[^"]*"|NULL), "[^"]*", ([\d.]+), ([\d.]+) \}', f.read())
    assert len(rows) == 3
    want = {'alexnet': list(known['alex v0.1'].values())[:2], 'squeezenet': list(known['squeeze v0.1'].values())[:2],
            **{net + (' with heads' if heads != 'NULL' else ''): [float(a), float(b)] for net, heads, a, b in rows}}
    ref = picture('ex_ref')
    for name, values in want.items():
        for pair, value in zip(('ex_p0', 'ex_p1'), values):
            say(f'{name}, ex_ref to {pair}', Network(name).distance(ref, picture(pair)), value, ('absolute', 1e-5) if name in TAPS else ('relative', 1e-6))


def through_tool(name, channels, side, scales, tmp):
    """Cells as large as the model takes them, so that vq-decode writes all that the network saw."""
    net, file, heads, taps = NETS[name]
    sets = {'use_perceptual_loss': 'true', 'perceptual_net': net, 'perceptual_file': f'{WEIGHTS}/{file}.safetensors', 'perceptual_scales': scales,
            'perceptual_taps': ','.join(map(str, taps or [])), 'channels_per_level': '8,16', 'embedding_dim': 8, 'num_embeddings': 16, 'blocks': 1,
            'mixed_precision': 'off', 'val_fraction': .5, 'split_by': 'cell', 'save_samples_every': 0, 'learning_rate': 1e-9}
    if heads:
        sets['perceptual_heads'] = f'{WEIGHTS}/lpips/{heads}.safetensors'
    more = ' '.join(f'--set {k}={v}' for k, v in sets.items())
    subprocess.run(f'''set -e; vq-synth -n 8 --channels {channels} --min-size {side} --max-size {side} | vq-normalize -o {tmp}/cells.vqt
        vq-train -q --steps 1 {more} -o {tmp}/run --force {tmp}/cells.vqt 2>{tmp}/said
        vq-encode -m {tmp}/run/model.safetensors --only val --samples {tmp}/val.vqt -o {tmp}/codes.vqt {tmp}/cells.vqt
        vq-decode -m {tmp}/run/model.safetensors -o {tmp}/recon.vqt {tmp}/codes.vqt''', shell=True, check=True, executable='/bin/bash')
    cells, recon = ([r.tensors['image'] for r in vqt.read(f'{tmp}/{f}.vqt')[1]] for f in ('val', 'recon'))
    assert len(cells) == len(recon) > 1 and all(np.abs(r).max() < 1 for r in recon)  # nothing was clipped
    with open(f'{tmp}/run/history.jsonl') as f:
        said = json.loads(f.readlines()[-1])['val']['perceptual']
    network = Network(name)
    want = float(np.mean([network.distance(a, b, scales) for a, b in zip(cells, recon)]))
    say(f'vq-train, {name}, {channels} channels of {side} x {side}, scales {scales}', said, want, ('relative', 1e-4))


def main():
    if not os.path.isdir(WEIGHTS):
        print(f'no {WEIGHTS}')
        sys.exit(77)
    torch.set_num_threads(2)
    references()
    with tempfile.TemporaryDirectory() as tmp:
        for case in (('squeezenet', 1, 32, 1), ('squeezenet', 2, 40, 3), ('alexnet', 4, 48, 1), ('alexnet', 3, 80, 2), ('vgg16 with heads', 3, 32, 2),
                     ('vgg16', 5, 32, 1), ('vgg19', 1, 24, 2)):
            through_tool(*case, tmp)


if __name__ == '__main__':
    main()
