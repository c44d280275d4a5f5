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

@test "compare: a row a model, each judged with its own codes, another cell's and the mean code" {
    ok env CELLS=80 TIME=1s OUT=out MODELS="original cells" "$ROOT/pipelines/compare"
    same "$(json out/compare.json 'models.#')" 2
    same "$(json out/compare.json models.0.name),$(json out/compare.json models.1.name)" original,cells
    near "$(json out/compare.json models.1.psnr)" "$(json out/cells/metrics.json psnr.mean)" 1e-9
    near "$(json out/compare.json models.1.usage)" "$(json out/cells/train-codebook.json levels.0.usage)" 1e-9
    near "$(json out/compare.json models.1.bits_per_pixel)" "$(json out/cells/codebook.json bits_per_pixel)" 1e-9
    # the difference of means equals the mean of differences where both have the same cells
    near "$(json out/compare.json models.0.psnr_lost_mean_code)" \
        "$(awk -v a="$(json out/original/metrics.json psnr.mean)" -v b="$(json out/original/mean.json psnr.mean)" 'BEGIN { print a - b }')" 2e-4
    # the same cells in both, and raw grey levels on the scale of the others
    cmp <(cut -d , -f 1 out/original/own.csv) <(cut -d , -f 1 out/cells/own.csv)
    same "$(json <(vq-info --json out/original/recon.vqt) dtype)" f32
    ok vq-metrics --reference out/cells/test.vqt out/original/recon.vqt
    same "$(grep -c '^|' out/compare.md)" 4
    [ "$(head -c 4 out/compare.png | tail -c 3)" = PNG ]
}

@test "a table that is not there ends a pipeline" {
    run_split env LOAD_DATA=none.csv OUT=out "$ROOT/pipelines/demo"
    [ "$status" != 0 ]
    has "$err" "none.csv"
    run_split env LOAD_DATA=none.csv OUT=out "$ROOT/pipelines/compare"
    [ "$status" != 0 ]
    has "$err" "none.csv"
}
