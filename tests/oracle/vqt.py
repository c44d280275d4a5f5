"""Reads .vqt streams (man/vqt.5) with numpy alone; zstd by the command. For the other scripts here; also a check of its own.

  header, records = vqt.read(PATH or BYTES)        records: list of Record(id, meta, tensors {name: array})
  header, records = vqt.run('vq-synth -n 3 | vq-pad')   the output of a shell pipeline, each command of which must succeed

bf16 becomes f32. Anything that the format forbids is a ValueError.
"""
import json
import struct
import subprocess
import sys
from collections import namedtuple

import numpy as np

Record = namedtuple('Record', 'id meta tensors')
DTYPES = {'u8': 'u1', 'i8': 'i1', 'u16': '<u2', 'i32': '<i4', 'i64': '<i8', 'f16': '<f2', 'bf16': '<u2', 'f32': '<f4', 'f64': '<f8'}


def align(n):
    return (n + 63) // 64 * 64


def require(true, what):
    if not true:
        raise ValueError(what)


def tensors_of(block, table, count, at):
    out = {}
    for i in range(count):
        row = block[table + 128 * i:table + 128 * (i + 1)]
        name, dtype = row[:64].rstrip(b'\0').decode(), row[64:72].rstrip(b'\0').decode()
        ndim, zero = struct.unpack_from('<II', row, 72)
        require(zero == 0 and ndim <= 6 and name not in out, f'tensor {name}')
        shape = struct.unpack_from('<6q', row, 80)
        require(not any(shape[ndim:]), f'tensor {name}: shape')
        a = np.frombuffer(block, DTYPES[dtype], int(np.prod(shape[:ndim], dtype=np.int64)), at).reshape(shape[:ndim])
        if dtype == 'bf16':
            a = (a.astype('<u4') << 16).view('<f4')
        out[name], at = a, align(at + int(np.prod(shape[:ndim], dtype=np.int64)) * np.dtype(DTYPES[dtype]).itemsize)
    require(at == len(block), 'a record of another size')
    return out


def parse(plain):
    """The plain stream."""
    header, records, ids, at, start, expect = None, [], set(), 0, 0, 'VQTH'
    while at < len(plain):
        head = plain[at:at + 64]
        kind, major, _, size, offset, number, id_size, json_size, count, _ = struct.unpack_from('<4sHHQQQIIII', head)
        kind = kind.decode()
        require(kind in expect and major == 1 and size % 64 == 0 and size >= 64 and offset == at - start and at + size <= len(plain), f'block at {at}')
        block = plain[at:at + size]
        if kind == 'VQTH':
            this = json.loads(block[64:64 + json_size])
            require(header is None or this['kind'] == header['kind'] and this.get('channels') == header.get('channels'), 'kinds differ')
            header, first, expect = header or this, len(records), ('VQTR', 'VQTE')
        elif kind == 'VQTR':
            text = 64 + 128 * count
            name, meta = block[text:text + id_size].decode(), json.loads(block[text + id_size:text + id_size + json_size])
            require(number == len(records) - first and name not in ids, f'record {name}')
            ids.add(name)
            records.append(Record(name, meta, tensors_of(block, 64, count, align(text + id_size + json_size))))
        else:
            require(number == len(records) - first, 'number of records')
            expect = 'VQTH'
            start = at + size
        at += size
    require(header is not None and expect == 'VQTH', 'truncated')
    return header, records


def read(stream):
    raw = stream if isinstance(stream, bytes) else open(stream, 'rb').read()
    if raw[:4] != b'VQTH':
        raw = subprocess.run(['zstd', '-dcq'], input=raw, stdout=subprocess.PIPE, check=True).stdout
    return parse(raw)


def run(command):
    return read(subprocess.run(['bash', '-o', 'pipefail', '-c', command], stdout=subprocess.PIPE, check=True).stdout)


if __name__ == '__main__':
    header, records = run('vq-synth -n 5 --channels 2 --max-size 40 --seed 3')
    assert header['kind'] == 'samples' and header['channels'] == ['DNA', 'ER'] and len(records) == 5
    for r in records:
        h, w = r.meta['size']
        assert r.tensors['image'].shape == (2, h, w) and r.tensors['image'].dtype == np.uint16 and r.tensors['mask'].shape == (h, w)
        assert r.meta['area'] == (r.tensors['mask'] == 1).sum()
    for broken in ('head -c 3000', 'head -c -64'):
        try:
            run(f'{broken} <(vq-synth -n 5 --max-size 40 | zstd -dcq)')
            sys.exit(f'a stream through {broken} was read')
        except ValueError:
            pass
    print('ok - python reads a stream')
