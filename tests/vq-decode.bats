# vq-decode: cells of true size from codes, and what is refused.
load helpers

tiny=(--set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 --set pixels_per_step=8192 --set mixed_precision=off --threads 1 -q)

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    vq-synth -n 40 --max-size 60 >raw.vqt
    vq-normalize raw.vqt >cells.vqt
    vq-train "${tiny[@]}" --set learning_rate=0.003 --set warmup_steps=0 --steps 80 -o run cells.vqt
    vq-encode -m run/model.safetensors cells.vqt >codes.vqt
}
setup() {
    enter_tmp
    ln -s "$BATS_FILE_TMPDIR"/*.vqt "$BATS_FILE_TMPDIR/run" .
}

M=run/model.safetensors
npz() { vq-export --npz -o "$@"; }
# Pixels of a stream of cells of one size, a line each.
values() { vq-export --npy -o "$1.npy" "$1" && tail -c +129 "$1.npy" | od -An -v -t f4 -w4; }
range() { awk 'NR == 1 || $1 < lo { lo = $1 } NR == 1 || $1 > hi { hi = $1 } END { print lo, hi }'; }

@test "a sample a code record, in order, at its true size" {
    ok vq-decode -m $M -o recon.vqt codes.vqt
    same "$out$err" ""
    vq-info --records cells.vqt | grep '#' | cut -f 1,3 | sed 's/ mask.*//; s/; *$//; s/, *$//' >want
    vq-info --records recon.vqt | grep '#' | cut -f 1,3 | cmp - want
    ok vq-info --json recon.vqt
    same "$(json .stdout kind),$(json .stdout dtype),$(json .stdout channels.0)" samples,f32,DNA
    same "$(json .stdout chain.3.tool)" vq-decode
    [[ $out != *'"model":'* ]]
    vq-export --csv -o a.csv cells.vqt && vq-export --csv -o b.csv recon.vqt
    same "$(cut -d , -f 1-9 b.csv)" "$(cut -d , -f 1-9 a.csv)"
    ok vq-metrics --reference cells.vqt recon.vqt
    awk -v p="$(json .stdout psnr.mean)" 'BEGIN { exit !(p > 9) }'
}

@test "validation during the training and vq-metrics agree" {
    vq-encode -m $M --only val cells.vqt | vq-decode -m $M >val.vqt
    ok vq-metrics --subset --reference cells.vqt val.vqt
    step=$(json <(vq-info --json $M) metadata.step)
    grep "\"step\":$step," run/history.jsonl >line
    near "$(json .stdout psnr.mean)" "$(json line val.psnr)" 0.01
    near "$(json .stdout ssim.mean)" "$(json line val.ssim)" 0.001
}

@test "padding, batches and threads make no difference" {
    vq-decode -m $M --threads 1 codes.vqt | npz want.npz
    vq-decode -m $M --threads 2 codes.vqt | npz a.npz && cmp a.npz want.npz
    vq-pad --reflect --multiple 64 --min 128 raw.vqt | vq-batch --tolerance 100 --memory 1G | vq-encode -m $M | vq-decode -m $M | npz a.npz
    cmp a.npz want.npz
}

@test "clipped to the range of the model's input; --no-clip leaves the rest" {
    vq-synth -n 6 --channels 1 --min-size 24 --max-size 24 >same.vqt
    vq-train "${tiny[@]}" --set learning_rate=0.02 --set warmup_steps=0 --set use_scheduler=false --steps 150 --val-fraction 0 -o hot same.vqt
    vq-encode -m hot/model.safetensors same.vqt >c.vqt
    vq-decode -m hot/model.safetensors c.vqt >clip.vqt
    vq-decode -m hot/model.safetensors --no-clip c.vqt >free.vqt
    read -r lo hi < <(values free.vqt | range)
    awk -v lo="$lo" -v hi="$hi" 'BEGIN { exit !(lo < -1 || hi > 1) }'
    read -r lo hi < <(values clip.vqt | range)
    awk -v lo="$lo" -v hi="$hi" 'BEGIN { exit !(lo >= -1 && hi <= 1 && (lo == -1 || hi == 1)) }'
    # and nothing else differs
    cmp <(values free.vqt | awk '{ v = $1 + 0; print (v < -1 ? -1 : v > 1 ? 1 : v) }') <(values clip.vqt | awk '{ print $1 + 0 }')
    # zscore has no range to clip to
    vq-train "${tiny[@]}" --set normalize_method=zscore --steps 2 -o z same.vqt
    vq-encode -m z/model.safetensors same.vqt >c.vqt
    vq-decode -m z/model.safetensors c.vqt | npz a.npz
    vq-decode -m z/model.safetensors --no-clip c.vqt | npz b.npz
    cmp a.npz b.npz
}

@test "pictures of reconstructions" {
    ok bash -c "vq-decode -m $M codes.vqt | vq-export --png -o p"
    same "$(ls p | wc -l)" 40
}

@test "codes of another model" {
    vq-train "${tiny[@]}" --set num_embeddings=16 --steps 1 -o small cells.vqt
    fails 1 vq-decode -m small/model.safetensors -o x.vqt codes.vqt
    same "$err" "vq-decode: codes.vqt: codes of a codebook of 32 x 16; small/model.safetensors has 16 x 16"
    vq-train "${tiny[@]}" --set embedding_dim=8 --steps 1 -o narrow cells.vqt
    fails 1 vq-decode -m narrow/model.safetensors -o x.vqt codes.vqt
    same "$err" "vq-decode: codes.vqt: codes of a codebook of 32 x 16; narrow/model.safetensors has 32 x 8"
    vq-train "${tiny[@]}" --seed 5 --steps 1 -o other cells.vqt
    fails 1 vq-decode -m other/model.safetensors -o x.vqt codes.vqt
    same "$err" "vq-decode: codes.vqt: codes of another model: other/model.safetensors has other codebook vectors"
    fails 1 vq-decode -m $M -o x.vqt "$ROOT/tests/golden/codes-levels.vqt"
    has "$err" "vq-decode: $ROOT/tests/golden/codes-levels.vqt: codes of "
    fails 1 vq-decode -m $M -o x.vqt "$ROOT/tests/golden/v1-codes.vqt"
    has "$err" "vq-decode: $ROOT/tests/golden/v1-codes.vqt: "
    [ ! -e x.vqt ]
}

@test "a stream or a model that is none" {
    fails 1 vq-decode -m $M -o x.vqt cells.vqt
    same "$err" "vq-decode: cells.vqt: a stream of samples, where codes are wanted"
    head -c 1500 codes.vqt >cut.vqt
    fails 1 vq-decode -m $M -o x.vqt cut.vqt
    [[ $err =~ ^"vq-decode: cut.vqt: truncated: "[0-9]+" records were read" ]]
    fails 1 bash -c "vq-decode -m $M -o x.vqt </dev/null"
    same "$err" "vq-decode: standard input: empty: not even a stream header (did the command before it fail?)"
    fails 1 vq-decode -m $M -o x.vqt none.vqt
    same "$err" "vq-decode: none.vqt: No such file or directory"
    fails 1 vq-decode -m none -o x.vqt codes.vqt
    same "$err" "vq-decode: none: No such file or directory"
    fails 2 vq-decode codes.vqt
    same "$err" "vq-decode: -m MODEL is required"
    [ ! -e x.vqt ]
}

@test "a full disk, a closed pipe" {
    fails 1 vq-decode -m $M -o /dev/full codes.vqt
    same "$err" "vq-decode: /dev/full: No space left on device"
    fails 1 bash -c "ulimit -f 8; trap '' XFSZ; vq-decode -m $M -o x.vqt codes.vqt"
    same "$err" "vq-decode: x.vqt: File too large"
    same "$(ls)" "cells.vqt
codes.vqt
raw.vqt
run"
    run_split bash -c "set -o pipefail; vq-decode -m $M codes.vqt | head -c 1 >/dev/null"
    same "$status,$err" "1,vq-decode: standard output: Broken pipe"
}

@test "codes of other cells: each is used once, by another cell, and the pictures are worse" {
    vq-synth -n 12 --min-size 24 --max-size 24 >same.vqt # one grid of codes for all
    vq-encode -m $M same.vqt >c.vqt
    ok vq-decode -m $M --codes shuffled -o other.vqt c.vqt
    same "$out$err" ""
    same "$(json <(vq-info --json other.vqt) records)" 12
    vq-decode -m $M -o own.vqt c.vqt
    vq-export --npz -o own.npz own.vqt && vq-export --npz -o other.npz other.vqt
    mkdir a b && (cd a && unzip -q ../own.npz) && (cd b && unzip -q ../other.npz)
    same "$(cd b && find . -name image.npy -exec md5sum {} + | cut -d ' ' -f 1 | sort)" "$(cd a && find . -name image.npy -exec md5sum {} + | cut -d ' ' -f 1 | sort)"
    (cd a && find . -name image.npy) | while read -r f; do ! cmp -s "a/$f" "b/$f" || { echo "$f has its own codes"; exit 1; }; done
    vq-normalize same.vqt >n.vqt
    own=$(json <(vq-metrics --reference n.vqt own.vqt) psnr.mean)
    lost=$(json <(vq-metrics --reference n.vqt other.vqt) psnr.mean)
    awk -v a="$own" -v b="$lost" 'BEGIN { exit !(a > b) }'
    # another seed, another exchange; the same seed, the same
    vq-decode -m $M --codes shuffled --seed 3 c.vqt | npz s3.npz && vq-decode -m $M --codes shuffled --seed 3 --threads 1 c.vqt | npz again.npz
    cmp s3.npz again.npz
    run ! cmp s3.npz other.npz
}

@test "codes of other cells: those without a like are left out; a column keeps groups apart" {
    ok vq-decode -m $M --codes shuffled -o x.vqt codes.vqt
    left=$((40 - $(json <(vq-info --json x.vqt) records)))
    [ $left -gt 0 ]
    same "$err" "vq-decode: warning: codes.vqt: $left cells left out: no other has codes of the same shape"
    fails 1 vq-decode -m $M --codes shuffled --within Metadata_Nothing -o y.vqt codes.vqt
    has "$err" "vq-decode: codes.vqt: record "
    has "$err" ": it has no Metadata_Nothing"
    fails 1 bash -c "vq-decode -m $M --codes mean -o y.vqt <codes.vqt"
    same "$err" "vq-decode: --codes needs a file: the codes are read twice"
    fails 2 vq-decode -m $M --within field codes.vqt
    same "$err" "vq-decode: --within belongs to --codes shuffled or mean"
    [ ! -e y.vqt ]
}

@test "the mean code: every cell of a size looks alike" {
    vq-synth -n 5 --min-size 24 --max-size 24 >same.vqt
    vq-encode -m $M same.vqt >c.vqt
    ok vq-decode -m $M --codes mean -o mean.vqt c.vqt
    vq-export --npz -o m.npz mean.vqt && mkdir m && (cd m && unzip -q ../m.npz)
    same "$(find m -name image.npy | wc -l)" 5
    same "$(find m -name image.npy -exec md5sum {} + | cut -d ' ' -f 1 | sort -u | wc -l)" 1
}
