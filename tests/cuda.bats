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

# Programs that find the emulated backend beside them.
host_tools() {
    built
    [ -e "$VQ_BUILD/emulated/lib/vq/libvq_cuda.so" ] || skip "no emulated backend"
    mkdir -p bin lib/vq
    cp "$VQ_BUILD/bin/vq-train" "$VQ_BUILD/bin/vq-encode" bin/
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
}
