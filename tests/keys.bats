# Every key of the configuration has an effect on a training, or a test elsewhere that it is named with.
load helpers

small=(--set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=16 --set blocks=1 --set head_channels=8 --set pixels_per_step=2048
    --set save_samples_every=0 --set epochs=2 --set mixed_precision=off --threads 1 -q)

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    vq-synth -n 14 --channels 2 --min-size 12 --max-size 26 >raw.vqt
}
setup() {
    enter_tmp
    ln -s "$BATS_FILE_TMPDIR"/raw.vqt .
}

# All tensors of the checkpoint: weights, moments, averages, the order of the cells, codes counted. Its metadata holds the configuration.
tensors() { tail -c +$(($(od -An -t u8 -N 8 "$1/last.ckpt") + 9)) "$1/last.ckpt"; }

# run NAME KEY=VALUE...
run() {
    local name=$1 set=() s
    shift
    for s; do set+=(--set "$s"); done
    ok vq-train "${small[@]}" "${set[@]}" -o "$name" "${stream:-raw.vqt}"
}

# effects "CONTEXT..." KEY=VALUE...: in this context, each makes another training.
effects() {
    local context s before
    read -ra context <<<"$1"
    shift
    rm -rf base
    run base "${context[@]}"
    before=$(tensors base | md5sum)
    for s; do
        rm -rf other
        run other "${context[@]}" "$s"
        [ "$(tensors other | md5sum)" != "$before" ] || { echo "${context[*]}: $s changes nothing"; return 1; }
        echo "${s%%=*}" >>"$BATS_FILE_TMPDIR/seen"
    done
}

improved="model=improved block_norm=batch pack=false embedding_dim=16"

@test "model and codebook" {
    effects "" channels_per_level=[8,12] blocks=2 stem_kernel=3 head_channels=4 activation=silu activation=gelu activation=leaky_relu embedding_dim=8 \
        num_embeddings=8 codebook_depth=2 codebook_start=kmeans codebook_start=normal codebook_start=uniform codebook_update=gradient commitment_cost=1 \
        ema_decay=0.5 ema_epsilon=1 codebook_refit=2
    effects codebook_refit=2 codebook_refit=5
    effects codebook_start=kmeans kmeans_steps=1
    effects "revive_threshold=1 revive_every=1" revive_threshold=0 revive_every=4 revive_until=0
    effects codebook_update=gradient straight_through=false
    effects "$improved" latent=global skip=features skip=quantized attention=true activation=silu
    effects "$improved attention=true" attention_width=5
    effects "$improved skip=quantized" skip_embedding_dim=5 skip_num_embeddings=5
    effects "$improved latent=global" pool_size=2 hidden=[8] dropout=0.5
}

@test "losses and data" {
    effects "" loss=l1 reconstruction_loss_weight=3 content_weighting=true normalize_method=zscore normalize_method=minmax normalize_percentiles=[0,100] \
        normalize_clip=false pad_mode=zero pad_mode=edge pad_multiple=16 pad_multiple=0 pad_min=64 val_fraction=0.5 augment_flip=false augment_rotate=true
    run run split_by=Well
    same "$(cut -d , -f 2 run/split.csv | sed -n 2p)" A01 # not Simulated/A01
    echo split_by >>"$BATS_FILE_TMPDIR/seen"
    effects content_weighting=true foreground_weight=5 background_weight=5
}

@test "steps" {
    effects "" batch_size=2 pixels_per_step=4096 pack=false accumulate=2 epochs=1 max_steps=2 optimizer=adam optimizer=sgd learning_rate=0.01 weight_decay=0.5 beta1=0.5 \
        beta2=0.5 optimizer_epsilon=0.01 use_scheduler=false scheduler_type=step warmup_steps=2 lr_floor=1 weight_average=0.5 seed=1
    if vq-train "${small[@]}" --set mixed_precision=bf16 -o half raw.vqt 2>why; then
        effects "" mixed_precision=bf16
    else # what cannot be had here is refused by its name
        [[ $(<why) =~ ^"vq-train: mixed_precision is bf16, and this device ("[a-z0-9]+") has no instructions for it: auto and off do without"$ ]] || { cat why; false; }
        echo mixed_precision >>"$BATS_FILE_TMPDIR/seen"
    fi
    effects "optimizer=sgd warmup_steps=0" momentum=0 gradient_clip_norm=0.001
    effects "scheduler_type=step step_size=1 warmup_steps=0" step_size=2 step_gamma=0.5
    effects "scheduler_type=plateau learning_rate=0.1 plateau_patience=0 epochs=6 warmup_steps=0" plateau_factor=0.9 plateau_patience=5
    vq-synth -n 8 --channels 2 --min-size 40 --max-size 100 >large.vqt
    stream=large.vqt effects "$improved pixels_per_step=32768" size_tolerance=1
}

@test "early stopping" {
    local bad=(learning_rate=0.1 warmup_steps=0 use_scheduler=false epochs=40 use_early_stopping=true early_stopping_patience=2)
    run two "${bad[@]}"
    run five "${bad[@]}" early_stopping_patience=5
    run none "${bad[@]}" use_early_stopping=false epochs=25
    [ "$(wc -l <two/history.jsonl)" -lt "$(wc -l <five/history.jsonl)" ]
    [ "$(wc -l <five/history.jsonl)" -lt 25 ]
    same "$(wc -l <none/history.jsonl)" 25
    # it stopped at the second epoch that was no better
    sed 's/.*"val":{"loss":\([^,]*\),.*/\1/' two/history.jsonl | awk 'NR == 1 || $1 < best { best = $1; at = NR } END { exit !(NR == at + 2) }'
    printf 'use_early_stopping\nearly_stopping_patience\n' >>"$BATS_FILE_TMPDIR/seen"
}

@test "the schedules, as the history has them" {
    lr() { sed 's/.*"lr":\([^,]*\),.*/\1/' run/history.jsonl | tr '\n' ' '; }
    run run scheduler_type=step step_size=2 step_gamma=0.5 warmup_steps=0 learning_rate=0.008 epochs=5
    same "$(lr | awk '{ for (i = 1; i <= NF; i++) printf "%.4f ", $i }')" "0.0080 0.0080 0.0040 0.0040 0.0020 "
    rm -rf run
    run run use_scheduler=false warmup_steps=1000 learning_rate=1 epochs=3 # 0.001 a step
    same "$(lr | awk '{ for (i = 1; i <= NF; i++) printf "%.3f ", $i }')" "$(sed 's/.*"step":\([^,]*\),.*/\1/' run/history.jsonl | awk '{ printf "%.3f ", $1 / 1000 }')"
}

@test "pictures of samples" {
    vq-train "${small[@]}" --set epochs=5 --set save_samples_every=2 -o run raw.vqt
    same "$(ls run/samples | tr '\n' ' ')" "epoch-0002.png epoch-0004.png epoch-0005.png "
    vq-train "${small[@]}" --set epochs=5 -o none raw.vqt
    [ ! -e none/samples ]
    echo save_samples_every >>"$BATS_FILE_TMPDIR/seen"
}

@test "what changes nothing, as it is documented" {
    run base
    run more num_workers=4
    run again checkpoint_activations=true
    cmp <(tensors base) <(tensors more)
    cmp <(tensors base) <(tensors again)
    grep -A 3 '^.B num_workers' "$ROOT/man/vq-config.5" | grep -q 'without effect'
    printf 'num_workers\ncheckpoint_activations\n' >>"$BATS_FILE_TMPDIR/seen"
}

@test "values that cannot be had are refused by name" {
    no() {
        local set=() s
        for s in $1; do set+=(--set "$s"); done
        fails 1 vq-train "${small[@]}" "${set[@]}" -o none raw.vqt
        has "$err" "$2"
        [ ! -e none ]
    }
    no stem_stride=3 "stem_stride must be 2"
    no block_norm=batch "pack: only with"
    no "block_norm=batch pack=false" "has no attention, normalisation or dropout"
    no "$improved block_norm=none" "block_norm must be \"batch\""
    no "$improved pack=true" "pack: only with model codes"
    no levels=3 "levels is 3, but channels_per_level has 2 numbers"
    no pad_multiple=511 "come together at 2044: at most 512 is possible"
    no latent=global "with model codes, a grid of codes"
    no straight_through=false "straight_through: false leaves the encoder untrained"
    printf '%s\n' stem_stride block_norm levels >>"$BATS_FILE_TMPDIR/seen"
}

@test "no key is forgotten" {
    # data_directory, save_directory, max_seconds: tests/vq-train.bats; save_every: tests/vq-resume.bats; the perceptual loss has tests of its own
    { cat "$BATS_FILE_TMPDIR/seen"; printf '%s\n' model data_directory save_directory max_seconds save_every use_perceptual_loss perceptual_{loss_weight,net,file,heads,taps,scales}; } | sort -u >seen
    json_flat "$ROOT/configs/schema.json" | sed -n 's/^properties\.\([a-z0-9_]*\)\..*/\1/p' | sort -u >keys
    [ "$(wc -l <keys)" -gt 60 ]
    same "$(comm -23 keys seen | tr '\n' ' ')" ""
}
