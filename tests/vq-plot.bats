# vq-plot: pictures that are there, whole, and of what was asked; bad input is named.
load helpers

# history FILE LINES: a made-up training.
history() {
    awk -v n="$2" 'BEGIN { for (e = 1; e <= n; e++) printf "{\"epoch\":%d,\"step\":%d,\"seconds\":%g,\"pixels\":%d,\"train\":{\"loss\":%g,\"recon\":%g},\"val\":{\"loss\":%g,\"recon\":%g,\"psnr\":%g,\"usage\":%g},\"lr\":%g}\n",
        e, 10 * e, e / 2, 1000 * e, 1 / e, .9 / e, 1.1 / e, 1 / e, 20 + e, 1 - 1 / e, .001 / e }' >"$1"
}
# pair N [options]: ref.vqt and rec.vqt: other cells of the same ids, sizes and normalisation.
pair() {
    vq-synth -n "$1" --channels 2 --min-size 24 --max-size 24 >raw.vqt
    vq-normalize --fit raw.vqt >stats.json
    vq-normalize --robust --stats stats.json raw.vqt >ref.vqt
    vq-synth -n "$1" --channels 2 --min-size 24 --max-size 24 --seed 1 | vq-normalize --robust --stats stats.json >rec.vqt
}
# png FILE: width and height; fails when it is no complete PNG of 8-bit RGB.
png() {
    [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] && [ "$(tail -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 49454e44ae426082 ] || return 1
    od -An -tu1 -j 16 -N 8 "$1" | awk '{ print $1 * 16777216 + $2 * 65536 + $3 * 256 + $4, $5 * 16777216 + $6 * 65536 + $7 * 256 + $8 }'
}
needs_gnuplot() { command -v gnuplot >/dev/null || skip "gnuplot is not installed"; }

@test "curves: PNG, SVG and PDF of one run and of several" {
    needs_gnuplot
    mkdir a b
    history a/history.jsonl 12
    history b/history.jsonl 60
    ok vq-plot curves -o one.png a
    same "$out$err" ""
    ok vq-plot curves -o two.svg a b/history.jsonl
    ok vq-plot curves --x seconds -o two.pdf a/ b
    png one.png
    same "$(head -c 5 two.pdf)" "%PDF-"
    has "$(cat two.svg)" "</svg>"
    for text in "a, val" "b, train" "PSNR (dB)" "learning rate" "codebook in use (fraction)" "reconstruction loss" epoch; do has "$(cat two.svg)" "$text"; done
    same "$(ls)" "a
b
one.png
two.pdf
two.svg"
}

@test "curves: the script draws what it says, from the figures of the file" {
    mkdir a
    history a/history.jsonl 3
    ok vq-plot curves --script a
    same "$err" ""
    has "$out" "3 0.333333 0.366667 NaN 0.3 0.333333 NaN NaN 23 NaN NaN 0.666667 NaN NaN NaN 0.000333333"
    same "$(grep -c '^plot' .stdout)" 5
    cp .stdout a.gp
    needs_gnuplot
    gnuplot a.gp >a.png 2>/dev/null
    png a.png
    vq-plot curves --script -o "it's.svg" a | gnuplot
    has "$(cat "it's.svg")" "</svg>"
}

@test "curves: keys may lack, lists are levels, one epoch is enough" {
    cat >h.jsonl <<'END'
{"epoch":1,"val":{"loss":1,"usage":[0.5,0.25]}}
{"epoch":2,"train":{"loss":0.5},"val":{"loss":null},"note":"text","lr":0.1}
END
    ok vq-plot curves --script h.jsonl
    has "$out" "
1 NaN 1 NaN NaN 0.5 NaN NaN 0.25 NaN NaN NaN NaN
2 0.5 NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN 0.1
"
    has "$out" "'usage.1'"
    needs_gnuplot
    head -1 h.jsonl >one.jsonl
    ok vq-plot curves -o one.png one.jsonl
    same "$err" ""
}

@test "curves: bad histories are named with file and line" {
    history h.jsonl 4
    head -c 300 h.jsonl >cut.jsonl
    fails 1 vq-plot curves -o x.png cut.jsonl
    same "$err" "vq-plot: cut.jsonl: line 3 was cut off"
    sed 2s/,// h.jsonl >bad.jsonl
    fails 1 vq-plot curves -o x.png bad.jsonl
    same "$err" "vq-plot: bad.jsonl: line 2: no JSON object"
    : >empty.jsonl
    fails 1 vq-plot curves -o x.png empty.jsonl
    same "$err" "vq-plot: empty.jsonl: no epoch in it yet"
    echo '{"note":"x"}' >words.jsonl
    fails 1 vq-plot curves -o x.png words.jsonl
    same "$err" "vq-plot: words.jsonl: no figure in it that could be drawn"
    fails 1 vq-plot curves -o x.png none.jsonl
    same "$err" "vq-plot: none.jsonl: No such file or directory"
    mkdir run
    fails 1 vq-plot curves -o x.png run
    same "$err" "vq-plot: run/history.jsonl: No such file or directory"
    [ ! -e x.png ]
}

@test "gnuplot: missing or failing is said, and no picture is left" {
    history h.jsonl 4
    VQ_GNUPLOT=no-such-gnuplot fails 1 vq-plot curves -o x.png h.jsonl
    same "$err" "vq-plot: no-such-gnuplot was not found: install gnuplot (Debian: gnuplot-nox), or take the script with --script"
    printf '#!/bin/sh\necho half a picture\necho "line 3: unknown terminal" >&2\nexit 1\n' >bad && chmod +x bad
    VQ_GNUPLOT=./bad fails 1 vq-plot curves -o x.png h.jsonl
    same "$err" "vq-plot: gnuplot ended with status 1: line 3: unknown terminal"
    printf '#!/bin/sh\nkill -9 $$\n' >bad
    VQ_GNUPLOT=./bad fails 1 vq-plot curves -o x.png h.jsonl
    same "$err" "vq-plot: gnuplot was ended by signal 9"
    [ ! -e x.png ]
}

@test "samples: PNG without gnuplot, the same bytes again" {
    pair 30
    VQ_GNUPLOT=no-such-gnuplot ok vq-plot samples --reference ref.vqt -o s.png rec.vqt
    same "$out$err" ""
    ok bash -c 'vq-plot samples --reference ref.vqt -o again.png - <rec.vqt'
    cmp s.png again.png
    png s.png
    vq-pad --reflect ref.vqt >padded.vqt
    ok vq-plot samples --reference padded.vqt -o padded.png rec.vqt
    cmp s.png padded.png
    ok vq-plot samples --reference ref.vqt --error 0.5 -o e.png rec.vqt
    ! cmp -s s.png e.png
}

@test "samples: size follows zoom, columns, records and channels" {
    pair 6
    size() { vq-plot samples --reference ref.vqt -o s.png "$@" rec.vqt && png s.png; }
    read -r w1 h1 <<<"$(size --records 1 --zoom 4)"
    read -r w2 h2 <<<"$(size --records 2 --zoom 4 --columns 1)"
    read -r w3 h3 <<<"$(size --records 2 --zoom 4 --columns 2)"
    read -r w4 h4 <<<"$(size --records 1 --zoom 8)"
    [ $w2 = $w1 ] && [ $((h2 - h1)) -ge 192 ]
    [ $w3 -gt $w1 ] && [ $h3 = $h1 ]
    [ $((h4 - h1)) -ge 192 ]
    read -r w5 h5 <<<"$(size --records 1 --zoom 8 --composite)"
    [ $h5 -lt $h4 ]
}

@test "samples: SVG and PDF embed the pixels" {
    needs_gnuplot
    pair 4
    ok vq-plot samples --reference ref.vqt -o s.svg rec.vqt
    has "$(cat s.svg)" "data:image/png;base64,"
    ok vq-plot samples --reference ref.vqt -o s.pdf rec.vqt
    same "$(head -c 5 s.pdf)" "%PDF-"
}

@test "samples: --per-record takes the cells from the worst to the best" {
    pair 12
    vq-metrics --reference ref.vqt --per-record all.csv rec.vqt >m.json
    ok vq-plot samples --reference ref.vqt --per-record all.csv --records 3 -o s.png rec.vqt
    # the order of the table does not matter, its figures do
    (head -1 all.csv; tail -n +2 all.csv | tac) >back.csv
    ok vq-plot samples --reference ref.vqt --per-record back.csv --records 3 -o t.png rec.vqt
    cmp s.png t.png
    awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "psnr") k = i } NR > 1 { $k = 60 - $k } 1' all.csv >other.csv
    ok vq-plot samples --reference ref.vqt --per-record other.csv --records 3 -o t.png rec.vqt
    ! cmp -s s.png t.png
    echo 'id,mse' >no.csv
    fails 1 vq-plot samples --reference ref.vqt --per-record no.csv -o x.png rec.vqt
    same "$err" 'vq-plot: no.csv: no column "psnr": this is not a table of vq-metrics'
    printf 'id,psnr\nnobody,30\n' >no.csv
    fails 1 vq-plot samples --per-record no.csv -o x.png rec.vqt
    same "$err" "vq-plot: rec.vqt: no record nobody in it, which is in no.csv"
    printf 'id,psnr\nnobody,many\n' >no.csv
    fails 1 vq-plot samples --per-record no.csv -o x.png rec.vqt
    same "$err" 'vq-plot: no.csv line 2: psnr "many" is no number'
    [ ! -e x.png ]
}

@test "samples: raw cells alone, and streams that do not match" {
    vq-synth -n 9 --channels 1 --max-size 40 >raw.vqt
    ok vq-plot samples -o raw.png raw.vqt
    png raw.png
    vq-normalize --robust raw.vqt >a.vqt
    vq-normalize --zscore raw.vqt >b.vqt
    fails 1 vq-plot samples --reference a.vqt -o x.png b.vqt
    has "$err" "vq-plot: b.vqt: record Simulated_A01_1#1 is normalised by"
    vq-synth -n 3 --channels 1 --max-size 40 | vq-normalize --robust >few.vqt
    fails 1 vq-plot samples --reference few.vqt -o x.png a.vqt
    has "$err" "Simulated_A04_1#1"
    head -c 3000 a.vqt >cut.vqt
    fails 1 vq-plot samples -o x.png cut.vqt
    has "$err" "cut.vqt"
    vq-synth -n 0 >none.vqt
    fails 1 vq-plot samples -o x.png none.vqt
    same "$err" "vq-plot: none.vqt: no records in it"
    vq-batch a.vqt >batches.vqt
    fails 1 vq-plot samples -o x.png batches.vqt
    has "$err" batches
    [ ! -e x.png ]
}

@test "misuse exits 2 and says why" {
    fails 2 vq-plot
    same "$err" "vq-plot: what is to be drawn: curves or samples?"
    fails 2 vq-plot pie -o x.png
    same "$err" 'vq-plot: "pie": what can be drawn is curves or samples'
    fails 2 vq-plot curves -o x.png
    fails 2 vq-plot samples
    same "$err" "vq-plot: where to? Give -o FILE.png, .svg or .pdf"
    fails 2 vq-plot samples -o x.jpg
    same "$err" "vq-plot: -o x.jpg: a picture's name ends in .png, .svg or .pdf"
    fails 2 vq-plot samples --script -o x.png
    fails 2 vq-plot samples --reference - -o x.png
    fails 2 vq-plot samples -o x.png a b
    fails 2 vq-plot curves --reference a -o x.png run
}
