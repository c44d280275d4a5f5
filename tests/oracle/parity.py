"""Training and models against PyTorch: forward, first gradients, parameters after 20 SGD steps, through `vq-train --init` too.

  parity.py             compares peers/models.py, which all else here is held to, with the classes of ../shared/peers (or $VQ_SHARED/peers);
                        makes reference files and has build's test_parity compare them (VQ_UNITS names its directory); then trains with vq-train
  parity.py golden DIR  writes the small ones, and optimisers' steps, that are in tests/golden: tests/oracle/parity.py golden tests/golden

A reference file is a state_dict as PyTorch saves it with, beside the weights, parity.input (u8: x = (v - 128) / 64), parity.rest (the output at
rest, by running statistics), parity.output, parity.z, parity.codes and parity.losses of the first step (training), parity.grad.NAME and
parity.after.NAME (after 20 steps), all but the first weights under the product's own names. Its metadata has the configuration. PyTorch
computes in f64 from weights that f32 holds, so that what is off is the product's.
"""
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import vqt
from peers import models
from safetensors_check import read, write

STEPS = 20
SGD = {'dropout': 0, 'mixed_precision': 'off', 'use_perceptual_loss': False, 'content_weighting': False, 'augment_flip': False, 'revive_threshold': 0, 'codebook_refit': 0,
       'optimizer': 'sgd', 'momentum': 0.9, 'weight_decay': 0, 'gradient_clip_norm': 0, 'use_scheduler': False, 'warmup_steps': 0, 'batch_size': 64,
       'pixels_per_step': 0}
TINY = {'improved': {'channels_per_level': [4, 6, 8], 'levels': 3, 'head_channels': 4, 'attention_width': 2, 'pool_size': 2, 'hidden': [12, 10], 'embedding_dim': 5,
                     'num_embeddings': 6},
        'original': {'channels_per_level': [3, 4, 5, 6, 8], 'pool_size': 2, 'head_channels': 3, 'hidden': [12, 10], 'embedding_dim': 5, 'num_embeddings': 6},
        'peer': {'channels_per_level': [4, 6], 'head_channels': 4, 'embedding_dim': 5, 'num_embeddings': 9}}
GRID = {'latent': 'grid', 'skip': 'none'}
# name: (config file, changes, channels, input shape, learning rate)
SMALL = {'improved-global': ('improved', TINY['improved'], 2, (5, 2, 40, 24), .01),
         'improved-grid': ('improved', {**TINY['improved'], **GRID, 'embedding_dim': 8, 'num_embeddings': 12}, 2, (4, 2, 32, 40), .01),
         'original': ('original', TINY['original'], 1, (6, 1, 64, 64), .01),
         'codes': ('peer', TINY['peer'], 2, (3, 2, 24, 36), .004)}
# of the documents' own widths: rates small enough that no step changes what is nearest to what
REAL = {'improved-global': ('improved', {}, 4, (4, 4, 48, 48), .00002), 'improved-grid': ('improved', {**GRID, 'embedding_dim': 256}, 4, (4, 4, 48, 48), .00002),
        'original': ('original', {}, 4, (8, 4, 64, 64), .0001), 'codes': ('peer', {}, 4, (2, 4, 32, 40), .01)}


def config_of(name, changes, rate):
    text = open(f'configs/{name}.json').read()
    c = json.loads(re.sub(r'^\s*//.*$|(?<=[,\]\[{"\d e])\s//.*$', '', text, flags=re.M))
    c.pop('$schema', None)
    c.update(SGD, **changes, learning_rate=rate)
    return c


def picture(shape, seed):
    """Soft blobs with noise, as u8."""
    r, (n, c, h, w) = np.random.default_rng(seed), shape
    y, x = np.mgrid[:h, :w]
    out = np.empty(shape)
    for i in range(n):
        for k in range(c):
            cy, cx, s = r.uniform(.3, .7) * h, r.uniform(.3, .7) * w, r.uniform(.1, .3) * min(h, w)
            out[i, k] = 60 + 130 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s * s)) * r.uniform(.5, 1) + r.normal(0, 8, (h, w))
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def scatter(model, x):
    """Weights that leave nothing at 0 or 1, and rows of the codebook near what the encoder makes, so that many are used."""
    r = torch.Generator().manual_seed(3)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.weight.data.uniform_(.6, 1.4, generator=r)
            m.bias.data.uniform_(-.3, .3, generator=r)
            m.running_mean.uniform_(-.2, .2, generator=r)
            m.running_var.uniform_(.5, 1.5, generator=r)
        if isinstance(getattr(m, 'gamma', None), nn.Parameter):
            m.gamma.data.fill_(.5)
    z = latents(model, x)
    rows, size = book(model), len(book(model))
    near = z[torch.randint(len(z), (size,), generator=r)]
    rows.data.copy_(near + .3 * z.std(0) * torch.randn(rows.shape, generator=r))
    if hasattr(model, 'quantizer'):
        count, sums = ('count', 'sums') if hasattr(model.quantizer, 'count') else ('n', 'm')
        getattr(model.quantizer, count).uniform_(1, 5, generator=r)
        getattr(model.quantizer, sums).copy_(rows * getattr(model.quantizer, count)[:, None])


def book(model):
    if hasattr(model, 'codebook'):
        return model.codebook.weight
    return model.quantizer.codebook if hasattr(model.quantizer, 'codebook') else model.quantizer.w


def latents(model, x):
    """What is quantised in training, [positions, width]; the model stays as it was."""
    kept, seen = {k: v.clone() for k, v in model.state_dict().items()}, []
    part = model.quantizer if hasattr(model, 'quantizer') else model.to_code
    hook = part.register_forward_hook(lambda m, given, made: seen.append((given[0] if part is getattr(model, 'quantizer', None) else made).detach().clone()))
    model.train()
    with torch.no_grad():
        model(x)
    hook.remove()
    model.load_state_dict(kept)
    return seen[0].reshape(-1, seen[0].shape[-1])


OURS = {'quantizer.count': 'quantizer.ema_count', 'quantizer.sums': 'quantizer.ema_sum', 'codebook.weight': 'quantizer.codebook', 'quantizer.w': 'quantizer.codebook',
        'quantizer.n': 'quantizer.ema_count', 'quantizer.m': 'quantizer.ema_sum'}


def as_ours(state):
    """The product's names; a convolution's bias before a norm goes into its running mean, where it has the same effect."""
    out = {}
    for name, t in state.items():
        m = re.match(r'(.*)\.(?:de)?conv(\d?)\.bias$', name)
        if m and f'{m[1]}.bn{m[2]}.weight' in state or name.endswith('num_batches_tracked'):
            continue
        m = re.match(r'(.*)\.bn(\d?)\.running_mean$', name)
        for kind in ('conv', 'deconv') if m else ():
            if f'{m[1]}.{kind}{m[2]}.bias' in state:
                t = t - state[f'{m[1]}.{kind}{m[2]}.bias']
        out[OURS.get(name, name)] = t
    return {k: v.detach().clone() for k, v in out.items()}


def step(model, x, weight):
    y, commit, code = model(x)
    recon = F.mse_loss(y, x)
    loss = weight * recon + commit
    model.zero_grad(set_to_none=True)
    loss.backward()
    return y, loss, recon, code


def reference(model, config, v, path, steps=STEPS):
    x = (torch.from_numpy(v).float() - 128) / 64
    scatter(model, x)
    out = {k: t.detach().clone() for k, t in model.state_dict().items()}
    put = {'input': v}
    model, x = model.double(), x.double()
    model.eval()
    with torch.no_grad():
        put['rest'] = model(x)[0]
    put['z'] = latents(model, x)
    model.train()
    rate = torch.optim.SGD(model.parameters(), config['learning_rate'], config['momentum'])
    for i in range(steps):
        y, loss, recon, code = step(model, x, config['reconstruction_loss_weight'])
        if i == 0:
            put.update(output=y, codes=code.reshape(-1).int(), losses=torch.stack([loss, recon]))
            grads = {k: p.grad if p.grad is not None else torch.zeros_like(p) for k, p in model.named_parameters()}
            put.update({'grad.' + k: g for k, g in as_ours({**model.state_dict(), **grads}).items() if k in grads or k == 'quantizer.codebook' and 'codebook.weight' in grads})
        rate.step()
    put.update({'after.' + k: t for k, t in as_ours(model.state_dict()).items()})
    out.update({'parity.' + k: t for k, t in put.items()})
    plain = {k: t.detach().numpy() if isinstance(t, torch.Tensor) else t for k, t in out.items()}
    write(path, {k: t.astype(np.float32) if t.dtype == np.float64 else t for k, t in plain.items()}, {'config': json.dumps(config)})
    return len(set(code.reshape(-1).tolist()))


def steps(path):
    """What optimisers make of given gradients, and learning rates, for tests/unit/test_parity_steps.c."""
    r, out, kinds = np.random.default_rng(5), {}, torch.optim
    cases = {'adamw': (kinds.AdamW, dict(lr=.01, betas=(.9, .999), weight_decay=.1), 0), 'adamw-clipped': (kinds.AdamW, dict(lr=.01, betas=(.9, .99), weight_decay=1e-4), .5),
             'adam': (kinds.Adam, dict(lr=.01, betas=(.9, .999), weight_decay=.1), 0), 'sgd': (kinds.SGD, dict(lr=.05, momentum=.9, weight_decay=.01), 0),
             'sgd-clipped': (kinds.SGD, dict(lr=.05), 1.5), 'sgd-below-clip': (kinds.SGD, dict(lr=.05, momentum=.5, weight_decay=.01), 1e6)}
    out['start'] = r.normal(size=210).astype('f4')
    for name, (kind, options, clip) in cases.items():
        p = nn.Parameter(torch.from_numpy(out['start']).double())
        optimiser, grads, after = kind([p], **options), [], []
        for i in range(5):
            grads.append((r.normal(size=210) * r.uniform(.01, 3)).astype('f4'))
            p.grad = torch.from_numpy(grads[-1]).double()
            if clip:
                nn.utils.clip_grad_norm_([p], clip)
            optimiser.step()
            after.append(p.detach().float().numpy().copy())
        out[name + '.grad'], out[name + '.after'] = np.stack(grads), np.stack(after)
    schedule = torch.optim.lr_scheduler

    def rates(n, make, losses=None):
        optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], .3)
        s, got = make(optimiser), []
        for i in range(n):
            if losses is None:
                got.append(optimiser.param_groups[0]['lr'])
            optimiser.step()
            s.step(*([] if losses is None else [losses[i]]))
            if losses is not None:
                got.append(optimiser.param_groups[0]['lr'])
        return np.array(got)

    losses = [3, 2, 2.5, 2, 2.1, 1, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, .9, .95, .9, .9, .9, .9]
    out['lr.losses'] = np.array(losses)
    out['lr.cosine'] = rates(20, lambda o: schedule.CosineAnnealingLR(o, 20))
    out['lr.step'] = rates(12, lambda o: schedule.StepLR(o, 3, .2))
    out['lr.plateau'] = rates(len(losses), lambda o: schedule.ReduceLROnPlateau(o, factor=.5, patience=2, threshold=0), losses)
    write(path, out, {})


def make(name, case, path):
    kind, changes, channels, shape, rate = case
    config = config_of(kind, changes, rate)
    torch.manual_seed(1)
    return reference(models.make(config, channels), config, picture(shape, 7), path)


def compare(paths):
    """One line of TAP a file, from the unit test that compares."""
    said = subprocess.run([os.path.join(os.environ.get('VQ_UNITS', 'build/unit'), 'test_parity')], env={**os.environ, 'VQ_PARITY': ':'.join(paths)},
                          stdout=subprocess.PIPE, text=True).stdout
    print(said, end='')


def through_tool(name, case, tmp):
    """vq-train --init from a fresh state_dict, 20 epochs of one batch each, against the same in PyTorch; cells that share canvases or have their own."""
    kind, changes, channels, _, rate = case
    config = {**config_of(kind, changes, rate), 'normalize_method': 'robust', 'pad_mode': 'reflect', 'val_fraction': 0, 'epochs': STEPS, 'save_samples_every': 0}
    if kind == 'peer':
        config['pixels_per_step'] = 30000
    run, init, stream = (f'{tmp}/{name}{end}' for end in ('', '.init', '.vqt'))
    subprocess.run(f'vq-synth -n 6 --channels {channels} --min-size 32 --max-size 32 | vq-normalize --robust | vq-pad --reflect -o {stream}', shell=True, check=True)
    x = torch.from_numpy(np.stack([r.tensors['image'] for r in vqt.read(stream)[1]]))
    torch.manual_seed(2)
    model = models.make(config, channels)
    scatter(model, x)
    write(init, {k: t.detach().numpy() for k, t in model.state_dict().items()}, {})
    json.dump(config, open(f'{tmp}/{name}.json', 'w'))
    subprocess.run(['vq-train', '-q', '-c', f'{tmp}/{name}.json', '--init', init, '-o', run, stream], check=True)
    got, meta = read(f'{run}/model.safetensors')
    model, x = model.double().train(), x.double()
    sgd = torch.optim.SGD(model.parameters(), rate, config['momentum'])
    for _ in range(STEPS):
        step(model, x, config['reconstruction_loss_weight'])
        sgd.step()
    want, off, where = as_ours(model.state_dict()), 0, 'nothing'
    for k in set(got) | set(want):
        d = float(np.linalg.norm(got[k].astype('f8') - want[k].numpy()) / np.linalg.norm(want[k].numpy())) if k in got and k in want else np.inf
        off, where = max((off, where), (d, k))
    good = off <= 1e-4 and meta['step'] == str(STEPS)
    print(f"{'ok' if good else 'not ok'} - vq-train --init, {STEPS} steps of SGD, {name}: {where} off by {off:.1e} in step {meta['step']}")


PEERS = os.path.join(os.environ.get('VQ_SHARED') or '../shared', 'peers', 'torch_vqvae.py')


def off(got, want):
    return float((got - want).abs().max() / want.abs().max())


def beside_peer(theirs, name, config):
    """Our restatement with the weights of the peer's own class, in f32: outputs at rest and in training, codes, losses, what the step does to the
    codebook, and gradients (a tenth of how far these are off). The largest difference, and where; a difference of 1 when the codes differ."""
    torch.manual_seed(4)
    x = torch.randn(4, 4, 48, 48) * .5 + torch.linspace(-1, 1, 48)
    ours = models.make(config, 4)
    scatter(ours, x)
    state = ours.state_dict()
    spare = set(theirs.state_dict()) - set(state)  # layers that its forward pass leaves out
    assert not set(state) - set(theirs.state_dict()) and all(k.startswith('skips.') and config['skip'] == 'none' for k in spare), spare
    theirs.load_state_dict(state, strict=False)
    for m in theirs.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0
        if hasattr(m, 'step'):
            m.step = 1  # else its first step takes rows of the codebook from data
    worst = []
    for training in False, True:
        made = []
        for model in ours.train(training), theirs.train(training):
            y, loss, code = model(x)
            model.zero_grad()
            # the peer's original weighs the two terms of its codebook the other way round (beta is the codebook's): the same loss, other gradients
            (F.mse_loss(y, x) + (0 if name == 'original' else loss)).backward()
            made.append((y.detach(), loss.detach(), code.flatten(), {k: p.grad for k, p in model.named_parameters() if p.grad is not None}, model.state_dict()))
        (y, loss, code, grads, after), (y2, loss2, code2, grads2, after2) = made
        where = 'in training' if training else 'at rest'
        worst += [(off(y, y2), f'output {where}'), (off(loss, loss2), f'loss {where}'), (float((code != code2).any()), f'codes {where}')]
        if training:
            largest = max(float(g.norm()) for g in grads2.values())
            worst += [(float((grads[k] - grads2[k]).norm() / max(float(grads2[k].norm()), 1e-3 * largest)) / 10, f'gradient of {k}') for k in grads2]
            worst += [(off(after[k], after2[k]), f'{k} after a step') for k in after if k.startswith('quantizer')]
    return max(worst), len(set(code.tolist()))


def same_as_peer():
    if not os.path.exists(PEERS):
        print(f'ok - the restated models beside the shared peer # skip {PEERS} is not there')
        return
    spec = importlib.util.spec_from_file_location('torch_vqvae', PEERS)
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    classes = {'improved-global': lambda: peer.Improved(), 'improved-grid': lambda: peer.Improved(latent='grid', skip='none'), 'codes': lambda: peer.Codes(),
               'original': lambda: peer.Original()}
    for name, (kind, changes, _, _, rate) in REAL.items():
        (worst, where), used = beside_peer(classes[name](), name, config_of(kind, changes, rate))
        good = worst <= 1e-5 and used > 1
        print(f"{'ok' if good else 'not ok'} - {name} is the shared peer's, with equal weights: {where} off by {worst:.1e}, {used} codes")


def main():
    torch.set_num_threads(2)
    if sys.argv[1:2] == ['golden']:
        for name, case in SMALL.items():
            print(name, 'codes used', make(name, case, f'{sys.argv[2]}/parity-{name}.safetensors'))
        steps(f'{sys.argv[2]}/parity-steps.safetensors')
        return
    same_as_peer()
    with tempfile.TemporaryDirectory() as tmp:
        for size, cases in (('tiny', SMALL), ('real', REAL)):
            for name, case in cases.items():
                make(name, case, f'{tmp}/{size}-{name}.safetensors')
        compare([f'{tmp}/{f}' for f in sorted(os.listdir(tmp))])
        for name, case in SMALL.items():
            through_tool(name, case, tmp)


if __name__ == '__main__':
    main()
