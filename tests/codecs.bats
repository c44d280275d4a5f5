# pipelines/codecs: codes beside image codecs, on a tiny model.
load helpers

needs_codecs() {
    for tool in gnuplot cjxl djxl opj_compress opj_decompress cwebp dwebp; do command -v $tool >/dev/null || skip "$tool is not installed"; done
}
trained() {
    vq-synth -n 30 --channels 1 --min-size 20 --max-size 24 2>/dev/null | vq-normalize --robust >cells.vqt
    vq-train -q -o run --steps 4 --val-fraction 0.2 cells.vqt
    sed -i '2,9s/,[a-z]*$/,test/' run/split.csv
}

@test "codecs: a table, JSON and a picture, ours by its real bytes" {
    needs_codecs
    trained
    # the script of the plot is kept
    mkdir bin
    printf '#!/bin/sh\ncp "$1" %s/script\nexec %s "$@"\n' "$PWD" "$(command -v gnuplot)" >bin/gnuplot && chmod +x bin/gnuplot
    PATH=$PWD/bin:$PATH MODEL=run/model.safetensors DATA=cells.vqt OUT=o run_split "$ROOT/pipelines/codecs"
    same "$status$err" 0
    for f in codecs.md codecs.json codecs.png codecs.svg points.tsv montage.png; do [ -s o/$f ] || { echo "$f is not there"; return 1; }; done
    same "$(ls -A o | grep -c '^\.')" 0
    same "$(json o/codecs.json cells)" 8
    n=$(json o/codecs.json 'points.#')
    [ "$n" -ge 40 ]
    # the bits are the bytes over the true pixels
    awk -F '\t' -v pixels="$(json o/codecs.json pixels)" 'NR > 1 && ($5 - 8 * $4 / pixels) ^ 2 > 1e-8 { exit 1 }' o/points.tsv
    same "$(awk -F '\t' '$1 == "together" && $3 == "range coded" { print $4 }' o/points.tsv)" "$(json o/codebook.json coded.bytes)"
    # 8 bits alone keep almost everything, and more bits are better
    awk -F '\t' '$2 == "png" && $6 < 55 { exit 1 } $2 == "jp2" && $1 == "together" { if (++n > 1 && n <= 5 && $6 >= last) exit 1; last = $6 }' o/points.tsv
    for what in '^| vq, range coded ' '^| JPEG XL ' '^| JPEG 2000 ' '^| WebP ' '^| PNG, 8 bits lossless '; do same "$what$(grep -c "$what" o/codecs.md)" "${what}2"; done
    # a file a cell: every codec at several settings, and each has its header to pay
    same "$(awk -F '\t' '$1 == "separate" { n[$2]++ } END { print n["jxl"], n["jp2"], n["webp"], n["png"], n["vq"] }' o/points.tsv)" "5 4 4 1 1"
    awk -F '\t' '{ b[$1, $2, $3] = $4 } END { exit !(b["separate", "png", "lossless"] > b["together", "png", "lossless"] && b["separate", "jxl", 3] > b["together", "jxl", 3]) }' o/points.tsv
    # each point of ours in the plot has its own name
    for n in 0 1 2; do
        name=$(sed -n "s/.*\$ours$n using [^']*'[^']*' title 'vq, \([^']*\)'.*/\1/p" script | head -n 1)
        same "$(sed -n "/^.ours$n << END/{n;p;}" script | head -n 1)" "$(awk -F '\t' -v s="$name" '$1 == "together" && $3 == s { print $5, $6 }' o/points.tsv)"
    done
    same "$(grep -o "title '[^']*'" script | LC_ALL=C sort | uniq -c | sed "s/^ *//; s/ title '/ /; s/'$//")" \
        $'2 JPEG 2000\n2 JPEG XL\n2 WebP\n1 vq, packed\n2 vq, range coded\n1 vq, zstd'
    has "$(cat o/codecs.md)" "Ours needs the model, $(stat -c %s run/model.safetensors) bytes"
}

@test "codecs: what is missing is said" {
    needs_codecs
    trained
    MODEL=none run_split "$ROOT/pipelines/codecs"
    same "$status" 1
    has "$err" "codecs: none: no such file"
    MODEL=run/model.safetensors DATA=none run_split "$ROOT/pipelines/codecs"
    has "$err" "codecs: none: no such file"
}

@test "--tables: real bytes, near what the probabilities say, of this model's codes alone" {
    trained
    vq-encode -m run/model.safetensors --only train -o train.vqt cells.vqt
    vq-encode -m run/model.safetensors --only test -o test.vqt cells.vqt
    ok vq-codebook-stats --tables train.vqt test.vqt
    pixels=$(json .stdout pixels) codes=$(json .stdout levels.0.codes)
    same "$(json .stdout coded.packed_bytes)" $(((10 * codes + 7) / 8))
    near "$(json .stdout coded.bits_per_pixel)" "$(awk -v b="$(json .stdout coded.bytes)" -v p="$pixels" 'BEGIN { printf "%.17g", 8 * b / p }')" 1e-12
    [ "$(json .stdout coded.bytes)" -le "$(json .stdout coded.bytes_separate)" ]

    # the codes that the tables were counted over take fewer bits than others
    cp .stdout test.json
    ok vq-codebook-stats --tables test.vqt test.vqt
    [ "$(json .stdout coded.bytes)" -lt "$(json test.json coded.bytes)" ]
    [ "$(json .stdout coded.bytes)" -lt "$(json .stdout coded.packed_bytes)" ]
    # codebooks of several levels, and of other models
    cp "$ROOT/tests/golden/codes-levels.vqt" levels.vqt
    ok vq-codebook-stats --tables levels.vqt levels.vqt
    [ "$(json .stdout coded.bytes)" -gt 0 ]
    fails 1 vq-codebook-stats --tables levels.vqt test.vqt
    same "$err" "vq-codebook-stats: levels.vqt: its codes are not those of the same model"
    fails 1 vq-codebook-stats --tables cells.vqt test.vqt
    has "$err" cells.vqt
    fails 2 bash -c 'vq-codebook-stats --tables train.vqt <test.vqt'
    same "$err" "vq-codebook-stats: --tables reads the stream twice: name a file"
}
