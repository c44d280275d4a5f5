# vq-metrics: MSE, PSNR, SSIM and Pearson of pairs of records.
load helpers

le() { printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8)))"; }
entry() { le "$1"; le "$2"; le "$3"; le 0; le "$4"; le 0; } # tag, type, count, value

# tiff FILE W H EXPRESSION: 8-bit pixels from an awk expression of x and y.
tiff() {
    {
        printf 'II'; le 42; le 8; le 0; le 8
        entry 256 3 1 "$2"; entry 257 3 1 "$3"; entry 258 3 1 8; entry 259 3 1 1; entry 262 3 1 1; entry 273 4 1 110; entry 278 3 1 "$3"; entry 279 4 1 $(($2 * $3))
        le 0; le 0
        printf '%b' "$(awk -v w="$2" -v h="$3" 'BEGIN { for (y = 0; y < h; y++) for (x = 0; x < w; x++) printf "\\x%02x", ('"$4"') }')"
    } >"$1"
}

# Two streams of three cells: a (16 x 14), b (12 x 20; constant in y) and c (8 x 8; the same in both, too small for SSIM).
pair() {
    mkdir x y
    tiff x/a.tif 16 14 '(x * 13 + y * 7) % 256'
    tiff y/a.tif 16 14 '(x * 13 + y * 7 + (x * y) % 5) % 256'
    tiff x/b.tif 12 20 '(x * x + y * y) % 256'
    tiff y/b.tif 12 20 '100'
    tiff x/c.tif 8 8 'x + y'
    tiff y/c.tif 8 8 'x + y'
    for d in x y; do
        tiff $d/a_mask.tif 16 14 '(x > 6 && x < 12 && y > 2) ? 255 : 0'
        tiff $d/b_mask.tif 12 20 'y > 3 ? 1 : 0'
        tiff $d/c_mask.tif 8 8 1
        vq-crop --whole --mask-suffix _mask $d/a.tif $d/b.tif $d/c.tif >$d.vqt
    done
}

@test "known values" {
    pair
    ok vq-metrics --reference x.vqt --range 255 y.vqt
    same "$err" ""
    same "$(json .stdout n)" 3
    same "$(json .stdout pixels)" $((16 * 14 + 12 * 20 + 64))
    same "$(json .stdout foreground.n)" 3
    same "$(json .stdout foreground.pixels)" $((5 * 11 + 12 * 16 + 64))
    # from tests/oracle/metrics.py: scikit-image and numpy
    for pair in mse.mean=1520.63988095 mse.median=4.41964285714 mse.std=2147.38514172 mse.min=0 mse.max=4557.5 mse.n=3 \
        psnr.mean=67.1170907634 psnr.median=41.676931846 psnr.std=58.5913624206 psnr.min=11.5435368354 psnr.max=148.130803609 psnr.n=3 \
        ssim.mean=0.523169821369 ssim.median=0.523169821369 ssim.std=0.474634228582 ssim.min=0.0485355927863 ssim.max=0.997804049951 ssim.n=2 \
        ms_ssim.mean=0.523169821369 ms_ssim.n=2 rmse_grey.min=0 rmse_grey.max=67.5092586246 mae_grey.n=3 clipped=0 \
        pearson.mean=0.999870883216 pearson.median=0.999870883216 pearson.std=0.000129116783657 pearson.min=0.999741766433 pearson.max=1 pearson.n=2 \
        foreground.mse.mean=1524.13636364 foreground.mse.median=4.90909090909 foreground.mse.std=2151.9839981 foreground.mse.min=0 foreground.mse.max=4567.5 foreground.mse.n=3 \
        foreground.psnr.mean=66.9618715064 foreground.psnr.median=41.220792862 foreground.psnr.std=58.6607353271 foreground.psnr.min=11.5340180484 foreground.psnr.max=148.130803609 foreground.psnr.n=3 \
        foreground.ssim.mean=0.523175475547 foreground.ssim.median=0.523175475547 foreground.ssim.std=0.474639882761 foreground.ssim.min=0.0485355927863 foreground.ssim.max=0.997815358308 foreground.ssim.n=2 \
        foreground.pearson.mean=0.999326361476 foreground.pearson.median=0.999326361476 foreground.pearson.std=0.000673638523777 foreground.pearson.min=0.998652722952 foreground.pearson.max=1 foreground.pearson.n=2; do
        near "$(json .stdout "${pair%=*}")" "${pair#*=}" 1e-7 || { echo "$pair"; return 1; }
    done
}

@test "per record, in CSV" {
    pair
    ok vq-metrics --device cpu --reference x.vqt --range 255 --per-record t.csv y.vqt
    same "$(wc -l <t.csv)" 4
    same "$(head -n 1 t.csv | cut -d , -f 1-15)" \
        id,field,label,height,width,pixels,foreground_pixels,mse,psnr,ssim,pearson,ms_ssim,rmse_grey,mae_grey,foreground_mse
    same "$(head -n 1 t.csv | cut -d , -f 16-21)" foreground_psnr,foreground_ssim,foreground_pearson,foreground_ms_ssim,foreground_rmse_grey,foreground_mae_grey
    same "$(sed -n 4p t.csv | cut -d , -f 4-21)" "8,8,64,64,0,148.1308036,,1,,0,0,0,148.1308036,,1,,0,0"
    same "$(sed -n 3p t.csv | cut -d , -f 4-7)" "20,12,240,192"
    same "$(sed -n 3p t.csv | cut -d , -f 11)" "" # a constant channel has no correlation
    cp .stdout want.json
    vq-metrics --device cpu --reference x.vqt --range 255 --per-record - -o m.json y.vqt | cmp - t.csv
    cmp m.json want.json
    fails 2 vq-metrics --reference x.vqt --per-record - y.vqt
}

@test "per record: all metadata of the cell" {
    vq-synth -n 6 --channels 1 --max-size 24 --fields f --field-size 96
    awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "Metadata_Plate") k = i; print $0, "Metadata_Drug", "Metadata_Code"; next } { $k = "0012"; print $0, "\"DMSO, 1%\"", "007" }' \
        f/load_data.csv >f/t.csv
    vq-crop -q --load-data f/t.csv | vq-normalize >cells.vqt
    vq-metrics --reference cells.vqt --per-record t.csv cells.vqt >m.json
    vq-export --csv -o x.csv cells.vqt
    has "$(head -n 1 t.csv)" ",Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_Group,Metadata_Split,Metadata_Drug,Metadata_Code"
    same "$(sed 1d t.csv | wc -l)" "$(json m.json n)"
    # the value is the table's own text, whatever it looks like
    same "$(sed 1d t.csv | grep -c ',0012,[A-H][0-9]*,[0-9]*,[^,]*,[^,]*,"DMSO, 1%",007$')" "$(json m.json n)"
    same "$(sed 1d t.csv | sed 's/^\([^,]*\)#[0-9]*,.*,0012,\([^,]*\),\([^,]*\),[^,]*,[^,]*,"D.*/\1 0012_\2_\3/' | awk 'NF != 2 || $1 != $2' | wc -l)" 0
    same "$(sed 1d x.csv | grep -c ',0012,[A-H][0-9]*,[0-9]*,[^,]*,[^,]*,"DMSO, 1%",007,')" "$(json m.json n)"
}

@test "padding, order, threads and pipes make no difference" {
    pair
    vq-metrics --device cpu --reference x.vqt --range 255 y.vqt >want
    vq-pad --reflect y.vqt >padded.vqt
    vq-pad --zero --pow2 x.vqt >x-padded.vqt
    ok vq-metrics --device cpu --reference x-padded.vqt --range 255 padded.vqt && cmp .stdout want
    vq-crop --whole --mask-suffix _mask y/c.tif y/a.tif y/b.tif >turned.vqt
    ok vq-metrics --device cpu --reference x.vqt --range 255 turned.vqt
    same "$(json .stdout psnr.median)" "$(json want psnr.median)"
    near "$(json .stdout psnr.mean)" "$(json want psnr.mean)" 1e-12
    ok vq-metrics --device cpu --reference x.vqt --range 255 --threads 1 y.vqt && cmp .stdout want
    ok vq-metrics --device cpu --reference - --range 255 y.vqt <x.vqt && cmp .stdout want
    ok bash -c 'vq-metrics --device cpu --reference <(cat x.vqt) --range 255 < y.vqt' && cmp .stdout want
    fails 1 bash -c 'vq-metrics --reference <(cat x.vqt) --range 255 turned.vqt'
    has "$err" "a reference in another order must be a file"
}

@test "extra and missing records are named" {
    pair
    vq-crop --whole --mask-suffix _mask y/a.tif y/c.tif >ac.vqt
    fails 1 vq-metrics --reference x.vqt --range 255 --per-record t.csv -o m.json ac.vqt
    has "$err" "b"
    has "$err" "of the reference x.vqt is not in ac.vqt (--subset allows it)"
    [ ! -e t.csv ] && [ ! -e m.json ]
    ok vq-metrics --reference x.vqt --range 255 --subset ac.vqt
    same "$(json .stdout n)" 2
    ok bash -c 'vq-metrics --reference <(cat x.vqt) --range 255 --subset ac.vqt'
    same "$(json .stdout n)" 2
    fails 1 vq-metrics --reference ac.vqt --range 255 --subset y.vqt
    has "$err" "of y.vqt is not in the reference ac.vqt"
    fails 1 bash -c 'vq-metrics --reference <(cat ac.vqt) --range 255 y.vqt'
}

@test "streams normalised otherwise are refused, both named" {
    pair
    vq-normalize --minmax x.vqt >x-minmax.vqt
    vq-normalize --robust x.vqt >x-robust.vqt
    fails 1 vq-metrics --reference x-minmax.vqt x-robust.vqt
    has "$err" "is normalised by percentiles 5,95 per record, clipped, its reference by minimum and maximum per record, clipped"
    fails 1 vq-metrics --reference x.vqt --range 255 x-robust.vqt
    has "$err" "its reference by raw grey levels"
    vq-normalize --none x.vqt >x-none.vqt
    ok vq-metrics --reference x.vqt --range 255 x-none.vqt
    same "$(json .stdout mse.max)" 0
    near "$(json .stdout psnr.mean)" 148.130803609 1e-8
}

@test "grey levels need their range" {
    pair
    ok vq-metrics --reference x.vqt y.vqt
    same "$err" "vq-metrics: warning: the pixels are raw grey levels, not within [-1,1]: PSNR and SSIM need their --range"
    ok vq-metrics -q --reference x.vqt y.vqt
    same "$err" ""
    fails 2 vq-metrics --reference x.vqt --range 0 y.vqt
    fails 2 vq-metrics --reference x.vqt --range -2 y.vqt
}

@test "grey levels: the normalisation undone, what it clipped counted" {
    pair
    vq-metrics --reference x.vqt --range 255 y.vqt >want
    same "$(json want rmse_grey.max)" "$(awk "BEGIN { printf \"%.17g\", sqrt($(json want mse.max)) }")"
    # one scale for all cells, nothing clipped: the same errors in grey levels
    vq-normalize --fit x.vqt >stats.json
    for side in x y; do vq-normalize --robust --no-clip --stats stats.json $side.vqt >$side-n.vqt; done
    ok vq-metrics --reference x-n.vqt y-n.vqt
    for key in rmse_grey.mean rmse_grey.median mae_grey.mean foreground.rmse_grey.mean foreground.mae_grey.max; do
        near "$(json .stdout $key)" "$(json want $key)" 1e-4 || { echo $key; return 1; }
    done
    # --grey does it before comparing, whatever side is raw; the range is that of the pixels' type
    ok vq-metrics --grey --reference x.vqt y-n.vqt
    same "$err" ""
    same "$(json .stdout range)" 255
    same "$(json .stdout grey)" true
    for key in psnr.min ssim.mean ms_ssim.mean mse.max rmse_grey.mean pearson.mean foreground.psnr.min; do
        near "$(json .stdout $key)" "$(json want $key)" 1e-3 || { echo $key; return 1; }
    done
    # clipped on both sides, an error is measured from the limit; beside the raw reference, from what was there
    for side in x y; do vq-normalize --robust --percentiles 25,75 --stats stats.json $side.vqt >$side-c.vqt; done
    ok vq-metrics --reference x-c.vqt y-c.vqt
    within=$(json .stdout rmse_grey.max)
    clipped=$(json .stdout clipped)
    ok vq-metrics --grey --reference x.vqt y-c.vqt
    awk "BEGIN { exit !($within < $(json .stdout rmse_grey.max) && $clipped > 0.01 && $clipped < 1) }"
    same "$(json .stdout clipped)" "$clipped"
}

@test "grey levels: a scale a record" {
    pair
    vq-metrics --reference x.vqt --range 255 y.vqt >want
    for how in "--robust --no-clip" --zscore; do
        vq-normalize $how x.vqt >x-n.vqt
        vq-normalize --like x-n.vqt y.vqt >y-n.vqt
        ok vq-metrics --range 2 --reference x-n.vqt y-n.vqt
        for key in rmse_grey.mean rmse_grey.median rmse_grey.max mae_grey.mean foreground.rmse_grey.mean foreground.mae_grey.max; do
            near "$(json .stdout $key)" "$(json want $key)" 1e-4 || { echo "$how: $key"; return 1; }
        done
        [ "$(json .stdout mse.max)" != "$(json want mse.max)" ]
        ok vq-metrics --grey --reference x.vqt y-n.vqt
        for key in psnr.min mse.max rmse_grey.mean pearson.mean; do near "$(json .stdout $key)" "$(json want $key)" 1e-3 || { echo "$how --grey: $key"; return 1; }; done
    done
}

# 12 cells of several wells, what a model makes of them, and its codes.
coded() {
    vq-synth -n 12 --channels 2 --max-size 40 --fields f --field-size 160
    vq-crop -q --load-data f/load_data.csv | vq-normalize >cells.vqt
    vq-train --set channels_per_level=[8,16] --set embedding_dim=16 --set num_embeddings=32 --set blocks=1 --set pixels_per_step=8192 --threads 1 -q \
        --steps 3 -o run cells.vqt
    vq-encode -m run/model.safetensors cells.vqt >codes.vqt
    vq-decode -m run/model.safetensors codes.vqt >recon.vqt
}

@test "--codes: bits per pixel beside the quality" {
    coded
    vq-codebook-stats codes.vqt >codebook.json
    ok vq-metrics --reference cells.vqt --codes codes.vqt recon.vqt
    same "$err" ""
    for key in bits_per_pixel bits_per_pixel_raw; do same "$(json .stdout $key)" "$(json codebook.json $key)"; done
    # codes of other cells: of a part, and in another order
    vq-encode -m run/model.safetensors --only val cells.vqt >val.vqt
    fails 1 vq-metrics --reference cells.vqt --codes val.vqt -o m.json recon.vqt
    has "$err" "val.vqt "
    has "$err" "record Simulated_"
    vq-decode -m run/model.safetensors val.vqt >part.vqt
    fails 1 vq-metrics --reference cells.vqt --codes codes.vqt -o m.json part.vqt
    has "$err" "codes.vqt has the codes of "
    [ ! -e m.json ]
    ok vq-metrics --reference cells.vqt --subset --codes codes.vqt part.vqt
    vq-codebook-stats val.vqt >val.json
    same "$(json .stdout bits_per_pixel)" "$(json val.json bits_per_pixel)"
    fails 1 vq-metrics --reference cells.vqt --codes cells.vqt recon.vqt
    same "$err" "vq-metrics: cells.vqt: it holds samples: encode them first with vq-encode -m MODEL"
    fails 2 vq-metrics --reference - --codes - recon.vqt
}

@test "--bootstrap: intervals of the means, by groups" {
    coded
    fails 0 vq-metrics --device cpu --reference cells.vqt --bootstrap 500 recon.vqt # a warning
    has "$err" "groups are few: the confidence intervals are too narrow"
    cp .stdout a.json
    for key in psnr mse ssim rmse_grey per_channel.DNA.psnr foreground.pearson; do
        awk "BEGIN { lo = $(json a.json $key.ci.0); hi = $(json a.json $key.ci.1); m = $(json a.json $key.mean); exit !(lo < m && m < hi) }" || { echo $key; return 1; }
    done
    same "$(json a.json bootstrap.groups)" "$(vq-export --csv -o - cells.vqt | sed 1d | cut -d , -f 2 | sed 's/_[0-9]*$//' | sort -u | wc -l)" # plate and well
    same "$(json a.json bootstrap.resamples)" 500
    same "$(json a.json bootstrap.confidence)" 95
    vq-metrics -q --device cpu --reference cells.vqt --bootstrap 500 --threads 1 recon.vqt | cmp - a.json
    ok vq-metrics --reference cells.vqt --bootstrap 500 --seed 1 --group-by cell --confidence 50 recon.vqt
    cp .stdout b.json
    ok vq-metrics --reference cells.vqt --bootstrap 500 --group-by cell --confidence 50 recon.vqt
    [ "$(json .stdout psnr.ci.0)" != "$(json b.json psnr.ci.0)" ]
    same "$(json .stdout psnr.mean)" "$(json b.json psnr.mean)"
    same "$(json .stdout bootstrap.groups)" "$(json .stdout n)"
    same "$(json .stdout bootstrap.group_by)" cell
    fails 0 vq-metrics --reference cells.vqt --bootstrap 10 --group-by Plate recon.vqt
    same "$err" "vq-metrics: warning: all records are of one group: no confidence intervals"
    same "$(json .stdout psnr.ci.0)" null
    # a column that is not there: the nearest is named, and no table is left
    fails 1 vq-metrics --reference cells.vqt --bootstrap 10 --group-by Metadata_Wel --per-record t.csv -o m.json recon.vqt
    has "$err" ": has no column \"Metadata_Wel\" to group by; the nearest is \"Metadata_Well\""
    [ ! -e t.csv ] && [ ! -e m.json ]
    fails 2 vq-metrics --reference cells.vqt --group-by Well recon.vqt
    same "$err" "vq-metrics: --group-by goes with --bootstrap"
    fails 2 vq-metrics --reference cells.vqt --bootstrap 1 recon.vqt
}

# Peak memory of a command in kB, its output thrown away.
peak() { local p; "$@" >/dev/null & p=$!; local most=0 now; while now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' /proc/$p/status 2>/dev/null) && [ -n "$now" ]; do most=$now; sleep 0.01; done; wait $p && echo "$most"; }
many() { vq-synth -n "$1" --channels 1 --min-size 14 --max-size 16 | vq-normalize >"$2"; }

@test "memory does not grow with the stream" {
    many 1500 a.vqt
    many 6000 b.vqt
    a=$(peak vq-metrics --device cpu --threads 1 --reference a.vqt a.vqt) b=$(peak vq-metrics --device cpu --threads 1 --reference b.vqt b.vqt)
    echo "$a kB, $b kB"
    [ "$a" -gt 4000 ]
    [ $((b - a)) -lt 3000 ]
}

@test "100,000 records" {
    long_only
    many 20000 a.vqt
    many 100000 b.vqt
    a=$(peak vq-metrics --device cpu --threads 1 --reference a.vqt a.vqt) b=$(peak vq-metrics --device cpu --threads 1 --reference b.vqt b.vqt)
    echo "$a kB, $b kB"
    [ $((b - a)) -lt 12000 ]
    # with codes, a table and intervals of a hundred groups: no more than the ids of a third stream
    many 200 few.vqt
    vq-train --set channels_per_level=[4,4] --set embedding_dim=4 --set num_embeddings=16 --set blocks=1 -q --steps 2 -o run few.vqt
    for s in a b; do vq-encode -m run/model.safetensors $s.vqt >$s-codes.vqt; done
    all() { peak vq-metrics -q --device cpu --threads 1 --reference $1.vqt --codes $1-codes.vqt --per-record $1.csv --bootstrap 100 -o $1.json $1.vqt; }
    a=$(all a) b=$(all b)
    echo "$a kB, $b kB"
    same "$(($(wc -l <b.csv) - 1)) $(json b.json n)" "100000 100000"
    [ $((b - a)) -lt 12000 ]
}

@test "other sizes, channels and kinds" {
    pair
    tiff y/a.tif 16 15 'x'
    vq-crop -q --whole y/a.tif y/b.tif y/c.tif >other.vqt
    fails 1 vq-metrics --reference x.vqt --range 255 other.vqt
    has "$err" "is 15 x 16 pixels, its reference 14 x 16"
    vq-synth -n 2 --channels 1 --max-size 30 >one.vqt
    vq-synth -n 2 --channels 2 --max-size 30 >two.vqt
    fails 1 vq-metrics --reference one.vqt two.vqt
    has "$err" "two.vqt has channels "
    vq-batch x.vqt >batches.vqt
    fails 1 vq-metrics --reference x.vqt batches.vqt
    same "$err" "vq-metrics: batches.vqt holds batches: undo them first with vq-batch --split"
    fails 1 vq-metrics --reference "$ROOT/tests/golden/codes-levels.vqt" x.vqt
    has "$err" "holds codes: decode them first with vq-decode -m MODEL"
}

@test "empty, truncated and missing streams" {
    pair
    vq-synth -n 0 >empty.vqt
    fails 1 vq-metrics --reference empty.vqt empty.vqt
    same "$err" "vq-metrics: empty.vqt holds no record"
    head -c "$(($(wc -c <y.vqt) - 150))" y.vqt >cut.vqt
    fails 1 vq-metrics --reference x.vqt --range 255 --per-record t.csv cut.vqt
    has "$err" cut.vqt
    [ ! -e t.csv ]
    head -c "$(($(wc -c <x.vqt) - 150))" x.vqt >cut.vqt
    fails 1 vq-metrics --reference cut.vqt --range 255 --per-record t.csv y.vqt
    has "$err" cut.vqt
    fails 1 vq-metrics --reference no.vqt y.vqt
    has "$err" no.vqt
}

@test "misuse" {
    fails 2 vq-metrics x.vqt
    same "$err" "vq-metrics: --reference is required: the samples to compare with"
    fails 2 vq-metrics --reference -
    fails 2 vq-metrics --reference a b c
}

@test "a cut index is a warning that names the file once" {
    pair
    head -c -5 x.vqt >cut.vqt
    ok vq-metrics --reference cut.vqt --range 255 y.vqt
    same "$err" "vq-metrics: warning: cut.vqt: the index is cut; the records are complete"
}

@test "a closed or full output is one line and exit 1" {
    pair
    fails 1 vq-metrics --reference x.vqt --range 255 --per-record /dev/full -o m.json y.vqt
    same "$err" "vq-metrics: /dev/full: No space left on device"
    fails 1 vq-metrics --reference x.vqt --range 255 --per-record t.csv -o /dev/full y.vqt
    same "$err" "vq-metrics: /dev/full: No space left on device"
    fails 1 bash -c 'vq-metrics --reference x.vqt --range 255 y.vqt >/dev/full'
    fails 1 vq-metrics --reference x.vqt --range 255 -o /no/such/dir/m.json y.vqt
    fails 1 vq-metrics --reference x.vqt --range 255 --per-record /no/such/dir/t.csv y.vqt
    same "$out" ""
}
