# vq-normalize: statistics, maps, what is recorded, what is refused. Values are compared with numpy by tests/oracle/normalize.py.
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
# The JSON of the stream's chain: tools by name.
chain() { vq-info --json "$1" >.info && json_flat .info | awk -F '\t' '/^chain\.[0-9]+\.tool/ { printf "%s ", $2 }'; }

@test "the default is robust, per record, clipped; it is recorded" {
    vq-synth -n 4 --channels 2 --max-size 40 --seed 3 >cells.vqt
    ok bash -c 'vq-normalize cells.vqt >a.vqt'
    same "$out$err" ""
    vq-normalize --robust --percentiles 5,95 --scope record <cells.vqt >b.vqt
    vq-info --json a.vqt >info.json
    same "$(json info.json dtype)" f32
    same "$(json info.json records)" 4
    same "$(chain a.vqt)" "vq-synth vq-normalize "
    meta a.vqt 0
    same "$(json .meta normalize.method)" robust
    same "$(json .meta normalize.scope)" record
    same "$(json .meta normalize.percentiles.1)" 95
    same "$(json .meta normalize.clip)" true
    same "$(json .meta 'normalize.low.#')" 2
    same "$(json .meta 'normalize.clipped.#')" 2
    same "$(json .meta normalize.constant.0)" false
    near "$(json .meta normalize.clipped.0)" 0.1 0.03
    cp .meta first
    meta b.vqt 0
    same "$(cat .meta)" "$(cat first)"
    has "$(vq-info --records --json a.vqt)" "$(vq-info --records --json cells.vqt | grep -o '"id":[^,]*' | tail -n 1)"
}

@test "each method records its limits; the rest of the metadata stays" {
    vq-synth -n 2 --channels 1 --max-size 40 >cells.vqt
    meta cells.vqt 1
    cp .meta before
    for m in robust minmax zscore none; do
        vq-normalize --$m cells.vqt >n.vqt
        meta n.vqt 1
        same "$(json .meta normalize.method)" $m
        for key in area raw.mean.0 truth.psf metadata.Metadata_Well bbox.2 size.0 dtype; do
            same "$(json .meta $key)" "$(json before $key)"
        done
    done
    vq-normalize --zscore cells.vqt >n.vqt
    meta n.vqt 0
    near "$(json .meta normalize.mean.0)" "$(vq-normalize --fit cells.vqt >s.json; json s.json groups.0.mean.0)" 1000
    vq-normalize --no-clip cells.vqt >n.vqt
    meta n.vqt 0
    same "$(json .meta normalize.clip)" false
    same "$(json .meta normalize.clipped.0)" 0
}

@test "normalised input is refused, and the message says how it was" {
    vq-synth -n 2 --channels 1 --max-size 40 >cells.vqt
    vq-normalize cells.vqt >n.vqt
    fails 1 vq-normalize --zscore n.vqt -o again.vqt
    same "$err" "vq-normalize: n.vqt: record $(vq-info --records n.vqt | head -n 1 | cut -f 1): it is normalised already (percentiles 5,95 per record, clipped); vq-normalize takes raw grey levels"
    [ ! -e again.vqt ]
    fails 1 vq-normalize --fit n.vqt -o stats.json
    has "$err" "normalised already"
    [ ! -e stats.json ]
    ok bash -c 'vq-normalize --none cells.vqt | vq-normalize --robust | vq-info --json -'
    same "$(json .stdout records)" 2
}

@test "--fit and --stats: one range for all cells" {
    vq-synth -n 30 --channels 2 --max-size 40 --seed 2 >cells.vqt
    ok vq-normalize --fit --percentiles 2,98 cells.vqt
    cp .stdout stats.json
    same "$(json stats.json format)" vq-stats
    same "$(json stats.json groups.#)" 1
    same "$(json stats.json groups.0.records)" 30
    same "$(json stats.json channels.1)" ER
    same "$(json stats.json groups.0.exact.0)" true
    same "$(json stats.json groups.0.percentiles.p.#)" 13
    same "$(json stats.json groups.0.percentiles.p.3)" 2
    vq-normalize --stats stats.json --percentiles 2,98 cells.vqt >n.vqt
    for i in 0 29; do
        meta n.vqt $i
        same "$(json .meta normalize.scope)" stats
        same "$(json .meta normalize.low.1)" "$(json stats.json groups.0.percentiles.values.1.3)"
        same "$(json .meta normalize.high.0)" "$(json stats.json groups.0.percentiles.values.0.9)"
    done
    vq-normalize --stats stats.json --zscore cells.vqt >n.vqt
    meta n.vqt 7
    same "$(json .meta normalize.std.1)" "$(json stats.json groups.0.std.1)"
    fails 1 vq-normalize --stats stats.json --percentiles 3,97 cells.vqt -o x.vqt
    has "$err" "percentile 3 is not among those stored (0 0.1 1 2 5 25 50 75 95 98 99 99.9 100)"
    vq-synth -n 1 --channels 3 --max-size 40 >other.vqt
    fails 1 vq-normalize --stats stats.json other.vqt -o x.vqt
    has "$err" "channel Puncta (they have DNA, ER)"
    [ ! -e x.vqt ]
}

@test "--group-by and --where" {
    vq-synth -n 40 --channels 1 --max-size 40 >cells.vqt
    ok vq-normalize --fit --group-by Metadata_Class cells.vqt
    cp .stdout s.json
    groups=$(json s.json groups.#)
    [ "$groups" -gt 1 ]
    total=0
    for ((i = 0; i < groups; i++)); do total=$((total + $(json s.json groups.$i.records))); done
    same "$total" 40
    vq-normalize --stats s.json cells.vqt >n.vqt
    meta n.vqt 5
    class=$(json .meta metadata.Metadata_Class)
    for ((i = 0; i < groups; i++)); do
        [ "$(json s.json groups.$i.group.0)" = "$class" ] || continue
        same "$(json .meta normalize.low.0)" "$(json s.json groups.$i.percentiles.values.0.3)"
        found=1
    done
    same "$found" 1
    ok vq-normalize --fit --where "Metadata_Class=$class" --where Metadata_Plate=Simulated --group-by Metadata_Class,Metadata_Plate cells.vqt
    cp .stdout one.json
    same "$(json one.json groups.#)" 1
    same "$(json one.json groups.0.group.1)" Simulated
    same "$(json one.json where.0)" "Metadata_Class=$class"
    fails 1 vq-normalize --stats one.json cells.vqt -o x.vqt
    has "$err" "the statistics have no group with Metadata_Class ="
    fails 1 vq-normalize --fit --group-by Metadata_Clas cells.vqt
    same "$err" 'vq-normalize: cells.vqt: record Simulated_A01_1#1: it has no column "Metadata_Clas"; the nearest is "Metadata_Class"'
    fails 1 vq-normalize --fit --group-by feild cells.vqt
    has "$err" 'it has no column "feild"; the nearest is "field"'
    fails 1 vq-normalize --fit --where Metadata_Class=none cells.vqt
    same "$err" "vq-normalize: cells.vqt: no record meets --where"
    fails 1 vq-normalize --fit --where Metadata_Clas=none cells.vqt
    same "$err" "vq-normalize: cells.vqt: no record has the column of --where Metadata_Clas=none; the nearest is Metadata_Class"
    fails 1 vq-normalize --fit --where Class=none cells.vqt
    has "$err" "no record has the column of --where Class=none; the nearest is Metadata_Class"
}

@test "--scope field takes what vq-crop recorded" {
    vq-synth -n 20 --channels 1 --max-size 40 --fields fields --field-size 256
    vq-crop --load-data fields/load_data.csv >cells.vqt
    ok bash -c 'vq-normalize --scope field cells.vqt >n.vqt'
    meta n.vqt 0
    same "$(json .meta normalize.scope)" field
    same "$(json .meta normalize.low.0)" "$(json .meta field_stats.percentiles.values.0.3)"
    ok bash -c 'vq-normalize --scope field --minmax cells.vqt >n.vqt && vq-normalize --scope field --zscore cells.vqt >z.vqt'
    meta z.vqt 0
    same "$(json .meta normalize.std.0)" "$(json .meta field_stats.std.0)"
    fails 1 vq-normalize --scope field --percentiles 2,98 cells.vqt -o x.vqt
    has "$err" "percentile 2 is not among those stored (0 0.1 1 5 25 50 75 95 99 99.9 100)"
    vq-synth -n 1 --max-size 40 >bare.vqt
    fails 1 vq-normalize --scope field bare.vqt -o x.vqt
    has "$err" "it carries no field statistics"
}

@test "NaN and infinite pixels: record, channel and place are named, nothing is left" {
    cp "$ROOT/tests/golden/not-finite.vqt" .
    fails 1 vq-normalize --robust not-finite.vqt -o n.vqt
    same "$err" "vq-normalize: not-finite.vqt: record cell#2: channel ER: a NaN pixel at row 1, column 2"
    for m in --minmax --zscore --none --fit; do
        fails 1 vq-normalize $m not-finite.vqt -o n.vqt
        same "$err" "vq-normalize: not-finite.vqt: record cell#2: channel ER: a NaN pixel at row 1, column 2"
    done
    same "$(ls)" "not-finite.vqt"
    # what went down the pipe before is a truncated stream
    run_split bash -c 'set -o pipefail; vq-normalize <not-finite.vqt 2>first | vq-pad >p.vqt'
    same "$status" 1
    same "$(cat first)" "vq-normalize: standard input: record cell#2: channel ER: a NaN pixel at row 1, column 2"
    has "$err" "vq-pad: standard input: "
}

@test "a stream of no records passes; --fit refuses it" {
    vq-synth -n 0 >none.vqt
    ok bash -c 'set -o pipefail; vq-normalize none.vqt | vq-info --json -'
    same "$(json .stdout records)" 0
    same "$(json .stdout complete)" true
    fails 1 vq-normalize --fit none.vqt
    same "$err" "vq-normalize: none.vqt: no records to fit"
}

@test "batches and codes are refused, with what to do" {
    vq-synth -n 3 --max-size 40 | vq-batch >b.vqt
    fails 1 vq-normalize b.vqt -o x.vqt
    same "$err" "vq-normalize: b.vqt holds batches, and vq-normalize takes single samples: vq-batch --split b.vqt | vq-normalize"
    fails 1 bash -c 'vq-normalize <b.vqt >x'
    has "$err" "vq-batch --split | vq-normalize"
    fails 1 vq-normalize "$ROOT/tests/golden/v1-codes.vqt" -o x.vqt
    has "$err" "codes"
    [ ! -e x.vqt ]
}

@test "misuse" {
    fails 2 vq-normalize --robust --zscore
    fails 2 vq-normalize --percentiles 95,5
    same "$err" "vq-normalize: --percentiles 95,5: not two rising numbers LOW,HIGH within 0 and 100"
    fails 2 vq-normalize --percentiles 5,950
    fails 2 vq-normalize --percentiles 5
    fails 2 vq-normalize --percentiles 5,95x
    fails 2 vq-normalize --zscore --percentiles 5,95
    fails 2 vq-normalize --group-by Metadata_Plate
    fails 2 vq-normalize --where Metadata_Plate=1
    fails 2 vq-normalize --fit --zscore
    fails 2 vq-normalize --fit --where Metadata_Plate
    has "$err" '"Metadata_Plate" is not COLUMN=VALUE'
    fails 2 vq-normalize --stats a --scope field
    fails 2 vq-normalize --none --stats a
    fails 2 vq-normalize a.vqt b.vqt
    fails 1 vq-normalize --stats missing.json
    has "$err" "missing.json"
    echo '{"a":1}' >not.json
    fails 1 vq-normalize --stats not.json
    same "$err" "vq-normalize: not.json: not statistics as vq-normalize --fit writes them"
    echo '{"a":' >cut.json
    fails 1 vq-normalize --stats cut.json
    has "$err" "cut.json: line"
}

@test "a truncated input, a full disk, a closed pipe" {
    vq-synth -n 50 --channels 1 --max-size 40 >cells.vqt
    head -c 20000 cells.vqt >cut.vqt
    fails 1 vq-normalize cut.vqt -o n.vqt
    has "$err" "truncated"
    [ ! -e n.vqt ]
    if [ -w /dev/full ]; then
        run_split bash -c 'vq-normalize cells.vqt >/dev/full'
        same "$status" 1
        has "$err" "No space left on device"
    fi
    vq-synth -n 2000 --channels 1 --max-size 40 >many.vqt
    run_split bash -c 'vq-normalize many.vqt 2>said | head -c 100 >/dev/null; echo ${PIPESTATUS[0]}; cat said'
    same "$(sed -n 1p .stdout)" 1
    same "$(wc -l <.stdout)" 2
}

@test "the same bytes at any number of threads, and by file or pipe" {
    vq-synth -n 60 --channels 2 --max-size 60 >cells.vqt
    vq-normalize --threads 1 -o a.vqt <cells.vqt
    vq-normalize --threads 3 <cells.vqt >b.vqt
    cmp a.vqt b.vqt
    cat cells.vqt | vq-normalize - --threads 2 | vq-info --json - >i.json
    same "$(json i.json records)" 60
}

@test "--like: each record as the one of the same id" {
    vq-synth -n 5 --channels 2 --max-size 40 >cells.vqt
    for how in --robust --minmax "--robust --no-clip" --zscore --none; do
        vq-normalize $how cells.vqt | vq-pad --reflect >ref.vqt
        ok vq-normalize --like ref.vqt -o a.vqt cells.vqt
        same "$out$err" ""
        vq-normalize $how cells.vqt | vq-export --npz -o want.npz
        vq-export --npz -o a.npz a.vqt
        cmp a.npz want.npz
        same "$(json <(vq-metrics --reference ref.vqt a.vqt) mse.max)" 0
    done
    # other pixels take the limits of the reference, not their own
    vq-normalize --none cells.vqt | vq-normalize --like ref.vqt >b.vqt
    vq-export --npz -o b.npz b.vqt
    cmp b.npz want.npz
}

@test "--like: what it refuses" {
    vq-synth -n 2 >two.vqt
    vq-synth -n 3 >three.vqt
    vq-normalize two.vqt >ref.vqt
    fails 1 vq-normalize --like ref.vqt -o x.vqt three.vqt
    has "$err" "vq-normalize: three.vqt: record "
    has "$err" ": ref.vqt has no record of this id"
    fails 1 vq-normalize --like two.vqt -o x.vqt two.vqt
    has "$err" ": it is not normalised"
    fails 1 vq-normalize --like ref.vqt -o x.vqt ref.vqt
    has "$err" "it is normalised already"
    fails 2 vq-normalize --like ref.vqt --minmax two.vqt
    same "$err" "vq-normalize: --like takes everything from its file: it goes alone"
    [ ! -e x.vqt ]
}
