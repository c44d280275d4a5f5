# vq-export: arrays, tables and pictures out of a stream.
load helpers

cells() { vq-synth -n "${1:-4}" --max-size 40 --channels "${2:-2}" >cells.vqt; }
golden() { cp "$ROOT/tests/golden/$1" .; }
# Names in an archive, its checksums looked at.
names() { command -v unzip >/dev/null || skip "no unzip"; unzip -tq "$1" >/dev/null && unzip -Z1 "$1"; }
# The dictionary of a .npy file.
dict() { head -c 250 "$1" | tr -d '\0' | LC_ALL=C sed -n 's/.*\({.*}\).*/\1/p' | head -n 1; }
# Width, height, depth and colour type of a PNG.
png() { od -A n -t u1 -j 16 -N 10 "$1" | awk '{ print $3 * 256 + $4 "x" $7 * 256 + $8, $9, $10 }'; }

@test "npz: an array a record and tensor, named ID/TENSOR" {
    cells
    ok vq-export --npz -o cells.npz cells.vqt
    same "$out$err" ""
    same "$(names cells.npz | sed 's/\.npy$//' | sort)" "$(vq-info --records cells.vqt | grep '#' | cut -f 1 | sed 's/.*/&\/image\n&\/mask/' | sort)"
    ok bash -c 'vq-export --npz --tensor mask -o - <cells.vqt >masks.npz'
    same "$(names masks.npz | grep -c '/mask.npy$')" 4
    same "$(names masks.npz | wc -l)" 4
    golden v1-codes.vqt
    ok vq-export --npz -o codes.npz v1-codes.vqt
    has "$(names codes.npz)" 'cell#0/codes.npy'
}

@test "the same stream gives the same bytes" {
    cells
    vq-export --npz -o a.npz cells.vqt
    vq-export --csv -o a.csv cells.vqt
    vq-export --npz -o b.npz cells.vqt
    vq-export --csv -o b.csv cells.vqt
    cmp a.npz b.npz
    cmp a.csv b.csv
}

@test "npy: one array of all records" {
    cells
    vq-normalize --robust <cells.vqt | vq-pad --reflect --min 64 >padded.vqt
    ok vq-export --npy -o cells.npy padded.vqt
    same "$(dict cells.npy)" "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2, 64, 64), }"
    same "$(stat -c %s cells.npy)" $((256 + 4 * 2 * 64 * 64 * 4))
    ok vq-export --npy --tensor mask -o mask.npy padded.vqt
    same "$(dict mask.npy)" "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 64, 64), }"
}

@test "npy: shapes that differ are an error that points to --npz, and leave no file" {
    cells
    fails 1 vq-export --npy -o cells.npy cells.vqt
    want='^vq-export: record [^ ]+ is u16 \[2,[0-9]+,[0-9]+\], the first one is u16 \[2,[0-9]+,[0-9]+\]: --npz takes arrays that differ$'
    [[ $err =~ $want ]] || { echo "$err"; false; }
    [ ! -e cells.npy ]
    fails 1 vq-export --npy --tensor nucleus -o cells.npy cells.vqt
    has "$err" "has no tensor nucleus; the nearest is image"
    vq-synth -n 0 >none.vqt
    fails 1 vq-export --npy -o none.npy none.vqt
    same "$err" "vq-export: none.vqt: no records: an array of none has no shape"
    same "$(ls)" $'cells.vqt\nnone.vqt'
}

@test "npy: a pipe cannot be rewound, and says so" {
    cells
    fails 1 bash -c 'vq-export --npy -o - cells.vqt | cat'$'\n''exit ${PIPESTATUS[0]}'
    has "$err" "rewound"
}

@test "csv: a row a cell" {
    cells
    ok vq-export --csv -o - cells.vqt
    same "$err" ""
    same "$(wc -l <.stdout)" 5
    same "$(head -n 1 .stdout | cut -d , -f 1-16)" \
        "id,field,label,bbox_y0,bbox_x0,bbox_y1,bbox_x1,height,width,area,mean_DNA,mean_ER,integrated_DNA,integrated_ER,background_DNA,background_ER"
    has "$(head -n 1 .stdout)" ",Metadata_Plate,Metadata_Well,Metadata_Site"
    same "$(sed 1d .stdout | cut -d , -f 1)" "$(vq-info --records cells.vqt | grep '#' | cut -f 1)"
    # mean x area = integrated; the box is the size
    sed 1d .stdout | awk -F , '{ d = $11 * $10 - $13; if (d > 1 || d < -1 || $6 - $4 != $8 || $7 - $5 != $9) { print "row " NR ": " $0; bad = 1 } } END { exit bad }'
}

@test "csv: the names that profiling tools look for" {
    cells 30
    vq-export --csv -o t.csv cells.vqt
    for name in Metadata_Plate Metadata_Well Metadata_Site Metadata_ObjectNumber Metadata_CellID Cells_VQ_Raw_Area Cells_VQ_Raw_Mean_DNA Cells_VQ_Raw_Background_ER; do
        head -n 1 t.csv | tr , '\n' | grep -qx "$name" || { echo "no $name"; return 1; }
    done
    # fields that have no number are counted as they come
    column() { awk -F , -v n="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == n) at = i } { print NR == 1 ? "" : $at }' "$1"; }
    same "$(column t.csv Metadata_ImageNumber | sed 1d)" "$(column t.csv field | sed 1d | awk '!($0 in n) { n[$0] = ++k } { print n[$0] }')"
    [ "$(column t.csv Metadata_ImageNumber | tail -n 1)" -gt 1 ]
    vq-export -q --h5ad -o t.h5ad cells.vqt
    in_file t.h5ad Metadata_ImageNumber
    # the same values, under either name
    for pair in id=Metadata_CellID label=Metadata_ObjectNumber area=Cells_VQ_Raw_Area mean_ER=Cells_VQ_Raw_Mean_ER integrated_DNA=Cells_VQ_Raw_Integrated_DNA; do
        same "$(column t.csv ${pair%=*})" "$(column t.csv ${pair#*=})"
    done
    vq-normalize cells.vqt | vq-train --set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 \
        --set pixels_per_step=8192 --threads 1 -q --steps 3 -o run
    vq-encode -m run/model.safetensors --features cells.vqt >codes.vqt
    vq-export --csv -o f.csv codes.vqt
    vq-export --npy --tensor latent_std -o std.npy codes.vqt
    same "$(head -n 1 f.csv | tr , '\n' | grep -c '^Cells_VQ_Latent')" 32
    near "$(column f.csv Cells_VQ_LatentStd_15 | sed -n 2p)" "$(od -A n -t f4 -j $((256 + 60)) -N 4 std.npy)" 1e-6
    # weights of codes by how few cells have them
    ok vq-encode -m run/model.safetensors --tf-idf codes.vqt -o w.vqt cells.vqt
    vq-export --h5ad -o w.h5ad w.vqt
    in_file w.h5ad X_tfidf
    vq-export --npy --tensor tfidf -o w.npy w.vqt
    vq-export --npy --tensor histogram -o h.npy w.vqt
    od -A n -v -t d4 -w128 -j 256 h.npy >h.txt
    od -A n -v -t f4 -w128 -j 256 w.npy >w.txt
    awk 'FNR == NR { for (k = 1; k <= NF; k++) { h[NR, k] = $k; m[k] += $k > 0 } n = NR; next }
        { s = 0; for (k = 1; k <= NF; k++) { w[k] = h[FNR, k] * (log((1 + n) / (1 + m[k])) + 1); s += w[k] ^ 2 }
          for (k = 1; k <= NF; k++) { d = w[k] / sqrt(s) - $k; if (d > 1e-5 || d < -1e-5) { print FNR, k, w[k] / sqrt(s), $k; bad = 1 } } }
        END { exit bad || FNR != 30 || n != 30 }' h.txt w.txt
    fails 1 vq-encode -m run/model.safetensors --tf-idf cells.vqt -o x.vqt cells.vqt
    same "$err" "vq-encode: cells.vqt: it holds samples, not codes: vq-encode --features makes them"
    vq-encode -m run/model.safetensors cells.vqt >plain.vqt
    fails 1 vq-encode -m run/model.safetensors --tf-idf plain.vqt -o x.vqt cells.vqt
    has "$err" "vq-encode: plain.vqt: record "
    has "$err" ": no histogram (vq-encode --features writes it)"
    [ ! -e x.vqt ]
}

@test "csv and h5ad: the table's own ImageNumber" {
    vq-synth -n 12 --channels 1 --max-size 40 --fields f --field-size 160
    awk -v OFS=, 'NR == 1 { print $0, "ImageNumber"; next } { print $0, 40 + 3 * NR }' f/load_data.csv >f/n.csv
    vq-crop -q --load-data f/n.csv >cells.vqt
    vq-export --csv -o t.csv cells.vqt
    same "$(awk -F , 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next } { print $at["field"], $at["Metadata_ImageNumber"] }' t.csv | sort -u)" \
        "$(awk -F , 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next } { print $at["Metadata_Plate"] "_" $at["Metadata_Well"] "_" $at["Metadata_Site"], $at["ImageNumber"] }' f/n.csv | sort -u)"
    vq-export -q --h5ad -o t.h5ad cells.vqt
    in_file t.h5ad Metadata_ImageNumber
}

@test "csv: where the first cell has no number all fields are counted" {
    vq-synth -n 12 --channels 1 --max-size 40 --fields f --field-size 160
    awk -v OFS=, 'NR == 1 { print $0, "ImageNumber,Metadata_ImageNumber"; next } { print $0, NR - 2, "" }' f/load_data.csv | sed 's/Simulated,/Other,/' >f/n.csv
    vq-crop -q --load-data f/n.csv >numbered.vqt
    sed 's/$/,/; 1s/$/Metadata_ImageNumber/' f/load_data.csv >f/e.csv
    for table in load_data e; do
        vq-crop -q --load-data f/$table.csv | cat - numbered.vqt >both.vqt
        ok vq-export --csv -o t.csv both.vqt
        awk -F , 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next } { print $at["field"], $at["Metadata_ImageNumber"] }' t.csv >got
        same "$(cat got)" "$(awk '!($1 in n) { n[$1] = ++k } { print $1, n[$1] }' got)"
        [ "$(cut -d ' ' -f 1 got | uniq | wc -l)" -ge 4 ]
    done
    # the other way round the table's own numbers stand
    vq-crop -q --load-data f/load_data.csv | cat numbered.vqt - | vq-export --csv -o t.csv -
    same "$(awk -F , 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i } NR == 2 { print $at["Metadata_ImageNumber"] }' t.csv)" 0
}

@test "csv: compressed when the name says so, the same bytes each time" {
    cells 40
    vq-export --csv -o plain.csv cells.vqt
    ok vq-export --csv -o t.csv.gz cells.vqt
    same "$(head -c 2 t.csv.gz | od -A n -t x1)" " 1f 8b"
    gzip -dc t.csv.gz | cmp - plain.csv
    vq-export --csv -o again.csv.gz cells.vqt
    cmp t.csv.gz again.csv.gz
    vq-synth -n 0 | vq-export --csv -o none.csv.gz
    same "$(gzip -dc none.csv.gz | wc -l)" 1
    # a disk that is full leaves nothing
    fails 1 bash -c 'trap "" XFSZ; ulimit -f 1; vq-export --csv -o big.csv.gz cells.vqt 2>&1 >/dev/null | cat >&2; exit ${PIPESTATUS[0]}'
    has "$err" "vq-export: big.csv.gz: "
    [ ! -e big.csv.gz ]
}

@test "csv: what was measured outlives normalising and padding" {
    cells
    vq-export --csv -o raw.csv cells.vqt
    vq-normalize --robust <cells.vqt | vq-pad --reflect | vq-export --csv -o later.csv
    cmp raw.csv later.csv
}

@test "csv: codes too, and a stream of none is a header" {
    golden v1-codes.vqt
    ok vq-export --csv -o - v1-codes.vqt
    same "$(wc -l <.stdout)" 7
    same "$(sed -n 2p .stdout | cut -d , -f 1)" 'cell#0'
    vq-synth -n 0 >none.vqt
    ok vq-export --csv -o - none.vqt
    same "$out" "id,field,label,bbox_y0,bbox_x0,bbox_y1,bbox_x1,height,width,area"
}

@test "png: a picture a record, at true size" {
    cells 4 2
    vq-normalize --robust <cells.vqt | vq-pad --reflect --min 128 >padded.vqt
    ok vq-export --png -o colour padded.vqt
    ok vq-export --png -o grey --channel ER padded.vqt
    same "$(ls colour)" "$(vq-info --records cells.vqt | grep '#' | cut -f 1 | tr '#' _ | sed 's/$/.png/' | sort)"
    vq-export --csv -o - cells.vqt | sed 1d | while IFS=, read -r id _ _ _ _ _ _ height width _; do
        same "$(png "colour/${id/\#/_}.png")" "${width}x$height 8 2" || exit 1
        same "$(png "grey/${id/\#/_}.png")" "${width}x$height 8 0" || exit 1
    done
    cells 4 1
    ok vq-export --png -o one cells.vqt
    same "$(png "one/$(ls one | head -n 1)" | cut -d ' ' -f 2-)" "8 0"
}

@test "png: what cannot be" {
    cells 2 1
    mkdir full && touch full/x
    fails 1 vq-export --png -o full cells.vqt
    same "$err" "vq-export: full: the directory is not empty"
    touch file
    fails 1 vq-export --png -o file cells.vqt
    has "$err" "vq-export: file: "
    fails 1 vq-export --png --channel RNA -o p cells.vqt
    has "$err" "has no channel RNA; the nearest is DNA"
    [ ! -e p ]
    golden v1-codes.vqt
    fails 1 vq-export --png -o q v1-codes.vqt
    same "$err" "vq-export: v1-codes.vqt: a stream of codes has no pixels: vq-decode makes them"
}

# The objects of an HDF5 file are named in it, as they stand.
in_file() { grep -aqF "$2" "$1" || { echo "$1 is without $2"; return 1; }; }

@test "h5ad: raw measurements only, with a warning" {
    cells 30
    fails 0 vq-export --h5ad -o cells.h5ad cells.vqt
    same "$err" "vq-export: warning: no latent features in the stream: X holds raw measurements only (vq-encode --features writes them)"
    same "$(head -c 8 cells.h5ad | od -A n -t x1)" " 89 48 44 46 0d 0a 1a 0a"
    for what in Cells_VQ_Raw_Area Cells_VQ_Raw_Mean_DNA Cells_VQ_Raw_Background_ER Metadata_CellID Metadata_ObjectNumber X_pca encoding-type; do
        in_file cells.h5ad "$what"
    done
    vq-export --csv -o - cells.vqt | sed -n '2p;31p' | cut -d , -f 1 | while read -r id; do in_file cells.h5ad "$id"; done
    run ! in_file cells.h5ad Cells_VQ_LatentMean_0
    run ! in_file cells.h5ad X_codes
    ok vq-export -q --h5ad -o again.h5ad - <cells.vqt
    cmp cells.h5ad again.h5ad
}

@test "h5ad: features, histogram and codebook" {
    cells 30
    vq-normalize cells.vqt | vq-train --set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 \
        --set pixels_per_step=8192 --threads 1 -q --steps 3 -o run
    vq-encode -m run/model.safetensors --features cells.vqt >codes.vqt
    ok vq-export --h5ad -m run/model.safetensors -o codes.h5ad codes.vqt
    same "$out$err" ""
    for what in Cells_VQ_LatentMean_0 Cells_VQ_LatentMean_15 Cells_VQ_LatentStd_15 Cells_VQ_Raw_Area X_codes codebook vq-encode; do in_file codes.h5ad "$what"; done
    run ! in_file codes.h5ad Cells_VQ_LatentMean_16
    ok vq-export --h5ad -o plain.h5ad codes.vqt
    run ! in_file plain.h5ad codebook
    fails 1 vq-export --h5ad -m run/none.safetensors -o x.h5ad cells.vqt
    fails 1 vq-export -q --h5ad -m run/model.safetensors -o x.h5ad cells.vqt
    has "$err" "a stream that names no codebook has no use for -m MODEL"
    # codes with features and codes without do not make one table
    vq-encode -m run/model.safetensors --features --only train cells.vqt >codes.vqt
    vq-encode -m run/model.safetensors --only val cells.vqt >others.vqt
    cat codes.vqt others.vqt >both.vqt
    fails 1 vq-export --h5ad -o x.h5ad both.vqt
    has "$err" ": latent_mean is not of the 16 values that the first record has"
    [ ! -e x.h5ad ]
}

@test "h5ad: what cannot be, and a disk that is full" {
    vq-synth -n 0 >none.vqt
    fails 1 vq-export --h5ad -o x none.vqt
    same "$err" "vq-export: none.vqt: no records: an array of none has no shape"
    cells 30
    fails 1 bash -c 'trap "" XFSZ; ulimit -f 4; vq-export -q --h5ad -o x cells.vqt 2>&1 >/dev/null | cat >&2; exit ${PIPESTATUS[0]}'
    has "$err" "vq-export: x: "
    has "$err" "File too large"
    fails 1 vq-export -q --h5ad -o /dev/full cells.vqt
    same "$err" "vq-export: /dev/full: HDF5 needs a plain file"
    same "$(ls)" $'cells.vqt\nnone.vqt'
}

fields() { vq-synth -n 12 --channels 2 --max-size 40 --fields f --field-size 160; vq-crop --load-data f/load_data.csv >cells.vqt; }
# Pixels and statistics of field $1, whose image files are $2, as a table without ids.
measured() { vq-crop --image "$2" --labels "f/$1_labels.tif" | vq-export --csv -o - | sed 1d | cut -d , -f 3- | sed 's/Simulated_[^,]*#//'; }

@test "tiff: normalised cells go back to where they were" {
    fields
    vq-normalize --robust --no-clip cells.vqt | vq-pad --reflect >normal.vqt
    ok vq-export --tiff --path-root f -o back normal.vqt
    same "$out$err" ""
    same "$(ls back)" "$(ls f | sed -n 's/_DNA.tif/.ome.tif/p')"
    for file in back/*; do
        field=$(basename "$file" .ome.tif)
        same "$(measured "$field" "$file")" "$(measured "$field" "f/${field}_DNA.tif,f/${field}_ER.tif")"
    done
    has "$(strings "$file" 2>/dev/null || tr -cd '[:print:]' <"$file")" '<Channel ID="Channel:0:1" SamplesPerPixel="1" Name="ER"/>'
    (cd f && vq-export --tiff -o ../here ../normal.vqt)
    diff -r back here
}

# Pixels of a TIFF that vq-crop reads, as text: --whole takes all of it as one cell.
flat() { vq-crop -q --whole "$1" | vq-export --npy --tensor image -o flat.npy && tail -c $((2 * $2 * 160 * 160)) flat.npy | od -A n -v -t u2 -w2; }

@test "tiff: crop, normalise, back: to 1 grey level inside cells, exactly outside" {
    fields
    for how in "--minmax" "--robust --no-clip" "--zscore" "--minmax --scope field"; do
        rm -rf back
        ok bash -c "vq-normalize $how cells.vqt | vq-pad --reflect | vq-export --tiff --path-root f -o back"
        same "$err" ""
        for file in back/*; do
            field=$(basename "$file" .ome.tif)
            flat "$file" 2 >back.txt
            { flat "f/${field}_DNA.tif" 1; flat "f/${field}_ER.tif" 1; } >was.txt
            { flat "f/${field}_labels.tif" 1; flat "f/${field}_labels.tif" 1; } >label.txt
            paste was.txt back.txt label.txt | awk '{ d = $1 - $2; if (d > 1 || d < -1 || ($3 == 0 && d)) { print "pixel " NR ": " $0; bad = 1; exit } inside += $3 > 0 } END { exit bad || NR != 51200 || inside < 1000 }'
        done
    done
}

@test "tiff: what was clipped is counted, and changes cells alone" {
    fields
    ok bash -c 'vq-normalize --robust cells.vqt | vq-export --tiff --path-root f -o back'
    [[ $err =~ ^'vq-export: warning: '([0-9]+)' of '([0-9]+)' values inside cells had been clipped by the normalisation' ]] || { echo "$err"; false; }
    [ "${BASH_REMATCH[1]}" -gt 0 ]
    # two channels of all areas
    same "${BASH_REMATCH[2]}" "$(vq-export --csv -o - cells.vqt | awk -F , 'NR > 1 { a += 2 * $10 } END { print a }')"
    field=Simulated_A01_1
    run measured $field back/$field.ome.tif
    [ "$output" != "$(measured $field f/${field}_DNA.tif,f/${field}_ER.tif)" ]
    # the background (label 0 in the box) is as it was
    background() { vq-crop --image "$1" --labels f/${field}_labels.tif | vq-export --csv -o - | awk -F , 'NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ /^background/) at[i] } NR > 1 { for (i in at) print $i }'; }
    same "$(background back/$field.ome.tif)" "$(background f/${field}_DNA.tif,f/${field}_ER.tif)"
}

@test "tiff: what cannot be" {
    fields
    fails 1 vq-export --tiff -o back cells.vqt
    same "$err" "vq-export: record Simulated_A01_1#1: Simulated_A01_1_DNA.tif: No such file or directory (--path-root DIR says where relative names begin)"
    [ ! -e back ]
    # another image under the same name: its mean is not what the record knows
    cp f/Simulated_A01_1_DNA.tif dna.tif
    cp f/Simulated_A01_1_ER.tif f/Simulated_A01_1_DNA.tif
    fails 1 vq-export --tiff --path-root f -o back cells.vqt
    has "$err" "record Simulated_A01_1#1: f/Simulated_A01_1_DNA.tif: no plane of 8 or 16 bit, 160x160 px and mean "
    [ ! -e back ]
    mv dna.tif f/Simulated_A01_1_DNA.tif
    # a record that knows no field
    cells 2
    fails 1 vq-export --tiff -o back cells.vqt
    has "$err" "vq-export: record "
    [ ! -e back ]
    golden v1-codes.vqt
    fails 1 vq-export --tiff -o back v1-codes.vqt
    same "$err" "vq-export: v1-codes.vqt: a stream of codes has no pixels: vq-decode makes them"
    mkdir back && touch back/x
    fails 1 vq-export --tiff -o back cells.vqt
    same "$err" "vq-export: back: the directory is not empty"
}

same_size() { vq-synth -n "$1" --channels 1 --min-size 24 --max-size 24 >equal.vqt; }

@test "tiff: a failure after the first field leaves no field" {
    fields
    [ "$(ls f/*_labels.tif | wc -l)" -gt 1 ]
    last=$(vq-info --records cells.vqt | grep '#' | tail -n 1 | sed 's/#.*//')
    mv "f/${last}_ER.tif" er.tif
    fails 1 vq-export --tiff --path-root f -o back cells.vqt
    has "$err" "f/${last}_ER.tif: No such file or directory"
    [ ! -e back ]
    mkdir back
    fails 1 vq-export --tiff --path-root f -o back cells.vqt
    same "$(ls -A back)" "" # it was there before
    mv er.tif "f/${last}_ER.tif"
    limited 8 --tiff --path-root f -o back cells.vqt
    same "$(ls -A back)" ""
    rmdir back
    limited 8 --tiff --path-root f -o back cells.vqt
    [ ! -e back ]
    ok vq-export --tiff --path-root f -o back cells.vqt
}

# limited KIB OPTION...: files may not be larger, as on a disk that is full.
limited() {
    local most=$1
    shift
    fails 1 bash -c 'trap "" XFSZ; ulimit -f "$0"; vq-export "$@" 2>&1 >/dev/null | cat >&2; exit ${PIPESTATUS[0]}' "$most" "$@"
    has "$err" "File too large"
}

@test "bad streams leave no file" {
    cells
    head -c $(($(stat -c %s cells.vqt) / 2)) cells.vqt >cut.vqt
    for what in --npz --csv --h5ad; do
        fails 1 vq-export -q $what -o out cut.vqt
        has "$err" "vq-export: cut.vqt: "
        [ ! -e out ]
    done
    # later, when a part of it is written already
    same_size 12
    head -c $(($(stat -c %s equal.vqt) * 9 / 10)) equal.vqt >cut.vqt
    for what in --npy --png; do
        fails 1 vq-export -q $what -o out cut.vqt
        has "$err" "vq-export: cut.vqt: "
        [ ! -e out ]
    done
    fails 1 vq-export --npy -o out cells.vqt # the second is of another size
    [ ! -e out ]
    # in a directory that was there before, it stays
    mkdir there
    fails 1 vq-export --png -o there cut.vqt
    same "$(ls -A there)" ""
    golden v1-batches.vqt
    fails 1 vq-export --npz -o out v1-batches.vqt
    same "$err" "vq-export: v1-batches.vqt: a stream of batches: undo them with vq-batch --split"
    fails 1 vq-export --npz -o out missing.vqt
    [ ! -e out ]
    fails 1 vq-export --npz -o no/such/dir cells.vqt
    has "$err" "vq-export: no/such/dir: "
}

@test "a full disk leaves no file, whatever is written" {
    same_size 12
    limited 4 --npy -o out equal.vqt
    [ ! -e out ]
    limited 4 --npz -o out equal.vqt
    [ ! -e out ]
    # small pictures fit, and go again when a large one does not
    vq-synth -n 12 --channels 1 --min-size 16 --max-size 96 >some.vqt
    ok vq-export --png -o whole some.vqt
    stat -c %s whole/* | sort -n >sizes
    most=$((($(tail -n 1 sizes) - 1) / 1024))
    [ "$(head -n 1 sizes)" -lt $((1024 * most)) ]
    limited $most --png -o out some.vqt
    [ ! -e out ]
    same "$(ls)" $'equal.vqt\nsizes\nsome.vqt\nwhole'
}

@test "a full disk is one line" {
    [ -w /dev/full ] || skip "no /dev/full"
    cells
    fails 1 vq-export --npz -o /dev/full cells.vqt
    has "$err" "No space left"
    fails 1 vq-export --csv -o /dev/full cells.vqt
    has "$err" "No space left"
}

@test "misuse" {
    cells 1
    fails 2 vq-export cells.vqt
    same "$err" "vq-export: one of --npy, --npz, --csv, --h5ad, --tiff, --png is needed"
    fails 2 vq-export --npy --npz -o x cells.vqt
    same "$err" "vq-export: one of --npy, --npz, --csv, --h5ad, --tiff, --png is needed, and only one"
    fails 2 vq-export --npy cells.vqt
    same "$err" "vq-export: -o PATH is needed"
    fails 2 vq-export --csv --tensor image -o x cells.vqt
    fails 2 vq-export --npz --channel DNA -o x cells.vqt
    fails 2 vq-export --png -o - cells.vqt
    fails 2 vq-export --h5ad -o - cells.vqt
    same "$err" "vq-export: --h5ad writes a file, not to standard output"
    fails 2 vq-export --csv -m x -o x cells.vqt
    same "$err" "vq-export: -m MODEL goes with --h5ad"
    fails 2 vq-export --tiff -o - cells.vqt
    same "$err" "vq-export: --tiff writes a directory, not to standard output"
    fails 2 vq-export --csv --path-root . -o x cells.vqt
    same "$err" "vq-export: --path-root goes with --tiff"
}
