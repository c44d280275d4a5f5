# vq-train: a run directory from a stream, and what it refuses.
load helpers

tiny=(--set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 --set pixels_per_step=8192 --threads 1)


setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    vq-synth -n 40 --max-size 40 >raw.vqt
    vq-normalize raw.vqt | vq-pad >cells.vqt
}
setup() {
    enter_tmp
    ln -s "$BATS_FILE_TMPDIR"/*.vqt .
}

tensors() { tail -c +$(($(od -An -t u8 -N 8 "$1") + 9)) "$1"; } # the data of a safetensors file, without its header
differ() { if cmp -s "$1" "$2"; then echo "$1 and $2 are the same"; return 1; fi; }
same_tensors() { cmp <(tensors "$1") <(tensors "$2"); }
parts() { cut -d , -f 3 "${1:-run/split.csv}" | sed 1d | sort | uniq -c | awk '{ printf "%s%s %s", sep, $2, $1; sep = ", " }'; }
# A program that a test interrupts: with SIGINT as a terminal would have it, which the shell ignores for what it puts in the background.
start() { env --default-signal=INT,TERM "$@" >.stdout 2>.stderr 3>&- & pid=$!; }
ended() { status=0; wait "$pid" || status=$?; out=$(cat .stdout) err=$(cat .stderr); }
wait_for() { for _ in $(seq 200); do [ -s "$1" ] && return 0; sleep 0.05; done; echo "no $1"; return 1; }

@test "a run and its files" {
    ok vq-train "${tiny[@]}" --steps 20 -o some/run cells.vqt
    same "$out" ""
    [[ $err =~ ^"vq-train: some/run/model.safetensors: step "[0-9]+" of 20; 36 cells to train, 4 to choose, 0 kept; validation PSNR "[0-9.]+" dB, SSIM "-?[0-9.]+"; codebook usage "[0-9.]+" ("[0-9.]+" by foreground alone); "[0-9.]+" Mpx/s"$ ]]
    same "$(ls some/run)" "config.json
history.jsonl
last.ckpt
model.safetensors
samples
split.csv"
    same "$(wc -l <some/run/split.csv)" 41
    same "$(head -n 1 some/run/split.csv)" id,group,split
    same "$(parts some/run/split.csv)" "train 36, val 4"
    same "$(json some/run/config.json num_embeddings)" 32
    same "$(json some/run/config.json max_steps)" 20
    same "$(json some/run/config.json epochs)" 0
    same "$(json some/run/config.json optimizer)" adamw
    ok vq-info --json some/run/model.safetensors
    same "$(json .stdout kind)" model
    same "$(json .stdout metadata.channels)" '["DNA","ER","Puncta","Tubules"]'
    has "$(json .stdout metadata.normalize)" '"method":"robust"'
    has "$(json .stdout metadata.chain)" '"tool":"vq-train"'
    [[ $(json .stdout metadata.chain) != *some/run* ]]
}

@test "the history: a line an epoch, its keys, the end" {
    ok vq-train "${tiny[@]}" --steps 12 -o run -q cells.vqt
    same "$err" ""
    tail -n 1 run/history.jsonl >last
    same "$(json last step)" 12
    same "$(json last epoch)" "$(wc -l <run/history.jsonl)"
    for key in seconds pixels train.loss train.recon train.commit train.usage train.foreground_usage train.perplexity val.loss val.recon val.commit val.psnr val.ssim \
        val.usage val.foreground_usage val.perplexity lr grad_norm revived; do
        json last $key >/dev/null
    done
    same "$(json last '#')" 9
    same "$(json last 'train.#')" 6
    same "$(json last 'val.#')" 8
    awk -v f="$(json last train.foreground_usage)" -v u="$(json last train.usage)" 'BEGIN { exit !(f > 0 && f <= u) }'
    # the loss is what its terms say: weights 1 and 0.25
    near "$(json last val.loss)" "$(awk "BEGIN { print $(json last val.recon) + 0.25 * $(json last val.commit) }")" 1e-6
    same "$(ls run/samples)" "$(printf 'epoch-%04d.png' "$(json last epoch)")"
    # every epoch sees each training cell about once
    near "$(json last pixels)" "$(awk -v p="$(json <(head -n 1 run/history.jsonl) pixels)" -v n="$(json last epoch)" 'BEGIN { print n * p }')" 30000
}

@test "training lowers the loss" {
    ok vq-train "${tiny[@]}" --set warmup_steps=0 --set learning_rate=0.003 --steps 80 -o run cells.vqt
    json <(head -n 1 run/history.jsonl) val.recon >first
    json <(tail -n 1 run/history.jsonl) val.recon >last
    awk -v a="$(cat first)" -v b="$(cat last)" 'BEGIN { if (!(b < a / 2)) { print a, b; exit 1 } }'
}

@test "the same training twice: the same bytes, with 1 and with 2 threads" {
    for t in 1 2; do
        for i in a b; do ok vq-train "${tiny[@]}" --threads $t --steps 15 -o $i$t cells.vqt; done
        cmp a$t/model.safetensors b$t/model.safetensors
        cmp a$t/split.csv b$t/split.csv
        cmp a$t/config.json b$t/config.json
    done
    ok vq-train "${tiny[@]}" --seed 1 --steps 15 -o c cells.vqt
    differ a1/model.safetensors c/model.safetensors
    same "$(json c/config.json seed)" 1
    ok vq-train "${tiny[@]}" --set seed=1 --seed 0 --steps 15 -o d cells.vqt
    same_tensors a1/model.safetensors d/model.safetensors
}

@test "a pipe, a file, little memory, raw or normalised, padded or not: the same weights" {
    ok vq-train "${tiny[@]}" --steps 15 -o file cells.vqt
    ok bash -c 'cat cells.vqt | vq-train "$@"' - "${tiny[@]}" --steps 15 -o pipe
    same_tensors file/model.safetensors pipe/model.safetensors
    same "$(ls pipe)" "$(ls file)" # no spool is left
    ok vq-train "${tiny[@]}" --steps 15 -o again --memory 0 cells.vqt
    same_tensors file/model.safetensors again/model.safetensors
    ok bash -c 'cat cells.vqt | vq-train "$@"' - "${tiny[@]}" --steps 15 -o again --force --memory 20000 -
    same_tensors file/model.safetensors again/model.safetensors
    ok vq-train "${tiny[@]}" --steps 15 -o raw raw.vqt
    same_tensors file/model.safetensors raw/model.safetensors
    vq-normalize raw.vqt | vq-pad --zero --multiple 64 | vq-batch --tolerance 100 --memory 1G >batches.vqt # one bucket: the order stays
    ok vq-train "${tiny[@]}" --steps 15 -o batches batches.vqt
    same_tensors file/model.safetensors batches/model.safetensors
    cmp file/split.csv batches/split.csv
}

@test "--set, -c and the save_directory of a configuration" {
    echo '{ "levels": 1, "channels_per_level": [8], "num_embeddings": 16, "embedding_dim": 8, // small
        "pixels_per_step": 8192, "epochs": 2, "save_directory": "here", "save_samples_every": 0 }' >c.json
    ok vq-train -c c.json --set num_embeddings=8 --threads 1 cells.vqt
    same "$(ls here)" "config.json
history.jsonl
last.ckpt
model.safetensors
split.csv"
    same "$(json here/config.json num_embeddings)" 8
    same "$(wc -l <here/history.jsonl)" 2
    # what a run resolved makes the same run
    ok vq-train -c here/config.json -o there --threads 1 cells.vqt
    same_tensors here/model.safetensors there/model.safetensors
    # data_directory: a stream, or a directory with cells.vqt
    ok vq-train -c c.json --set data_directory=. --set num_embeddings=8 -o third --threads 1
    same_tensors here/model.safetensors third/model.safetensors
    ok vq-train -c c.json --set data_directory=raw.vqt --set num_embeddings=8 -o third --force --threads 1
    same_tensors here/model.safetensors third/model.safetensors
}

@test "a configuration that is wrong" {
    fails 1 vq-train --set nmu_embeddings=8 -o run cells.vqt
    same "$err" 'vq-train: --set nmu_embeddings=8: unknown key "nmu_embeddings"; the nearest known one is num_embeddings'
    fails 1 vq-train --set learning_rate=100 -o run cells.vqt
    same "$err" 'vq-train: --set learning_rate=100: learning_rate: "100" is not 1e-09 to 10'
    echo '{ "learning_rte": 1 }' >c.json
    fails 1 vq-train -c c.json -o run cells.vqt
    same "$err" 'vq-train: c.json: unknown key "learning_rte"; the nearest known one is learning_rate'
    echo '{ "levels": 9 }' >c.json
    fails 1 vq-train -c c.json -o run cells.vqt
    same "$err" 'vq-train: c.json: levels: "9" is not an integer, 1 to 5'
    echo '{ "levels": 3 }' >c.json
    fails 1 vq-train -c c.json -o run cells.vqt
    same "$err" 'vq-train: c.json: levels is 3, but channels_per_level has 2 numbers'
    echo '{ "levels": 2' >c.json
    fails 1 vq-train -c c.json -o run cells.vqt
    has "$err" 'vq-train: c.json: '
    fails 1 vq-train -c none.json -o run cells.vqt
    same "$err" 'vq-train: none.json: No such file or directory'
    [ ! -e run ]
    fails 2 vq-train --steps 0 -o run cells.vqt
    same "$err" 'vq-train: --steps must be at least 1, not 0'
    fails 2 vq-train -o run one.vqt two.vqt
    fails 2 vq-train --split-by "$(printf '%02000d' 0)" -o run cells.vqt
    same "$err" 'vq-train: --split-by takes at most 1023 bytes'
}

@test "bf16 that the machine lacks: refused, not emulated" {
    ONEDNN_MAX_CPU_ISA=AVX2 fails 1 vq-train "${tiny[@]}" --steps 1 --set mixed_precision=bf16 -o run cells.vqt
    [[ $err =~ ^"vq-train: mixed_precision is bf16, and this device ("[a-z0-9]+") has no instructions for it: auto and off do without"$ ]] || { show; false; }
    [ ! -e run/model.safetensors ]
    ONEDNN_MAX_CPU_ISA=AVX2 ok vq-train "${tiny[@]}" --steps 1 --force -o run cells.vqt
}

@test "a stream that cannot be trained on leaves no run" {
    head -c 9000 cells.vqt >cut.vqt
    fails 1 vq-train "${tiny[@]}" -o run cut.vqt
    [[ $err =~ ^"vq-train: cut.vqt: truncated: "[0-9]+" records were read; " ]]
    fails 1 bash -c 'vq-train -o run <cut.vqt'
    [[ $err =~ ^"vq-train: standard input: truncated: " ]]
    fails 1 bash -c 'vq-train -o run </dev/null'
    same "$err" "vq-train: standard input: empty: not even a stream header (did the command before it fail?)"
    vq-synth -n 0 >none.vqt
    fails 1 vq-train -o run none.vqt
    same "$err" "vq-train: none.vqt: a stream without records: there is nothing to train on"
    fails 1 vq-train -o run no-such.vqt
    same "$err" "vq-train: no-such.vqt: No such file or directory"
    vq-train "${tiny[@]}" --steps 1 -q -o model cells.vqt
    vq-encode -m model/model.safetensors cells.vqt >codes.vqt
    fails 1 vq-train -o run codes.vqt
    same "$err" "vq-train: codes.vqt: a stream of codes, where samples or batches are wanted"
    fails 1 vq-train -o run "$ROOT/tests/golden/not-finite.vqt"
    same "$err" "vq-train: $ROOT/tests/golden/not-finite.vqt: record cell#2: channel ER: a NaN pixel at row 1, column 2"
    fails 1 vq-train -o run --val <(vq-synth -n 2 --channels 2 --max-size 20 --seed 7) cells.vqt
    has "$err" "record Simulated_A01_1#1: it has 2 channels, the model 4"
    [ ! -e run ]
    fails 1 vq-train -o cells.vqt cells.vqt
    same "$err" "vq-train: cells.vqt: Not a directory"
}

@test "normalised otherwise: the record and both ways are named" {
    vq-normalize --zscore raw.vqt >z.vqt
    fails 1 vq-train "${tiny[@]}" -o run --val z.vqt cells.vqt
    same "$err" "vq-train: z.vqt: record Simulated_A01_1#1: normalised otherwise than the model's cells: it has mean and deviation per record, the model percentiles 5,95 per record, clipped"
    [ ! -e run ]
    # the configuration's way is for raw records; those that are normalised bring their own
    ok vq-train "${tiny[@]}" --steps 1 -o z z.vqt
    ok vq-train "${tiny[@]}" --steps 1 -o raw --set normalize_method=zscore raw.vqt
    same_tensors z/model.safetensors raw/model.safetensors
    ok vq-info --json raw/model.safetensors
    has "$(json .stdout metadata.normalize)" '"method":"zscore"'
}

@test "statistics for all cells are the model's; those by group are not" {
    vq-normalize --fit raw.vqt >all.json
    vq-normalize --stats all.json raw.vqt >all.vqt
    ok vq-train "${tiny[@]}" --steps 1 -o all all.vqt
    ok vq-encode -m all/model.safetensors raw.vqt -o a.vqt
    ok vq-encode -m all/model.safetensors all.vqt -o b.vqt
    vq-export --npz -o a.npz a.vqt && vq-export --npz -o b.npz b.vqt && cmp a.npz b.npz
    vq-normalize --fit --group-by Metadata_Well raw.vqt >wells.json
    vq-normalize --stats wells.json raw.vqt >wells.vqt
    fails 1 vq-encode -m all/model.safetensors wells.vqt -o c.vqt
    has "$err" "vq-encode: wells.vqt: record Simulated_A01_1#1: normalised from other statistics than the model's cells: channel 1 has "
    ok vq-train "${tiny[@]}" --steps 1 -o wells wells.vqt
    ok vq-encode -m wells/model.safetensors wells.vqt -o c.vqt
    fails 1 vq-encode -m wells/model.safetensors raw.vqt -o d.vqt
    has "$err" "vq-encode: raw.vqt: record Simulated_A01_1#1: raw grey levels, and the model's cells were normalised from statistics that differ among them: use vq-normalize --stats FILE first"
}

@test "a run that holds a model needs --force" {
    ok vq-train "${tiny[@]}" --steps 1 -q -o run cells.vqt
    cp run/model.safetensors old
    fails 1 vq-train "${tiny[@]}" --steps 1 -o run/ cells.vqt
    same "$err" "vq-train: run: holds a model already (model.safetensors): --resume goes on from its checkpoint, --force starts anew"
    # even by force, nothing is lost to a stream that cannot be read
    fails 1 vq-train "${tiny[@]}" --steps 1 -o run --force no-such.vqt
    cmp run/model.safetensors old
    touch run/samples/mine.png run/note
    ok vq-train "${tiny[@]}" --steps 2 --seed 3 -q -o run --force --init run/model.safetensors cells.vqt
    differ run/model.safetensors old
    same "$(tail -n 1 run/history.jsonl >l; json l step)" 2
    [ -e run/samples/mine.png ]
    [ -e run/note ]
    # a directory that holds other things is no obstacle
    mkdir other && touch other/note
    ok vq-train "${tiny[@]}" --steps 1 -q -o other cells.vqt
}

@test "--init goes on from given weights" {
    ok vq-train "${tiny[@]}" --set learning_rate=0.003 --set warmup_steps=0 --steps 60 -q -o a cells.vqt
    ok vq-train "${tiny[@]}" --set learning_rate=1e-9 --steps 1 -q -o b --init a/model.safetensors cells.vqt
    tail -n 1 a/history.jsonl >a.json && tail -n 1 b/history.jsonl >b.json
    near "$(json a.json val.psnr)" "$(json b.json val.psnr)" 0.02
    fails 1 vq-train -o c --init a/model.safetensors cells.vqt
    same "$err" "vq-train: a/model.safetensors: tensor enc.0.weight: its shape is [8,4,7,7], not [32,4,7,7]"
    fails 1 vq-train "${tiny[@]}" --set blocks=2 -o c --init a/model.safetensors cells.vqt
    [[ $err =~ ^"vq-train: a/model.safetensors: it has no tensor enc." ]]
    fails 1 vq-train "${tiny[@]}" -o c --init no-such cells.vqt
    same "$err" "vq-train: no-such: No such file or directory"
    [ ! -e c ]
}

@test "--init takes PyTorch's own names, and says what it has no place for" {
    vq-synth -n 3 --channels 2 --max-size 40 | vq-normalize | vq-pad >two.vqt
    sized=(--set channels_per_level=4,6 --set head_channels=4 --set embedding_dim=5 --set num_embeddings=9 --set blocks=2 --threads 1 --steps 1 --set learning_rate=1e-9)
    ok vq-train "${sized[@]}" -o t --init "$ROOT/tests/golden/parity-codes.safetensors" two.vqt
    [[ $err =~ "vq-train: warning: $ROOT/tests/golden/parity-codes.safetensors: the model has no place for parity.after."[a-z0-9.]*" and others" ]]
    # its own names are all used
    ok vq-train "${sized[@]}" -o again --init t/model.safetensors two.vqt
    [[ ! $err =~ warning ]]
}

@test "Metadata_Split decides; else whole groups are held out" {
    vq-synth -n 60 --channels 1 --fields f --field-size 192 --max-size 32
    vq-crop -q --load-data f/load_data.csv >declared.vqt
    sed 's/,[a-z]*$//; s/,Metadata_Split$//' f/load_data.csv >f/bare.csv # the last column goes
    vq-crop -q --load-data f/bare.csv >bare.vqt
    ok vq-train "${tiny[@]}" --steps 1 -o run declared.vqt
    vq-export --csv -o t.csv declared.vqt
    local column
    column=$(head -n 1 t.csv | tr , '\n' | grep -n Metadata_Split | cut -d : -f 1)
    cmp <(cut -d , -f 1,3 run/split.csv | sed 1d) <(cut -d , -f "1,$column" t.csv | sed 1d)
    [ "$(parts | tr -d '0-9')" = "test , train , val " ]
    ok vq-train "${tiny[@]}" --steps 1 -o run --force --val-fraction 0.3 bare.vqt
    # a group is on one side only
    same "$(cut -d , -f 2,3 run/split.csv | sort -u | cut -d , -f 1 | uniq -d)" ""
    [ "$(cut -d , -f 2 run/split.csv | sort -u | wc -l)" -gt 2 ]
    has "$(parts)" "val"
    ok vq-train "${tiny[@]}" --steps 1 -q -o run --force --split-by Well bare.vqt
    same "$(cut -d , -f 2 run/split.csv | sed -n 2p)" A01
    fails 1 vq-train -o x --split-by Batch bare.vqt
    same "$err" "vq-train: bare.vqt: record Simulated_A01_1#1: has no column \"Batch\" to group by; the nearest is \"Metadata_Plate\""
    sed -i 's/,val$/,holdout/' f/load_data.csv
    fails 1 vq-train -o x <(vq-crop -q --load-data f/load_data.csv)
    [[ $err =~ ^"vq-train: record "[^:]*": Metadata_Split is \"holdout\", not train, val or test"$ ]]
}

@test "--split-by cell, and one group only, warn" {
    ok vq-train "${tiny[@]}" --steps 1 -o run --split-by cell cells.vqt
    same "$(head -n 1 .stderr)" "vq-train: warning: cells.vqt: split by cell: cells of one field may be on both sides"
    same "$(parts)" "train 36, val 4"
    ok vq-train "${tiny[@]}" --steps 1 -o run --force --split-by Plate cells.vqt
    same "$(head -n 1 .stderr)" "vq-train: warning: cells.vqt: all cells are of one group: validation cells are drawn from it, so that both sides share a field"
    same "$(parts)" "train 36, val 4"
    ok vq-train "${tiny[@]}" --steps 1 -o run --force --split-by cell --val-fraction 0 cells.vqt
    same "$(parts)" "train 40"
    same "$(wc -l <.stderr)" 1
    same "$(json run/history.jsonl '#')" 8 # no val
    vq-synth -n 1 >one.vqt
    ok vq-train "${tiny[@]}" --steps 1 -o run --force one.vqt
    same "$(parts)" "train 1"
}

@test "--val and --split" {
    vq-synth -n 12 --channels 4 --max-size 30 --seed 5 --fields f --field-size 256
    vq-crop -q --load-data <(sed 's/Simulated,/Other,/' f/load_data.csv) --path-root f >val.vqt
    n=$(json <(vq-info --json val.vqt) records)
    ok vq-train "${tiny[@]}" --steps 1 -o run --val val.vqt cells.vqt
    same "$(parts)" "train 40, val $n"
    ok bash -c 'vq-train "$@" --val <(cat val.vqt) <cells.vqt' - "${tiny[@]}" --steps 1 -o two --memory 0
    same_tensors run/model.safetensors two/model.safetensors
    same "$(ls two)" "$(ls run)"
    fails 1 vq-train "${tiny[@]}" -o x --val cells.vqt cells.vqt
    same "$err" "vq-train: record Simulated_A01_1#1 is in both streams: a cell cannot train and validate"
    { echo id,split; vq-info --records cells.vqt | grep '#' | cut -f 1 | awk '{ print $0 "," (NR % 4 ? "train" : NR % 8 ? "val" : "test") }'; } >s.csv
    ok vq-train "${tiny[@]}" --steps 1 -o s --split s.csv cells.vqt
    same "$(parts s/split.csv)" "test 5, train 30, val 5"
    ok vq-train "${tiny[@]}" --steps 1 -o s --force --split s/split.csv cells.vqt
    same "$(parts s/split.csv)" "test 5, train 30, val 5"
    sed -i 2d s.csv
    fails 1 vq-train "${tiny[@]}" -o x --split s.csv cells.vqt
    same "$err" "vq-train: s.csv: it does not list record Simulated_A01_1#1"
    fails 1 vq-train "${tiny[@]}" -o x --split <(cut -d , -f 1 s/split.csv | sed 's/$/,test/; 1s/.*/id,split/') cells.vqt
    same "$err" "vq-train: the split leaves no cell to train on (0 val, 40 test)"
    [ ! -e x ]
}

@test "checkpoint_activations: the same bytes in less memory, which -v states" {
    ok vq-train -v "${tiny[@]}" --steps 4 -o plain cells.vqt
    [[ $err =~ "vq-train: activations and gradients: "([0-9.]+)" MiB"$'\n' ]]
    local mib=${BASH_REMATCH[1]}
    ok vq-train -v "${tiny[@]}" --set checkpoint_activations=true --steps 4 -o again cells.vqt
    [[ $err =~ "vq-train: activations and gradients: "([0-9.]+)" MiB; without checkpoint_activations $mib MiB ("([0-9]+)" % saved)" ]]
    [ "${BASH_REMATCH[2]}" -ge 10 ]
    near "$(awk "BEGIN { print 100 * (1 - ${BASH_REMATCH[1]} / $mib) }")" "${BASH_REMATCH[2]}" 5
    same_tensors plain/model.safetensors again/model.safetensors
    local small=(--set channels_per_level=[8,12] --set levels=2 --set hidden=[16] --set embedding_dim=12 --set num_embeddings=16 --set batch_size=8
        --set use_perceptual_loss=false --set dropout=0.2 --steps 3 --threads 1 -q)
    for c in improved original; do
        ok vq-train -c "$ROOT/configs/$c.json" "${small[@]}" -o plain --force cells.vqt
        ok vq-train -c "$ROOT/configs/$c.json" "${small[@]}" -o again --force --set checkpoint_activations=true cells.vqt
        same_tensors plain/model.safetensors again/model.safetensors
        ok vq-train --resume --threads 1 -q -o again cells.vqt
    done
}

@test "--profile: the parts of the time, and each operation against the machine's peak" {
    ok vq-train -q "${tiny[@]}" --steps 6 -o run cells.vqt
    same "$err" ""
    ok vq-train -q --profile "${tiny[@]}" --steps 40 -o run --force cells.vqt
    [[ $err == "40 steps in "* ]]
    for part in "reading, and preparing the model" "making plans" "drawing and packing cells" "computing" "validating and saving"; do
        awk -v p="$part" 'index($0, p) && $(NF - 1) > 0 { found = 1 } END { exit !found }' .stderr || { echo "no time for $part: $err"; false; }
    done
    # no part is more than the whole; shares of the operations are 100 % together, the slowest first, and each has a floor
    awk 'NR == 1 { whole = $4 } NR > 1 && NR < 7 { sum += $(NF - 3) } END { exit !(sum > whole / 2 && sum <= 1.05 * whole) }' .stderr
    grep -Eq '^peaks of [0-9]+ threads: [0-9]+ GFLOP/s f32, [0-9]+ bf16, memory [0-9.]+ GB/s$' .stderr
    awk 'NR > 8 { share += $4; if (NR > 9 && $3 > last + 1e-9 || $7 < 0) bad = 1; last = $3 } END { exit !(share > 98 && share < 102 && !bad) }' .stderr
    awk '$1 == "conv" && $2 > 0 && $5 > 0 && $6 > 0 { found = 1 } END { exit !found }' .stderr
}

@test "a codebook that collapses: a warning, once, with the keys to change" {
    local opts=("${tiny[@]}" --set num_embeddings=512 --set codebook_update=gradient --set codebook_start=normal --epochs 12)
    ok vq-train "${opts[@]}" -o run cells.vqt
    same "$(grep -c 'collapsed' .stderr)" 1
    [[ $err =~ "vq-train: warning: epoch "([5-9]|1[0-2])": the codebook has collapsed: "[0-9]+" of 512 codes were used (usage 0.0"[0-9]+"), and usage was below 0.1 for 5 epochs: set codebook_update to ema" ]]
    ok vq-train "${opts[@]}" -q -o run --force cells.vqt
    same "$err" ""
    ok vq-train "${tiny[@]}" --epochs 12 -o run --force cells.vqt
    [[ $err != *collapsed* ]]
}

@test "content weighting" {
    ok vq-train "${tiny[@]}" --set content_weighting=true --steps 3 -q -o run cells.vqt
    ok vq-train "${tiny[@]}" --steps 3 -q -o plain cells.vqt
    differ <(tensors run/model.safetensors) <(tensors plain/model.safetensors)
}

@test "--max-time is kept" {
    local began=$SECONDS
    ok vq-train "${tiny[@]}" --max-time 2s -o run cells.vqt
    [ $((SECONDS - began)) -le 3 ]
    tail -n 1 run/history.jsonl >l
    near "$(json l seconds)" 1.7 0.5
    near "$(json l lr)" 0 5e-4 # the schedule, from 2e-3, was fitted to it; a busy machine takes few steps
}

@test "SIGINT: the step ends, the model is saved, 130" {
    start vq-train "${tiny[@]}" --epochs 1000000 -o run cells.vqt
    wait_for run/history.jsonl
    kill -INT "$pid"
    ended
    same "$status" 130
    same "$(wc -l <.stderr)" 1
    has "$err" "vq-train: run/model.safetensors: step "
    same "$(ls run)" "config.json
history.jsonl
last.ckpt
model.safetensors
samples
split.csv"
    json <(tail -n 1 run/history.jsonl) val.loss
    ok vq-encode -m run/model.safetensors cells.vqt -o codes.vqt
}

@test "a second SIGINT ends at once, and nothing is half-written" {
    start vq-train --set pixels_per_step=4194304 --set num_embeddings=8 --epochs 1000000 -o run --threads 1 cells.vqt
    wait_for run/config.json
    local began=$SECONDS
    sleep 0.3
    kill -INT "$pid"
    sleep 0.1
    kill -INT "$pid" || true
    ended
    same "$status" 130
    [ $((SECONDS - began)) -le 2 ]
    same "$(ls run)" "config.json
split.csv"
}

@test "SIGTERM and SIGINT while a pipe is read leave no spool" {
    for signal in TERM INT; do
        mkfifo pipe
        { head -c -200 cells.vqt; sleep 30; } >pipe 2>/dev/null 3>&- &
        local writer=$!
        start vq-train --memory 0 -o run pipe
        for _ in $(seq 100); do [ -n "$(ls run 2>/dev/null)" ] && break; sleep 0.05; done
        [ -n "$(ls run)" ]
        kill -$signal "$pid"
        ended
        kill $writer 2>/dev/null || true
        [ "$status" -gt 128 ]
        same "$(ls run)" ""
        rm -r pipe run
    done
}

# A file system of a few pages, or, where none may be mounted, a limit on the size of files.
small_disk() {
    mkdir -p disk
    if mount -t tmpfs -o size="$1" none disk 2>/dev/null; then
        small=(env)
        full="No space left on device"
    else
        small=(bash -c 'ulimit -f '"$((${1%k} - 4))"'; trap "" XFSZ; exec "$@"' -)
        full="File too large"
    fi
}
teardown() { umount disk 2>/dev/null || true; }

@test "a full disk: one line, and no half file" {
    small_disk 16k # holds the small files, and no model
    fails 1 "${small[@]}" vq-train "${tiny[@]}" --steps 3 -o disk/run cells.vqt
    same "$err" "vq-train: disk/run/model.safetensors: $full"
    same "$(ls disk/run)" "config.json
split.csv"
    rm -r disk/run
    fails 1 "${small[@]}" bash -c 'vq-train --memory 0 -o disk/run <cells.vqt'
    same "$err" "vq-train: disk/run/spool.vqt: $full"
    [ ! -e disk/run ]
}
