# The perceptual loss in vq-train: its term, its files, and what is refused.
load helpers

small=(--set channels_per_level=8,8,12,16 --set hidden=24,12 --set num_embeddings=32 --set learning_rate=0.003 --set batch_size=6 --threads 2 -q)
improved() { vq-train -c "$ROOT/configs/improved.json" "${small[@]}" "$@" cells.vqt; }
off='; --set use_perceptual_loss=false switches it off'

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    export OMP_WAIT_POLICY=passive
    vq-synth -n 30 --max-size 60 >raw.vqt
    vq-normalize raw.vqt >cells.vqt
}
setup() {
    enter_tmp
    export OMP_WAIT_POLICY=passive
    ln -s "$BATS_FILE_TMPDIR"/*.vqt .
}

# Sets net and squeeze, the options for LPIPS by SqueezeNet; W is where weights are.
squeezenet() {
    shared weights/squeezenet1_1_features.safetensors
    W=$SHARED/weights
    net=(--set use_perceptual_loss=true --set perceptual_net=squeezenet --set perceptual_taps=)
    squeeze=("${net[@]}" --set "perceptual_file=$W/squeezenet1_1_features.safetensors" --set "perceptual_heads=$W/lpips/squeeze_v0.1.safetensors")
}
line() { sed -n "$1p" "$2/history.jsonl"; }
without_time() { sed 's/"seconds":[^,]*,//' "$1"; }

@test "without weights: which file, and how to do without" {
    fails 1 improved -o run
    same "$err" "vq-train: use_perceptual_loss is on, but perceptual_file names no weights: save the features of torchvision's vgg19, up to conv5_1 (features.28), as a safetensors file and give --set perceptual_file=FILE, or switch the loss off with --set use_perceptual_loss=false"
    fails 1 vq-train --set use_perceptual_loss=true --set perceptual_net=alexnet -o run cells.vqt
    has "$err" "the features of torchvision's alexnet, up to features.11, as"
    fails 1 improved --set perceptual_file=vgg.safetensors -o run
    same "$err" "vq-train: perceptual loss: vgg.safetensors: No such file or directory$off"
    fails 1 improved --set perceptual_file=cells.vqt -o run
    has "$err" "vq-train: perceptual loss: cells.vqt: "
    [ ! -e run ]
    ok improved --set use_perceptual_loss=false --steps 2 -o run
    has "$(line 1 run)" '"recon":'
    if grep perceptual run/history.jsonl; then return 1; fi
}

@test "weights of another network, or too few of them" {
    ok improved --set use_perceptual_loss=false --steps 1 -o model
    fails 1 improved --set perceptual_file=model/model.safetensors -o run
    same "$err" "vq-train: perceptual loss: model/model.safetensors: it has no tensor features.0.weight$off"
    squeezenet
    fails 1 improved --set perceptual_net=squeezenet --set perceptual_taps= --set "perceptual_file=$W/alexnet_features.safetensors" -o run
    same "$err" "vq-train: perceptual loss: $W/alexnet_features.safetensors: tensor features.0.weight is 64 x 3 x 11 x 11, not N x 3 x 3 x 3$off"
    fails 1 improved "${net[@]}" --set "perceptual_file=$W/squeezenet1_1_features.safetensors" --set "perceptual_heads=$W/lpips/alex_v0.1.safetensors" -o run
    same "$err" "vq-train: perceptual loss: $W/lpips/alex_v0.1.safetensors: tensor lin1.model.1.weight is 1 x 192 x 1 x 1, not 1 x 128 x 1 x 1$off"
    local vgg=$W/vgg16_features_to_relu2_2.safetensors
    [ -e "$vgg" ]
    fails 1 improved --set perceptual_net=vgg16 --set perceptual_taps= --set "perceptual_file=$vgg" -o run
    same "$err" "vq-train: perceptual loss: $vgg: perceptual_taps has relu3_3 (features.15), which is beyond the file's last layer, features.7$off"
    fails 1 improved --set perceptual_net=vgg16 --set perceptual_taps=8,3 --set "perceptual_file=$vgg" -o run
    same "$err" "vq-train: perceptual loss: perceptual_taps must rise: 3 comes after 8$off"
    fails 1 improved --set perceptual_net=vgg16 --set perceptual_taps=3,40 --set "perceptual_file=$vgg" -o run
    same "$err" "vq-train: perceptual loss: perceptual_taps has 40, but vgg16 has layers 0 to 30$off"
    head -c 100000 "$vgg" >short.safetensors
    fails 1 improved --set perceptual_net=vgg16 --set perceptual_taps=3 --set perceptual_file=short.safetensors -o run
    has "$err" "vq-train: perceptual loss: short.safetensors: "
    [ ! -e run ]
}

@test "a term of its own, part of the loss, and it falls" {
    squeezenet
    ok improved "${squeeze[@]}" --steps 24 -o run
    local n
    n=$(wc -l <run/history.jsonl)
    line 1 run >first
    line "$n" run >last
    for part in train val; do
        near "$(json last $part.loss)" "$(awk "BEGIN { print 2 * $(json last $part.recon) + .5 * $(json last $part.commit) + .1 * $(json last $part.perceptual) }")" 1e-6
    done
    awk "BEGIN { exit !($(json last train.perceptual) > 0 && $(json last train.perceptual) < .8 * $(json first train.perceptual)) }"
    ok vq-plot curves -o curves.png run
    # neither the model nor the tools that use it know of the network
    if vq-info run/model.safetensors | grep features; then return 1; fi
    vq-encode -m run/model.safetensors cells.vqt | vq-decode -m run/model.safetensors >again.vqt
    same "$(vq-info --records again.vqt | grep -c '#')" 30
}

@test "VGG, several scales, one and four channels, and the default model" {
    squeezenet
    local vgg=(--set use_perceptual_loss=true --set "perceptual_file=$W/vgg16_features_to_relu2_2.safetensors" --set perceptual_net=vgg16 --set perceptual_taps=0,8 --set perceptual_scales=2)
    for c in 1 4; do
        vq-synth -n 12 --channels $c --max-size 24 | vq-normalize >c.vqt
        ok vq-train "${vgg[@]}" --set blocks=1 --set num_embeddings=32 --set pixels_per_step=8192 --set size_tolerance=1 --threads 2 -q --steps 2 -o run$c c.vqt
        awk "BEGIN { exit !($(json run$c/history.jsonl train.perceptual) > 0) }"
    done
    ok improved --set "perceptual_file=$W/vgg19_distilled16x_features.safetensors" --steps 1 -o run
    awk "BEGIN { exit !($(json run/history.jsonl train.perceptual) > 0) }"
}

@test "batches that make one step weigh as one batch" {
    squeezenet
    vq-synth -n 6 --min-size 30 --max-size 30 | vq-normalize >same.vqt
    one() {
        vq-train "${squeeze[@]}" --set perceptual_loss_weight=5 --set mixed_precision=off --set blocks=1 --set num_embeddings=16 --set codebook_start=normal \
            --set augment_flip=false --set pixels_per_step=0 --set batch_size="$1" --set accumulate="$2" --set val_fraction=0 --threads 2 -q --steps 1 -o "run$1" same.vqt
    }
    one 6 1
    one 2 3
    for key in train.perceptual train.loss grad_norm; do near "$(json run2/history.jsonl $key)" "$(json run6/history.jsonl $key)" 1e-5; done
}

@test "resumed, it ends as if it had not been stopped" {
    squeezenet
    local args=("${squeeze[@]}" --steps 14 --save-every 0.001)
    ok improved "${args[@]}" -o whole
    for _ in 1 2 3 4 5 6; do # until it is killed between its first checkpoint and its end
        rm -rf run
        (exec vq-train -c "$ROOT/configs/improved.json" "${small[@]}" "${args[@]}" -o run cells.vqt) >.stdout 2>.stderr 3>&- &
        pid=$!
        for _ in $(seq 600); do [ ! -s run/last.ckpt ] || break; sleep 0.01; done
        sleep 0.1
        if kill -9 $pid 2>/dev/null; then wait $pid || true; break; fi
        wait $pid || true
    done
    same "$(vq-info --json run/last.ckpt | grep -c '\\"sum.perceptual\\"')" 1
    fails 1 improved "${args[@]}" --set perceptual_file= --resume -o run
    ok improved "${args[@]}" --resume -o run
    cmp whole/model.safetensors run/model.safetensors
    cmp <(without_time whole/history.jsonl) <(without_time run/history.jsonl)
}
