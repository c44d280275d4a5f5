# vq-crop: small fields written here, number by number; the real ones of ../shared/data where they are.
load helpers

# le VALUE BYTES (1, 2 or 4): appends to $hex
for b in {0..255}; do printf -v "BYTE[$b]" '\\x%02x' "$b"; done
le() {
    case $2 in
    1) hex+=${BYTE[$1 & 255]} ;;
    2) hex+=${BYTE[$1 & 255]}${BYTE[$1 >> 8 & 255]} ;;
    4) hex+=${BYTE[$1 & 255]}${BYTE[$1 >> 8 & 255]}${BYTE[$1 >> 16 & 255]}${BYTE[$1 >> 24 & 255]} ;;
    esac
}
entry() { le "$1" 2; le "$2" 2; le "$3" 4; if [ "$2" = 3 ] && [ "$3" = 1 ]; then le "$4" 2; le 0 2; else le "$4" 4; fi; }
# tiff FILE W H BITS VALUES...: a little-endian TIFF without compression, a page every W*H*SPP values.
# SPP=n: samples a pixel; FORMAT=3: VALUES are the bits of floats; DESC=text: ImageDescription.
tiff() {
    local file=$1 w=$2 h=$3 bits=$4 spp=${SPP:-1} hex='II\x2a\x00\x08\x00\x00\x00' at=8 n page bytes pages desc=${DESC:-}
    shift 4
    n=$((w * h * spp)) bytes=$((n * bits / 8)) pages=$(($# / n))
    local tags=$((10 + (${#desc} > 0))) v
    for ((page = 0; page < pages; page++)); do
        local ifd=$((2 + 12 * tags + 4)) bps data next
        bps=$((at + ifd)) data=$((bps + 2 * spp + (2 * spp) % 4)) next=$((data + ${#desc} + 1 + (${#desc} + 1) % 2 + bytes))
        next=$((next + next % 2))
        le $tags 2
        entry 256 4 1 "$w"; entry 257 4 1 "$h"
        if [ "$spp" -gt 2 ]; then entry 258 3 "$spp" $bps; elif [ "$spp" = 2 ]; then entry 258 3 2 $((bits << 16 | bits)); else entry 258 3 1 "$bits"; fi
        entry 259 3 1 1; entry 262 3 1 $((spp >= 3 ? 2 : 1))
        [ -z "$desc" ] || entry 270 2 $((${#desc} + 1)) $data
        entry 273 4 1 $((data + ${#desc} + 1 + (${#desc} + 1) % 2)); entry 277 3 1 "$spp"; entry 278 4 1 "$h"; entry 279 4 1 $bytes
        entry 339 3 1 "${FORMAT:-1}"
        if [ $((page + 1)) -lt $pages ]; then le $next 4; else le 0 4; fi
        for ((v = 0; v < spp; v++)); do le "$bits" 2; done
        [ $(((2 * spp) % 4)) = 0 ] || le 0 2
        hex+=$desc; le 0 1; [ $(((${#desc} + 1) % 2)) = 0 ] || le 0 1
        for v in "${@:page * n + 1:n}"; do le "$v" $((bits / 8)); done
        [ $(((data + ${#desc} + 1 + (${#desc} + 1) % 2 + bytes) % 2)) = 0 ] || le 0 1
        at=$next
    done
    printf '%b' "$hex" >"$file"
}
# grid W H FUNCTION: prints FUNCTION's $((..)) of x and y for each pixel
grid() { local x y; for ((y = 0; y < $2; y++)); do for ((x = 0; x < $1; x++)); do printf '%d ' $(($3)); done; done; }

# What a stream holds, without any other tool of vq.
plain() { zstd -dcq "${1:-.stdout}"; }
ids() { plain "$@" | LC_ALL=C grep -ao '[ -~]*#[0-9]*{"source"' | sed 's/{"source"$//' | tr '\n' ' '; }
metas() { plain "$@" | LC_ALL=C grep -ao '{"source"[ -~]*"metadata":{[^}]*}}'; }
meta() { metas >.metas; sed -n "$1p" .metas >.meta; }

# A field of 12x10 with three cells: 1 (2x3), 7 in two pieces, 3 at the edge.
LABELS='(x>=2&&x<4&&y>=2&&y<5)?1:(x>=7&&x<9&&y==3)||(x==9&&y==6)?7:(x>=10&&y<2)?3:0'
setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    tiff dna.tif 12 10 16 $(grid 12 10 'x*100+y')
    tiff er.tif 12 10 8 $(grid 12 10 'x+y*10')
    tiff labels.tif 12 10 8 $(grid 12 10 "$LABELS")
}
field() { cp "$BATS_FILE_TMPDIR"/{dna,er,labels}.tif .; }
table() { printf 'FileName_DNA,FileName_ER,ObjectsFileName_Cells,Metadata_Well\ndna.tif,er.tif,labels.tif,A01\n' >load.csv; }
SMALL="--min-area 1 --border 1"

@test "cells of a field: boxes, pixels, masks, light" {
    field
    table
    ok vq-crop --load-data load.csv $SMALL
    [ -z "$err" ]
    same "$(ids)" "dna#1 dna#7 "
    meta 1
    json .meta label
    same "$(json .meta field)" dna
    same "$(json .meta bbox.0),$(json .meta bbox.1),$(json .meta bbox.2),$(json .meta bbox.3)" 1,1,6,5
    same "$(json .meta size.0)x$(json .meta size.1)" 5x4
    same "$(json .meta field_size.0)x$(json .meta field_size.1)" 10x12
    same "$(json .meta channels.0),$(json .meta channels.1)" DNA,ER
    same "$(json .meta dtype)" u16
    same "$(json .meta area)" 6
    same "$(json .meta raw.mean.0),$(json .meta raw.integrated.0),$(json .meta raw.background.0)" 253,1518,253
    same "$(json .meta raw.integrated.1)" 195
    same "$(json .meta metadata.Metadata_Well)" A01
    same "$(json .meta source.files.1),$(json .meta source.labels),$(json .meta source.pages.0)" er.tif,labels.tif,0
    near "$(json .meta field_stats.mean.0)" 554.5 1e-9
    near "$(json .meta field_stats.std.0)" 345.217202159259 1e-9
    same "$(json .meta field_stats.percentiles.values.0.5)" 554.5
    same "$(json .meta field_stats.percentiles.values.1.#)" 11
    meta 2
    same "$(json .meta area)" 3
    same "$(json .meta bbox.0),$(json .meta bbox.1),$(json .meta bbox.2),$(json .meta bbox.3)" 2,6,8,11
    plain | LC_ALL=C grep -ac '"kind":"samples","channels":\["DNA","ER"\],"chain":\[{"tool":"vq-crop"'
}

@test "edge cells, small cells, borders at the edge" {
    field
    ok vq-crop --image dna.tif --labels labels.tif $SMALL --keep-edge
    same "$(ids)" "dna#1 dna#3 dna#7 "
    ok vq-crop --image dna.tif --labels labels.tif --min-area 4
    same "$(ids)" "dna#1 "
    meta 1
    same "$(json .meta bbox.0),$(json .meta bbox.1),$(json .meta bbox.2),$(json .meta bbox.3)" 0,0,10,12
    same "$(json .meta channels.0)" C1
    ok vq-crop -v --image dna.tif --labels labels.tif --min-area 4
    same "$err" "vq-crop: dna: 1 cells; dropped: 1 at the edge, 1 small, 0 large, 0 on several tiles"
}

@test "a large cell is dropped with a warning" {
    field
    ok vq-crop --image dna.tif --labels labels.tif $SMALL --max-size 3
    same "$(ids)" "dna#1 "
    same "$err" "vq-crop: warning: labels.tif: object 7 is 3x4 px, more than --max-size 3; dropped"
    run_split vq-crop --image dna.tif --labels labels.tif $SMALL --max-size 2
    same "$status" 1
    same "$(wc -c <.stdout)" 0
    same "$(wc -l <.stderr)" 2
}

@test "--tile: crops stay in their tile" {
    field
    ok vq-crop --image dna.tif --labels labels.tif --min-area 1 --tile 6
    same "$(ids)" "dna#1 "
    same "$err" "vq-crop: warning: labels.tif: object 7 lies on several tiles; dropped"
    meta 1
    same "$(json .meta bbox.0),$(json .meta bbox.1),$(json .meta bbox.2),$(json .meta bbox.3)" 0,0,6,6
}

@test "tables: Image_ prefix, BOM, CRLF and quotes mean the same" {
    field
    table
    ok vq-crop --load-data load.csv $SMALL
    metas >want
    printf '\xef\xbb\xbfImage_FileName_DNA,"Image_FileName_ER",Image_PathName_ER,Image_ObjectsFileName_Cells,Image_Metadata_Well\r\n"dna.tif",er.tif,.,labels.tif,"A01"\r\n' >load.csv
    ok vq-crop --load-data load.csv $SMALL
    cmp want <(metas)
}

@test "32-bit labels, sparse and large" {
    field
    tiff labels.tif 12 10 32 $(grid 12 10 '(x>=2&&x<4&&y>=2&&y<5)?2147483647:(x>=7&&x<9&&y==3)?100000:0')
    ok vq-crop --image dna.tif --labels labels.tif $SMALL
    same "$(ids)" "dna#100000 dna#2147483647 "
}

@test "paths: --path-root, --path-map, URLs" {
    mkdir -p 'plate 1/img'
    cd 'plate 1/img'
    field
    cd ../..
    mkdir tables
    printf 'FileName_DNA,PathName_DNA,ObjectsFileName_N,ObjectsPathName_N\ndna.tif,plate 1/img,labels.tif,plate 1/img/\n' >tables/a.csv
    fails 1 vq-crop --load-data tables/a.csv
    same "$err" "vq-crop: warning: tables/plate 1/img/dna.tif: No such file or directory"
    ok vq-crop --load-data tables/a.csv --path-root . $SMALL
    same "$(ids)" "dna#1 dna#7 "
    printf 'FileName_DNA,PathName_DNA,ObjectsFileName_N,ObjectsPathName_N\ndna.tif,D:\\data\\img,labels.tif,D:\\data\\img\\\n' >w.csv
    fails 1 vq-crop --load-data w.csv
    same "$err" "vq-crop: warning: w.csv line 2: D:\\data\\img\\dna.tif: a path of another system; say with --path-map 'OLD=NEW' where it is here"
    ok vq-crop --load-data w.csv --path-map 'D:/data=plate 1' $SMALL
    same "$(ids)" "dna#1 dna#7 "
    meta 1
    same "$(json .meta source.files.0)" 'D:\data\img\dna.tif'
    printf 'URL_DNA,ObjectsURL_N\nfile://%s/plate%%201/img/dna.tif,file:plate%%201/img/labels.tif\n' "$PWD" >u.csv
    ok vq-crop --load-data u.csv $SMALL
    same "$(ids)" "dna#1 dna#7 "
    printf 'URL_DNA,ObjectsURL_N\ns3://b/dna.tif,file:labels.tif\n' >u.csv
    fails 1 vq-crop --load-data u.csv
    same "$err" "vq-crop: warning: u.csv line 2: s3://b/dna.tif: only file: URLs are read"
}

@test "Frame_ and Series_ columns" {
    field
    tiff stack.tif 12 10 8 $(grid 12 10 'x') $(grid 12 10 'y+100')
    printf 'FileName_A,FileName_B,Frame_A,Frame_B,Series_A,ObjectsFileName_N\nstack.tif,stack.tif,1,0,0,labels.tif\n' >f.csv
    ok vq-crop --load-data f.csv $SMALL
    meta 1
    same "$(json .meta raw.integrated.0),$(json .meta raw.integrated.1)" 618,15
    same "$(json .meta source.pages.0),$(json .meta source.pages.1)" 1,0
    printf 'FileName_A,Frame_A,ObjectsFileName_N\nstack.tif,x,labels.tif\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: warning: f.csv line 2: Frame is \"x\", not a number from 0"
}

@test "z-planes need --z; a time series is refused" {
    field
    tiff stack.tif 12 10 8 $(grid 12 10 'x') $(grid 12 10 'y+100') $(grid 12 10 '3')
    printf 'FileName_A,ObjectsFileName_N\nstack.tif,labels.tif\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: warning: stack.tif: 3 z-planes; choose with --z max or --z N"
    ok vq-crop --load-data f.csv $SMALL --z 2
    meta 1
    same "$(json .meta raw.integrated.0),$(json .meta source.pages.0)" 618,1
    ok vq-crop --image stack.tif --labels labels.tif $SMALL --z max
    meta 1
    same "$(json .meta raw.integrated.0)" 618
    fails 1 vq-crop --load-data f.csv --z 4
    same "$err" "vq-crop: warning: stack.tif: --z 4 of 3 z-planes"
    fails 2 vq-crop --load-data f.csv --z 0
    DESC=$'ImageJ=1.53t\nimages=3\nframes=3\n' tiff stack.tif 12 10 8 $(grid 12 10 'x') $(grid 12 10 'y+100') $(grid 12 10 '3')
    fails 1 vq-crop --load-data f.csv
    has "$err" "stack.tif: a time series of 3;"
    DESC=$'ImageJ=1.53t\nimages=3\nchannels=3\n' tiff stack.tif 12 10 8 $(grid 12 10 'x') $(grid 12 10 'y+100') $(grid 12 10 '3')
    ok vq-crop --load-data f.csv $SMALL
    meta 1
    same "$(json .meta channels.0),$(json .meta channels.2)" A_1,A_3
}

@test "colour: grey collapses, the rest is split" {
    field
    SPP=3 tiff rgb.tif 12 10 8 $(grid 12 10 'x' | tr ' ' '\n' | awk 'NF { print $1, $1 + 50, 7 }')
    SPP=3 tiff grey.tif 12 10 8 $(grid 12 10 'x' | tr ' ' '\n' | awk 'NF { print $1, $1, $1 }')
    printf 'FileName_X,ObjectsFileName_N\nrgb.tif,labels.tif\n' >f.csv
    ok vq-crop --load-data f.csv $SMALL
    meta 1
    same "$(json .meta channels.0),$(json .meta channels.1),$(json .meta channels.2)" X_R,X_G,X_B
    same "$(json .meta raw.integrated.0),$(json .meta raw.integrated.1),$(json .meta raw.integrated.2)" 15,315,42
    ok vq-crop --load-data f.csv $SMALL --channels green=X_G
    meta 1
    same "$(json .meta channels.#),$(json .meta channels.0),$(json .meta raw.integrated.0)" 1,green,315
    printf 'FileName_X,ObjectsFileName_N\ngrey.tif,labels.tif\n' >f.csv
    ok vq-crop --load-data f.csv $SMALL
    meta 1
    same "$(json .meta channels.#),$(json .meta channels.0)" 1,X
    # Two kinds of fields do not make one stream.
    printf 'FileName_X,ObjectsFileName_N\ngrey.tif,labels.tif\nrgb.tif,labels.tif\n' >f.csv
    fails 1 vq-crop --load-data f.csv $SMALL
    same "$err" "vq-crop: warning: f.csv line 3: channels [\"X_R\",\"X_G\",\"X_B\"], where the fields before have [\"X\"]"
    same "$(ids)" "grey#1 grey#7 "
}

@test "--channels: order, new names, numbers" {
    field
    table
    ok vq-crop --load-data load.csv $SMALL --channels Retic=ER,DNA
    meta 1
    same "$(json .meta channels.0),$(json .meta channels.1),$(json .meta raw.integrated.0)" Retic,DNA,195
    ok vq-crop --load-data load.csv $SMALL --channels ER
    meta 1
    same "$(json .meta channels.#),$(json .meta dtype)" 1,u8
    ok vq-crop --image dna.tif,er.tif --labels labels.tif $SMALL --channels b=2,a=1
    meta 1
    same "$(json .meta channels.0),$(json .meta raw.integrated.0)" b,195
    fails 1 vq-crop --load-data load.csv --channels RNA
    same "$err" "vq-crop: load.csv: no channel RNA; there are DNA, ER"
    fails 1 vq-crop --image dna.tif --labels labels.tif --channels 2
    same "$err" "vq-crop: warning: dna.tif: no channel 2; there are C1"
}

# npy FILE W H: f64, 2 where x < 6, else 4
npy() {
    { printf "\x93NUMPY\x01\x00\x46\x00%-69s\n" "{'descr': '<f8', 'fortran_order': False, 'shape': ($3, $2), }"
      for v in $(grid "$2" "$3" 'x<6?1:2'); do if [ "$v" = 1 ]; then printf '\0\0\0\0\0\0\0\x40'; else printf '\0\0\0\0\0\0\x10\x40'; fi; done; } >"$1"
}

@test "illumination functions are divided by: .npy and TIFF, X and OrigX" {
    field
    npy illum.npy 12 10
    tiff illum.tif 12 10 8 $(grid 12 10 '2')
    printf 'FileName_DNA,FileName_IllumDNA,FileName_OrigER,FileName_IllumER,ObjectsFileName_N\ndna.tif,illum.npy,er.tif,illum.tif,labels.tif\n' >f.csv
    ok vq-crop --load-data f.csv $SMALL
    meta 1
    same "$(json .meta channels.#),$(json .meta channels.1),$(json .meta dtype)" 2,OrigER,f32
    same "$(json .meta raw.integrated.0),$(json .meta raw.integrated.1)" 759,97.5
    meta 2
    near "$(json .meta raw.integrated.0)" 602.998 5
    npy illum.npy 11 10
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: warning: illum.npy: an illumination function of 11x10 px, where the image has 12x10"
    tiff illum.tif 12 10 8 $(grid 12 10 'x')
    npy illum.npy 12 10
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: warning: illum.tif: an illumination function: 10 of its 120 values are not finite and positive"
    printf 'FileName_DNA,FileName_IllumRNA,ObjectsFileName_N\ndna.tif,illum.npy,labels.tif\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: f.csv: IllumRNA has no channel RNA or OrigRNA to go with; choose with --channels"
}

@test "--objects, and tables without the columns" {
    field
    tiff other.tif 12 10 8 $(grid 12 10 '(x==5&&y==5)?9:0')
    printf 'FileName_DNA,ObjectsFileName_Cells,ObjectsFileName_Nuclei\ndna.tif,labels.tif,other.tif\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: f.csv: several kinds of objects, Cells, Nuclei; choose with --objects"
    ok vq-crop --load-data f.csv --objects Nuclei $SMALL
    same "$(ids)" "dna#9 "
    fails 1 vq-crop --load-data f.csv --objects Mito
    same "$err" "vq-crop: f.csv: no objects Mito; there are Cells, Nuclei"
    printf 'FileName_DNA\ndna.tif\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: f.csv: no column ObjectsFileName_... that names label images"
    printf 'DNA,Cells\ndna.tif,labels.tif\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: f.csv: no column FileName_... or URL_... that names images"
    fails 1 vq-crop --load-data none.csv
    same "$err" "vq-crop: none.csv: No such file or directory"
    : >f.csv
    fails 1 vq-crop --load-data f.csv
}

@test "ids: --id, defaults, and a clash says what would help" {
    field
    printf 'FileName_DNA,ObjectsFileName_N,Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_Field,Metadata_Day\ndna.tif,labels.tif,P,A1,1,f1,mon\ndna.tif,labels.tif,P,A1,1,f2,tue\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" 'vq-crop: the id "P_A1_1" is that of f.csv line 2 and of f.csv line 3; --id with Metadata_Field among its columns tells them apart'
    same "$(wc -c <.stdout)" 0
    ok vq-crop --load-data f.csv $SMALL --id Metadata_Well,Metadata_Day
    same "$(ids)" "A1_mon#1 A1_mon#7 A1_tue#1 A1_tue#7 "
    fails 1 vq-crop --load-data f.csv --id Metadata_Row
    same "$err" "vq-crop: f.csv: no column Metadata_Row for the id"
    sed -i 's/Metadata_Site/Metadata_X/' f.csv
    ok vq-crop --load-data f.csv $SMALL
    same "$(ids)" "f1#1 f1#7 f2#1 f2#7 "
    printf 'FileName_DNA,ObjectsFileName_N\ndna.tif,labels.tif\ndna.tif,labels.tif\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" 'vq-crop: the id "dna" is that of f.csv line 2 and of f.csv line 3, and no Metadata_ column tells them apart'
}

@test "bad fields are warnings, the rest goes on, exit 1; --strict stops" {
    field
    tiff small.tif 11 10 8 $(grid 11 10 '0')
    FORMAT=3 tiff nan.tif 12 10 32 $(grid 12 10 '(x==3&&y==4)?0x7fc00000:0')
    FORMAT=3 tiff inf.tif 12 10 32 $(grid 12 10 '(x==0&&y==9)?0xff800000:0')
    echo not a tiff >junk.tif
    printf 'FileName_DNA,ObjectsFileName_N,Metadata_Field\n' >f.csv
    printf '%s\n' none.tif,labels.tif,1 dna.tif,small.tif,2 nan.tif,labels.tif,3 inf.tif,labels.tif,4 junk.tif,labels.tif,5 \
        dna.tif,6 ,labels.tif,7 dna.tif,labels.tif,8 >>f.csv
    run_split vq-crop --load-data f.csv $SMALL -o out.vqt
    same "$status" 1
    same "$(ids out.vqt)" "8#1 8#7 "
    same "$err" "vq-crop: warning: none.tif: No such file or directory
vq-crop: warning: small.tif: labels of 11x10 px, where the image dna.tif has 12x10
vq-crop: warning: nan.tif: channel DNA is NaN at pixel 3,4
vq-crop: warning: inf.tif: channel DNA is infinite at pixel 0,9
vq-crop: warning: junk.tif: neither TIFF nor PNG
vq-crop: warning: f.csv line 7: 2 fields, where the first line has 3
vq-crop: warning: f.csv line 8: no file for DNA"
    rm out.vqt
    fails 1 vq-crop -q --load-data f.csv $SMALL -o out.vqt
    same "$err" "vq-crop: 7 of 8 fields failed, the first: none.tif: No such file or directory"
    rm out.vqt
    fails 1 vq-crop --load-data f.csv $SMALL -o out.vqt --strict
    same "$err" "vq-crop: none.tif: No such file or directory"
    [ ! -e out.vqt ]
    { echo FileName_DNA,ObjectsFileName_N,Metadata_Field; for i in $(seq 30); do echo none.tif,labels.tif,$i; done; echo dna.tif,labels.tif,31; } >f.csv
    run_split vq-crop --load-data f.csv $SMALL
    same "$status" 1
    same "$(wc -l <.stderr)" 21
    has "$err" 'vq-crop: warning: 10 more like "none.tif: No such file or directory"'
}

@test "fields without cells: silent, -v says so; none at all is exit 1" {
    field
    tiff empty.tif 12 10 8 $(grid 12 10 '0')
    printf 'FileName_DNA,ObjectsFileName_N,Metadata_Field\ndna.tif,empty.tif,1\ndna.tif,labels.tif,2\n' >f.csv
    ok vq-crop --load-data f.csv $SMALL
    [ -z "$err" ]
    ok vq-crop --load-data f.csv $SMALL -v
    has "$err" "vq-crop: warning: empty.tif: no objects"
    fails 1 vq-crop --image dna.tif --labels empty.tif -o out.vqt
    same "$err" "vq-crop: no cell in 1 field"
    [ ! -e out.vqt ]
    printf 'FileName_DNA,ObjectsFileName_N\n' >f.csv
    fails 1 vq-crop --load-data f.csv
    same "$err" "vq-crop: no cell in 0 fields"
}

@test "--cellpose: masks beside the images or elsewhere, Cellpose's own files passed over" {
    field
    mkdir in out
    for n in a b c; do cp dna.tif in/$n.tif; done
    cp labels.tif in/a_cp_masks.tif
    cp labels.tif in/b_cp_masks.png # known by its content
    cp dna.tif in/a_flows.tif
    cp dna.tif in/a_outlines_cp_masks.tif
    cp dna.tif in/a_cp_output.png
    ok vq-crop --cellpose in $SMALL
    same "$(ids)" "a#1 a#7 b#1 b#7 "
    [ -z "$err" ]
    touch in/c_seg.npy
    run_split vq-crop --cellpose in $SMALL
    same "$status" 1
    same "$(ids)" "a#1 a#7 b#1 b#7 "
    same "$err" "vq-crop: warning: in/c_seg.npy: Cellpose's _seg.npy holds Python objects; make a label image of it: python3 -c \"import numpy, tifffile; tifffile.imwrite('in/c_cp_masks.tif', numpy.load('in/c_seg.npy', allow_pickle=True).item()['masks'].astype('uint32'))\""
    cp labels.tif out/c_cp_masks.tif
    ok vq-crop --cellpose in --masks out $SMALL
    same "$(ids)" "c#1 c#7 "
    cp dna.tif in/d_img.tif
    cp labels.tif in/d_cp_masks.tif
    ok vq-crop --cellpose in --image-suffix _img $SMALL
    same "$(ids)" "d_img#1 d_img#7 "
    fails 1 vq-crop --cellpose out
    same "$err" "vq-crop: out: no image NAME.tif or .png with NAME_cp_masks.tif or .png"
    fails 1 vq-crop --cellpose nowhere
    fails 1 vq-crop --image dna.tif --labels in/c_seg.npy
    has "$err" "make a label image of it"
}

@test "--whole: images, directories, masks" {
    field
    ok vq-crop --whole dna.tif er.tif
    same "$(ids)" "dna#1 er#1 "
    meta 1
    same "$(json .meta area),$(json .meta raw.background.0),$(json .meta size.1)" 120,null,12
    mkdir cells
    cp dna.tif cells/a.tif
    cp labels.tif cells/a_mask.tif
    cp er.tif cells/b.tif
    run_split vq-crop --whole cells --mask-suffix _mask
    same "$status" 1
    same "$(ids)" "a#1 "
    same "$err" "vq-crop: warning: cells/b.tif: no mask cells/b_mask.tif"
    meta 1
    same "$(json .meta area),$(json .meta raw.mean.0)" 13,625.53846153846155
    (cd cells && vq-crop --whole a.tif a_mask.tif --mask-suffix _mask.tif) >one
    same "$(ids one)" "a#1 "
    run_split vq-crop --whole cells --mask-suffix _mask.tif
    same "$(ids)" "a#1 "
    same "$err" "vq-crop: warning: cells/b.tif: no mask cells/b_mask.tif"
    SPP=2 tiff two.tif 12 10 8 $(grid 12 10 'x' | tr ' ' '\n' | awk 'NF { print $1, $1 == 5 }')
    ok vq-crop --whole two.tif --mask-channel last
    meta 1
    same "$(json .meta channels.#),$(json .meta area),$(json .meta raw.mean.0)" 1,10,5
    fails 1 vq-crop --whole dna.tif --mask-channel last
    same "$err" "vq-crop: warning: dna.tif: one channel; --mask-channel last leaves no image"
    fails 1 vq-crop --whole dna.tif --max-size 11
    same "$err" "vq-crop: warning: dna.tif: 12x10 px, more than --max-size 11; dropped"
    tiff cells/a_mask.tif 12 10 8 $(grid 12 10 '0')
    fails 1 vq-crop --whole cells/a.tif --mask-suffix _mask
    same "$err" "vq-crop: warning: cells/a.tif: nothing but 0 in its mask"
}

@test "ImageNumber goes with the cells as Metadata_ImageNumber: 0 too, and once" {
    field
    printf 'ImageNumber,FileName_DNA,ObjectsFileName_N,Metadata_ImageNumber,Metadata_Field\n0,dna.tif,labels.tif,,a\n,dna.tif,labels.tif,,b\n3,dna.tif,labels.tif,9,c\n' >f.csv
    ok vq-crop --load-data f.csv $SMALL
    same "$(metas | grep -o '"metadata":.*' | uniq)" '"metadata":{"Metadata_ImageNumber":"0","Metadata_Field":"a"}}
"metadata":{"Metadata_ImageNumber":"","Metadata_Field":"b"}}
"metadata":{"Metadata_ImageNumber":"9","Metadata_Field":"c"}}'
    cut -d , -f 1-3,5 f.csv >g.csv
    ok vq-crop --load-data g.csv $SMALL
    same "$(metas | grep -o '"metadata":.*' | uniq)" '"metadata":{"Metadata_Field":"a","Metadata_ImageNumber":"0"}}
"metadata":{"Metadata_Field":"b"}}
"metadata":{"Metadata_Field":"c","Metadata_ImageNumber":"3"}}'
    # places find their fields by it; the second, which has none, is counted
    printf 'ImageNumber,ObjectNumber,Location_Center_X,Location_Center_Y\n0,1,4,4\n2,1,5,5\n3,1,6,6\n0,2,5,5\n' >t.csv
    ok vq-crop --load-data g.csv --locations t.csv --box 3
    same "$(ids)" "a#1 a#2 b#1 c#1 "
    # rows of a table without a number are not one field
    printf 'ImageNumber,ObjectNumber,Location_Center_X,Location_Center_Y,FileName_DNA,Metadata_Field\n,1,4,4,dna.tif,a\n,2,5,5,dna.tif,b\n' >t.csv
    fails 1 vq-crop --locations t.csv --box 3
    same "$err" 'vq-crop: t.csv line 2: there is no field for ImageNumber ""'
}

@test "--locations: boxes around points, no label images" {
    field
    printf 'ImageNumber,ObjectNumber,Location_Center_X,Location_Center_Y\n1,2,5.2,4\n1,1,3,3\n1,3,0,0\n' >nuclei.csv
    ok vq-crop --image dna.tif --locations nuclei.csv --box 3
    same "$(ids)" "dna#1 dna#2 "
    meta 2
    same "$(json .meta bbox.0),$(json .meta bbox.1),$(json .meta bbox.2),$(json .meta bbox.3)" 3,4,6,7
    same "$(json .meta raw.mean.0),$(json .meta source.labels)" 504,null
    ok vq-crop --image dna.tif --locations nuclei.csv --box 3 --keep-edge
    same "$(ids)" "dna#1 dna#2 dna#3 "
    printf 'FileName_DNA,Metadata_Well\ndna.tif,A\ner.tif,B\n' >f.csv
    fails 1 vq-crop --load-data f.csv --locations <(sed 's/^1,3/7,3/' nuclei.csv) --box 3
    has "$err" 'line 4: there is no field for ImageNumber "7"'
    printf 'Metadata_Well,Nuclei_Location_Center_X,Nuclei_Location_Center_Y\nB,4,4\nA,5,5\nB,6,6\n' >m.csv
    ok vq-crop --load-data f.csv --locations m.csv --box 3
    same "$(ids)" "dna#1 er#1 er#2 "
    # A table that names its images itself.
    printf 'ImageNumber,ObjectNumber,Location_Center_X,Location_Center_Y,FileName_DNA\n4,1,4,4,dna.tif\n4,2,5,5,dna.tif\n9,1,6,6,er.tif\n' >t.csv
    ok vq-crop --locations t.csv --box 3
    same "$(ids)" "dna#1 dna#2 er#1 "
    printf 'ImageNumber,X\n1,2\n' >m.csv
    fails 1 vq-crop --image dna.tif --locations m.csv --box 3
    same "$err" "vq-crop: m.csv: no column Location_Center_X"
}

@test "misuse" {
    field
    fails 2 vq-crop
    same "$err" "vq-crop: give one of --load-data, --image, --cellpose, --whole and --locations"
    fails 2 vq-crop --image dna.tif
    same "$err" "vq-crop: --image wants --labels"
    fails 2 vq-crop --load-data f.csv --whole dna.tif
    fails 2 vq-crop dna.tif --labels labels.tif --image dna.tif
    same "$err" "vq-crop: an operand (dna.tif) goes with --whole only"
    fails 2 vq-crop --locations f.csv
    same "$err" "vq-crop: --locations and --box go together"
    fails 2 vq-crop --load-data f.csv --masks x
    same "$err" "vq-crop: --masks goes with --cellpose"
    fails 2 vq-crop --load-data f.csv --path-map x
    same "$err" "vq-crop: --path-map x: OLD=NEW is wanted"
    fails 2 vq-crop --load-data f.csv --border -1
    fails 2 vq-crop --whole --mask-suffix _m --mask-channel last dna.tif
    same "$err" "vq-crop: --mask-suffix and --mask-channel exclude each other"
}

@test "the same bytes with any number of threads; a pipe that closes; a full disk" {
    for i in 1 2 3 4 5 6; do field; mv dna.tif $i.tif; done
    { echo FileName_DNA,ObjectsFileName_N; for i in 1 2 3 4 5 6; do echo $i.tif,labels.tif; done; } >f.csv
    ok vq-crop --load-data f.csv $SMALL --threads 1
    cp .stdout one
    ok vq-crop --load-data f.csv $SMALL --threads 4
    cmp one .stdout
    same "$(ids one)" "1#1 1#7 2#1 2#7 3#1 3#7 4#1 4#7 5#1 5#7 6#1 6#7 "
    zstd -tq one
    if [ -w /dev/full ]; then
        status=0
        vq-crop --load-data f.csv $SMALL >/dev/full 2>.stderr || status=$?
        same "$status $(cat .stderr)" "1 vq-crop: standard output: No space left on device"
        { echo FileName_DNA,ObjectsFileName_N,Metadata_Field; for i in {1..600}; do echo "1.tif,labels.tif,f$i"; done; } >many.csv
        status=0
        vq-crop --load-data many.csv $SMALL >/dev/full 2>.stderr || status=$?
        same "$status $(cat .stderr)" "1 vq-crop: standard output: No space left on device"
    fi
    status=0
    { sleep 0.2; vq-crop --load-data f.csv $SMALL 2>.stderr || echo $? >.status; } | true
    same "$(cat .status) $(cat .stderr)" "1 vq-crop: standard output: Broken pipe"
}

@test "real cells: bbbc039, dsb2018, mlcp_ifc" {
    shared data/cells/bbbc039
    for want in "bbbc039 3159" "dsb2018 3039" "mlcp_ifc 3418 --tile 40 --border 0"; do
        set -- $want
        ok vq-crop --load-data "$SHARED/data/cells/$1/load_data.csv" "${@:3}"
        [ -z "$err" ]
        same "$1 $(plain | LC_ALL=C grep -ao '"bbox":\[' | wc -l)" "$1 $2"
    done
}

@test "odd files: a record or one line, never a crash" {
    shared data/tiffs/manifest.tsv
    bad= records=0 PATH=${VQ_ASAN_BUILD:+$VQ_ASAN_BUILD/bin:}$PATH
    while IFS=$'\t' read -r name _; do
        run_split vq-crop --whole "$SHARED/data/tiffs/$name"
        if [ "$status" = 0 ] && [ ! -s .stderr ]; then
            records=$((records + 1))
        elif [ "$status" != 1 ] || [ "$(wc -l <.stderr)" != 1 ] || [ -s .stdout ]; then
            echo "$name: status $status: $err"
            bad=1
        fi
    done < <(tail -n +2 "$SHARED/data/tiffs/manifest.tsv")
    [ -z "$bad" ]
    [ $records -ge 140 ] || { echo "only $records records"; false; }
}
