# The reference document's models through the tools: trained, encoded, decoded.
load helpers

small=(--set channels_per_level=8,8,12,16 --set hidden=24,12 --set num_embeddings=32 --set use_perceptual_loss=false --set learning_rate=0.003
    --set batch_size=6 --threads 2 -q --steps 16)
improved() { vq-train -c "$ROOT/configs/improved.json" "${small[@]}" "$@" cells.vqt; }

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    export OMP_WAIT_POLICY=passive
    vq-synth -n 30 --max-size 60 >raw.vqt
    vq-normalize raw.vqt >cells.vqt
    vq-pad --multiple 32 cells.vqt | vq-batch --size 4 --tolerance 100 --memory 1G >batches.vqt
}
setup() {
    enter_tmp
    export OMP_WAIT_POLICY=passive
    ln -s "$BATS_FILE_TMPDIR"/*.vqt .
}

@test "improved: a grid of codes and no skips" {
    improved --set latent=grid --set skip=none --set embedding_dim=16 -o run
    if grep '"codebook":' run/history.jsonl; then return 1; fi # it follows averages: no such term
    round_trip 0.01
    vq-info --records cells.vqt | sed -n 's/.*image f32 \[4,\([0-9]*\),\([0-9]*\)\].*/\1 \2/p' |
        awk '{ h = $1 < 32 ? 32 : $1; w = $2 < 32 ? 32 : $2; print int((h + 15) / 16) "," int((w + 15) / 16) }' >want
    vq-info --records codes.vqt | sed -n 's/.*codes u16 \[\(.*\)\].*/\1/p' | cmp - want
}

@test "improved: one code a cell" {
    improved --set skip=none --set embedding_dim=8 -o run
    round_trip 0.01
    same "$(vq-info --records codes.vqt | grep -c 'codes u16 \[1\]')" 30
    ok vq-info --json codes.vqt
    same "$(json .stdout model.stride),$(json .stdout model.multiple)" 0,16
    ok vq-encode -m run/model.safetensors --features cells.vqt -o features.vqt
    same "$(vq-info --records features.vqt | grep -c 'histogram i32 \[32\]')" 30
}

@test "improved as the document has it: raw features in the stream, counted, and needed" {
    improved --set embedding_dim=8 -o run
    round_trip 0.01
    same "$(vq-info --records codes.vqt | grep -c 'skip.0 f32 \[8,')" 30
    ok vq-codebook-stats codes.vqt
    [ "$(json .stdout skip_bits_per_pixel | cut -d . -f 1)" -gt 100 ]
    # with other cells' codes: each cell's own skips, at its own size, still carry the picture
    vq-decode -m run/model.safetensors -o own.vqt codes.vqt
    ok vq-decode -m run/model.safetensors --codes shuffled -o other.vqt codes.vqt
    same "$err" "" # one code is like another, whatever the size
    same "$(vq-info --records other.vqt | grep -o '.*f32 \[[0-9,]*')" "$(vq-info --records own.vqt | grep -o '.*f32 \[[0-9,]*')"
    ok vq-metrics --reference own.vqt other.vqt
    awk "BEGIN { exit !($(json .stdout mse.mean) > 0 && $(json .stdout pearson.mean) > 0.9) }"
    improved --set embedding_dim=8 --set skip=none -o bare
    vq-encode -m bare/model.safetensors cells.vqt >bare.vqt
    fails 1 vq-decode -m run/model.safetensors bare.vqt
    has "$err" 'vq-decode: bare.vqt: codes of another model: run/model.safetensors has other codebook vectors'
    # a model of another form
    vq-train --set channels_per_level=8,16 --set embedding_dim=8 --set num_embeddings=32 --threads 2 -q --steps 2 -o grid cells.vqt
    fails 1 vq-decode -m grid/model.safetensors bare.vqt
    has "$err" 'codes of another model'
    vq-encode -m grid/model.safetensors cells.vqt >grid.vqt
    fails 1 vq-decode -m bare/model.safetensors grid.vqt
    has "$err" 'codes of another model'
}

@test "from one to sixteen channels" {
    vq-synth -n 8 --channels 16 --max-size 32 | vq-normalize >16.vqt
    vq-synth -n 8 --channels 5 --max-size 32 | vq-normalize >5.vqt
    vq-train --set channels_per_level=8,16 --set blocks=1 --set embedding_dim=8 --set num_embeddings=32 --threads 2 -q --steps 4 -o run16 16.vqt
    vq-train -c "$ROOT/configs/improved.json" "${small[@]}" --steps 4 --set embedding_dim=8 -o run5 5.vqt
    for c in 16 5; do
        vq-encode -m run$c/model.safetensors --only val --samples val$c.vqt -o codes$c.vqt $c.vqt
        vq-decode -m run$c/model.safetensors -o again$c.vqt codes$c.vqt
        [ "$(vq-info --records again$c.vqt | grep -c "f32 \[$c,")" -gt 0 ]
        same "$(vq-info --records again$c.vqt | grep -o 'f32 \[[0-9,]*')" "$(vq-info --records val$c.vqt | grep -o 'image f32 \[[0-9,]*' | cut -d ' ' -f 2-)"
        ok vq-metrics --reference val$c.vqt again$c.vqt
        tail -n 1 run$c/history.jsonl >line
        near "$(json .stdout psnr.mean)" "$(json line val.psnr)" 0.01
    done
    fails 1 vq-encode -m run16/model.safetensors -o none.vqt 5.vqt
    has "$err" "channels"
}

@test "original: raw intensities, padded with zeros to a power of two" {
    vq-train -c "$ROOT/configs/original.json" --set channels_per_level=4,4,8,8,8 --set hidden=24,12 --set num_embeddings=32 --set embedding_dim=8 --threads 2 \
        -q --steps 16 -o run raw.vqt
    # its codebook learns by gradient: a term of its own, and the terms are the loss
    tail -n 1 run/history.jsonl >line
    for part in train val; do
        same "$(json line $part.codebook)" "$(json line $part.commit)"
        near "$(json line $part.loss)" "$(awk "BEGIN { print $(json line $part.recon) + .25 * $(json line $part.commit) + $(json line $part.codebook) }")" \
            "$(awk "BEGIN { print 1e-5 * $(json line $part.loss) }")"
    done
    ok vq-plot curves --script -o curves.png run
    has "$out" "'codebook loss'"
    vq-encode -m run/model.safetensors raw.vqt >codes.vqt
    same "$(vq-info --records codes.vqt | grep -c 'codes u16 \[1\]')" 30
    same "$(vq-info --records codes.vqt | grep -c '"pad_mode":"zero"')" "$(vq-info --records codes.vqt | grep -c '"pad":')"
    vq-decode -m run/model.safetensors codes.vqt >again.vqt
    same "$(vq-info --records again.vqt | grep -c '#')" 30
}

@test "the document's configuration needs weights for its perceptual loss, or none of it" {
    fails 1 vq-train -c "$ROOT/configs/improved.json" -o run cells.vqt
    has "$err" 'perceptual_file names no weights'
    fails 1 improved --set latent=grid --set skip=none -o run
    has "$err" 'embedding_dim is 256, the last of channels_per_level 16'
    [ ! -e run ]
}

@test "improved: codes that no cell uses are revived early, from a normal start with one code a cell" {
    ok improved --set num_embeddings=64 --steps 60 --epochs 1000 --set dropout=0 --set codebook_refit=0 -o run
    [ "$(grep -o '"revived":[0-9]*' run/history.jsonl | cut -d : -f 2 | awk '{ n += $1 } END { print n }')" -gt 20 ]
    vq-encode -m run/model.safetensors cells.vqt | vq-codebook-stats -m run/model.safetensors >stats.json
    awk -v used="$(json stats.json levels.0.used)" 'BEGIN { exit !(used >= 8) }'
}

@test "improved: codes fitted at rest are nearly all used, with dropout and by the model that is kept" {
    local refit
    for refit in 0 5; do
        ok improved --set num_embeddings=16 --set dropout=0.3 --set revive_threshold=0 --steps 40 --epochs 1000 --set codebook_refit=$refit -o run$refit
        vq-encode -m run$refit/model.safetensors --only train cells.vqt | vq-codebook-stats -m run$refit/model.safetensors >stats$refit.json
    done
    awk -v off="$(json stats0.json levels.0.usage)" -v on="$(json stats5.json levels.0.usage)" 'BEGIN { exit !(off <= 0.5 && on >= 0.8) }'
    # training itself is as without
    same "$(sed 's/.*"train":\({[^}]*}\).*/\1/' run0/history.jsonl)" "$(sed 's/.*"train":\({[^}]*}\).*/\1/' run5/history.jsonl)"
}
