"""safetensors files read and written by hand with numpy alone (and compared with the safetensors package where it is there).

  safetensors_check.py make FILE      writes the golden file of tests/unit/test_safetensors.c (every element type)
  safetensors_check.py check FILE...  reads strictly; prints tensors, elements and the sum of absolute values a file
"""
import json
import struct
import sys

import numpy as np

NUMPY = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'U64': '<u8', 'I32': '<i4', 'U32': '<u4', 'I16': '<i2',
         'U16': '<u2', 'I8': 'i1', 'U8': 'u1', 'BOOL': 'u1', 'F8_E4M3': 'u1', 'F8_E5M2': 'u1'}


def read(path):
    raw = open(path, 'rb').read()
    length, = struct.unpack('<Q', raw[:8])
    header = json.loads(raw[8:8 + length].decode())
    meta = header.pop('__metadata__', {})
    assert all(isinstance(v, str) for v in meta.values()), path
    data, at, out = raw[8 + length:], 0, {}
    for name, e in sorted(header.items(), key=lambda kv: (kv[1]['data_offsets'], kv[0])):
        begin, end = e['data_offsets']
        assert begin == at, (path, name, 'hole or overlap')
        a = np.frombuffer(data[begin:end], NUMPY[e['dtype']]).reshape(e['shape'])
        assert begin % a.dtype.itemsize == 0 or a.size == 0, (path, name, 'not aligned')
        if e['dtype'] == 'BF16':
            a = (a.astype('<u4') << 16).view('<f4')
        out[name], at = a, end
    assert at == len(data), (path, 'bytes after the last tensor')
    return out, meta


def lay(path, tensors, meta):
    """tensors: {name: (type, array)}"""
    header, data = {'__metadata__': meta}, []
    at = 0
    for n in sorted(tensors, key=lambda n: (-tensors[n][1].dtype.itemsize, n)):
        a = np.ascontiguousarray(tensors[n][1]) if tensors[n][1].ndim else tensors[n][1]
        header[n] = {'dtype': tensors[n][0], 'shape': list(a.shape), 'data_offsets': [at, at + a.nbytes]}
        data.append(a.tobytes())
        at += a.nbytes
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    open(path, 'wb').write(struct.pack('<Q', len(text)) + text + b''.join(data))


def write(path, arrays, meta):
    names = {np.dtype(t): n for n, t in NUMPY.items() if n in ('F64', 'F32', 'F16', 'I64', 'I32', 'U8')}
    lay(path, {n: (names[a.dtype], a) for n, a in arrays.items()}, meta)


def make(path):
    x = np.array([0, 1, 2, 3, 100, 127])
    tensors = {
        'f64': ('F64', np.array([0, -1.5, 1e300, 5e-324, np.inf, 3], '<f8')), 'f32': ('F32', np.array([0, -1.5, 1e30, 1e-45, np.inf, 3], '<f4')),
        'f16': ('F16', np.array([0, -1.5, 65504, 6e-8, np.inf, 3], '<f2')),
        'bf16': ('BF16', (np.array([0, -1.5, 1e30, 1e-40, np.inf, 3], '<f4').view('<u4') >> 16).astype('<u2')),
        'i64': ('I64', np.array([0, -1, 2**62, -2**63, 4, 5], '<i8')), 'u64': ('U64', np.array([0, 1, 2**62, 2**63 - 1, 4, 5], '<u8')),
        'u64big': ('U64', np.array([0, 2**63], '<u8').reshape(2, 1)), 'i32': ('I32', np.array([0, -1, 2**31 - 1, -2**31, 4, 5], '<i4')),
        'u32': ('U32', np.array([0, 1, 2**31, 2**32 - 1, 4, 5], '<u4')), 'i16': ('I16', np.array([0, -1, 32767, -32768, 4, 5], '<i2')),
        'u16': ('U16', np.array([0, 1, 32768, 65535, 4, 5], '<u2')), 'i8': ('I8', np.array([0, -1, 127, -128, 4, 5], 'i1')),
        'u8': ('U8', np.array([0, 1, 128, 255, 4, 5], 'u1')), 'bool': ('BOOL', (x % 2).astype('u1')),
        # 0, 1, -2, smallest subnormal, largest, NaN
        'e4m3': ('F8_E4M3', np.array([0, 0x38, 0xc0, 1, 0x7e, 0x7f], 'u1')), 'e5m2': ('F8_E5M2', np.array([0, 0x3c, 0xc0, 1, 0x7b, 0x7c], 'u1')),
        'scalar': ('F32', np.array(2.5, '<f4')), 'empty': ('F32', np.zeros((3, 0, 2), '<f4')),
    }
    lay(path, {n: (t, a.reshape(2, 3) if a.shape == (6,) else a) for n, (t, a) in tensors.items()}, {'format': 'pt', 'note': 'every type, "quoted" \u00e9'})


if __name__ == '__main__':
    if sys.argv[1] == 'make':
        make(sys.argv[2])
    else:
        for path in sys.argv[2:]:
            tensors, meta = read(path)
            try:
                from safetensors.numpy import load_file
                package = load_file(path)
                assert set(package) == set(tensors), path
                assert all(np.array_equal(package[k].astype('f8'), tensors[k].astype('f8'), equal_nan=True) for k in package), path
            except ImportError:
                pass
            finite = [a.astype('f8')[np.isfinite(a.astype('f8'))] for a in tensors.values()]
            print(path, len(tensors), sum(a.size for a in tensors.values()), repr(float(sum(np.abs(f).sum() for f in finite))))
