# vq-montage: cells to a picture and back.
load helpers

cells() { vq-synth -n "${1:-9}" --channels 1 --min-size 14 --max-size 40 | vq-normalize --robust; }
pixels() { vq-export --npz -o "$2" "$1"; }

@test "a montage and back: the cells to half a grey level, with all that they carry" {
    cells >cells.vqt
    ok vq-montage -o m.png cells.vqt
    same "$out$err" ""
    ok bash -c 'vq-pad --reflect cells.vqt | vq-montage -o padded.png'
    cmp m.png padded.png
    vq-pad --reflect cells.vqt >padded.vqt
    ok vq-montage --back m.png -o back.vqt padded.vqt
    same "$(vq-info --records back.vqt | grep '#')" "$(vq-info --records cells.vqt | grep '#')"
    vq-metrics --reference cells.vqt -o m.json back.vqt
    # rounding to steps of 2/255: an error of that over the root of 12 at most
    awk -v e="$(json m.json mse.max)" 'BEGIN { exit !(e > 0 && e <= (2 / 255) ^ 2 / 4) }'
    # what came back is exact the second time
    vq-montage -o again.png back.vqt
    cmp m.png again.png
    same "$(vq-info --values back.vqt | grep -c 'tool	vq-montage')" 1
}

@test "a picture a cell gives the same" {
    cells >cells.vqt
    vq-montage -o m.png cells.vqt
    vq-montage --back m.png cells.vqt | vq-export --npz -o a.npz
    vq-export --png -o d cells.vqt
    ok vq-montage --back d -o b.vqt - <cells.vqt
    vq-export --npz -o b.npz b.vqt
    cmp a.npz b.npz
    rm "$(ls d/* | head -1)"
    fails 1 vq-montage --back d -o x.vqt cells.vqt
    has "$err" "No such file or directory"
    [ ! -e x.vqt ]
}

@test "what does not fit is named" {
    cells >cells.vqt
    cells 8 >few.vqt
    vq-montage -o m.png few.vqt
    fails 1 vq-montage --back m.png -o x.vqt cells.vqt
    has "$err" "a montage of cells.vqt has"
    fails 1 vq-montage --back cells.vqt -o x.vqt cells.vqt
    has "$err" "vq-montage: cells.vqt: "
    vq-synth -n 3 --channels 1 --max-size 40 >raw.vqt
    fails 1 vq-montage -o x.png raw.vqt
    has "$err" "is not normalised to -1 and 1: vq-normalize --robust or --minmax does it"
    vq-synth -n 3 --channels 2 --max-size 40 | vq-normalize --robust >two.vqt
    fails 1 vq-montage -o x.png two.vqt
    has "$err" "has 2 channels: a montage takes cells of one"
    vq-synth -n 0 | vq-normalize --robust >none.vqt
    fails 1 vq-montage -o x.png none.vqt
    same "$err" "vq-montage: none.vqt: no records in it"
    fails 1 vq-montage --back m.png -o x.vqt none.vqt
    same "$err" "vq-montage: none.vqt: no records in it"
    head -c 3000 cells.vqt >cut.vqt
    fails 1 vq-montage -o x.png cut.vqt
    fails 2 vq-montage cells.vqt
    same "$err" "vq-montage: where to? Give -o FILE.png"
    fails 2 vq-montage --back m.png
    same "$err" "vq-montage: --back reads the stream twice: name a file"
    [ ! -e x.png ] && [ ! -e x.vqt ]
}
