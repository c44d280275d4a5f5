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
    has "$err" "has no tensor nucleus"
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
    has "$err" "has no channel RNA"
    [ ! -e p ]
    golden v1-codes.vqt
    fails 1 vq-export --png -o q v1-codes.vqt
    same "$err" "vq-export: v1-codes.vqt: a stream of codes has no pixels: vq-decode makes them"
}

@test "bad streams leave no file" {
    cells
    head -c $(($(stat -c %s cells.vqt) / 2)) cells.vqt >cut.vqt
    for what in --npz --csv; do
        fails 1 vq-export $what -o out cut.vqt
        has "$err" "vq-export: cut.vqt: "
        [ ! -e out ]
    done
    golden v1-batches.vqt
    fails 1 vq-export --npz -o out v1-batches.vqt
    same "$err" "vq-export: v1-batches.vqt: a stream of batches: undo them with vq-batch --split"
    fails 1 vq-export --npz -o out missing.vqt
    [ ! -e out ]
    fails 1 vq-export --npz -o no/such/dir cells.vqt
    has "$err" "vq-export: no/such/dir: "
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
    same "$err" "vq-export: one of --npy, --npz, --csv, --png is needed"
    fails 2 vq-export --npy --npz -o x cells.vqt
    same "$err" "vq-export: one of --npy, --npz, --csv, --png is needed, and only one"
    fails 2 vq-export --npy cells.vqt
    same "$err" "vq-export: -o PATH is needed"
    fails 2 vq-export --csv --tensor image -o x cells.vqt
    fails 2 vq-export --npz --channel DNA -o x cells.vqt
    fails 2 vq-export --png -o - cells.vqt
    fails 2 vq-export --h5ad -o x cells.vqt
}
