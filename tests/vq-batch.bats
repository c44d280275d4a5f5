# vq-batch: what shares a batch, bounds, shuffling, exact undo.
load helpers

# A line of hexadecimal for each record: tensor table, id, metadata and data, without the block's head, which holds its place.
records() {
    zstd -dcq "$1" | od -An -v -tx1 -w64 | awk '
    function hex(s,  i, v) { for (i = 1; i <= length(s); i++) v = 16 * v + index("123456789abcdef", substr(s, i, 1)); return v }
    !left { left = hex($12 $11 $10 $9) / 64 - 1; keep = $4 == "52"; text = ""; next }
    { text = text $0; if (!--left && keep) print text }'
}
digest() { records "$1" | sha256sum; }
ids() { vq-info --records "$1" | grep $'\t' | cut -f 1; }
# "N C,H,W" a batch: shape of image
shapes() { vq-info --records "$1" | grep $'\t' | sed 's/.*image [a-z0-9]* \[\([0-9,]*\)\].*/\1/'; }
cells() { vq-synth -n "${1:-60}" --channels 1 --min-size 14 --max-size 80 --seed 1 | vq-normalize | vq-pad; }

@test "the default: 16 cells of about one size, nothing lost" {
    cells 200 >cells.vqt
    ok bash -c 'vq-batch cells.vqt >b.vqt'
    same "$out$err" ""
    vq-info --json b.vqt >i.json
    same "$(json i.json kind)" batches
    same "$(json i.json items)" 200
    same "$(json i.json chain.3.tool)" vq-batch
    shapes b.vqt | awk -F , '$1 > 16 || $1 < 1 { exit 1 } $1 == 16 { full++ } END { exit !(full >= 5) }'
    vq-batch --split b.vqt >s.vqt
    same "$(ids s.vqt | sort)" "$(ids cells.vqt | sort)"
    vq-info --json s.vqt >i.json
    same "$(json i.json kind)" samples
}

@test "--split is exact: sorted by id, the records are the same bytes" {
    cells 40 >cells.vqt
    for options in "" "--size 1" "--tolerance 0" "--tolerance 10 --size 64" "--pixels 8000" "--shuffle 10 --seed 3"; do
        vq-batch $options cells.vqt | vq-batch --split >s.vqt
        same "$options $(records s.vqt | sort | sha256sum)" "$options $(records cells.vqt | sort | sha256sum)"
    done
    [ "$(records cells.vqt | wc -l)" = 40 ]
    # with one size for all, the order is kept too
    vq-pad --multiple 128 cells.vqt >one.vqt
    vq-batch --size 7 one.vqt | vq-batch --split >s.vqt
    same "$(digest s.vqt)" "$(digest one.vqt)"
}

@test "tolerance 0: equal sizes only" {
    cells 100 >cells.vqt
    vq-batch --tolerance 0 cells.vqt >b.vqt
    vq-batch --split b.vqt >s.vqt
    # every item had the shape of its batch
    zstd -dcq b.vqt | tr -d '\0' | grep -ao '"shapes":\[\[[^a-z]*\]\]' | sed 's/"shapes":\[//; s/\]\]/]/; s/\],\[/]\n[/g; s/$/\n--/' |
        awk '/^--/ { last = ""; next } /^\[/ { if (last != "" && $0 != last) { print last, $0; exit 1 } last = $0; n++ } END { exit n != 100 }'
    same "$(ids s.vqt | wc -l)" 100
}

@test "--pixels bounds a batch, a larger cell is alone" {
    cells 100 >cells.vqt
    vq-batch --size 1000 --pixels 10000 cells.vqt >b.vqt
    shapes b.vqt | awk -F , '$1 * $3 * $4 > 10000 && $1 > 1 { exit 1 } $1 > 1 { many++ } END { exit !many }'
    vq-batch --size 1000 --pixels 100 cells.vqt >b.vqt
    same "$(shapes b.vqt | cut -d , -f 1 | sort -u)" 1
}

@test "--memory sends the fullest batch first and bounds what is held" {
    cells 300 >cells.vqt
    vq-batch --size 4096 --tolerance 0.1 cells.vqt >all.vqt
    vq-batch --size 4096 --tolerance 0.1 --memory 256K cells.vqt >b.vqt
    [ "$(ids b.vqt | wc -l)" -gt "$(ids all.vqt | wc -l)" ]
    vq-info --records b.vqt | awk -F '\t' '$2 > 600000 { exit 1 }'
    vq-batch --split b.vqt >s.vqt
    same "$(ids s.vqt | sort)" "$(ids cells.vqt | sort)"
    vq-synth -n 3000 --channels 1 --max-size 40 >many.vqt
    peak "vq-batch many.vqt"
    [ "$kib" -lt $((64 * 1024)) ]
    peak "vq-batch --shuffle 100000 many.vqt"
    [ "$kib" -lt $((64 * 1024)) ]
}

peak() {
    kib=0
    $1 >/dev/null &
    local pid=$! now
    while now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do kib=$now; sleep 0.01; done
    wait "$pid"
}

@test "--shuffle: another order for another seed, the same for the same" {
    cells 80 >cells.vqt
    vq-batch --shuffle 1000 --seed 1 cells.vqt >a.vqt
    vq-batch --shuffle 1000 --seed 1 <cells.vqt >b.vqt
    vq-batch --shuffle 1000 --seed 2 cells.vqt >c.vqt
    same "$(digest a.vqt)" "$(digest b.vqt)"
    [ "$(ids a.vqt)" != "$(ids c.vqt)" ]
    vq-batch --split c.vqt >s.vqt
    same "$(ids s.vqt | sort)" "$(ids cells.vqt | sort)"
}

@test "joined streams of batches, and of unlike channels" {
    cells 20 >a.vqt
    vq-synth -n 20 --channels 1 --max-size 40 --seed 99 | vq-normalize | vq-pad >b.vqt
    vq-batch a.vqt >x.vqt
    vq-batch b.vqt >y.vqt
    ids b.vqt | sort >b.ids
    if [ -z "$(ids a.vqt | sort | comm -12 - b.ids)" ]; then
        cat x.vqt y.vqt | vq-batch --split >s.vqt
        same "$(ids s.vqt | wc -l)" 40
    else
        fails 1 bash -c 'cat a.vqt b.vqt | vq-batch >z.vqt'
        has "$err" "twice"
    fi
}

@test "a stream of no records passes" {
    vq-synth -n 0 | vq-batch >b.vqt
    ok vq-info --json b.vqt
    same "$(json .stdout records)" 0
    same "$(json .stdout kind)" batches
    vq-batch --split b.vqt >s.vqt
    ok vq-info --json s.vqt
    same "$(json .stdout kind)" samples
}

@test "the wrong kind, records that do not fit, misuse" {
    cells 3 >cells.vqt
    fails 1 vq-batch --split cells.vqt -o x.vqt
    has "$err" "samples"
    has "$err" "batches"
    vq-batch cells.vqt >b.vqt
    fails 1 vq-batch b.vqt -o x.vqt
    has "$err" "batches"
    fails 1 vq-batch "$ROOT/tests/golden/v1-codes.vqt" -o x.vqt
    [ ! -e x.vqt ]
    fails 2 vq-batch --size 0
    fails 2 vq-batch --tolerance -1
    fails 2 vq-batch --pixels 0
    fails 2 vq-batch --shuffle 0
    fails 2 vq-batch --split --size 4
    fails 2 vq-batch --split --tolerance 0.5
    same "$err" "vq-batch: --split takes batches apart and goes with no other option"
    head -c 3000 b.vqt >cut.vqt
    fails 1 vq-batch --split cut.vqt -o x.vqt
    has "$err" "truncated"
    [ ! -e x.vqt ]
}

@test "a pipe that closes" {
    cells 3 >cells.vqt
    status=0
    { sleep 0.2; vq-batch cells.vqt 2>.stderr || echo $? >.status; } | true
    same "$(cat .status) $(cat .stderr)" "1 vq-batch: standard output: Broken pipe"
}

@test "the first batch leaves before the last cell comes" {
    vq-synth -n 600 --channels 1 --max-size 40 | vq-normalize | vq-pad >cells.vqt
    size=$(stat -c %s cells.vqt)
    mkfifo in
    (head -c $((size / 2)) cells.vqt; while [ ! -e go ]; do sleep 0.05; done; tail -c +$((size / 2 + 1)) cells.vqt) >in &
    vq-batch <in >b.vqt &
    for ((i = 0; i < 200; i++)); do
        [ "$(stat -c %s b.vqt 2>/dev/null || echo 0)" -lt 50000 ] || break
        sleep 0.05
    done
    early=$(stat -c %s b.vqt)
    touch go
    wait
    [ "$early" -ge 50000 ]
    ok vq-info --json b.vqt
    same "$(json .stdout items)" 600
}
