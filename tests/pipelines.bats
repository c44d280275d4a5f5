# The pipelines from end to end, on a few simulated cells.
load helpers

@test "demo: cells, a model, codes, figures, pictures" {
    ok env CELLS=60 TIME=1s OUT=out "$ROOT/pipelines/demo"
    for f in cells.vqt test.vqt codes.vqt recon.vqt metrics.json codebook.json curves.png samples.png run/model.safetensors run/split.csv; do
        [ -s out/$f ] || { echo "no $f"; return 1; }
    done
    has "$out" "bits per pixel   $(printf %6.3f "$(json out/codebook.json bits_per_pixel)")"
    same "$(json out/metrics.json bits_per_pixel)" "$(json out/codebook.json bits_per_pixel)"
    has "$out" "PSNR             $(printf %6.2f "$(json out/metrics.json psnr.mean)") dB"
}

# A number of validation in the history's line that the model is from.   best RUN KEY
best() {
    grep "\"step\":$(json <(vq-info --json "$1/model.safetensors") metadata.step)," "$1/history.jsonl" | tail -n 1 >line
    json line "val.$2"
}

@test "compare: a row a model, each judged with its own codes, another cell's and the mean code" {
    ok env CELLS=80 TIME=1s OUT=out "$ROOT/pipelines/compare"
    same "$(json out/compare.json 'models.#')" 4
    local names=(original improved improved-grid cells) weight=(1 2 2 1) beta=(.25 .5 .5 .25) i row name
    for i in 0 1 2 3; do
        row=models.$i name=${names[i]}
        same "$(json out/compare.json $row.name)" "$name"
        near "$(json out/compare.json $row.psnr)" "$(json out/$name/metrics.json psnr.mean)" 1e-9
        near "$(json out/compare.json $row.usage)" "$(json out/$name/train-codebook.json levels.0.usage)" 1e-9
        near "$(json out/compare.json $row.bits_per_pixel)" "$(json out/$name/codebook.json bits_per_pixel)" 1e-9
        # what the codebook adds to the loss, and the loss is the sum of what is shown
        near "$(json out/compare.json $row.vq_loss)" "$(awk "BEGIN { print ${beta[i]} * $(best out/$name commit) + ($i ? 0 : $(best out/original codebook)) }")" \
            "$(awk "BEGIN { print 1e-5 * $(best out/$name commit) }")"
        near "$(json out/compare.json $row.loss)" "$(awk "BEGIN { print ${weight[i]} * $(json out/compare.json $row.recon_loss) + $(json out/compare.json $row.vq_loss) }")" \
            "$(awk "BEGIN { print 1e-5 * $(best out/$name loss) }")"
        same "$(json out/compare.json $row.perceptual)" null
    done
    # raw skips are hundreds of bits a pixel, codes are few; nobody misses the one code beside them
    awk "BEGIN { exit !($(json out/compare.json models.1.bits_per_pixel) > 100 && $(json out/compare.json models.2.bits_per_pixel) < 1) }"
    same "$(json out/compare.json models.0.codebook)" "$(best out/original commit)"
    same "$(json out/compare.json models.1.codebook)" null
    # the difference of means equals the mean of differences where both have the same cells
    near "$(json out/compare.json models.0.psnr_lost_mean_code)" \
        "$(awk -v a="$(json out/original/metrics.json psnr.mean)" -v b="$(json out/original/mean.json psnr.mean)" 'BEGIN { print a - b }')" 2e-4
    # the same cells in both, and raw grey levels on the scale of the others
    cmp <(cut -d , -f 1 out/original/own.csv) <(cut -d , -f 1 out/cells/own.csv)
    same "$(json <(vq-info --json out/original/recon.vqt) dtype)" f32
    ok vq-metrics --reference out/cells/test.vqt out/original/recon.vqt
    same "$(grep -c '^|' out/compare.md)" 6
    if grep perceptual out/compare.md; then return 1; fi
    [ "$(head -c 4 out/compare.png | tail -c 3)" = PNG ]
}

@test "compare: with weights of the perceptual network its loss is a column" {
    shared weights/vgg19_distilled16x_features.safetensors
    ok env CELLS=40 TIME=1s OUT=out MODELS="improved cells" VGG19="$SHARED/weights/vgg19_distilled16x_features.safetensors" "$ROOT/pipelines/compare"
    near "$(json out/compare.json models.0.perceptual)" "$(best out/improved perceptual)" 1e-9
    near "$(json out/compare.json models.0.loss)" "$(awk "BEGIN { print 2 * $(best out/improved recon) + .5 * $(best out/improved commit) + .1 * $(best out/improved perceptual) }")" \
        "$(awk "BEGIN { print 1e-5 * $(best out/improved loss) }")"
    same "$(json out/compare.json models.1.perceptual)" null
    same "$(grep -c '| perceptual loss |' out/compare.md)" 1
    same "$(grep '^|' out/compare.md | tr -dc '|\n' | sort | uniq -c | tr -d ' ')" "4|||||||||||"
}

@test "a table that is not there ends a pipeline" {
    run_split env LOAD_DATA=none.csv OUT=out "$ROOT/pipelines/demo"
    [ "$status" != 0 ]
    has "$err" "none.csv"
    run_split env LOAD_DATA=none.csv OUT=out "$ROOT/pipelines/compare"
    [ "$status" != 0 ]
    has "$err" "none.csv"
}
