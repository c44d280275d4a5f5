# pipelines/evaluate: a report on a tiny model.
load helpers

# A simulated screen in ./f, its cells, and a model of four steps in ./run; made once.
setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    vq-synth -n 60 --channels 2 --min-size 24 --max-size 32 --fields f --field-size 128 2>/dev/null
    awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "Metadata_Plate") k = i } NR > 1 { $k = "P<1>&x" } 1' f/load_data.csv >f/new.csv
    mv f/new.csv f/load_data.csv
    vq-crop -q --load-data f/load_data.csv >raw.vqt
    vq-normalize --robust raw.vqt >cells.vqt
    vq-train -q -o run --steps 4 --val-fraction 0.2 cells.vqt
}
setup() { cp -r "$BATS_FILE_TMPDIR"/* "$BATS_TEST_TMPDIR" && enter_tmp; }
needs_gnuplot() { command -v gnuplot >/dev/null || skip "gnuplot is not installed"; }

# well_formed FILE: every tag is closed in its order, attributes are quoted, and nothing comes from elsewhere.
well_formed() {
    sed 's/src="data:image\/[a-z+]*;base64,[A-Za-z0-9+\/=]*"/src="data:"/g' "$1" >page
    ! grep -nEi '<script|https?://|@import|url\(|<link|<iframe|<object| on[a-z]+=' page || { echo "something from elsewhere, or a script"; return 1; }
    ! grep -o 'src="[^"]*"' page | grep -v '^src="data:"$' || { echo "a picture that is not part of the page"; return 1; }
    # the drawings inside it likewise: names of namespaces and picture data are no places to load from
    grep -o 'src="data:image/svg+xml;base64,[^"]*"' "$1" | sed 's/.*base64,//; s/"$//' | while read -r text; do base64 -d <<<"$text"; echo; done |
        sed -E 's/xmlns(:[a-z]+)?="[^"]*"//g; s/(href=["'"'"'])(data:image\/png;base64,[^"'"'"']*|#[A-Za-z0-9_-]*)//g; s/url\(#[^)]*\)//g' >drawings
    [ "$(grep -c '</svg>' drawings)" = "$(grep -o 'image/svg+xml' "$1" | wc -l)" ]
    ! grep -nEi '<script|://|@import|url\(|<foreignObject|<iframe|href=["'"'"'][^"'"'"']| on[a-z]+=' drawings | cut -c 1-300 | grep . || { echo "a drawing with something from elsewhere, or a script"; return 1; }
    tr '\n' ' ' <page | sed 's/<style>.*<\/style>//' | grep -o '<[^>]*>' | awk '
        /^<!DOCTYPE html>$/ { next }
        /\/>$/ { next }
        /^<\// { t = substr($0, 3, length($0) - 3); if (stack[n] != t) { print "</" t "> closes <" stack[n] ">"; exit bad = 1 } n--; next }
        { t = $0; sub(/^</, "", t); rest = t; sub(/[ >].*/, "", t); if (t !~ /^[a-z][a-z0-9]*$/) { print "no tag: " $0; exit bad = 1 } stack[++n] = t }
        END { if (!bad && n) print "open at the end: " stack[n]; exit bad || n > 0 }' || return 1
    ! sed 's/<[^>]*>//g; s/&[a-z]*;//g' page | sed '/^:root/,/^}/d' | grep -n '&' || { echo "a bare &"; return 1; }
}

@test "evaluate: a stream and its model make figures, pictures and a report" {
    needs_gnuplot
    MODEL=run/model.safetensors DATA=cells.vqt OUT=e TITLE='A <b> & "c"' run_split "$ROOT/pipelines/evaluate"
    same "$status" 0
    same "$(grep -v ' confidence intervals' .stderr)" "" # how many groups there are by chance is told, and no fault
    for f in metrics.json codebook.json cells.csv measured.csv report.html curves.svg samples.png difference.png errors.svg atlas.png usage.svg codebook.svg map.svg; do
        [ -s e/$f ] || { echo "$f is not there"; return 1; }
    done
    same "$(ls -A e | grep -c '^\.')" 0
    well_formed e/report.html
    page=$(cat page)
    has "$page" "@media print {"
    has "$page" "<title>A &lt;b&gt; &amp; &quot;c&quot;</title>"
    same "$(grep -c '<figure' page)" 8
    n=$(json e/metrics.json n) psnr=$(json e/metrics.json psnr.mean)
    has "$page" "The model was given $n cells that it had never seen"
    has "$page" "<b>$(printf %.1f "$psnr") dB</b>"
    bits=$(json e/metrics.json bits_per_pixel)
    same "$bits" "$(json e/codebook.json bits_per_pixel)"
    has "$page" "<th scope=\"row\">bits a pixel</th><td>$(printf %.3f "$bits")</td>"
    same "$(grep -c '>bits a pixel</th>' page)" 1
    same "$(tail -n +2 e/cells.csv | wc -l)" "$n"
    same "$n" "$(grep -c ',test$' run/split.csv)"
}

@test "evaluate: which cells, and what the report says of them" {
    needs_gnuplot
    export MODEL=run/model.safetensors DATA=cells.vqt OUT=e
    PART=val ok "$ROOT/pipelines/evaluate"
    has "$(cat e/report.html)" "The model was chosen by these very cells"
    same "$(json e/metrics.json n)" "$(grep -c ',val$' run/split.csv)"
    # without test cells those that chose the model are taken
    sed -i 's/,test$/,val/; 0,/,val$/s//,test/' run/split.csv
    ok "$ROOT/pipelines/evaluate"
    same "$(json e/metrics.json n)" 1
    has "$(cat e/report.html)" "1 cells are few"
    sed -i 's/,test$/,val/' run/split.csv
    ok "$ROOT/pipelines/evaluate"
    same "$(json e/metrics.json n)" "$(grep -c ',val$' run/split.csv)"
    PART=all ok "$ROOT/pipelines/evaluate"
    has "$(cat e/report.html)" "the model has learned from these cells"
    # fields that the split does not know are new to the model, and the user's words are escaped
    DATA=f/load_data.csv MODEL=m/model.safetensors
    mkdir m && cp run/model.safetensors m
    ok "$ROOT/pipelines/evaluate"
    well_formed e/report.html
    has "$(cat page)" "cells that are not among those it was made from"
    has "$(cat page)" "&lt;1&gt;"
    ! grep -q '<1>' page
    [ ! -e e/curves.svg ] || { echo "curves of another run"; return 1; }
}

@test "evaluate: several codebooks, all of them counted" {
    needs_gnuplot
    vq-train -q -o deep --steps 2 --set codebook_depth=2 --set num_embeddings=24 --set channels_per_level=8,8 --set embedding_dim=8 --set blocks=1 --split run/split.csv cells.vqt
    MODEL=deep/model.safetensors DATA=cells.vqt OUT=e ok "$ROOT/pipelines/evaluate"
    well_formed e/report.html
    used=$(($(json e/codebook.json levels.0.used) + $(json e/codebook.json levels.1.used)))
    has "$(cat page)" "of the codes occur: $used of 48</span>"
    has "$(cat page)" "from 2 codebooks of 48 codes together"
}

@test "evaluate: what is missing is said" {
    export MODEL=run/model.safetensors DATA=cells.vqt OUT=e
    MODEL=none run_split "$ROOT/pipelines/evaluate"
    same "$status $err" "1 evaluate: none: no such file"
    DATA= run_split "$ROOT/pipelines/evaluate"
    same "$status $err" "1 evaluate: MODEL=model.safetensors and DATA=cells.vqt or load_data.csv are needed"
    PART=some run_split "$ROOT/pipelines/evaluate"
    same "$status $err" "1 evaluate: PART=some: it is test, val, train or all"
    vq-synth -n 0 >none.vqt
    DATA=none.vqt run_split "$ROOT/pipelines/evaluate"
    same "$status $err" "1 evaluate: none.vqt: no cells in it"
    vq-synth -n 4 --channels 1 --max-size 32 >one.vqt
    DATA=one.vqt run_split "$ROOT/pipelines/evaluate"
    same "$status" 1
    has "$err" "vq-encode: one.vqt: "
    head -c 3000 cells.vqt >cut.vqt
    DATA=cut.vqt run_split "$ROOT/pipelines/evaluate"
    same "$status" 1
    has "$err" "cut.vqt"
    [ ! -e e/report.html ]
}

# ends MESSAGE: evaluate fails with this one line, and a report of before is gone.
ends() {
    mkdir -p e && echo before >e/report.html
    run_split "$ROOT/pipelines/evaluate"
    same "$status $err" "1 $1" && [ ! -e e/report.html ] && same "$(ls -A e | grep -c '^\.')" 0
}

@test "evaluate: what cannot be drawn for another reason than too few cells ends it" {
    needs_gnuplot
    export MODEL=run/model.safetensors DATA=cells.vqt OUT=e
    VQ_GNUPLOT=no-such-gnuplot ends "evaluate: no-such-gnuplot was not found: install gnuplot (Debian: gnuplot-nox)"
    printf '#!/bin/sh\necho "line 3: unknown terminal" >&2\nexit 1\n' >bad && chmod +x bad
    VQ_GNUPLOT=./bad ends "vq-plot: gnuplot ended with status 1: line 3: unknown terminal"
    cp run/history.jsonl whole
    head -c -20 whole >run/history.jsonl
    ends "vq-plot: run/history.jsonl: line $(wc -l <whole) was cut off"
    [ ! -e e/codes.vqt ] # told before the work
    rm run/history.jsonl
    GROUP=Metadata_Wel ends 'evaluate: GROUP: e/codes.vqt: no record has a column "Metadata_Wel"; the nearest is "Metadata_Well"'
    [ ! -e e/recon.vqt ]
}

@test "evaluate: what is too little to draw is said in the report" {
    needs_gnuplot
    export MODEL=run/model.safetensors OUT=e GROUP=Metadata_Well
    : >run/history.jsonl
    vq-synth -n 1 --channels 2 --min-size 24 --max-size 32 >one.vqt
    DATA=one.vqt ok "$ROOT/pipelines/evaluate"
    has "$(cat e/report.html)" "Not drawn: e/codes.vqt: one record only: a map needs at least two cells"
    vq-train -q -o single -c "$ROOT/configs/improved.json" --set channels_per_level=8,8,12,16 --set hidden=24,12 --set num_embeddings=32 --set embedding_dim=8 \
        --set skip=none --set use_perceptual_loss=false --set batch_size=6 --steps 2 --split run/split.csv cells.vqt
    MODEL=single/model.safetensors DATA=cells.vqt ok "$ROOT/pipelines/evaluate"
    has "$(cat e/report.html)" "one code a cell: an atlas needs a model with a code a position"
}
