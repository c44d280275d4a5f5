# The CUDA backend on a machine without a device: what is said, what is loaded, what it is made of.
load helpers

setup() {
    enter_tmp
    lib=$VQ_BUILD/lib/vq/libvq_cuda.so
}

built() { [ -e "$lib" ] || skip "built without CUDA"; }

# A driver that starts and knows no device; what it says of itself is in the environment.
fake_driver() {
    command -v cc >/dev/null || skip "no C compiler"
    printf 'int cuInit(unsigned f) { return %s; }\nint cuDeviceGetCount(int *n) { *n = 0; return 0; }\n' "$1" |
        cc -shared -fPIC -x c -o libcuda.so.1 - || return 1
}

no_driver() { ! ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1' || skip "there is a driver"; }

@test "without the backend's file: not built" {
    mkdir -p bin && cp "$VQ_BUILD/bin/vq-train" bin/
    vq-synth -n 8 --max-size 40 >cells.vqt
    fails 1 bin/vq-train --device cuda --steps 1 -o run cells.vqt
    has "$err" "device cuda: this vq was built without CUDA (there is no "
    ok bin/vq-train -v --steps 1 -o run cells.vqt
    has "$err" "computing on the CPU: this vq was built without CUDA"
}

@test "without a driver" {
    built
    no_driver
    vq-synth -n 8 --max-size 40 >cells.vqt
    fails 1 vq-train --device cuda --steps 1 -o run cells.vqt
    same "$err" "vq-train: device cuda: no NVIDIA driver (libcuda.so.1) on this machine"
    [ ! -e run ]
    ok vq-train -v --device auto --steps 1 -o run cells.vqt
    has "$err" "vq-train: computing on the CPU: no NVIDIA driver (libcuda.so.1) on this machine"
    ok vq-train --steps 1 -o quiet cells.vqt
    [[ $err != *NVIDIA* ]]
    fails 1 vq-encode --device cuda -m run/model.safetensors cells.vqt
    same "$err" "vq-encode: device cuda: no NVIDIA driver (libcuda.so.1) on this machine"
    vq-encode -m run/model.safetensors cells.vqt >codes.vqt
    fails 1 vq-decode --device cuda -m run/model.safetensors codes.vqt
    same "$err" "vq-decode: device cuda: no NVIDIA driver (libcuda.so.1) on this machine"
}

@test "a driver without a device" {
    built
    no_driver
    vq-synth -n 8 --max-size 40 >cells.vqt
    fake_driver 100
    LD_LIBRARY_PATH=$PWD fails 1 vq-train --device cuda --steps 1 -o run cells.vqt
    same "$err" "vq-train: device cuda: an NVIDIA driver, but no device"
    fake_driver 0
    LD_LIBRARY_PATH=$PWD fails 1 vq-train --device cuda --steps 1 -o run cells.vqt
    same "$err" "vq-train: device cuda: an NVIDIA driver, but no device"
    fake_driver 803
    LD_LIBRARY_PATH=$PWD fails 1 vq-train --device cuda --steps 1 -o run cells.vqt
    same "$err" "vq-train: device cuda: the NVIDIA driver does not start (error 803)"
}

@test "the programs have what the backend takes from them, and give nothing else away" {
    built
    nm -D --undefined-only "$lib" | awk '$2 ~ /^vq_/ { print $2 }' | sort >wanted
    [ -s wanted ]
    for tool in vq-train vq-encode vq-decode; do
        nm -D --defined-only "$VQ_BUILD/bin/$tool" | awk '{ print $3 }' | sort | comm -23 wanted - | sed "s/^/$tool has no /"
    done >missing
    same "$(cat missing)" ""
    same "$(nm -D --defined-only "$lib" | awk '$3 ~ /vq|cuda_/ { print $3 }')" vq_cuda_open
}

@test "only the backend's file links CUDA" {
    built
    for path in "$VQ_BUILD"/bin/vq-*; do
        ! readelf -d "$path" | grep NEEDED | grep -E 'libcu(da|dnn|blas)' || { echo "$path"; return 1; }
    done
    readelf -d "$lib" | grep NEEDED | grep -q libcudnn
}
