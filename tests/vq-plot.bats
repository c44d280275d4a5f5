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
    ok vq-plot curves --script a b
    same "$(grep -c '^plot' .stdout)" 6 # five panels and the key
    has "$out" "plot NaN with linespoints"
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
    same "$err" "vq-plot: warning: one.jsonl: one epoch only: points, no curves"
    png one.png
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

@test "samples: cells that are equal in every pixel are the best" {
    pair 4
    vq-metrics --reference ref.vqt --per-record all.csv rec.vqt >m.json
    awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "psnr") k = i } NR == 2 { $k = "" } 1' all.csv >some.csv
    ok vq-plot samples --reference ref.vqt --per-record some.csv -o s.png rec.vqt
    png s.png
}

# Two codebooks of 4 and 6 codes, of which 3 and 2 are used, and five cells (see vq-codebook-stats.bats).
levels() { cp "$ROOT/tests/golden/codes-levels.vqt" codes.vqt; cp "$ROOT/tests/golden/codes-levels.safetensors" model.safetensors; }
# A small training of two channels: cells.vqt, run/model.safetensors, codes.vqt with features, recon.vqt.
trained() {
    vq-synth -n 24 --channels 2 --max-size 32 >raw.vqt
    vq-normalize --robust raw.vqt >cells.vqt
    vq-train -q -o run --steps 4 --val-fraction 0.2 cells.vqt
    vq-encode -m run/model.safetensors --features cells.vqt >codes.vqt
    vq-decode -m run/model.safetensors codes.vqt >recon.vqt
}
# A code stream of no records.
empty_codes() { vq-synth -n 0 --channels 2 | vq-normalize --robust | vq-encode -m run/model.safetensors --features >none.vqt; }

@test "usage: counts in order, the dead, entropy and perplexity; PNG, SVG, PDF" {
    levels
    ok vq-plot usage --script codes.vqt
    same "$err" ""
    has "$out" $'$level0 << END\n1 6\n2 2\n3 2\nEND\n$level1 << END\n1 3\n2 2\nEND'
    has "$out" "'codes'.\": 3 of 4 codes in use (75 %)\\nentropy 1.37 bits of 2, perplexity 2.586\""
    has "$out" "'codes.1'.\": 2 of 6 codes in use (33.3 %)\\nentropy 0.971 bits of 3, perplexity 1.96\""
    has "$out" "'1 dead'"
    has "$out" "'4 dead'"
    needs_gnuplot
    ok vq-plot usage -o u.svg - <codes.vqt
    same "$out$err" ""
    for text in "3 of 4 codes in use" "entropy 0.971 bits of 3" "4 dead" "if all were used alike"; do has "$(cat u.svg)" "$text"; done
    ok vq-plot usage -o u.png codes.vqt
    png u.png
    ok vq-plot usage -o u.pdf codes.vqt
    same "$(head -c 5 u.pdf)" "%PDF-"
}

@test "codebook: vectors on their principal axes, dead ones apart" {
    levels
    ok vq-plot codebook --script -m model.safetensors codes.vqt
    same "$err" ""
    # the vectors of the second codebook have one dimension: 0 1 3 7 15 31 less their mean; used are codes 2 and 5
    has "$out" $'$used1 << END\n-6.5 0 1.315 2 3\n21.5 0 1.073 5 2\nEND'
    has "$out" "'axis 1 (100 % of the variance)'"
    has "$out" "title 'dead (1)'"
    has "$out" "title 'used (2), area: how often'"
    fails 1 vq-plot codebook -m codes.vqt -o x.png codes.vqt
    has "$err" "vq-plot: codes.vqt: "
    fails 1 vq-plot codebook -m none.safetensors -o x.png codes.vqt
    same "$err" "vq-plot: none.safetensors: No such file or directory"
    [ ! -e x.png ]
    needs_gnuplot
    ok vq-plot codebook -m model.safetensors -o c.svg codes.vqt
    for text in "dead (4)" "used (3)" "codes.1: 6 vectors"; do has "$(cat c.svg)" "$text"; done
    ok vq-plot codebook -m model.safetensors -o c.png codes.vqt
    png c.png
}

# table FILE: ten cells of three fields; field c is the worst, one cell is far below the others, one is exact.
table() {
    { echo 'id,field,label,height,width,pixels,psnr,psnr_DNA,psnr_ER'
      awk 'BEGIN { for (i = 1; i <= 9; i++) { f = substr("abc", 1 + i % 3, 1); p = (i == 2 ? 11 : 33 - (f == "c") * 1 - i / 10); printf "%s#%d,%s,%d,10,%d,%d,%g,%g,%g\n", f, i, f, i, 10 * i, 100 * i, p, p + 1, p - 1 } }'
      echo 'a#10,a,10,10,10,100,,,'
    } >"$1"
}

@test "errors: PSNR by size, channel and field, outliers apart" {
    table t.csv
    ok vq-plot errors --per-record t.csv --script
    same "$err" ""
    has "$out" "'9 cells, median 32.3 dB; equal in every pixel and left out: 1'"
    has "$out" "title 'outliers (1)'"
    has "$out" $'END\nset title \'by channel\''
    has "$out" "('DNA' 1, 'ER' 2)"
    has "$out" "('c' 1, 'a' 2, 'b' 3)"
    # channel DNA: 12 32.2 32.5 33.1 33.3 33.4 33.6 33.7 33.9
    has "$out" $'$boxes << END\n1 32.5 32.2 33.9 33.6 33.3\n'
    needs_gnuplot
    ok vq-plot errors --per-record t.csv -o e.svg
    for text in "by field" "outliers (1)" "pixels of the cell"; do has "$(cat e.svg)" "$text"; done
    head -2 t.csv >one.csv
    ok vq-plot errors --per-record one.csv -o one.png
    same "$err" "vq-plot: warning: one.csv: one record only"
    png one.png
    # a value of many digits is not below itself; a table without channels
    sed '2s/,33[^,]*,/,25.12344444,/; 2s/,32[^,]*,/,25.12344444,/' one.csv | cut -d, -f1-7 >digits.csv
    has "$(cat digits.csv)" ,25.12344444
    ok vq-plot errors --per-record digits.csv -o digits.svg
}

@test "errors: the worst cells in pixels" {
    needs_gnuplot
    pair 12
    vq-metrics --reference ref.vqt --per-record all.csv rec.vqt >m.json
    ok vq-plot errors --per-record all.csv -o plain.png
    read -r w0 h0 <<<"$(png plain.png)"
    ok vq-plot errors --per-record all.csv --reference ref.vqt --records 3 -o worst.png rec.vqt
    same "$err" ""
    read -r w1 h1 <<<"$(png worst.png)"
    [ $h1 -gt $((h0 + 200)) ]
    ok vq-plot errors --per-record all.csv --reference ref.vqt -o worst.pdf rec.vqt
    same "$(head -c 5 worst.pdf)" "%PDF-"
    fails 2 vq-plot errors --per-record all.csv --reference ref.vqt --script rec.vqt
    same "$err" "vq-plot: --script takes no pictures of cells: leave --reference out"
    fails 2 vq-plot errors --per-record all.csv -o x.png rec.vqt
}

@test "errors: bad tables are named" {
    table t.csv
    cut -d, -f1-6 t.csv >no.csv
    fails 1 vq-plot errors --per-record no.csv -o x.png
    same "$err" 'vq-plot: no.csv: no column "psnr": this is not a table of vq-metrics'
    sed '3s/,11,/,many,/' t.csv >bad.csv
    fails 1 vq-plot errors --per-record bad.csv -o x.png
    same "$err" 'vq-plot: bad.csv line 3: psnr "many" is no number'
    head -1 t.csv >none.csv
    fails 1 vq-plot errors --per-record none.csv -o x.png
    same "$err" "vq-plot: none.csv: no records in it"
    sed -n '1p;11p' t.csv >exact.csv
    fails 1 vq-plot errors --per-record exact.csv -o x.png
    same "$err" "vq-plot: exact.csv: every record is equal to its original: there is no error to draw"
    fails 1 vq-plot errors --per-record gone.csv -o x.png
    same "$err" "vq-plot: gone.csv: No such file or directory"
    [ ! -e x.png ]
}

@test "difference: the difference alone, larger" {
    pair 6
    ok vq-plot difference --reference ref.vqt --records 1 -o d.png rec.vqt
    same "$out$err" ""
    read -r w h <<<"$(png d.png)"
    [ $h -ge $((2 * 240)) ]
    ok vq-plot difference --reference ref.vqt --records 1 --error 0.1 -o e.png rec.vqt
    ! cmp -s d.png e.png
    ok vq-plot difference --reference ref.vqt --records 1 --zoom 2 -o same.png ref.vqt
    ok vq-plot difference --reference ref.vqt --records 1 --composite -o c.png rec.vqt
    fails 2 vq-plot difference -o x.png rec.vqt
    same "$err" "vq-plot: difference needs --reference REF"
}

@test "atlas: a row a code, from raw, padded or normalised cells" {
    trained
    M=run/model.safetensors
    ok vq-plot atlas -m $M --reference cells.vqt --codes 3 -o a.png codes.vqt
    same "$out$err" ""
    read -r w h <<<"$(png a.png)"
    ok bash -c "vq-plot atlas -m $M --reference raw.vqt --codes 3 -o raw.png - <codes.vqt"
    cmp a.png raw.png
    vq-pad --reflect --multiple 16 cells.vqt >padded.vqt
    ok vq-plot atlas -m $M --reference padded.vqt --codes 3 -o padded.png codes.vqt
    cmp a.png padded.png
    ok vq-plot atlas -m $M --reference cells.vqt --codes 2 -o two.png codes.vqt
    read -r w2 h2 <<<"$(png two.png)"
    [ $w = $w2 ] && [ $h -gt $h2 ]
    ok vq-plot atlas -m $M --reference cells.vqt --codes 3 --composite -o c.png codes.vqt
    ! cmp -s a.png c.png
    vq-synth -n 5 --channels 2 --max-size 32 >few.vqt
    fails 1 vq-plot atlas -m $M --reference few.vqt -o x.png codes.vqt
    has "$err" "vq-plot: few.vqt: no record Simulated_"
    vq-normalize --zscore raw.vqt >z.vqt
    fails 1 vq-plot atlas -m $M --reference z.vqt -o x.png codes.vqt
    has "$err" "normalised otherwise than the model's cells"
    fails 1 vq-plot atlas -m $M --reference cells.vqt -o x.png "$ROOT/tests/golden/codes-levels.vqt"
    has "$err" "codes of a codebook of 4; $M has "
    fails 1 vq-plot atlas -m $M --reference cells.vqt -o x.png cells.vqt
    fails 2 vq-plot atlas --reference cells.vqt -o x.png codes.vqt
    same "$err" "vq-plot: atlas needs -m MODEL"
    fails 2 vq-plot atlas -m $M -o x.png codes.vqt
    same "$err" "vq-plot: atlas needs --reference REF"
    [ ! -e x.png ]
}

@test "map: cells in a plane, coloured by a column" {
    trained
    ok vq-plot map --script --group-by Metadata_Plate codes.vqt
    same "$err" ""
    has "$out" "'24 cells by the mean of their latent vectors'.', '.'Metadata_Plate'"
    has "$out" "title 'Simulated (24)'"
    # the axes are principal: uncorrelated, and the first spreads more
    sed -n '/^\$group0/,/^END/p' .stdout | grep -v '[$E]' | awk '{ x += $1; y += $2; xx += $1 * $1; yy += $2 * $2; xy += $1 * $2 }
        END { if (NR != 24 || !(x * x < 1e-8 && y * y < 1e-8 && xx > yy && yy > 0 && xy * xy < 1e-10 * xx * yy)) exit 1 }'
    ok vq-plot map --script --group-by Metadata_Well codes.vqt
    has "$out" "title '17 others (17)'"
    fails 1 vq-plot map --group-by Metadata_Wel -o x.png codes.vqt
    same "$err" 'vq-plot: codes.vqt: no record has a column "Metadata_Wel"; the nearest is "Metadata_Well"'
    vq-encode -m run/model.safetensors cells.vqt >plain.vqt
    fails 1 vq-plot map -o x.png plain.vqt
    same "$err" "vq-plot: plain.vqt: record Simulated_A01_1#1 has no latent_mean: encode with vq-encode --features"
    fails 1 vq-plot map -o x.png cells.vqt
    [ ! -e x.png ]
    needs_gnuplot
    ok vq-plot map --group-by field -o m.svg codes.vqt
    has "$(cat m.svg)" "others"
    ok vq-plot map -o m.png codes.vqt
    png m.png
}

@test "map: thumbnails of cells where they do not cover each other" {
    needs_gnuplot
    trained
    ok vq-plot map --group-by Metadata_Plate -o plain.png codes.vqt
    ok vq-plot map --group-by Metadata_Plate --reference cells.vqt -o m.png codes.vqt
    same "$out$err" ""
    same "$(png m.png)" "$(png plain.png)"
    ! cmp -s plain.png m.png
    ok vq-plot map --group-by Metadata_Plate --reference raw.vqt -o raw.png codes.vqt
    vq-batch cells.vqt >batches.vqt
    ok vq-plot map --group-by Metadata_Plate --reference batches.vqt -o batches.png codes.vqt
    cmp m.png batches.png
    ok vq-plot map --reference cells.vqt --records 1 -o one.svg codes.vqt
    has "$(cat one.svg)" "data:image/png;base64,"
    ok vq-plot map --reference cells.vqt -o m.pdf codes.vqt
    same "$(head -c 5 m.pdf)" "%PDF-"
    vq-synth -n 2 --channels 2 --max-size 32 >few.vqt
    fails 1 vq-plot map --reference few.vqt -o x.png codes.vqt
    has "$err" "vq-plot: few.vqt: no record Simulated_"
    fails 2 vq-plot map --records 3 -o x.png codes.vqt
    same "$err" "vq-plot: map shows pictures of cells only with --reference REF"
    fails 2 vq-plot map --reference cells.vqt --script codes.vqt
    [ ! -e x.png ]
}

@test "atlas: with features the codes inside the cells come first" {
    trained
    M=run/model.safetensors
    vq-encode -m $M cells.vqt >plain.vqt
    ok vq-plot atlas -m $M --reference cells.vqt --codes 3 -o all.png plain.vqt
    ok vq-plot atlas -m $M --reference cells.vqt --codes 3 -o inside.png codes.vqt
    ! cmp -s all.png inside.png
}

@test "a full disk is one line, and no picture is left" {
    history h.jsonl 4
    pair 12
    [ ! -e /dev/full ] || fails 1 bash -c 'vq-plot curves --script h.jsonl >/dev/full'
    # gnuplot gives its picture to vq-plot, which writes it as it writes one of libpng's
    limited() { fails 1 bash -c 'trap "" XFSZ; ulimit -f "$0"; vq-plot "$@" 2>&1 >/dev/null | cat >&2; exit ${PIPESTATUS[0]}' "$@"; }
    mkdir small
    printf '#!/bin/sh\nhead -c 100000 /dev/zero\n' >large && chmod +x large
    VQ_GNUPLOT=./large limited 40 curves -o small/x.png h.jsonl
    has "$err" "vq-plot: small/x.png: File too large"
    limited 16 samples --reference ref.vqt -o small/y.png rec.vqt
    has "$err" "File too large"
    # what gnuplot is given does not fit
    limited 1 curves -o small/z.png h.jsonl
    has "$err" "File too large"
    same "$(ls -A small)" ""
    ! mount -t tmpfs -o size=16k none small 2>/dev/null || {
        run_split vq-plot samples --reference ref.vqt -o small/y.png rec.vqt
        left=$(ls -A small)
        umount small
        same "$status$left" 1
        has "$err" "No space left on device"
    }
}

@test "map: many different numbers are a scale, and cells without one are grey" {
    trained
    vq-synth -n 12 --channels 2 --max-size 32 --fields f --field-size 96
    # twelve rows of the same fields with a dose each, the second without
    awk -v OFS=, 'NR == 1 { print $0, "Metadata_Dose"; next } { row[NR - 2] = $0; n = NR - 1 }
        END { for (i = 0; i < 12; i++) print row[i % n], i == 1 ? "" : 1.5 * i }' f/load_data.csv >f/dose.csv
    vq-crop --load-data f/dose.csv --id Metadata_Dose | vq-encode -m run/model.safetensors --features >dose.vqt
    ok vq-plot map --script --group-by Metadata_Dose dose.vqt
    same "$err" ""
    has "$out" "set cblabel 'Metadata_Dose'"
    has "$out" "plot \$none using 1:2"
    same "$(sed -n '/^.cells/,/^END/p' .stdout | grep -v '[$E]' | cut -d' ' -f3 | sort -gu | tr '\n' ' ')" "0 3 4.5 6 7.5 9 10.5 12 13.5 15 16.5 "
    needs_gnuplot
    ok vq-plot map -o m.png --group-by Metadata_Dose dose.vqt
    png m.png
    ok vq-plot map --script --group-by Metadata_Site dose.vqt
    has "$out" "title '1 ("
}

@test "samples and difference of no record and of one say so" {
    pair 1
    ok vq-plot samples -o s.png rec.vqt
    same "$err" "vq-plot: warning: rec.vqt: one record only"
    vq-metrics -q --reference ref.vqt --per-record one.csv rec.vqt >m.json
    for kind in samples difference; do
        ok vq-plot $kind --reference ref.vqt -o $kind.png rec.vqt
        same "$err" "vq-plot: warning: rec.vqt: one record only"
        ok vq-plot $kind --reference ref.vqt --per-record one.csv -o $kind.png rec.vqt
        same "$err" "vq-plot: warning: one.csv: one record only"
        png $kind.png
    done
    vq-synth -n 0 --channels 2 | vq-normalize --robust >none.vqt
    head -1 one.csv >none.csv
    for kind in samples difference; do
        fails 1 vq-plot $kind --reference none.vqt -o x.png none.vqt
        same "$err" "vq-plot: none.vqt holds no record"
        fails 1 vq-plot $kind --reference ref.vqt --per-record none.csv -o x.png rec.vqt
        same "$err" "vq-plot: none.csv: no records in it"
    done
    [ ! -e x.png ]
}

@test "code plots of no record and of one say so" {
    trained
    M=run/model.safetensors
    empty_codes
    vq-synth -n 1 --channels 2 --max-size 32 | vq-encode -m $M --features >one.vqt
    for kind in "usage" "codebook -m $M"; do
        fails 1 vq-plot $kind -o x.png none.vqt
        same "$err" "vq-plot: none.vqt holds no record"
    done
    for kind in "map" "atlas -m $M --reference cells.vqt"; do
        fails 1 vq-plot $kind -o x.png none.vqt
        same "$err" "vq-plot: none.vqt: no records in it"
    done
    fails 1 vq-plot map -o x.png one.vqt
    same "$err" "vq-plot: one.vqt: one record only: a map needs at least two cells"
    [ ! -e x.png ]
    ok vq-plot atlas -m $M --reference raw.vqt -o a.png one.vqt
    same "$err" "vq-plot: warning: one.vqt: one record only: the codes of one cell"
    needs_gnuplot
    for kind in "usage" "codebook -m $M"; do
        ok vq-plot $kind -o u.png one.vqt
        same "$err" "vq-plot: warning: one.vqt: one record only: the codes of one cell"
    done
    head -c 3000 codes.vqt >cut.vqt
    for kind in "usage" "codebook -m $M" "map" "atlas -m $M --reference cells.vqt"; do
        fails 1 vq-plot $kind -o x.png cut.vqt
        has "$err" cut.vqt
    done
    [ ! -e x.png ]
}

@test "every kind as PNG, SVG and PDF, at any case of the ending" {
    needs_gnuplot
    trained
    M=run/model.safetensors
    vq-metrics -q --reference cells.vqt --per-record all.csv recon.vqt >m.json
    for end in png SVG pdf; do
        while read -r kind args; do
            ok vq-plot $kind $args -o $kind.$end
            same "$out$err" ""
            case $end in
            png) png $kind.png >/dev/null ;;
            SVG) has "$(head -c 2000 $kind.SVG)" "<svg" && has "$(tail -c 100 $kind.SVG)" "</svg>" ;;
            pdf) same "$(head -c 5 $kind.pdf)" "%PDF-" && has "$(tail -c 20 $kind.pdf | tr -d '\0')" "%%EOF" ;;
            esac || { echo "$kind.$end"; return 1; }
        done <<END
curves run
samples --reference cells.vqt --records 2 recon.vqt
difference --reference cells.vqt --records 2 recon.vqt
errors --per-record all.csv --reference cells.vqt recon.vqt
usage codes.vqt
codebook -m $M codes.vqt
atlas -m $M --reference cells.vqt --codes 2 codes.vqt
map --reference cells.vqt codes.vqt
END
    done
}

@test "misuse exits 2 and says why" {
    fails 2 vq-plot
    same "$err" "vq-plot: what is to be drawn: curves, samples, difference, errors, usage, codebook, atlas or map?"
    fails 2 vq-plot pie -o x.png
    same "$err" 'vq-plot: "pie": what can be drawn is curves, samples, difference, errors, usage, codebook, atlas or map'
    fails 2 vq-plot curves -o x.png
    fails 2 vq-plot samples
    same "$err" "vq-plot: where to? Give -o FILE.png, .svg or .pdf"
    fails 2 vq-plot samples -o x.jpg
    same "$err" "vq-plot: -o x.jpg: a picture's name ends in .png, .svg or .pdf"
    fails 2 vq-plot samples --script -o x.png
    fails 2 vq-plot samples --reference - -o x.png
    fails 2 vq-plot samples -o x.png a b
    fails 2 vq-plot curves --reference a -o x.png run
    same "$err" "vq-plot: --reference is not for curves"
    fails 2 vq-plot usage --codes 3 -o x.png
    same "$err" "vq-plot: --codes is not for usage"
    fails 2 vq-plot codebook -o x.png
    same "$err" "vq-plot: codebook needs -m MODEL"
    fails 2 vq-plot errors -o x.png
    same "$err" "vq-plot: errors needs --per-record CSV"
    for kind in samples "difference --reference b" "atlas -m a --reference b"; do
        fails 2 vq-plot $kind --script
        same "$err" "vq-plot: --script is not for ${kind%% *}, which gnuplot does not draw"
    done
    for kind in "map --reference b" "errors --per-record a --reference b"; do
        fails 2 vq-plot $kind --script c
        same "$err" "vq-plot: --script takes no pictures of cells: leave --reference out"
    done
}
