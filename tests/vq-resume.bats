# vq-train --resume: a run that was killed ends as one that was not, and checkpoints that do not fit are refused.
load helpers

tiny=(--set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 --set pixels_per_step=8192 --threads 1 -q)
often=("${tiny[@]}" --steps 60 --save-every 0.001) # a checkpoint a step

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    vq-synth -n 40 --max-size 40 | vq-normalize | vq-pad >cells.vqt
    local from=${EPOCHREALTIME/./}
    vq-train "${often[@]}" -o whole cells.vqt
    echo $((${EPOCHREALTIME/./} - from)) >took # us
}
setup() {
    enter_tmp
    ln -s "$BATS_FILE_TMPDIR"/{cells.vqt,whole} .
}
teardown() { umount disk 2>/dev/null || true; }

without_time() { sed 's/"seconds":[^,]*,//' "$1"; }
# Two runs ended alike.
alike() {
    cmp "$1/model.safetensors" "$2/model.safetensors" && cmp <(without_time "$1/history.jsonl") <(without_time "$2/history.jsonl") &&
        cmp "$1/config.json" "$2/config.json" && cmp "$1/split.csv" "$2/split.csv" && diff <(cd "$1" && ls . samples) <(cd "$2" && ls . samples)
}
start() { env --default-signal=INT,TERM "$@" >.stdout 2>.stderr 3>&- & pid=$!; }
ended() { status=0; wait "$pid" 2>/dev/null || status=$?; }
wait_for() { for _ in $(seq 3000); do [ -s "$1" ] && return 0; sleep 0.01; done; echo "no $1"; return 1; }
step_of() { json <(vq-info --json "$1/last.ckpt") metadata.progress | grep -o '"step":[0-9]*' | cut -d : -f 2; }
# A tensor's bytes are found by its name; here the header's text is changed in place, length kept.
edit() { LC_ALL=C sed -i "s/$2/$3/" "$1"; }

# Starts a command that trains into run and kills it at a random moment of TOOK us; `wait` says which. Fails unless it was killed in mid-run, with
# a checkpoint behind it: sooner there is nothing to go on from, and what has ended cannot be killed.   killed TOOK COMMAND...
killed() {
    wait=$(awk -v t="$1" -v r=$((RANDOM * 32768 + RANDOM)) 'BEGIN { print t / 1e6 * r / 1073741824 }')
    start "${@:2}"
    sleep "$wait"
    kill -9 "$pid" 2>/dev/null || true
    ended
    [ "$status" = 137 ] && [ -e run/last.ckpt ]
}
# The same until it came in mid-run, each time with run as it is now; where that is too late the run is shorter, too soon longer than was thought.
killed_at_last() {
    local took=$1 tries
    rm -rf before
    [ ! -e run ] || mv run before
    for ((tries = 0; tries < 60; tries++)); do
        rm -rf run
        [ ! -e before ] || cp -r before run
        ! killed "$took" "${@:2}" || return 0
        if [ "$status" = 137 ]; then took=$((took + took / 4)); else took=$((took / 2)); fi
    done
    echo "never killed in mid-run: ${*:2}"
    return 1
}
# What a write that was cut off leaves.
unfinished() { find run -name '*.tmp' | grep -q .; }

@test "killed at any moment, resumed: the same model and history" {
    local n=5 took i tries=0 writing=0 most
    [ "${VQ_LONG:-}" != 1 ] || n=50
    most=$((20 * n)) # n may grow
    took=$(cat "$BATS_FILE_TMPDIR/took")
    for ((i = 0; i < n; tries++)); do
        [ $tries -lt $most ] || { echo "of $tries only $i were killed in mid-run, $writing while a file was written"; return 1; }
        rm -rf run
        killed "$took" vq-train "${often[@]}" -o run cells.vqt || continue
        ! unfinished || writing=$((writing + 1))
        i=$((i + 1))
        vq-train "${often[@]}" -o run --resume cells.vqt || { echo "killed after $wait s of $took us"; return 1; }
        alike whole run || { echo "killed after $wait s of $took us"; return 1; }
        # of many some must have come while something was written
        [ $i -lt $n ] || [ "${VQ_LONG:-}" != 1 ] || [ $writing -gt 0 ] || n=$((n + 1))
    done
    echo "$writing of $n were killed while a file was written, and $((tries - n)) too soon or too late"
}

@test "killed while the checkpoint is being written: the one before it is whole" {
    # Once there is a best model the checkpoint is larger: here it outgrows a limit on the size of files, and the signal ends the process.
    ok vq-train "${tiny[@]}" --steps 1 -o one cells.vqt
    local size=$(($(stat -c %s one/last.ckpt) / 1024 - 20))
    start bash -c "ulimit -c 0; ulimit -f $size"'; exec "$@"' - vq-train "${often[@]}" -o run cells.vqt
    ended
    same "$status" $((128 + $(kill -l XFSZ)))
    [ -n "$(ls run/last.ckpt.*.tmp)" ]
    [ "$(step_of run)" -gt 1 ]
    [ "$(wc -l <run/history.jsonl)" = 1 ] # of an epoch that the checkpoint does not know
    ok vq-train "${often[@]}" -o run --resume cells.vqt
    alike whole run # nothing unfinished is left either
}

@test "killed again and again, and through a pipe" {
    for i in 1 2 3; do
        [ "$i" = 1 ] || more=(--resume)
        start vq-train "${often[@]}" -o run "${more[@]}" cells.vqt
        sleep "$(awk "BEGIN { print $(cat "$BATS_FILE_TMPDIR/took") / 4e6 }")"
        kill -9 "$pid" 2>/dev/null || true
        ended
        wait_for run/last.ckpt
    done
    ok bash -c 'cat cells.vqt | vq-train "$@"' - "${often[@]}" -o run --resume
    alike whole run
    # one more time there is nothing left to do
    ok vq-train "${often[@]}" -o run --resume cells.vqt
    alike whole run
}

# Killed twice in mid-run: what each kind of run carries from step to step is in the checkpoint.
@test "other models, schedules and codebooks: killed and resumed, the same" {
    local small=(--set channels_per_level=[8,16] --set levels=2 --set embedding_dim=16 --set num_embeddings=32 --set hidden=[24] --set head_channels=8
        --set use_perceptual_loss=false --set mixed_precision=off --set save_samples_every=0 -q)
    local kinds=(
        "-c $ROOT/configs/improved.json --set batch_size=4 --set dropout=0.2 --set codebook_refit=3 --set scheduler_type=plateau --set plateau_patience=0 --set learning_rate=0.05 --epochs 5"
        "-c $ROOT/configs/improved.json --set batch_size=4 --set latent=grid --set skip=quantized --set codebook_depth=2 --set augment_rotate=true --set checkpoint_activations=true --epochs 4"
        "-c $ROOT/configs/original.json --set batch_size=4 --set accumulate=3 --epochs 4"
        "--set blocks=1 --set pixels_per_step=4096 --set revive_every=1 --set revive_threshold=1 --set codebook_start=kmeans --set codebook_refit=2 --set weight_average=0.9 --set accumulate=2 --epochs 6"
        "--set blocks=1 --set pixels_per_step=4096 --set codebook_update=gradient --set optimizer=sgd --set momentum=0.8 --set scheduler_type=step --set step_size=2 --epochs 6"
        "--set blocks=1 --set pixels_per_step=4096 --set use_early_stopping=true --set early_stopping_patience=2 --set learning_rate=0.1 --set warmup_steps=0 --set use_scheduler=false --epochs 60"
    )
    local i took opts
    for i in "${!kinds[@]}"; do
        read -ra opts <<<"${kinds[i]}"
        opts=("${opts[@]:0:2}" "${small[@]}" "${opts[@]:2}" --threads $((i == 1 ? 2 : 1)) --save-every 0.0001) # as many threads, the same bytes
        rm -rf all
        took=${EPOCHREALTIME/./}
        ok vq-train "${opts[@]}" -o all cells.vqt
        took=$((${EPOCHREALTIME/./} - took))
        rm -rf run
        killed_at_last "$took" vq-train "${opts[@]}" -o run cells.vqt
        killed_at_last "$took" vq-train "${opts[@]}" --resume -o run cells.vqt
        ok vq-train "${opts[@]}" --resume -o run cells.vqt
        alike all run || { echo "${kinds[i]}"; return 1; }
    done
    [ "$(wc -l <all/history.jsonl)" -lt 60 ] # it stopped early
}

@test "without the options, the checkpoint's hold; little memory; epochs" {
    local opts=("${tiny[@]}" --set optimizer=sgd --set weight_average=0.9 --set learning_rate=0.01 --set save_samples_every=2 --epochs 9)
    ok vq-train "${opts[@]}" -o all cells.vqt
    start vq-train "${opts[@]}" -o part cells.vqt
    wait_for part/last.ckpt
    kill -9 "$pid" 2>/dev/null || true
    ended
    ok vq-train --threads 1 -q --memory 0 --resume -o part cells.vqt
    alike all part
}

@test "--val and -c are given again" {
    vq-synth -n 8 --channels 4 --max-size 30 --seed 5 --fields f --field-size 256
    vq-crop -q --load-data <(sed 's/Simulated,/Other,/' f/load_data.csv) --path-root f | vq-normalize | vq-pad >val.vqt
    local opts=(-c "$ROOT/configs/cells.json" "${tiny[@]}" --steps 20 --save-every 0.001 --val val.vqt)
    ok vq-train "${opts[@]}" -o all cells.vqt
    start vq-train "${opts[@]}" -o run cells.vqt
    wait_for run/last.ckpt
    kill -9 "$pid" 2>/dev/null || true
    ended
    fails 1 vq-train -q --resume -o run cells.vqt
    same "$err" "vq-train: run/last.ckpt: of other cells: not these 40, in this order, so divided and normalised"
    ok vq-train "${opts[@]}" --resume -o run cells.vqt
    alike all run
}

@test "after SIGINT, the epoch is taken up where it was" {
    local opts=("${tiny[@]}" --set pixels_per_step=2048 --epochs 8)
    ok vq-train "${opts[@]}" -o all cells.vqt
    start vq-train "${opts[@]}" -o run cells.vqt
    wait_for run/history.jsonl
    kill -INT "$pid"
    ended
    same "$status" 130
    [ "$(wc -l <run/history.jsonl)" -lt 8 ]
    ok vq-train "${opts[@]}" -o run --resume cells.vqt
    alike all run
}

@test "what vq-info says of a checkpoint" {
    ok vq-info --json whole/last.ckpt
    same "$(json .stdout kind)" checkpoint
    same "$(json .stdout version)" 2
    has "$(json .stdout metadata.progress)" '"step":60,'
    ok vq-info whole/last.ckpt
    has "$out" "whole/last.ckpt: checkpoint, 11 tensors, "
}

@test "no checkpoint, and misuse" {
    fails 1 vq-train --resume -o none cells.vqt
    same "$err" "vq-train: none/last.ckpt: there is no checkpoint to resume from"
    [ ! -e none ]
    fails 2 vq-train --resume --force -o whole cells.vqt
    same "$err" "vq-train: --resume and --force exclude each other"
    fails 1 vq-train "${often[@]}" -o whole cells.vqt
    same "$err" "vq-train: whole: holds a model already (model.safetensors): --resume goes on from its checkpoint, --force starts anew"
}

@test "of another configuration" {
    cp -rL whole run
    fails 1 vq-train "${often[@]}" --set learning_rate=0.5 -o run --resume cells.vqt
    same "$err" "vq-train: run/last.ckpt: of another configuration: its learning_rate is 0.002, not 0.5"
    fails 1 vq-train -q --steps 61 -o run --resume cells.vqt
    same "$err" "vq-train: run/last.ckpt: of another configuration: its max_steps is 60, not 61"
    fails 1 vq-train -q -c "$ROOT/configs/cells.json" -o run --resume cells.vqt
    has "$err" "vq-train: run/last.ckpt: of another configuration: its "
    fails 1 vq-train -q --seed 1 --set num_embeddings=8 --set dropout=0.5 -o run --resume cells.vqt
    same "$err" "vq-train: run/last.ckpt: of another configuration: its dropout is 0, not 0.5, num_embeddings is 32, not 8, seed is 0, not 1"
    diff -r run whole/
}

@test "of other cells" {
    cp -rL whole run
    vq-synth -n 40 --max-size 40 --channels 2 | vq-normalize | vq-pad >two.vqt
    fails 1 vq-train -q -o run --resume two.vqt
    same "$err" "vq-train: run/last.ckpt: of a model for 4 channels, and the cells have 2"
    vq-synth -n 40 --max-size 40 --seed 1 | vq-normalize | vq-pad >other.vqt   # the same ids, other pixels
    vq-synth -n 39 --max-size 40 | vq-normalize | vq-pad >fewer.vqt
    vq-synth -n 40 --max-size 40 | vq-normalize --zscore | vq-pad >otherwise.vqt
    vq-batch --bucket-by size --pixels 65536 <cells.vqt >order.vqt 2>/dev/null || vq-batch cells.vqt >order.vqt
    for f in other fewer otherwise order; do
        fails 1 vq-train -q -o run --resume $f.vqt
        has "$err" "vq-train: run/last.ckpt: of other cells: not these "
    done
    cut -d , -f 1,3 whole/split.csv | sed '2s/,.*/,test/' >s.csv # another split
    fails 1 vq-train -q -o run --resume --split s.csv cells.vqt
    has "$err" "vq-train: run/last.ckpt: of other cells: not these "
    diff -r run whole/
}

@test "other versions, other files, and files that are cut off" {
    mkdir run
    cp whole/last.ckpt run
    edit run/last.ckpt '"version":"2"' '"version":"3"'
    fails 1 vq-train -q -o run --resume cells.vqt
    same "$err" "vq-train: run/last.ckpt: a checkpoint of version 3; this vq reads version 2"
    cp whole/model.safetensors run/last.ckpt
    fails 1 vq-train -q -o run --resume cells.vqt
    same "$err" "vq-train: run/last.ckpt: not a checkpoint of vq-train"
    for cut in 0 5 300 100000; do
        head -c $cut whole/last.ckpt >run/last.ckpt
        fails 1 vq-train -q -o run --resume cells.vqt
        has "$err" "vq-train: run/last.ckpt: "
    done
    [[ $err =~ ^"vq-train: run/last.ckpt: tensor m: its data ends at byte "[0-9]+", the file's at 100000"$ ]]
    cp whole/last.ckpt run
    edit run/last.ckpt 'progress\(.*\)\\"at\\":' 'progress\1\\"to\\":'
    fails 1 vq-train -q -o run --resume cells.vqt
    same "$err" "vq-train: run/last.ckpt: it was changed or damaged: its checksum is wrong"
    cp whole/last.ckpt run
    edit run/last.ckpt '"order":{' '"0rder":{'
    fails 1 vq-train -q -o run --resume cells.vqt
    same "$err" "vq-train: run/last.ckpt: it was changed or damaged: its checksum is wrong"
    same "$(ls run)" last.ckpt
}

@test "one bit is wrong: refused, wherever it is" {
    mkdir run
    local size n=24 i at byte
    [ "${VQ_LONG:-}" != 1 ] || n=300
    size=$(stat -c %s whole/last.ckpt)
    for i in $(seq $n); do
        cp whole/last.ckpt run
        at=$(((RANDOM * 32768 + RANDOM) % size))
        [ $((i % 3)) != 0 ] || at=$((RANDOM % 4500)) # the header
        byte=$(od -An -t u1 -j $at -N 1 whole/last.ckpt)
        printf "\\x$(printf %02x $((byte ^ 1 << RANDOM % 8)))" | dd of=run/last.ckpt bs=1 seek=$at conv=notrunc status=none
        run_split vq-train -q -o run --resume cells.vqt
        # a blank between two parts of the header may have become another
        [ "$status" = 1 ] || cmp <(vq-info --json whole/last.ckpt | tr -d ' \n\t') <(vq-info --json run/last.ckpt | sed s/run/whole/ | tr -d ' \n\t') || { echo "bit at $at: status $status"; return 1; }
        [ "$status" = 0 ] || has "$err" "vq-train: run/last.ckpt: " || { echo "bit at $at"; return 1; }
    done
}

@test "a loss that is not finite: the step, the layer and the records are named; the last good checkpoint and model stay" {
    local opts=("${tiny[@]}" --epochs 60 --save-every 0.0001 --set optimizer=sgd --set learning_rate=10 --set gradient_clip_norm=0)
    # The cell of one well is a million times as bright, and finds room in the second epoch only: the step that takes it makes weights whose products overflow
    # in the next one, in any type and however a machine rounds.
    local bright=("${opts[@]}" --set learning_rate=0.1 --set warmup_steps=0 --set use_scheduler=false --set pixels_per_step=4096) precision step first
    vq-synth -n 40 --max-size 40 >raw.vqt
    vq-normalize --fit --group-by Metadata_Well raw.vqt | awk '/"group":.*"B10"/ { it = 1 } it && /"std":/ { sub(/\[[^,]*,/, "[0.0003,"); it = 0 } { print }' >stats.json
    vq-normalize --zscore --stats stats.json raw.vqt >bright.vqt
    for precision in off auto; do
        rm -rf run
        fails 1 vq-train "${bright[@]}" --set mixed_precision=$precision -o run bright.vqt
        [[ $err =~ ^"vq-train: step "([0-9]+)": the loss is not finite: first in "(the gradient of )?(enc|dec)\.[0-9](.conv[12])?" ("[a-z_]+")"(", in the first "[0-9]+" of its "[0-9]+" records")?"; the batch's records: "(Simulated_[A-Z0-9_]+"#1"(, )?)+"; the best model so far is kept"$ ]] || { echo "$err"; return 1; }
        step=${BASH_REMATCH[1]} first=$err
        same "$(step_of run)" $((step - 1))
        [ "$(tail -n 1 run/history.jsonl >l; json l step)" -lt $((step - 1)) ] # not the first of its epoch
        same "$(tr , '\n' <<<"${err#*records: }" | sort -u | grep -c Simulated)" "$(tr , '\n' <<<"${err#*records: }" | grep -c Simulated)"
        ok vq-encode -m run/model.safetensors --only val -o codes.vqt bright.vqt
        ok vq-decode -m run/model.safetensors -o back.vqt codes.vqt
        fails 1 vq-train -q --threads 1 -o run --resume bright.vqt # and there it stops again
        same "$err" "$first"
    done
    # before anything is saved nothing is claimed
    fails 1 vq-train "${opts[@]}" --set warmup_steps=0 --set reconstruction_loss_weight=1000000 -o none cells.vqt
    [[ $err != *"is kept"* ]]
    [ ! -e none/model.safetensors ]
}

@test "a loss that is not finite, with batch norm, attention and one code a cell: step and records are named, and the last good model stays" {
    local opts=(-c "$ROOT/configs/improved.json" --set channels_per_level=[8,16] --set levels=2 --set embedding_dim=16 --set num_embeddings=32 --set hidden=[24]
        --set head_channels=8 --set use_perceptual_loss=false --set batch_size=4 --set save_samples_every=0 --threads 1 -q --save-every 0.0001 --epochs 60
        --set optimizer=sgd --set learning_rate=10 --set warmup_steps=100 --set reconstruction_loss_weight=1 --set gradient_clip_norm=0)
    fails 1 vq-train "${opts[@]}" -o run cells.vqt
    # tests/unit/test_train.c says which layer is named: here that depends on how the machine rounds
    [[ $err =~ ^"vq-train: "(after )?"step "([0-9]+)": the "(loss|"validation loss"|"gradient's norm")" is not finite: "("first in "[a-z_0-9. ]+" ("[a-z_]+")"(", in the first "[0-9]+" of its "[0-9]+" records")?|"each value is, but they are too large to be added")"; the batch's records: "(Simulated_[A-Z0-9_]+"#1"(, )?)+"; the best model so far is kept"$ ]] || { echo "$err"; return 1; }
    local after=${BASH_REMATCH[1]} step=${BASH_REMATCH[2]} first=$err
    same "$(step_of run)" $((step - 1 + (${#after} > 0)))
    [ "$(tail -n 1 run/history.jsonl >l; json l step)" -lt "$step" ]
    ok vq-encode -m run/model.safetensors -o codes.vqt cells.vqt
    ok vq-decode -m run/model.safetensors -o back.vqt codes.vqt
    fails 1 vq-train -q --threads 1 -o run --resume cells.vqt # and there it stops again
    same "$err" "$first"
}

@test "other threads: a warning" {
    cp -rL whole run
    ok vq-train --threads 2 -o run --resume cells.vqt
    has "$err" 'vq-train: warning: run/last.ckpt: begun with {"threads":1,'
    [[ $err =~ '"compute":"'(f32|bf16)'"} and resumed with {"threads":2,' ]]
}

@test "a disk that fills up during training: the run stops, the last checkpoint is whole, and goes on" {
    ok vq-train "${tiny[@]}" --steps 1 -o one cells.vqt
    local size=$(($(stat -c %s one/last.ckpt) / 1024 - 20))
    fails 1 bash -c "ulimit -f $size"'; trap "" XFSZ; exec "$@"' - vq-train "${often[@]}" -o run cells.vqt
    same "$err" "vq-train: run/last.ckpt: File too large; the best model so far is kept"
    same "$(ls run)" "config.json
history.jsonl
last.ckpt
model.safetensors
split.csv"
    ok vq-info run/last.ckpt
    [ "$(step_of run)" -gt 1 ]
    ok vq-train "${often[@]}" -o run --resume cells.vqt
    alike whole run
}

# A file outgrows a limit, which says the same as a full disk; models too small for their checkpoint to reach it first.
limited() { fails 1 bash -c "ulimit -f $1"'; trap "" XFSZ; exec "$@"' - "${@:2}"; }

@test "the history outgrows the disk: the run stops, and goes on from its checkpoint" {
    vq-synth -n 6 --max-size 16 --channels 1 | vq-normalize | vq-pad >few.vqt
    local opts=(--set channels_per_level=[1,1] --set embedding_dim=1 --set num_embeddings=2 --set blocks=0 --set head_channels=1 --set stem_kernel=3 --set save_samples_every=0
        --set use_early_stopping=false --threads 1 -q --epochs 200)
    ok vq-train "${opts[@]}" -o all few.vqt
    local ckpt=$(($(stat -c %s all/last.ckpt) / 1024 + 2))
    [ "$(stat -c %s all/history.jsonl)" -gt $((1024 * ckpt)) ]
    limited $ckpt vq-train "${opts[@]}" -o run few.vqt
    same "$err" "vq-train: run/history.jsonl: File too large; the best model so far is kept"
    ok vq-info run/last.ckpt
    [ "$(json <(tail -n 2 run/history.jsonl | head -n 1) epoch)" -gt 1 ]
    ok vq-train "${opts[@]}" -o run --resume few.vqt
    alike all run
}

@test "pictures outgrow the disk: the run stops, and goes on from its checkpoint" {
    vq-synth -n 10 --min-size 150 --max-size 160 --channels 2 | vq-normalize | vq-pad >large.vqt
    local opts=(--set channels_per_level=[4,4] --set embedding_dim=4 --set num_embeddings=8 --set blocks=0 --set head_channels=4 --set save_samples_every=3 --threads 1 -q --epochs 4)
    ok vq-train "${opts[@]}" -o all large.vqt
    local ckpt=$(($(stat -c %s all/last.ckpt) / 1024 + 2))
    [ "$(stat -c %s all/samples/epoch-0003.png)" -gt $((1024 * ckpt)) ]
    limited $ckpt vq-train "${opts[@]}" -o run large.vqt
    same "$err" "vq-train: run/samples/epoch-0003.png: File too large; the best model so far is kept"
    same "$(ls run/samples)" ""
    ok vq-info run/last.ckpt
    ok vq-train "${opts[@]}" -o run --resume large.vqt
    alike all run
}

@test "a full disk in mid-run, whichever file meets it: the run stops, and goes on when there is room" {
    mkdir disk
    mount -t tmpfs -o size=4M tmpfs disk 2>/dev/null || skip "mounting is not allowed"
    local opts=("${tiny[@]}" --set pixels_per_step=2048 --set save_samples_every=0 --epochs 30) # saved at the end of epochs alone
    ok vq-train "${opts[@]}" -o all cells.vqt
    local tries
    for ((tries = 0; tries < 20; tries++)); do # the run may end before it is stopped
        rm -rf disk/run disk/filler
        start vq-train "${opts[@]}" -o disk/run cells.vqt
        wait_for disk/run/last.ckpt
        kill -STOP "$pid" 2>/dev/null || true
        cat /dev/zero >disk/filler 2>/dev/null || true
        kill -CONT "$pid" 2>/dev/null || true
        ended
        [ "$status" = 0 ] || break
    done
    same "$status" 1
    same "$(wc -l <.stderr)" 1
    [[ $(cat .stderr) =~ ^"vq-train: disk/run/"(model.safetensors|history.jsonl|last.ckpt)": No space left on device; the best model so far is kept"$ ]] || { cat .stderr; return 1; }
    ok vq-info disk/run/last.ckpt
    ok vq-info disk/run/model.safetensors
    [ "$(step_of disk/run)" -lt "$(step_of all)" ]
    rm disk/filler
    ok vq-train "${opts[@]}" -o disk/run --resume cells.vqt
    alike all disk/run
}
