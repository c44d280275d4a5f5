# vq-codebook-stats: usage, perplexity, entropy and bits of a stream of codes.
load helpers

# Two levels of 4 and 6 codes, five cells of 10 x 7 pixels, one with a skip tensor of 176 bits, and the model's vectors
# (written by tests/unit/test_codestats.c).
codes() { cp "$ROOT/tests/golden/codes-levels.vqt" codes.vqt; cp "$ROOT/tests/golden/codes-levels.safetensors" model.safetensors; }

@test "the whole report" {
    codes
    ok vq-codebook-stats codes.vqt
    same "$err" ""
    for pair in n=5 pixels=350 bits_per_pixel=0.555897882619486 bits_per_pixel_raw=0.602857142857143 skip_bits_per_pixel=0.502857142857143 \
        levels.#=2 levels.0.size=4 levels.0.dim=2 levels.0.codes=10 levels.0.used=3 levels.0.usage=0.75 levels.0.perplexity=2.58640928985893 \
        levels.0.entropy_bits=1.37095059445467 levels.0.raw_bits=2 levels.0.dead.#=1 levels.0.dead.0=2 levels.0.counts.#=4 levels.0.counts.0=6 \
        levels.0.counts.1=2 levels.0.counts.2=0 levels.0.counts.3=2 levels.1.size=6 levels.1.codes=5 levels.1.used=2 levels.1.dead.#=4 \
        levels.1.entropy_bits=0.970950594454669; do
        near "$(json .stdout "${pair%=*}")" "${pair#*=}" 1e-14 || { echo "$pair"; return 1; }
    done
    same "$(json .stdout levels.0.name)" codes
    same "$(json .stdout levels.1.name)" codes.1
    ! json .stdout levels.0.norms.# 2>/dev/null
    ! json .stdout levels.0.batch_perplexity.mean 2>/dev/null
}

@test "from a pipe, and into a file" {
    codes
    vq-codebook-stats codes.vqt >want
    ok vq-codebook-stats <codes.vqt
    cmp .stdout want
    ok vq-codebook-stats -o got.json - <codes.vqt
    same "$out" ""
    cmp got.json want
}

@test "-m adds norms and distances" {
    codes
    ok vq-codebook-stats -m model.safetensors codes.vqt
    for pair in levels.0.norms.#=4 levels.0.norms.0=5 levels.0.norms.1=0 levels.0.norms.2=10 levels.0.norms.3=5.8309518948453 levels.0.min_distance=1 \
        levels.0.closest.0=0 levels.0.closest.1=3 levels.0.nearest.1=5 levels.0.nearest.2=4.24264068711928 levels.1.norms.#=6 levels.1.norms.5=31 \
        levels.1.min_distance=1 levels.1.nearest.5=16 \
        levels.1.mean_distance=13.4 levels.1.max_distance=31 levels.0.max_distance=10; do
        near "$(json .stdout "${pair%=*}")" "${pair#*=}" 1e-13 || { echo "$pair"; return 1; }
    done
    vq-codebook-stats -m model.safetensors --threads 1 codes.vqt | cmp - .stdout
}

@test "--batch-size: the mean perplexity of groups of records" {
    codes
    ok vq-codebook-stats --batch-size 2 codes.vqt
    near "$(json .stdout levels.0.batch_perplexity.mean)" 2.29159623767475 1e-13
    near "$(json .stdout levels.0.perplexity)" 2.58640928985893 1e-13
    same "$(json .stdout levels.0.batch_perplexity.batches)" 2
    ok vq-codebook-stats --batch-size 100 codes.vqt
    same "$(json .stdout levels.0.batch_perplexity.batches)" 1
    same "$(json .stdout levels.0.batch_perplexity.mean)" "$(json .stdout levels.0.perplexity)"
    fails 2 vq-codebook-stats --batch-size 0 codes.vqt
}

@test "other streams are refused, with the command to use" {
    cp "$ROOT"/tests/golden/v1-*.vqt .
    fails 1 vq-codebook-stats v1-samples.vqt
    same "$err" "vq-codebook-stats: v1-samples.vqt: it holds samples: encode them first with vq-encode -m MODEL"
    fails 1 vq-codebook-stats v1-codes.vqt # codes of no model
    same "$err" "vq-codebook-stats: v1-codes.vqt: the header has no list model.levels of 1 to 32 codebooks"
    fails 1 vq-codebook-stats no.vqt
    has "$err" no.vqt
    fails 1 vq-codebook-stats /dev/null
}

# Cells of several wells and fields with codes and features of their own.
encoded() {
    vq-synth -n 24 --channels 2 --max-size 30 --fields f --field-size 120
    vq-crop -q --load-data f/load_data.csv | vq-normalize >cells.vqt
    vq-train --set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=16 --set blocks=1 --set pixels_per_step=8192 --threads 1 -q \
        --steps 5 -o run cells.vqt
    vq-encode -m run/model.safetensors --features cells.vqt >codes.vqt
}

@test "neighbours: what a first-order context saves, and the table of pairs" {
    encoded
    ok vq-codebook-stats --pairs pairs.csv codes.vqt
    cp .stdout c.json
    same "$(head -n 1 pairs.csv)" level,side,code,neighbour,count,lift
    n=$(json c.json levels.0.codes)
    for side in left above; do
        same "$(awk -F , -v s=$side '$2 == s { n += $5 } END { print n }' pairs.csv)" "$(json c.json levels.0.neighbours.$side.pairs)"
        same "$(grep -c ",$side," pairs.csv)" "$(json c.json levels.0.neighbours.$side.different)"
        [ "$(json c.json levels.0.neighbours.$side.pairs)" -lt "$n" ]
        # H(c|neighbour) from the table itself
        near "$(awk -F , -v s=$side '$2 == s { n[$4] += $5; row[NR] = $5; of[NR] = $4; all += $5 } END { for (i in row) h -= row[i] / all * log(row[i] / n[of[i]]) / log(2); printf "%.15g", h }' pairs.csv)" \
            "$(json c.json levels.0.neighbours.$side.conditional_entropy_bits)" 1e-9
        near "$(awk "BEGIN { printf \"%.15g\", $(json c.json levels.0.neighbours.adaptive_bits) - $(json c.json levels.0.neighbours.$side.adaptive_bits) }")" \
            "$(json c.json levels.0.neighbours.$side.saved_bits)" 1e-12
    done
    ok vq-codebook-stats --pairs pairs.csv.gz codes.vqt
    gzip -dc pairs.csv.gz | cmp - pairs.csv
    codes
    ok vq-codebook-stats codes.vqt # one code a cell has no neighbours
    ! json .stdout levels.1.neighbours.adaptive_bits 2>/dev/null
    fails 2 vq-codebook-stats --pairs - codes.vqt
    fails 1 vq-codebook-stats --pairs /no/such/p.csv -o r.json codes.vqt
    [ ! -e r.json ]
    fails 1 vq-codebook-stats --pairs /dev/full -o r.json codes.vqt
    same "$err" "vq-codebook-stats: /dev/full: No space left on device"
    [ ! -e r.json ]
}

@test "--group-by: groups compared, units exchanged" {
    encoded
    ok vq-codebook-stats --group-by Well --permutations 99 codes.vqt
    cp .stdout a.json
    same "$(json a.json groups.by)" Well
    same "$(json a.json groups.permutations)" 99
    awk -F '\t' '$1 ~ /^groups\.cells\.[^#]/ { n += $2 } END { exit n != '"$(json a.json n)"' }' <(json_flat a.json)
    awk "BEGIN { p = $(json a.json levels.0.difference.p_value); v = $(json a.json levels.0.difference.cramers_v); exit !(p >= 0.01 && p <= 1 && v > 0 && v < 1) }"
    same "$(json a.json levels.0.difference.positions)" own
    same "$(json a.json levels.0.difference.groups.#)" "$(json a.json groups.cells.#)"
    vq-codebook-stats --group-by Metadata_Well --permutations 99 --threads 1 codes.vqt >b.json
    same "$(json b.json levels.0.difference.p_value)" "$(json a.json levels.0.difference.p_value)"
    # without histograms of their own positions, all codes count; a seed deals otherwise
    vq-encode -m run/model.safetensors cells.vqt >plain.vqt
    ok vq-codebook-stats --group-by Well --permutations 99 --seed 3 --units cell plain.vqt
    same "$(json .stdout levels.0.difference.positions)" all
    same "$(json .stdout groups.units)" cell
    same "$(json .stdout groups.n_units)" "$(json .stdout n)"
    # each field a group, each field a unit: no test
    fails 0 vq-codebook-stats --group-by field --units field codes.vqt
    same "$err" "vq-codebook-stats: warning: no more units than groups: what groups do and what units do cannot be told apart, no test"
    same "$(json .stdout levels.0.difference.p_value)" null
    fails 1 vq-codebook-stats --group-by field --units Plate codes.vqt
    has "$err" "the cells of unit "
    fails 1 vq-codebook-stats --group-by Metadata_Plaet -o r.json codes.vqt
    has "$err" ': has no column "Metadata_Plaet" to group by; the nearest is "Metadata_Plate"'
    [ ! -e r.json ]
    fails 2 vq-codebook-stats --units cell codes.vqt
    same "$err" "vq-codebook-stats: --units goes with --group-by"
}

@test "a truncated stream gives no report" {
    codes
    head -c 400 codes.vqt >cut.vqt
    fails 1 vq-codebook-stats -o report.json cut.vqt
    same "$out" ""
    has "$err" cut.vqt
    [ ! -e report.json ]
}

@test "a model of other codebooks, or no model at all" {
    codes
    fails 1 vq-codebook-stats -m nothing.safetensors codes.vqt
    has "$err" nothing.safetensors
    cp "$ROOT/tests/golden/types.safetensors" other.safetensors
    fails 1 vq-codebook-stats -m other.safetensors codes.vqt
    has "$err" other.safetensors
    has "$err" quantizer.codebook
    fails 1 vq-codebook-stats -m codes.vqt codes.vqt
    same "$out" ""
}

@test "misuse" {
    fails 2 vq-codebook-stats a b
    fails 2 vq-codebook-stats --modle x
    same "$err" "vq-codebook-stats: unknown option --modle; did you mean --model?"
}

@test "a closed or full output is one line and exit 1" {
    codes
    fails 1 bash -c 'vq-codebook-stats codes.vqt >/dev/full'
    fails 1 vq-codebook-stats -o /no/such/dir/x.json codes.vqt
}
