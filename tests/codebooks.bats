# Several codebooks: residual quantisation and quantized skips, through every tool.
load helpers

tiny=(--set num_embeddings=16 --set use_perceptual_loss=false --set learning_rate=0.003 --set batch_size=8 --threads 2 -q)
codes() { vq-train --set channels_per_level=6,8 --set embedding_dim=6 --set blocks=1 "${tiny[@]}" "$@" cells.vqt; }
improved() { vq-train -c "$ROOT/configs/improved.json" --set channels_per_level=4,6,8 --set levels=3 --set hidden=12 --set embedding_dim=8 "${tiny[@]}" "$@" cells.vqt; }

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    export OMP_WAIT_POLICY=passive
    vq-synth -n 16 --max-size 44 >raw.vqt
    vq-normalize raw.vqt >cells.vqt
    vq-pad --multiple 32 cells.vqt | vq-batch --size 4 --tolerance 100 --memory 1G >batches.vqt
    codes --set skip=quantized --set codebook_depth=2 --set skip_num_embeddings=10 --steps 20 -o deep
    vq-encode -m deep/model.safetensors --features cells.vqt >deep.vqt
}
setup() {
    enter_tmp
    export OMP_WAIT_POLICY=passive
    ln -s "$BATS_FILE_TMPDIR"/{*.vqt,deep} .
}

# And there is a tensor for each codebook.
books() {
    round_trip
    vq-info --json codes.vqt >info
    same "$(json info tensors.#)" "$1"
}

@test "codes: every skip and depth, decoded from a stream as in memory" {
    for skip in none quantized; do
        for depth in 1 2 3; do
            codes --set skip=$skip --set codebook_depth=$depth --steps 6 -o run --force
            books $((depth + (${#skip} > 4)))
        done
    done
}

@test "improved: every latent and skip, with residual codebooks" {
    for latent in grid global; do
        depth=1
        for skip in none features quantized; do
            improved --set latent=$latent --set skip=$skip --set codebook_depth=$depth --steps 4 -o run --force
            books $((depth + (${#skip} > 4 ? 2 : 0)))
            depth=$((depth % 3 + 1))
        done
    done
}

@test "grids are those of each level's stride" {
    vq-info --records deep.vqt | sed -n 's/.*codes u16 \[\([0-9]*\),\([0-9]*\)\].*codes.1 u16 \[\([0-9,]*\)\].*codes.2 u16 \[\([0-9,]*\)\].*/\1 \2 \3 \4/p' >grids
    same "$(wc -l <grids)" 16
    awk '$3 != $1 "," $2 || $4 != 2 * $1 "," 2 * $2 { exit 1 }' grids
    ok vq-info --json deep.vqt
    same "$(json .stdout model.levels.0.name) $(json .stdout model.levels.1.name) $(json .stdout model.levels.2.name)" "codes codes.1 codes.2"
    same "$(json .stdout model.levels.0.stride) $(json .stdout model.levels.1.stride) $(json .stdout model.levels.2.stride)" "4 4 2"
    same "$(json .stdout model.levels.2.size),$(json .stdout model.levels.2.tensor)" 10,skip_quantizer.0.codebook
}

@test "the history has each codebook" {
    tail -n 1 deep/history.jsonl >line
    same "$(json line val.levels.#),$(json line train.levels.2.name)" 3,codes.2
    near "$(json line train.commit)" "$(awk -v a="$(json line train.levels.0.commit)" -v b="$(json line train.levels.1.commit)" -v c="$(json line train.levels.2.commit)" 'BEGIN { print a + b + c }')" 1e-6
    near "$(json line val.usage)" "$(awk -v a="$(json line val.levels.0.usage)" -v b="$(json line val.levels.1.usage)" -v c="$(json line val.levels.2.usage)" 'BEGIN { print (16 * a + 16 * b + 10 * c) / 42 }')" 1e-6
    codes --steps 2 -o plain
    tail -n 1 plain/history.jsonl >line
    run ! json line train.levels.#
    vq-plot curves --script deep >script
}

@test "every code counts as bits, and each codebook has its figures" {
    ok vq-codebook-stats -m deep/model.safetensors deep.vqt
    cp .stdout stats
    same "$(json stats levels.#)" 3
    same "$(json stats levels.0.codes)" "$(json stats levels.1.codes)"
    same "$(json stats levels.2.codes)" $((4 * $(json stats levels.0.codes)))
    same "$(json stats levels.2.norms.#)" 10
    near "$(json stats bits_per_pixel_raw)" "$(awk -v n="$(json stats levels.0.codes)" -v p="$(json stats pixels)" 'BEGIN { print (4 * n + 4 * n + 4 * 4 * n) / p }')" 1e-4
    near "$(json stats bits_per_pixel)" "$(awk -v n="$(json stats levels.0.codes)" -v p="$(json stats pixels)" -v a="$(json stats levels.0.entropy_bits)" -v b="$(json stats levels.1.entropy_bits)" \
        -v c="$(json stats levels.2.entropy_bits)" 'BEGIN { print n * (a + b + 4 * c) / p }')" 1e-4
}

@test "codes of all codebooks are in the coded bytes" {
    ok vq-codebook-stats --tables deep.vqt deep.vqt
    local n
    n=$(json .stdout levels.0.codes)
    same "$(json .stdout coded.packed_bytes)" $((2 * ((4 * n + 7) / 8) + (4 * 4 * n + 7) / 8)) # 16, 16 and 10 codes: 4 bits each
    awk -v b="$(json .stdout coded.bytes)" -v n="$n" 'BEGIN { exit !(b > 2 * 16 && b < 3 * n) }'
    vq-encode -m deep/model.safetensors --only train cells.vqt >train.vqt
    ok vq-codebook-stats --tables train.vqt deep.vqt
    [ "$(json .stdout coded.bytes)" -gt 32 ]
    # one code a cell beside quantized skips, and beside raw ones
    improved --set latent=global --set skip=quantized --steps 2 -o one
    vq-encode -m one/model.safetensors cells.vqt >one.vqt
    ok vq-codebook-stats --tables one.vqt one.vqt
    same "$(json .stdout levels.0.codes),$(json .stdout levels.#)" 16,3
    same "$(json .stdout coded.packed_bytes)" $((8 + (4 * $(json .stdout levels.1.codes) + 7) / 8 + (4 * $(json .stdout levels.2.codes) + 7) / 8))
    ok vq-decode -q -m one/model.safetensors --codes mean -o mean.vqt one.vqt
    same "$(json <(vq-info --json mean.vqt) records)" 16
}

@test "figures and exports of several codebooks" {
    ok vq-plot usage --script deep.vqt
    for level in codes codes.1 codes.2; do has "$out" "'$level'.\": "; done
    ok vq-plot codebook -m deep/model.safetensors --script deep.vqt
    for level in codes codes.1 codes.2; do has "$out" "'$level'.': "; done
    ok vq-plot atlas -m deep/model.safetensors --reference cells.vqt --codes 3 -o atlas.png deep.vqt
    ok vq-plot map --script deep.vqt
    npz codes.npz deep.vqt
    same "$(unzip -l codes.npz | grep -c '/codes\(\.[12]\)\?\.npy$')" 48
    ok vq-export --npy --tensor histogram.2 -o histogram.npy deep.vqt
    has "$(head -c 128 histogram.npy | tr -d '\0')" '(16, 10)'
    ok vq-export --h5ad -m deep/model.safetensors -o cells.h5ad deep.vqt
    for name in X_codes.1 X_codes.2 codebook.1 codebook.2; do grep -aqF $name cells.h5ad || { echo "no $name"; return 1; }; done
    ok vq-export --csv -o cells.csv deep.vqt
    vq-decode -m deep/model.safetensors deep.vqt >again.vqt
    same "$(vq-info --records again.vqt | grep -o 'f32 \[[0-9,]*')" "$(vq-info --records cells.vqt | grep -o 'f32 \[[0-9,]*')"
    # other cells' codes, and the mean ones
    for whose in shuffled mean; do vq-decode -q -m deep/model.safetensors --codes $whose deep.vqt >other.vqt; done
}

@test "a killed run goes on with all its codebooks" {
    run=(--set skip=quantized --set codebook_depth=2 --steps 24 --save-every 0.001)
    codes "${run[@]}" --threads 1 -o whole
    (ulimit -c 0; ulimit -f $(($(stat -c %s whole/last.ckpt) / 1024 - 1)); exec 2>/dev/null; codes "${run[@]}" --threads 1 -o run) || true
    [ -e run/last.ckpt ] && [ -n "$(ls run/last.ckpt.*.tmp)" ]
    codes "${run[@]}" --threads 1 -o run --resume
    cmp whole/model.safetensors run/model.safetensors
    cmp <(sed 's/"seconds":[^,]*,//' whole/history.jsonl) <(sed 's/"seconds":[^,]*,//' run/history.jsonl)
}

@test "what makes no sense is refused by name" {
    fails 1 vq-train -c "$ROOT/configs/original.json" --set codebook_depth=2 -o run raw.vqt
    has "$err" 'codebook_depth: model original has one codebook'
    fails 1 codes --set skip=features -o run
    has "$err" 'model "codes" gives its decoder nothing but codes: skip must be "none" or "quantized"'
    fails 1 codes --set skip=quantized --set levels=1 --set channels_per_level=8 -o run
    has "$err" 'skip: quantized needs levels beyond the coarsest: levels must be 2 or more'
    fails 1 codes --set skip=quantized --set codebook_depth=8 -o run
    has "$err" 'codebook_depth 8 and 1 quantized skips are 9 codebooks: at most 8 are possible'
    [ ! -e run ]
    codes --steps 2 -o plain
    vq-encode -m plain/model.safetensors cells.vqt >plain.vqt
    fails 1 vq-decode -m deep/model.safetensors plain.vqt
    same "$err" "vq-decode: plain.vqt: codes of 1 codebooks; deep/model.safetensors has 3"
    fails 1 vq-decode -m plain/model.safetensors deep.vqt
    same "$err" "vq-decode: deep.vqt: codes of 3 codebooks; plain/model.safetensors has 1"
}
