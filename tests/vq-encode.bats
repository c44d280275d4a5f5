# vq-encode: codes that depend on the cell alone, and what is refused.
load helpers

tiny=(--set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 --set pixels_per_step=8192 --threads 1 -q)

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    vq-synth -n 60 --max-size 60 >raw.vqt
    vq-normalize raw.vqt >cells.vqt
    vq-train "${tiny[@]}" --set learning_rate=0.003 --set warmup_steps=0 --steps 60 -o run cells.vqt
}
setup() {
    enter_tmp
    ln -s "$BATS_FILE_TMPDIR"/*.vqt "$BATS_FILE_TMPDIR/run" .
}

M=run/model.safetensors
npz() { vq-export --npz -o "$@"; }
# codes FILE [encode options] <STREAM: all tensors of the codes, by record
codes() { local to=$1; shift; vq-encode -m $M "$@" | npz "$to"; }

@test "a code record a cell, in the order of the input" {
    ok vq-encode -m $M -o codes.vqt cells.vqt
    same "$out$err" ""
    same "$(vq-info --records codes.vqt | grep '#' | cut -f 1)" "$(vq-info --records raw.vqt | grep '#' | cut -f 1)"
    ok vq-info --json --records codes.vqt
    same "$(json .stdout kind)" codes
    same "$(json .stdout records)" 60
    same "$(json .stdout dtype)" u16
    same "$(json .stdout tensors.#)" 1
    same "$(json .stdout channels.3)" Tubules
    same "$(json .stdout chain.#)" 3
    same "$(json .stdout chain.2.tool)" vq-encode
    same "$(json .stdout model.levels.0.size),$(json .stdout model.levels.0.dim),$(json .stdout model.multiple),$(json .stdout model.stride)" 32,16,4,4
    same "$(json .stdout model.device),$(json .stdout model.dtype)" cpu,f32
    json .stdout model.isa >/dev/null
    # a grid of a quarter of the size, rounded up
    vq-info --records cells.vqt | sed -n 's/.*image f32 \[4,\([0-9]*\),\([0-9]*\)\].*/\1 \2/p' | awk '{ print int(($1 + 3) / 4) "," int(($2 + 3) / 4) }' >want
    vq-info --records codes.vqt | sed -n 's/.*codes u16 \[\(.*\)\].*/\1/p' | cmp - want
    # the metadata travels
    vq-export --csv -o a.csv cells.vqt && vq-export --csv -o b.csv codes.vqt
    same "$(cut -d , -f 1-9 b.csv)" "$(cut -d , -f 1-9 a.csv)"
}

@test "alone, in batches, padded further, with 1 and 2 threads: the same codes, bit for bit" {
    codes want.npz --features --threads 1 <cells.vqt
    for t in 1 2; do
        codes a.npz --features --threads $t <raw.vqt && cmp a.npz want.npz
        vq-pad --reflect cells.vqt | codes a.npz --features --threads $t && cmp a.npz want.npz
        vq-pad --reflect --multiple 64 --min 128 cells.vqt | codes a.npz --features --threads $t && cmp a.npz want.npz
        vq-pad --zero --pow2 raw.vqt | codes a.npz --features --threads $t && cmp a.npz want.npz
        # one bucket, so that the order stays
        vq-batch --tolerance 100 --memory 1G cells.vqt | codes a.npz --features --threads $t && cmp a.npz want.npz
        vq-pad --edge --multiple 32 raw.vqt | vq-batch --size 7 --tolerance 100 --memory 1G | codes a.npz --features --threads $t && cmp a.npz want.npz
    done
    # buckets by size: another order, and other neighbours
    vq-batch --shuffle 40 cells.vqt >batches.vqt
    codes b.npz --features <batches.vqt
    vq-batch --split batches.vqt | codes a.npz --features && cmp a.npz b.npz
    same "$(vq-encode -m $M batches.vqt | vq-codebook-stats | tr -d '\n' | sed 's/.*"levels"//; s/"neighbours".*//')" "$(vq-encode -m $M cells.vqt | vq-codebook-stats | tr -d '\n' | sed 's/.*"levels"//; s/"neighbours".*//')"
    # the same bytes of the stream itself, too
    vq-encode -m $M --threads 1 -o one.vqt cells.vqt && vq-encode -m $M --threads 2 -o two.vqt cells.vqt && cmp one.vqt two.vqt
}

# latent FILE.vqt: the features' means, a cell a line
latent() { vq-export --csv -o - "$1" | awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ /LatentMean/) k[++n] = i; next } { for (i = 1; i <= n; i++) printf "%s ", $k[i]; print "" }'; }

@test "in bf16: the cell's alone as well, nearly what f32 gives, and said in the header; refused where it would be emulated" {
    run_split vq-encode -m $M --precision bf16 --features --threads 1 -o half.vqt cells.vqt
    if [ "$status" = 0 ]; then
        ok vq-info --json half.vqt
        same "$(json .stdout model.dtype)" bf16
        npz want.npz half.vqt
        codes a.npz --precision bf16 --features --threads 2 <raw.vqt && cmp a.npz want.npz
        vq-batch --tolerance 100 --memory 1G cells.vqt | codes a.npz --precision bf16 --features --threads 2 && cmp a.npz want.npz
        vq-encode -m $M --features -o whole.vqt cells.vqt
        latent half.vqt >half
        latent whole.vqt >whole
        awk '{ for (i = 1; i <= NF; i++) if (NR == FNR) x[FNR, i] = $i; else { d = $i - x[FNR, i]; diff += d * d; all += $i * $i } }
            END { r = sqrt(diff / all); print "relative difference", r; exit !(NF == 16 && r > 0 && r < 0.02) }' half whole
    fi
    ONEDNN_MAX_CPU_ISA=AVX2 fails 1 vq-encode -m $M --precision bf16 cells.vqt
    [[ $err =~ ^"vq-encode: bf16 needs a device that computes in it, and this one ("[a-z0-9]+") does not"$ ]] || { show; false; }
}

@test "a stream of one cell" {
    for id in $(sed -n '3s/,.*//p; 50s/,.*//p' run/split.csv); do
        { echo id,split; cut -d , -f 1 run/split.csv | sed '1d; s/$/,train/' | sed "s/^\($id\),train$/\1,val/"; } >s.csv
        ok vq-encode -m $M --features --only val --split s.csv --samples one.vqt -o among.vqt cells.vqt
        same "$(vq-info --records one.vqt | grep '#' | cut -f 1)" "$id"
        vq-encode -m $M --features one.vqt >alone.vqt
        npz a.npz alone.vqt && npz b.npz among.vqt && cmp a.npz b.npz
    done
}

@test "every cell of dsb2018: alone, in mixed batches, padded further, with 1 and 2 threads" {
    shared data/cells/dsb2018/load_data.csv
    vq-crop -q --load-data "$SHARED/data/cells/dsb2018/load_data.csv" >nuclei.vqt
    same "$(vq-info --json nuclei.vqt >i; json i records)" 3039
    vq-train "${tiny[@]}" --steps 5 -o m nuclei.vqt
    M=m/model.safetensors
    codes want.npz --threads 1 <nuclei.vqt
    codes a.npz --threads 2 <nuclei.vqt && cmp a.npz want.npz
    vq-normalize nuclei.vqt >n.vqt
    vq-pad --reflect --multiple 64 --min 128 n.vqt | codes a.npz --threads 2 && cmp a.npz want.npz
    for t in 1 2; do vq-pad n.vqt | vq-batch --tolerance 100 --memory 1G | codes a.npz --threads $t && cmp a.npz want.npz; done
    vq-pad n.vqt | vq-batch --shuffle 500 >batches.vqt
    codes b.npz <batches.vqt
    vq-batch --split batches.vqt | codes a.npz && cmp a.npz b.npz
}

@test "--only, by the table beside the model, another one, or Metadata_Split" {
    for part in train val; do
        ok vq-encode -m $M --only $part -o $part.vqt cells.vqt
        same "$(vq-info --records $part.vqt | grep '#' | cut -f 1)" "$(grep ",$part$" run/split.csv | cut -d , -f 1)"
    done
    ok vq-encode -m $M --only test -o test.vqt cells.vqt
    same "$(vq-info --json test.vqt >i; json i records)" 0
    same "$err" "vq-encode: warning: cells.vqt: no cell of the test part, by run/split.csv"
    # another table
    { echo id,split; cut -d , -f 1 run/split.csv | sed '1d; s/$/,test/'; } >all.csv
    ok vq-encode -m $M --only test --split all.csv -o test.vqt cells.vqt
    same "$(vq-info --json test.vqt >i; json i records)" 60
    sed -i 3d all.csv
    fails 1 vq-encode -m $M --only test --split all.csv -o x.vqt cells.vqt
    same "$err" "vq-encode: cells.vqt: record $(sed -n 3p run/split.csv | cut -d , -f 1): all.csv does not list it"
    fails 1 vq-encode -m $M --only test --split no.csv -o x.vqt cells.vqt
    same "$err" "vq-encode: no.csv: No such file or directory"
    # the model alone: what the records say
    cp $M alone.safetensors
    fails 1 vq-encode -m alone.safetensors --only test -o x.vqt cells.vqt
    same "$err" "vq-encode: cells.vqt: record Simulated_A01_1#1: nothing says its part: split.csv is not there, and it has no Metadata_Split (--split FILE names a table)"
    vq-synth -n 40 --fields f --field-size 192 --max-size 32
    vq-crop -q --load-data f/load_data.csv >declared.vqt
    vq-export --csv -o t.csv declared.vqt
    n=0
    for part in train val test; do
        ok vq-encode -m alone.safetensors --only $part -o p.vqt declared.vqt
        same "$(vq-info --json p.vqt >i; json i records)" "$(grep -cw $part t.csv || true)"
        n=$((n + $(json i records)))
    done
    same "$n" "$(json <(vq-info --json declared.vqt) records)"
    sed -i 's/,train$/,holdout/' f/load_data.csv
    vq-crop -q --load-data f/load_data.csv >odd.vqt
    fails 1 vq-encode -m alone.safetensors --only test -o x.vqt odd.vqt
    [[ $err =~ ^"vq-encode: odd.vqt: record "[^:]+": Metadata_Split is \"holdout\", not train, val or test"$ ]]
    [ ! -e x.vqt ]
    fails 2 vq-encode -m $M --only all cells.vqt
}

@test "--samples: what was encoded, normalised" {
    ok vq-encode -m $M --samples s.vqt -o a.vqt raw.vqt
    npz a.npz s.vqt && npz b.npz cells.vqt && cmp a.npz b.npz
    # the chain names no outputs
    vq-encode -m $M --samples other.vqt -o b.vqt raw.vqt
    cmp a.vqt b.vqt
    ok vq-encode -m $M --only val --samples s.vqt -o a.vqt raw.vqt
    same "$(vq-info --records s.vqt | grep '#' | cut -f 1)" "$(grep ',val$' run/split.csv | cut -d , -f 1)"
    vq-decode -m $M a.vqt | vq-metrics --reference s.vqt >m.json
    json m.json psnr.mean
}

@test "--features: three more tensors, over the cell's own mask" {
    ok vq-encode -m $M --features -o f.vqt cells.vqt
    has "$(vq-info --records f.vqt | head -n 1)" "latent_mean f32 [16]"
    has "$(vq-info --records f.vqt | head -n 1)" "latent_std f32 [16]"
    has "$(vq-info --records f.vqt | head -n 1)" "histogram i32 [32]"
    vq-decode -m $M f.vqt | npz a.npz
    vq-encode -m $M cells.vqt | vq-decode -m $M | npz b.npz
    cmp a.npz b.npz
}

@test "a stream of no records passes" {
    vq-synth -n 0 >none.vqt
    ok bash -c "set -o pipefail; vq-encode -m $M none.vqt | vq-decode -m $M | vq-info --json -"
    same "$(json .stdout records)" 0
    same "$(json .stdout complete)" true
}

@test "cells that do not suit the model" {
    vq-normalize --zscore raw.vqt >z.vqt
    fails 1 vq-encode -m $M -o x.vqt z.vqt
    same "$err" "vq-encode: z.vqt: record Simulated_A01_1#1: normalised otherwise than the model's cells: it has mean and deviation per record, the model percentiles 5,95 per record, clipped"
    vq-normalize --percentiles 1,99 raw.vqt | vq-batch >p.vqt
    fails 1 bash -c "vq-encode -m $M -o x.vqt <p.vqt"
    [[ $err =~ ^"vq-encode: standard input: record "[^:]+": normalised otherwise than the model's cells: it has percentiles 1,99 per record, clipped, the model percentiles 5,95 per record, clipped"$ ]]
    vq-normalize --no-clip raw.vqt >c.vqt
    fails 1 vq-encode -m $M -o x.vqt c.vqt
    has "$err" "it has percentiles 5,95 per record, not clipped, the model percentiles 5,95 per record, clipped"
    vq-synth -n 3 --channels 2 --max-size 20 >two.vqt
    fails 1 vq-encode -m $M -o x.vqt two.vqt
    same "$err" "vq-encode: two.vqt: record Simulated_A01_1#1: it has 2 channels, the model 4"
    vq-train "${tiny[@]}" --steps 1 -o two two.vqt
    fails 1 vq-encode -m two/model.safetensors -o x.vqt "$ROOT/tests/golden/not-finite.vqt"
    same "$err" "vq-encode: $ROOT/tests/golden/not-finite.vqt: record cell#2: channel ER: a NaN pixel at row 1, column 2"
    [ ! -e x.vqt ]
}

@test "a stream or a model that is none" {
    head -c 9000 cells.vqt >cut.vqt
    fails 1 vq-encode -m $M -o x.vqt cut.vqt
    [[ $err =~ ^"vq-encode: cut.vqt: truncated: "[0-9]+" records were read; " ]]
    fails 1 bash -c "vq-encode -m $M -o x.vqt </dev/null"
    same "$err" "vq-encode: standard input: empty: not even a stream header (did the command before it fail?)"
    fails 1 vq-encode -m $M -o x.vqt none.vqt
    same "$err" "vq-encode: none.vqt: No such file or directory"
    vq-encode -m $M -o codes.vqt cells.vqt
    fails 1 vq-encode -m $M -o x.vqt codes.vqt
    same "$err" "vq-encode: codes.vqt: a stream of codes, where samples or batches are wanted"
    fails 1 vq-encode -m none -o x.vqt cells.vqt
    same "$err" "vq-encode: none: No such file or directory"
    fails 1 vq-encode -m cells.vqt -o x.vqt cells.vqt
    has "$err" "vq-encode: cells.vqt: not a safetensors file"
    fails 1 vq-encode -m "$ROOT/tests/golden/types.safetensors" -o x.vqt cells.vqt
    same "$err" "vq-encode: $ROOT/tests/golden/types.safetensors: not a vq model (a safetensors file without vq's metadata)"
    head -c $(($(wc -c <$M) - 100)) $M >cut.safetensors
    fails 1 vq-encode -m cut.safetensors -o x.vqt cells.vqt
    has "$err" "vq-encode: cut.safetensors: tensor "
    fails 2 vq-encode cells.vqt
    same "$err" "vq-encode: -m MODEL is required"
    [ ! -e x.vqt ]
}

@test "a model with a weight that is not finite" {
    cp $M nan.safetensors
    printf '\x00\x00\xc0\x7f' | dd of=nan.safetensors bs=1 seek=$(($(wc -c <nan.safetensors) - 4)) conv=notrunc status=none
    fails 1 vq-encode -m nan.safetensors -o x.vqt cells.vqt
    [[ $err =~ ^vq-encode:\ nan.safetensors:\ tensor\ [a-z0-9_.]+:\ value\ [0-9]+\ is\ not\ finite$ ]]
    [ ! -e x.vqt ]
}

@test "a stream that is cut: what came before goes on down the pipe" {
    head -c $(($(wc -c <cells.vqt) * 3 / 4)) cells.vqt >cut.vqt
    fails 1 vq-encode -m $M cut.vqt
    has "$err" "vq-encode: cut.vqt: truncated: "
    n=$(sed 's/.*truncated: \([0-9]*\) records.*/\1/' <<<"$err")
    [ "$n" -gt 0 ]
    vq-encode -m $M cut.vqt 2>/dev/null >some.vqt || true
    vq-info --records some.vqt 2>/dev/null | grep '#' | cut -f 1 >got || true
    vq-info --records cells.vqt | grep '#' | cut -f 1 | head -n "$n" | cmp - got
}

@test "--samples and the codes in one place are refused" {
    fails 2 vq-encode -m $M --samples - cells.vqt
    same "$err" "vq-encode: --samples and --output are the same: standard output"
    fails 2 vq-encode -m $M --samples x.vqt -o x.vqt cells.vqt
    has "$err" "vq-encode: --samples and --output are the same: x.vqt"
    [ ! -e x.vqt ]
}

@test "channels of other names, or in another order, are refused with both lists" {
    vq-synth -n 8 --channels 4 --max-size 30 --fields f --field-size 120
    names=$(json <(vq-info --json cells.vqt) channels.1)
    sed "s/_$names/_Golgi/g" f/load_data.csv >f/other.csv
    for file in f/*_"$names".tif; do cp "$file" "${file/_$names/_Golgi}"; done
    vq-crop -q --load-data f/other.csv >golgi.vqt
    fails 1 vq-encode -m $M -o x.vqt golgi.vqt
    has "$err" "vq-encode: golgi.vqt: channels DNA, Golgi, "
    has "$err" "; the model was trained on DNA, $names, "
    # the way that the message names
    vq-crop -q --channels "DNA,$names=Golgi,Puncta,Tubules" --load-data f/other.csv >named.vqt
    ok vq-encode -m $M -o x.vqt named.vqt
}

@test "a full disk, a closed pipe" {
    fails 1 vq-encode -m $M -o /dev/full cells.vqt
    same "$err" "vq-encode: /dev/full: No space left on device"
    fails 1 vq-encode -m $M --samples /dev/full -o x.vqt cells.vqt
    same "$err" "vq-encode: /dev/full: No space left on device"
    fails 1 vq-encode -m $M --samples s.vqt -o /dev/full cells.vqt
    same "$err" "vq-encode: /dev/full: No space left on device"
    fails 1 bash -c "ulimit -f 8; trap '' XFSZ; vq-encode -m $M --samples s.vqt -o x.vqt cells.vqt"
    [[ "$err" =~ ^"vq-encode: "[sx]".vqt: File too large"$ ]] # whichever is full first
    same "$(ls)" "cells.vqt
raw.vqt
run"
    run_split bash -c "set -o pipefail; vq-encode -m $M cells.vqt | head -c 1 >/dev/null"
    same "$status,$err" "1,vq-encode: standard output: Broken pipe"
}
