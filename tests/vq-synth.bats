# vq-synth: reproducible whatever the count and threads, truth in the metadata, fields that vq-crop reads.
load helpers

# The plain stream without its header, whose chain tells the commands.
plain() { zstd -dcq "$1" | tail -c +$(($(zstd -dcq "$1" | od -An -tu8 -j 8 -N 8) + 1)); }
meta() { zstd -dcq "$1" | tr -d '\0' | LC_ALL=C grep -ao '{"field":[ -~]*}' | sed -n "$(($2 + 1))p" >.meta; }

@test "the same seed gives the same bytes, at any number of threads; another seed gives others" {
    vq-synth -n 60 --seed 3 --threads 1 >a.vqt
    vq-synth -n 60 --seed 3 --threads 2 >b.vqt
    vq-synth -n 60 --seed 4 >c.vqt
    cmp a.vqt b.vqt
    ! cmp -s a.vqt c.vqt
    zstd -tq a.vqt
}

@test "cell i does not depend on how many there are" {
    vq-synth -n 5 --channels 2 >few.vqt
    vq-synth -n 50 --channels 2 >many.vqt
    for i in 0 4; do
        meta few.vqt $i && mv .meta one
        meta many.vqt $i
        cmp one .meta
    done
    vq-export --npz -o few.npz few.vqt
    vq-export --npz -o many.npz many.vqt
    mkdir f m
    (cd f && unzip -q ../few.npz) && (cd m && unzip -q ../many.npz) || skip "no unzip"
    diff -r f/Simulated_A05_1#1 m/Simulated_A05_1#1
}

@test "sizes, channels and kinds are those asked for" {
    ok bash -c 'vq-synth -n 40 --channels 6 --min-size 20 --max-size 50 -o c.vqt'
    same "$out$err" ""
    vq-info --json c.vqt >i.json
    same "$(json i.json kind) $(json i.json records) $(json i.json complete) $(json i.json dtype)" "samples 40 true u16"
    same "$(json i.json channels.0) $(json i.json channels.3) $(json i.json channels.5)" "DNA Tubules Mix6"
    [ "$(json i.json height.min)" -ge 20 ] && [ "$(json i.json width.min)" -ge 20 ]
    [ "$(json i.json height.max)" -le 50 ] && [ "$(json i.json width.max)" -le 50 ]
}

@test "metadata: ids, wells, class, truth, raw measurements" {
    vq-synth -n 100 --channels 2 --min-size 30 --max-size 30 >c.vqt
    meta c.vqt 99
    same "$(json .meta field)#$(json .meta label)" "Simulated_A04_1#2"
    same "$(json .meta metadata.Metadata_Plate) $(json .meta metadata.Metadata_Well) $(json .meta metadata.Metadata_Site)" "Simulated A04 1"
    same "$(json .meta metadata.Metadata_Class)" "$(json .meta truth.class)"
    same "$(json .meta truth.light.#) $(json .meta truth.background.#) $(json .meta raw.mean.#)" "2 2 2"
    near "$(json .meta raw.integrated.1)" "$(awk -v m="$(json .meta raw.mean.1)" -v a="$(json .meta area)" 'BEGIN { print m * a }')" 1
    # the background is what the truth says: offset + gain * photons, and what a cell scatters into it
    low=$(awk -v o="$(json .meta truth.offset)" -v g="$(json .meta truth.gain)" -v b="$(json .meta truth.background.0)" 'BEGIN { print o + g * b }')
    near "$(json .meta raw.background.0)" "$low" "$(awk -v l="$low" 'BEGIN { print l * .6 }')"
    same "$(zstd -dcq c.vqt | grep -ao '"class":"[a-z]*"' | sort -u | wc -l)" 4
}

@test "no cell makes a complete stream of none" {
    vq-synth -n 0 >e.vqt
    same "$(vq-info --json e.vqt >i.json && json i.json records && json i.json complete)" "0
true"
}

@test "records pass the filters" {
    ok bash -c 'set -o pipefail; vq-synth -n 30 --channels 3 --max-size 60 | vq-normalize --robust | vq-pad --reflect | vq-batch >b.vqt'
    same "$err" ""
    same "$(vq-info --json b.vqt >i.json && json i.json kind)" batches
}

@test "fields: images, labels, load_data.csv and truth.csv, read back by vq-crop" {
    ok vq-synth -n 90 --channels 2 --min-size 24 --max-size 50 --fields d/e --field-size 200
    same "$out$err" ""
    same "$(head -1 d/e/load_data.csv)" "Image_FileName_DNA,Image_PathName_DNA,Image_FileName_ER,Image_PathName_ER,Image_ObjectsFileName_Cells,Image_ObjectsPathName_Cells,Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_Group,Metadata_Split"
    same "$(sed -n 3p d/e/load_data.csv)" "Simulated_A02_1_DNA.tif,.,Simulated_A02_1_ER.tif,.,Simulated_A02_1_labels.tif,.,Simulated,A02,1,A02,test"
    fields=$(($(wc -l <d/e/load_data.csv) - 1)) cells=$(($(wc -l <d/e/truth.csv) - 1))
    [ $fields -ge 3 ] && [ $cells -ge 70 ] && [ $cells -le 90 ]
    same "$(ls d/e/*.tif | wc -l)" $((3 * fields))
    same "$(cut -d, -f11 d/e/load_data.csv | sort -u | tr '\n' ' ')" "Metadata_Split test train val "

    ok bash -c 'vq-crop --load-data d/e/load_data.csv --min-area 1 --keep-edge >all.vqt'
    vq-info --json all.vqt >i.json
    same "$(json i.json records)" $cells
    # boxes without a border are those of the truth
    vq-crop --load-data d/e/load_data.csv --min-area 1 --border 0 >c.vqt
    vq-export --csv -o c.csv c.vqt
    cut -d, -f1-7 d/e/truth.csv | awk -F, 'NR > 1 { print $1 "," $2 "," $4 "," $5 "," $6 "," $7 }' | sort >truth
    cut -d, -f2-7 c.csv | tail -n +2 | sort >cropped
    same "$(comm -13 truth cropped)" ""
    [ "$(wc -l <cropped)" -ge 40 ]
    [ "$(vq-info --json c.vqt >i.json && json i.json records)" -lt $cells ]
}

@test "fields are reproducible" {
    vq-synth -n 30 --channels 1 --max-size 40 --fields a --field-size 120 --seed 5
    vq-synth -n 30 --channels 1 --max-size 40 --fields b --field-size 120 --seed 5 --threads 2
    diff -r a b
    vq-synth -n 30 --channels 1 --max-size 40 --fields c --field-size 120 --seed 6
    ! diff -rq a c >/dev/null
}

@test "misuse exits 2 and says why" {
    fails 2 vq-synth --min-size 60 --max-size 50
    same "$err" "vq-synth: the least size 60 is larger than the largest 50"
    fails 2 vq-synth --channels 17
    fails 2 vq-synth --max-size 5000
    fails 2 vq-synth --field-size 512
    same "$err" "vq-synth: --field-size needs --fields"
    fails 2 vq-synth --fields d -o x.vqt
    same "$err" "vq-synth: --fields and -o exclude each other: fields go to files in d"
    fails 2 vq-synth --fields d --field-size 100
    same "$err" "vq-synth: --field-size 100 is smaller than --max-size 214"
    fails 2 vq-synth --fields d -n 0
    fails 2 vq-synth cells.vqt
    [ ! -e d ] && [ ! -e x.vqt ]
}

@test "what cannot be written is named, and nothing is left" {
    echo here >file
    fails 1 vq-synth -n 5 --max-size 40 --fields file/d
    same "$err" "vq-synth: file: cannot be made: Not a directory"
    fails 1 vq-synth -n 5 --max-size 40 -o no/such/x.vqt
    has "$err" "no/such/x.vqt"
    fails 1 bash -c 'vq-synth -n 2000 --max-size 40 >/dev/full'
    same "$(ls)" file
}

@test "a closed pipe is one line and exit 1" {
    run_split bash -c 'vq-synth -n 100000 --channels 1 --max-size 40 2>said | head -c 1000 >/dev/null; echo "${PIPESTATUS[0]}"'
    same "$out" 1
    same "$(wc -l <said)" 1
    has "$(cat said)" "vq-synth: "
}

@test "a hundred thousand small cells: under 64 MiB" {
    long_only
    [ -x /usr/bin/time ] || skip "no /usr/bin/time"
    /usr/bin/time -f %M -o mem vq-synth -n 100000 --channels 1 --max-size 40 >/dev/null
    [ "$(cat mem)" -lt 65536 ] || { cat mem; false; }
}
