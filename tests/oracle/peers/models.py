"""The three families in plain PyTorch, any width, for parity.py: what configs' keys mean, layer by layer. Shapes are NCHW.

Parameters are named as lib/model names them, but for the codebooks, which have PyTorch users' usual names (quantizer.codebook, .count and
.sums; codebook.weight; quantizer.w, .n and .m), and for the biases of convolutions before a norm, which the product does not have.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Book(nn.Module):
    """Rows that follow the moving averages of what chose them; a straight-through step."""

    def __init__(self, size, width, beta, decay, names=('codebook', 'count', 'sums')):
        super().__init__()
        self.size, self.width, self.beta, self.decay, self.names = size, width, beta, decay, names
        rows = torch.randn(size, width)
        for name, value in zip(names, (rows, torch.ones(size), rows.clone())):
            self.register_buffer(name, value)

    def forward(self, z):
        rows, count, sums = (getattr(self, name) for name in self.names)
        flat = z.reshape(-1, self.width)
        code = torch.cdist(flat.double(), rows.double()).argmin(1)
        q = rows[code].clone()
        if self.training:
            with torch.no_grad():
                chose = F.one_hot(code, self.size).to(flat.dtype)
                count.mul_(self.decay).add_((1 - self.decay) * chose.sum(0))
                sums.mul_(self.decay).add_((1 - self.decay) * chose.t() @ flat)
                total = count.sum()
                rows.copy_(sums / ((count + 1e-5) / (total + self.size * 1e-5) * total)[:, None])
        return (flat + (q - flat).detach()).view_as(z), self.beta * F.mse_loss(flat, q), code


class Down(nn.Module):
    def __init__(self, i, o, k, s, p):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(i, o, k, s, p), nn.BatchNorm2d(o)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Up(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.deconv, self.bn = nn.ConvTranspose2d(i, o, 4, 2, 1), nn.BatchNorm2d(o)

    def forward(self, x):
        return F.relu(self.bn(self.deconv(x)))


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c), nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Attention(nn.Module):
    def __init__(self, c, inner):
        super().__init__()
        self.query, self.key, self.value = nn.Conv2d(c, inner, 1), nn.Conv2d(c, inner, 1), nn.Conv2d(c, c, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        q, k, v = self.query(x).flatten(2), self.key(x).flatten(2), self.value(x).flatten(2)
        seen = torch.softmax(torch.einsum('nci,ncj->nij', q, k), 2)
        return x + self.gamma * torch.einsum('nij,ncj->nci', seen, v).view_as(x)


def mlp(widths, drops, end):
    """Linear layers; after each but the last ReLU, and dropout (of 0) after the first `drops`."""
    layers = []
    for i in range(len(widths) - 1):
        layers.append(nn.Linear(widths[i], widths[i + 1]))
        if i < len(widths) - 2 or end:
            layers.append(nn.ReLU())
        if i < len(widths) - 2 and i < drops:
            layers.append(nn.Dropout(0))
    return nn.Sequential(*layers)


class Improved(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        w, n = c['channels_per_level'], c['levels']
        self.pool, self.last, self.is_global, self.features = c['pool_size'], w[-1], c['latent'] == 'global', c['skip'] == 'features'
        self.down = nn.ModuleList([Down(i, o, 3 if l else 7, 2, 1 if l else 3) for l, (i, o) in enumerate(zip([channels] + w, w))])
        self.res = nn.ModuleList([Residual(i) for i in w[:-1]])
        self.attention, self.attention2 = (Attention(w[-1], c['attention_width'] or w[-1] // 8) for _ in range(2))
        if self.is_global:
            flat, hidden = w[-1] * self.pool ** 2, c['hidden']
            self.to_code = mlp([flat] + hidden + [c['embedding_dim']], len(hidden), False)
            self.from_code = mlp([c['embedding_dim']] + hidden[::-1] + [flat], len(hidden), True)
        self.quantizer = Book(c['num_embeddings'], c['embedding_dim'], c['commitment_cost'], c['ema_decay'])
        self.up = nn.ModuleList([Up(i, o) for i, o in zip(w[::-1], w[-2::-1] + [c['head_channels']])])
        self.ures = nn.ModuleList([Residual(i) for i in w[-2::-1]])
        if self.features:
            self.skips = nn.ModuleList([nn.Conv2d(i, i, 1) for i in w[-2::-1]])
        self.out = nn.Conv2d(c['head_channels'], channels, 3, 1, 1)

    def forward(self, x):
        size, h, kept = x.shape[2:], x, []
        for i, down in enumerate(self.down):
            h = down(h)
            if i < len(self.res):
                h = self.res[i](h)
                kept.append(h)
        h = self.attention(h)
        if self.is_global:
            q, loss, code = self.quantizer(self.to_code(F.adaptive_avg_pool2d(h, self.pool).flatten(1)))
            y = self.from_code(q).view(-1, self.last, self.pool, self.pool)
        else:
            q, loss, code = self.quantizer(h.permute(0, 2, 3, 1))
            y = q.permute(0, 3, 1, 2)
        y = self.attention2(y)
        for i, up in enumerate(self.up):
            y = up(y)
            if i < len(self.ures):
                if self.features:
                    e = kept[-1 - i]
                    if e.shape != y.shape:
                        e = F.interpolate(e, size=y.shape[2:], mode='bilinear', align_corners=False)
                    y = y + self.skips[i](e)
                y = self.ures[i](y)
        if y.shape[2:] != size:
            y = F.interpolate(y, size=size, mode='bilinear', align_corners=False)
        return self.out(y), loss, code


class Original(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        w, n, self.pool, self.beta = c['channels_per_level'], c['levels'], c['pool_size'], c['commitment_cost']
        self.last, hidden = w[-1], c['hidden']
        self.down = nn.ModuleList([Down(i, o, 3 if l else 7, 2 if l else 3, 0 if l == n - 2 else 1) for l, (i, o) in enumerate(zip([channels] + w, w))])
        self.to_code = mlp([w[-1] * self.pool ** 2] + hidden + [c['embedding_dim']], 1, False)
        self.codebook = nn.Embedding(c['num_embeddings'], c['embedding_dim'])
        self.from_code = mlp([c['embedding_dim']] + hidden[::-1] + [w[-1] * self.pool ** 2], 1, True)
        self.up = nn.ModuleList([Up(i, o) for i, o in zip(w[::-1], w[-2::-1])])
        self.out = nn.Conv2d(w[0], channels, 3, 1, 1)

    def forward(self, x):
        h = x
        for down in self.down:
            h = down(h)
        z = self.to_code(F.adaptive_avg_pool2d(h, self.pool).flatten(1))
        code = torch.cdist(z.double(), self.codebook.weight.double()).argmin(1)
        q = self.codebook(code)
        loss = self.beta * F.mse_loss(z, q.detach()) + F.mse_loss(q, z.detach())
        y = self.from_code(q).view(-1, self.last, self.pool, self.pool)
        for up in self.up:
            y = up(y)
        return self.out(F.interpolate(y, size=x.shape[2:], mode='bilinear', align_corners=False)), loss, code


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, 1, 1), nn.Conv2d(c, c, 3, 1, 1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Codes(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        w, blocks = c['channels_per_level'], c['blocks']
        enc, dec = [], [nn.Conv2d(c['embedding_dim'], w[-1], 1)]
        for l, (i, o) in enumerate(zip([channels] + w, w)):
            enc += [nn.Conv2d(i, o, 3 if l else 7, 2, 1 if l else 3), nn.ReLU()] + [Block(o) for _ in range(blocks)]
        for i, o in zip(w[::-1], w[-2::-1] + [None]):
            dec += [nn.ConvTranspose2d(i, o or c['head_channels'], 4, 2, 1), nn.ReLU()] + [Block(o) for _ in range(blocks) if o]
        self.enc = nn.Sequential(*enc, nn.Conv2d(w[-1], c['embedding_dim'], 1))
        self.dec = nn.Sequential(*dec, nn.Conv2d(c['head_channels'], channels, 3, 1, 1))
        self.quantizer = Book(c['num_embeddings'], c['embedding_dim'], c['commitment_cost'], c['ema_decay'], ('w', 'n', 'm'))

    def forward(self, x):
        q, loss, code = self.quantizer(self.enc(x).permute(0, 2, 3, 1))
        return self.dec(q.permute(0, 3, 1, 2)), loss, code


def make(config, channels):
    return {'improved': Improved, 'original': Original, 'codes': Codes}[config['model']](config, channels)
