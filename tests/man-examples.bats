# The examples of the man pages work as they stand, each block in an empty directory.
load helpers

examples() { "$ROOT/tests/man-examples" "$ROOT/man/vq-$1.1"; }
@test "examples of vq-crop" { examples crop; }
@test "examples of vq-synth" { examples synth; }
@test "examples of vq-normalize" { examples normalize; }
@test "examples of vq-pad" { examples pad; }
@test "examples of vq-batch" { examples batch; }
@test "examples of vq-train" { examples train; }
@test "examples of vq-encode" { examples encode; }
@test "examples of vq-decode" { examples decode; }
@test "examples of vq-metrics" { examples metrics; }
@test "examples of vq-codebook-stats" { examples codebook-stats; }
@test "examples of vq-plot" { examples plot; }
@test "examples of vq-info" { examples info; }
@test "examples of vq-export" { examples export; }
@test "examples of the overview" { "$ROOT/tests/man-examples" "$ROOT/man/vq.7"; }
