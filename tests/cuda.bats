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

# Two streams of one size, with more than vq-metrics scores before it looks for a device.
large() {
    for seed in 1 2; do vq-synth -n 520 --seed $seed --min-size 64 --max-size 64 | vq-normalize --none >$seed.vqt; done
    mv 1.vqt x.vqt
    mv 2.vqt y.vqt
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
    fails 1 vq-metrics --device cuda --reference cells.vqt cells.vqt
    same "$err" "vq-metrics: device cuda: no NVIDIA driver (libcuda.so.1) on this machine"
    # what else is wrong is found first
    fails 2 vq-metrics --device cuda --reference cells.vqt --group-by cell cells.vqt
    fails 1 vq-metrics --device cuda --reference cells.vqt no.vqt
    has "$err" no.vqt
    # it is looked for when there is work for it
    ok vq-metrics -v --reference cells.vqt cells.vqt
    [[ $err != *NVIDIA* ]]
    large
    ok vq-metrics -v --range 4096 --reference x.vqt y.vqt
    has "$err" "vq-metrics: computing on the CPU: no NVIDIA driver (libcuda.so.1) on this machine"
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
    for tool in vq-train vq-encode vq-decode vq-metrics; do
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

# The whole backend but for NVIDIA's libraries, on the host: what the tests of the engine say of it.
on_the_host() {
    built
    [ -e "$VQ_BUILD/emulated/lib/vq/libvq_cuda.so" ] || skip "no emulated backend"
    cd "$ROOT" || return 1
    for unit in "$@"; do
        VQ_TEST_DEVICE=cuda LD_LIBRARY_PATH=$VQ_BUILD/emulated/driver "$VQ_BUILD/emulated/unit/$unit" || return 1
    done
}

@test "operations on the host" { on_the_host test_ops_dense test_ops_norm test_ops_quantize test_ops_spatial test_ops_train; }
@test "convolutions on the host" { long_only; on_the_host test_ops_conv; }
@test "gradients of whole models on the host" { on_the_host test_graph; }
@test "encoding, decoding and packing on the host" { long_only; on_the_host test_model; }
@test "trainings on the host" { long_only; on_the_host test_alike test_again; }
@test "frozen networks on the host" { long_only; on_the_host test_perceptual; }

@test "cuDNN takes every convolution of the models, for four generations of devices" {
    [ -x "$VQ_BUILD/gpu/graphs" ] || skip "built without CUDA"
    cd "$ROOT"
    "$VQ_BUILD/gpu/graphs"
}

@test "each kernel that is timed runs" {
    [ -x "$VQ_BUILD/emulated/gpu/kernels" ] || skip "built without CUDA"
    for shape in "2 6 16" "1 3 5"; do
        ok "$VQ_BUILD/emulated/gpu/kernels" $shape 1
        for name in add "silu bwd" "bias + relu" norm "norm bwd" pool resize loss adamw "quantize " "ema sums" attention; do has "$out" "
$name"; done
    done
}

# Programs that find the emulated backend beside them.
host_tools() {
    built
    [ -e "$VQ_BUILD/emulated/lib/vq/libvq_cuda.so" ] || skip "no emulated backend"
    mkdir -p bin lib/vq
    cp "$VQ_BUILD/bin/vq-train" "$VQ_BUILD/bin/vq-encode" "$VQ_BUILD/bin/vq-metrics" bin/
    cp "$VQ_BUILD/emulated/lib/vq/libvq_cuda.so" lib/vq/
    vq-synth -n 8 --max-size 40 | vq-normalize >cells.vqt
    export LD_LIBRARY_PATH=$VQ_BUILD/emulated/driver
}

# A figure of a training's last epoch.
last() { tail -n 1 "$1/history.jsonl" >.last && json .last "$2"; }
small=(--steps 2 --set mixed_precision=off --set pixels_per_step=2048 --set val_fraction=0.3)

@test "a training on the host: that of the CPU, and the same bytes twice" {
    host_tools
    for run in one two; do ok bin/vq-train --device cuda -o $run "${small[@]}" cells.vqt; done
    cmp one/model.safetensors two/model.safetensors
    ok bin/vq-train --device cpu -o cpu "${small[@]}" cells.vqt
    for key in train.loss val.loss val.psnr; do near "$(last one $key)" "$(last cpu $key)" 0.001; done
    [ -n "$(last cpu val.psnr)" ]
    grep -qa 'device.*cuda' one/last.ckpt
    bin/vq-encode --threads 1 --device cuda -m one/model.safetensors cells.vqt >cuda.vqt
    bin/vq-encode --threads 1 --device cpu -m one/model.safetensors cells.vqt >cpu.vqt
    same "$(vq-codebook-stats cuda.vqt)" "$(vq-codebook-stats cpu.vqt)"
}

# What an event forgot to order would show: streams that do nothing until somebody waits, and one or the other that goes ahead as far as it may.
@test "copies beside the computing, and numbers read a step later: the same bytes whichever stream is first" {
    host_tools
    for eager in 0 1 2; do
        VQ_EMULATED_EAGER=$eager VQ_EMULATED_TELL=1 ok bin/vq-train --device cuda -o run$eager "${small[@]}" --steps 5 --set revive_every=3 cells.vqt
        cmp run0/model.safetensors run$eager/model.safetensors
        for key in train.loss val.loss train.usage; do same "$(last run$eager $key)" "$(last run0 $key)"; done
        # the first run of a plan is launched node by node, the others are a graph
        [ "${err##*graphs launched: }" -gt 4 ]
    done
    ok bin/vq-train --device cpu -o cpu "${small[@]}" --steps 5 --set revive_every=3 cells.vqt
    for key in train.loss train.commit val.loss val.psnr; do near "$(last run0 $key)" "$(last cpu $key)" 0.001; done
    same "$(last run0 train.usage)" "$(last cpu train.usage)"
    [ -n "$(last cpu train.usage)" ]
}

# The library's own count, and the emulation's of all that would wait: of 8 steps and of 3, so that what differs is the steps'.
@test "no step waits for the device, but for the end of the one before" {
    built
    [ -e "$VQ_BUILD/emulated/bench/steps" ] || skip "no emulated backend"
    export LD_LIBRARY_PATH=$VQ_BUILD/emulated/driver VQ_EMULATED_TELL=1 VQ_BENCH_DEVICE=cuda
    for steps in 3 8; do
        ok "$VQ_BUILD/emulated/bench/steps" codes 8 1 f32 1 $steps
        same "$(json .stdout waits)" 0
        echo "$err" | sed 's/[^0-9]\+/ /g' >waits-$steps
    done
    same "$(paste -d ' ' waits-3 waits-8 | awk '{ print $5 - $1, $6 - $2, $7 - $3, $8 - $4 }')" "0 5 0 5"
}

# Nothing of a training waits between the making of a plan and its first run in an encoder.
@test "the first input, whichever stream is first" {
    host_tools
    vq-train -q --device cpu -o run "${small[@]}" cells.vqt
    bin/vq-encode --threads 1 --device cpu -m run/model.safetensors cells.vqt | vq-codebook-stats >cpu
    for eager in 0 1 2; do
        VQ_EMULATED_EAGER=$eager bin/vq-encode --threads 1 --device cuda -m run/model.safetensors cells.vqt >codes.vqt
        vq-codebook-stats codes.vqt >cuda
        cmp cpu cuda
    done
}

# cpu.csv and cuda.csv, of so many lines.
alike_tables() {
    awk -v lines="$1" 'NR == FNR { split($0, a, ","); for (i in a) want[FNR, i] = a[i]; next }
        { n = split($0, b, ","); for (i = 1; i <= n; i++) if (b[i] != want[FNR, i] && !(b[i] + 0 != 0 && (b[i] - want[FNR, i]) ^ 2 < 1e-18)) { print FNR, i, b[i], want[FNR, i]; bad = 1 } }
        END { exit bad || FNR != lines }' cpu.csv cuda.csv
}

# Cells with masks of every size there is, from one too small for SSIM on.
@test "metrics on the host: those of the CPU, and what is wrong with a record is said alike" {
    host_tools
    vq-synth -n 30 --max-size 60 | vq-normalize >x.vqt
    vq-train -q --device cpu -o run "${small[@]}" cells.vqt
    vq-encode -m run/model.safetensors x.vqt | vq-decode -m run/model.safetensors >y.vqt
    for device in cpu cuda; do
        ok bin/vq-metrics --device $device --threads 2 --per-record $device.csv --reference x.vqt y.vqt
        cp .stdout $device.json
    done
    for kind in mse psnr ssim ms_ssim pearson; do near "$(json cuda.json $kind.mean)" "$(json cpu.json $kind.mean)" 1e-9; done
    alike_tables 31
    fails 1 bin/vq-metrics --device cuda --reference cells.vqt x.vqt
    echo "$err" >cuda
    fails 1 bin/vq-metrics --device cpu --reference cells.vqt x.vqt
    same "$err" "$(cat cuda)"
}

@test "metrics where the device has no memory to give: the CPU's, or one line" {
    host_tools
    large
    VQ_EMULATED_MEMORY=1000000 ok bin/vq-metrics -v --range 4096 --reference x.vqt --per-record auto.csv y.vqt
    has "$err" "vq-metrics: computing on the CPU: out of device memory: a group of pictures needs "
    same "$(grep -c computing <<<"$err")" 1
    cp .stdout auto
    ok bin/vq-metrics --device cpu --range 4096 --reference x.vqt --per-record cpu.csv y.vqt
    cmp .stdout auto
    cmp auto.csv cpu.csv
    # little work does not ask for one
    VQ_EMULATED_MEMORY=1000 ok bin/vq-metrics -v --reference cells.vqt cells.vqt
    [[ $err != *CPU* ]]
    VQ_EMULATED_MEMORY=1000 fails 1 bin/vq-metrics --device cuda --reference cells.vqt cells.vqt
    [[ $err =~ ^"vq-metrics: device cuda: out of device memory: a group of pictures needs "[0-9.]+" MiB and "[0-9.]+" of 0.0 MiB are free; --device cpu needs none"$ ]] || { echo "$err"; return 1; }
}

# 26 MB on the device, were they all sent at once.
@test "metrics take a batch in groups; neither cuDNN nor cuBLAS is started for them" {
    host_tools
    for seed in 1 2; do vq-synth -n 72 --seed $seed --min-size 64 --max-size 64 | vq-normalize --none >$seed.vqt; done
    VQ_EMULATED_BARE=1 VQ_EMULATED_MEMORY=24000000 ok bin/vq-metrics --device cuda --range 4096 --reference 1.vqt --per-record cuda.csv 2.vqt
    ok bin/vq-metrics --device cpu --range 4096 --reference 1.vqt --per-record cpu.csv 2.vqt
    alike_tables 73
    # a record alone: the same bytes
    vq-synth -n 1 --seed 2 --min-size 64 --max-size 64 | vq-normalize --none >one.vqt
    ok bin/vq-metrics --device cuda --subset --range 4096 --reference 1.vqt --per-record one.csv one.vqt
    same "$(sed -n 2p one.csv)" "$(sed -n 2p cuda.csv)"
    VQ_EMULATED_BARE=1 fails 1 bin/vq-train --device cuda --steps 1 -o run cells.vqt
    has "$err" "device cuda: cudnnCreate"
}

@test "where nothing can be captured: the same bytes, and -v says so" {
    host_tools
    ok bin/vq-train --device cuda -o graphs "${small[@]}" --steps 5 cells.vqt
    VQ_EMULATED_LOOSE=1 ok bin/vq-train -v --device cuda -o loose "${small[@]}" --steps 5 cells.vqt
    cmp graphs/model.safetensors loose/model.safetensors
    has "$err" "vq-train: operations are started one by one, since they could not be captured: CUDA: cudaGraphInstantiate: "
}

@test "an engine that fails, and not for want of support, is told" {
    host_tools
    VQ_EMULATED_BROKEN=1 fails 1 bin/vq-train --device cuda -o run "${small[@]}" --set mixed_precision=bf16 cells.vqt
    has "$err" "cuDNN: an emulated failure"
}

@test "a step that is not finite is named as on the CPU, though the next one is under way when it is seen" {
    host_tools
    for device in cpu cuda; do
        fails 1 bin/vq-train --device $device "${small[@]}" --steps 30 --set optimizer=sgd --set learning_rate=10 --set warmup_steps=0 \
            --set reconstruction_loss_weight=1000000 --set gradient_clip_norm=0 -o run-$device cells.vqt
        echo "$err" >$device
    done
    has "$(cat cuda)" "vq-train: step 2: the loss is not finite: first in enc."
    cmp cpu cuda
}

@test "a perceptual loss on the host: that of the CPU" {
    host_tools
    shared weights/squeezenet1_1_features.safetensors
    for device in cuda cpu; do
        ok bin/vq-train --device $device -c "$ROOT/configs/improved.json" --set channels_per_level=8,8,12,16 --set hidden=24,12 --set num_embeddings=32 \
            --set mixed_precision=off --set batch_size=2 --steps 3 --set perceptual_net=squeezenet --set perceptual_taps= --set val_fraction=0.3 \
            --set "perceptual_file=$SHARED/weights/squeezenet1_1_features.safetensors" --set "perceptual_heads=$SHARED/weights/lpips/squeeze_v0.1.safetensors" -o $device cells.vqt
    done
    for key in train.perceptual val.perceptual val.loss; do near "$(last cuda $key)" "$(last cpu $key)" 0.002; done
    awk -v p="$(last cpu train.perceptual)" 'BEGIN { exit !(p > 0.01) }'
}

@test "out of device memory on the host" {
    host_tools
    VQ_EMULATED_MEMORY=6000000 fails 1 bin/vq-train --device cuda -o run "${small[@]}" cells.vqt
    [[ $err =~ "out of device memory: "[a-z\ ]+" needs "[0-9.]+" MiB and "[0-9.]+" of 5.7 MiB are free; lower pixels_per_step or batch_size, or set checkpoint_activations" ]] || { echo "$err"; return 1; }
    [ ! -e run/model.safetensors ]
    # and where there was a training, it stays as it is; other programs have another setting to lower
    ok bin/vq-train --device cuda -o run "${small[@]}" cells.vqt
    cp -r run before
    VQ_EMULATED_MEMORY=6000000 fails 1 bin/vq-train --device cuda -o run --resume "${small[@]}" cells.vqt
    has "$err" "out of device memory: "
    cmp run/last.ckpt before/last.ckpt
    cmp run/model.safetensors before/model.safetensors
    VQ_EMULATED_MEMORY=1000000 fails 1 bin/vq-encode --threads 1 --device cuda -m run/model.safetensors cells.vqt
    [[ $err =~ "out of device memory: ".*"; lower --threads"$ ]] || { echo "$err"; return 1; }
}

# A make that knows nothing of the one that runs the tests, which exports its own variables.
bare_make() { env -u MAKEFLAGS -u MAKEOVERRIDES -u MAKELEVEL -u CUDA -u CUDNN_HOME -u CUBLAS_HOME -u GPU_MIN "$@"; }
# What make would do, of what it finds.
plan() { bare_make PATH="$PWD/bin:$PATH" make -n -C "$ROOT" BUILD="$PWD/build" "$@"; }
package() { # DIR NAME VERSION HEADER
    mkdir -p "$1/include" "$1/lib"
    touch "$1/include/$4.h" "$1/lib/lib$2.so.$3"
}

@test "cuDNN and cuBLAS that came as packages of python3's" {
    site=lib/python3.11/site-packages/nvidia
    mkdir -p bin cuda/bin
    touch bin/python3 cuda/bin/nvcc
    chmod +x bin/python3 cuda/bin/nvcc
    package $site/cudnn cudnn 9 cudnn
    package $site/cublas cublasLt 12 cublasLt
    [ ! -e /usr/include/cublasLt.h ] && ! ls /usr/include/cudnn.h /usr/include/*-linux-gnu/cudnn.h 2>/dev/null || skip "the system has its own"
    here=$PWD
    plan CUDA_HOME="$here/cuda" "$here/build/lib/vq/libvq_cuda.so" >said
    grep -q -- "-isystem $here/$site/cudnn/include -isystem $here/$site/cublas/include -isystem $here/cuda/include" said
    grep -q -- "-L$here/$site/cudnn/lib -Wl,-rpath,$here/$site/cudnn/lib -l:libcudnn.so.9 -L$here/$site/cublas/lib -Wl,-rpath,$here/$site/cublas/lib -l:libcublasLt.so.12" said
    # a place that is named comes first, and CUDA's own before python's
    package named cudnn 9 cudnn
    plan CUDA_HOME="$here/cuda" CUDNN_HOME="$here/named" "$here/build/lib/vq/libvq_cuda.so" >said
    grep -q -- "-L$here/named/lib -Wl,-rpath,$here/named/lib -l:libcudnn.so.9" said
    package cuda cudnn 9 cudnn
    touch cuda/include/cublasLt.h
    plan CUDA_HOME="$here/cuda" "$here/build/lib/vq/libvq_cuda.so" >said
    grep -q -- " -lcudnn -lcublasLt -L$here/cuda/lib64" said
    ! grep -q "$site" said
}

@test "CUDA=1 without what it needs fails" {
    mkdir empty
    for target in check-gpu bench-gpu; do
        run_split bare_make make -s -C "$ROOT" BUILD="$PWD/build" CUDA=1 CUDA_HOME="$PWD/empty" CUDNN_HOME="$PWD/empty" $target
        [ "$status" != 0 ]
        has "$err" "$target: nvcc and cuDNN 9 are needed (CUDA_HOME, CUDNN_HOME)"
        ok bare_make make -s -C "$ROOT" BUILD="$PWD/build" CUDA_HOME="$PWD/empty" CUDNN_HOME="$PWD/empty" NVCC="$PWD/empty/nvcc" $target
        same "$out" "$target: skipped: nvcc and cuDNN are not there"
    done
}

@test "CUDA=0 leaves no backend of an earlier build" {
    mkdir -p build/lib/vq
    touch build/lib/vq/libvq_cuda.so
    plan CUDA=0 all >said
    grep -qF "rm -f $PWD/build/lib/vq/libvq_cuda.so" said
    ! grep -q -- '-o .*libvq_cuda.so' said
}

# tests/gpu/check with a device, units and a sanitizer that are scripts.
program() { # PATH, text on stdin
    mkdir -p "$(dirname "$1")"
    { echo '#!/bin/sh'; cat; } >"$1"
    chmod +x "$1"
}
device_of_scripts() {
    echo 'echo sm_00' | program build/gpu/probe
    for unit in test_ops_conv test_ops_norm test_graph test_state; do echo 'echo "ok 1 - all"' | program build/unit/$unit; done
    echo "echo '{\"waits\":0}'" | program build/bench/steps
}
check_gpu() { PATH="$PWD/bin:$PATH" BUILD="$PWD/build" UNITS="test_ops_conv test_ops_norm test_graph test_state" "$ROOT/tests/gpu/check"; }

@test "check-gpu under a sanitizer: what runs, what cannot, what did not" {
    device_of_scripts
    echo 'echo "========= COMPUTE-SANITIZER"; echo "$2 ${5##*/}" >>ran; exec "$5"' | program bin/compute-sanitizer
    sed -i "s,>>ran,>>$PWD/ran," bin/compute-sanitizer
    ok check_gpu
    has "$out" "check-gpu: 11 tests passed, 0 parts failed"
    same "$(cat ran)" "$(printf '%s\n' 'memcheck test_ops_conv' 'racecheck test_ops_conv' 'memcheck test_ops_norm' 'racecheck test_ops_norm' 'synccheck test_ops_norm' \
        'initcheck test_ops_norm' 'memcheck test_graph')"
    echo 'echo "========= COMPUTE-SANITIZER"; echo "========= Error: Device not supported. See the manual."; exit 1' | program bin/compute-sanitizer
    ok check_gpu
    has "$out" "not run: test_ops_norm, initcheck: Error: Device not supported. See the manual."
    has "$out" "check-gpu: 4 tests passed, 0 parts failed"
    echo 'echo "========= ERROR SUMMARY: 0 errors"' | program bin/compute-sanitizer
    run_split check_gpu
    [ "$status" = 1 ]
    has "$out" "FAILED test_graph, memcheck"
    echo '"$5"; echo "========= Invalid read"; exit 3' | program bin/compute-sanitizer
    run_split check_gpu
    [ "$status" = 1 ]
    has "$out" "Invalid read"
    # what is not supported beside tests that ran is no excuse
    for end in 'echo "ok 1 - all"; exit 3' 'echo "ok 1 - all"; exit 1' 'echo "not ok 1 - all"; exit 1' 'exit 3' 'exit 0'; do
        echo "echo '========= Warning: some check is not supported'; $end" | program bin/compute-sanitizer
        run_split check_gpu
        [ "$status" = 1 ] || { echo "$end"; return 1; }
        has "$out" "FAILED test_graph, memcheck"
        [[ $out != *"not run:"* ]]
    done
}

@test "check-gpu: a step that waits, a test that fails, no device" {
    device_of_scripts
    echo "echo '{\"waits\":3}'" | program build/bench/steps
    run_split check_gpu
    [ "$status" = 1 ]
    has "$out" "FAILED no step waits for the device"
    device_of_scripts
    echo 'echo "not ok 1 - it"; exit 1' | program build/unit/test_state
    run_split check_gpu
    [ "$status" = 1 ]
    has "$out" "FAILED test_state"
    echo 'echo none; exit 77' | program build/gpu/probe
    ok check_gpu
    same "$out" "check-gpu: skipped: none"
    REQUIRED=1 run_split check_gpu
    [ "$status" = 1 ]
    same "$err" "check-gpu: none"
}

@test "bench-gpu: what is asked for, beside a PyTorch that is elsewhere" {
    device_of_scripts
    for part in ops kernels; do program build/gpu/$part </dev/null; done
    echo 'echo "{\"engine\":\"vq sm_00\",\"model\":\"$1\",\"size\":$2,\"batch\":$3,\"dtype\":\"$4\",\"train_ms\":2.50,\"waits\":0}"' | program build/bench/steps
    cat <<'PY' | program bin/torch
echo "$@" >>asked
for mode in eager compile; do echo '{"engine": "torch 2", "model": "codes", "size": 64, "batch": 8, "dtype": "fp32", "mode": "'$mode'", "train_ms": '${#mode}.5', "infer_ms": 1}'; done
PY
    mkdir peers
    BUILD=$PWD/build TORCH_PYTHON=$PWD/bin/torch PEERS=$PWD/peers BATCH=8 STEPS=3 MODELS=codes SIZES=64 DTYPES=f32,bf16 ok "$ROOT/tests/gpu/bench"
    same "$(cat peers/asked)" "torch_bench.py --device cuda --batch 8 --steps 3 --models codes --sizes 64 --dtypes fp32,bf16 --modes eager,compile"
    has "$out" "codes 64 f32                   2.50 ms  eager 5.5  compile 7.5  2.20x"
    has "$out" "codes 64 bf16                  2.50 ms"
    echo 'exit 1' | program build/bench/steps
    BUILD=$PWD/build PARTS=steps MODELS=codes SIZES=64 DTYPES=bf16 run_split "$ROOT/tests/gpu/bench"
    [ "$status" = 1 ]
    has "$out" "failed: codes 64 bf16"
}

# No nvcc for this: the backend itself is of the same files as everywhere.
@test "what gpu-min builds beside the backend links neither image, JSON nor CPU libraries" {
    built
    long_only
    min=$VQ_BUILD/gpu-min
    units=$(env -u MAKEFLAGS -u MAKELEVEL make -n -C "$ROOT" GPU_MIN=1 CUDA=1 BUILD=build gpu-parts | grep -o 'gpu-min/\(unit\|gpu\|bench\)/[a-z_]*' | sort -u | grep -v gpu/kernels)
    grep -q 'unit/test_train$' <<<"$units" && grep -q 'bench/steps$' <<<"$units"
    ok env -u MAKEFLAGS -u MAKELEVEL make -s -j2 -C "$ROOT" GPU_MIN=1 CUDA=1 WERROR=1 BUILD="$min" ${units//gpu-min/$min}
    for path in "$min"/unit/test_* "$min"/gpu/ops "$min"/bench/steps; do
        ! readelf -d "$path" | grep NEEDED | grep -E 'tiff|png|cjson|dnnl|blas|zstd|hdf5|deflate' || { echo "$path"; return 1; }
    done
    run_split "$min/gpu/probe"
    [ "$status" = 77 ] || [ "$status" = 0 ]
}
