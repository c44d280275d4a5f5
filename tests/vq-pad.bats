# vq-pad: sizes, modes, what is recorded, exact removal. Pixels are compared with numpy.pad by tests/oracle/normalize.py.
load helpers

# Metadata of record N (from 0), as JSON, to the file .meta: found by the sizes in the blocks' heads.
meta() {
    local at=0 i=-1 size head
    zstd -dcq "$1" >.plain
    while :; do
        size=$(od -An -tu8 -j $((at + 8)) -N 8 .plain)
        [ "$(tail -c +$((at + 1)) .plain | head -c 4)" != VQTR ] || i=$((i + 1))
        [ $i -lt "$2" ] || break
        at=$((at + size))
    done
    head=($(od -An -tu4 -j $((at + 32)) -N 12 .plain))
    tail -c +$((at + 65 + 128 * head[2] + head[0])) .plain | head -c "${head[1]}" >.meta
}
# A line of hexadecimal for each record: tensor table, id, metadata and data, without the block's head, which holds its place.
records() {
    zstd -dcq "$1" | od -An -v -tx1 -w64 | awk '
    function hex(s,  i, v) { for (i = 1; i <= length(s); i++) v = 16 * v + index("123456789abcdef", substr(s, i, 1)); return v }
    !left { left = hex($12 $11 $10 $9) / 64 - 1; keep = $4 == "52"; text = ""; next }
    { text = text $0; if (!--left && keep) print text }'
}
digest() { records "$1" | sha256sum; }
ids() { vq-info --records "$1" | grep $'\t' | cut -f 1; }

@test "the default: reflect, multiples of 16, at least 32, centred" {
    vq-synth -n 12 --channels 1 --min-size 14 --max-size 60 >cells.vqt
    ok bash -c 'vq-pad cells.vqt >p.vqt'
    same "$out$err" ""
    vq-pad --reflect --multiple 16 --min 32 <cells.vqt >q.vqt
    same "$(digest p.vqt)" "$(digest q.vqt)"
    for i in 0 5 11; do
        meta p.vqt $i
        h=$(json .meta size.0) t=$(json .meta pad.0) b=$(json .meta pad.1) l=$(json .meta pad.2) r=$(json .meta pad.3) w=$(json .meta size.1)
        H=$(((h + 15) / 16 * 16)) W=$(((w + 15) / 16 * 16))
        [ $H -ge 32 ] || H=32
        [ $W -ge 32 ] || W=32
        same "$t $b $l $r" "$(((H - h) / 2)) $((H - h - (H - h) / 2)) $(((W - w) / 2)) $((W - w - (W - w) / 2))"
        same "$(json .meta pad_mode)" reflect
        same "$(vq-info --records --json p.vqt >.r && json .r list.$i.height)" $H
    done
}

@test "--remove is exact: the records are those that went in" {
    vq-synth -n 20 --channels 2 --min-size 14 --max-size 70 >cells.vqt
    for options in --reflect --zero --edge "--pow2 --zero" "--multiple 64 --min 128" "--multiple 7 --min 0" "--multiple 1 --min 0"; do
        vq-pad $options cells.vqt | vq-pad --remove >back.vqt
        same "$options $(digest back.vqt)" "$options $(digest cells.vqt)"
    done
    [ "$(records cells.vqt | wc -l)" = 20 ]
}

@test "a padded record is padded anew from its true pixels" {
    vq-synth -n 10 --channels 1 --max-size 50 >cells.vqt
    vq-pad --multiple 16 cells.vqt >want.vqt
    vq-pad --zero --multiple 64 --min 128 cells.vqt | vq-pad --multiple 16 >got.vqt
    same "$(digest got.vqt)" "$(digest want.vqt)"
    vq-pad got.vqt | vq-pad >again.vqt
    same "$(digest again.vqt)" "$(digest want.vqt)"
}

@test "order, ids, header and chain" {
    vq-synth -n 25 --channels 3 --max-size 40 >cells.vqt
    vq-pad --edge cells.vqt >p.vqt
    same "$(ids p.vqt)" "$(ids cells.vqt)"
    vq-info --json p.vqt >i.json
    same "$(json i.json channels.2)" Puncta
    same "$(json i.json chain.1.tool)" vq-pad
    same "$(json i.json chain.1.args.0)" --edge
    same "$(json i.json dtype)" u16
}

@test "a stream of no records passes" {
    vq-synth -n 0 | vq-pad >p.vqt
    ok vq-info --json p.vqt
    same "$(json .stdout records)" 0
    same "$(json .stdout complete)" true
    vq-pad --remove p.vqt >q.vqt
}

@test "batches are refused, with what to do" {
    vq-synth -n 3 --max-size 40 | vq-batch >b.vqt
    fails 1 vq-pad b.vqt -o x.vqt
    same "$err" "vq-pad: b.vqt holds batches, and vq-pad takes single samples: vq-batch --split b.vqt | vq-pad"
    ok bash -c 'set -o pipefail; vq-batch --split b.vqt | vq-pad | vq-info --json -'
    same "$(json .stdout records)" 3
}

@test "misuse and limits" {
    fails 2 vq-pad --zero --edge
    fails 2 vq-pad --pow2 --multiple 8
    fails 2 vq-pad --remove --zero
    fails 2 vq-pad --remove --min 16
    fails 2 vq-pad --multiple 0
    fails 2 vq-pad --multiple -16
    fails 2 vq-pad --min 1e9
    vq-synth -n 1 --channels 4 --max-size 40 >cells.vqt
    fails 1 vq-pad --min 65536 cells.vqt -o p.vqt
    has "$err" "vq-pad: "
    [ ! -e p.vqt ]
    fails 1 vq-pad missing.vqt
    has "$err" "missing.vqt"
}

@test "a cut stream, a flipped bit, a writer that died" {
    vq-synth -n 40 --channels 1 --max-size 40 >cells.vqt
    head -c 20000 cells.vqt >cut.vqt
    fails 1 vq-pad cut.vqt -o p.vqt
    has "$err" "truncated"
    [ ! -e p.vqt ]
    cp "$ROOT/tests/golden/v1-flipped.vqt" .
    fails 1 vq-pad v1-flipped.vqt -o p.vqt
    [ ! -e p.vqt ]
    run_split bash -c 'set -o pipefail; vq-pad cut.vqt 2>/dev/null | vq-pad | vq-info --json - 2>/dev/null'
    same "$status" 1
    has "$err" "vq-pad: standard input: "
}

@test "the first record leaves before the last one comes" {
    vq-synth -n 400 --channels 1 --max-size 40 >cells.vqt
    size=$(stat -c %s cells.vqt)
    mkfifo in
    (head -c $((size / 2)) cells.vqt; while [ ! -e go ]; do sleep 0.05; done; tail -c +$((size / 2 + 1)) cells.vqt) >in &
    vq-normalize <in | vq-pad >p.vqt &
    for ((i = 0; i < 200; i++)); do
        [ "$(stat -c %s p.vqt 2>/dev/null || echo 0)" -lt 30000 ] || break
        sleep 0.05
    done
    early=$(stat -c %s p.vqt)
    touch go
    wait
    [ "$early" -ge 30000 ]
    [ "$(stat -c %s p.vqt)" -gt "$early" ]
    ok vq-info --json p.vqt
    same "$(json .stdout records)" 400
}

@test "little memory for any number of records" {
    limit=$((64 * 1024))
    vq-synth -n 3000 --channels 1 --max-size 40 >cells.vqt
    for tool in "vq-normalize" "vq-pad" "vq-pad --remove" "vq-normalize --fit"; do
        peak "$tool cells.vqt"
        [ "$kib" -lt $limit ] || { echo "$tool: $kib KiB"; return 1; }
    done
}

# Peak resident KiB of a command line, from /proc, in kib.
peak() {
    kib=0
    $1 >/dev/null &
    local pid=$! now
    while now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do kib=$now; sleep 0.01; done
    wait "$pid"
}
