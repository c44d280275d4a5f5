# Helpers for the bats files: `load helpers` at the top. Every test starts in an empty directory of its own.
#
#   ROOT           the repository        SHARED   what `shared` found
#   run_split CMD  sets status, out, err (text), and leaves the bytes in .stdout and .stderr
#   ok CMD         the same, and the test fails unless the status is 0
#   fails N CMD    the same: status N, and stderr is one line that begins with the tool's name (of the last command for bash -c)
#   same A B       fails unless the texts agree, and shows both
#   has A PART     fails unless A contains PART
#   shared PATH    skips the test when ../shared/PATH is absent; else SHARED is the absolute path of ../shared
#   json FILE KEY  prints the value at a.b.0.c (an array's length at a.#); fails when it is not there
#   near A B TOL   fails unless |A - B| <= TOL
#   round_trip [T] codes of cells.vqt and batches.vqt by the model of run, and what they decode to, against what its training measured (PSNR within
#                  T, else 0.005); leaves codes.vqt and again.vqt
#   long_only      skips unless VQ_LONG=1

bats_require_minimum_version 1.5.0
ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)

enter_tmp() { cd "$BATS_TEST_TMPDIR" || return 1; }
setup() { enter_tmp; }

run_split() {
    status=0
    "$@" >.stdout 2>.stderr || status=$?
    out=$(tr -d '\0' <.stdout) err=$(tr -d '\0' <.stderr)
}

show() { printf 'status %s\nstdout: %.2000s\nstderr: %.2000s\n' "$status" "$out" "$err"; }

ok() {
    run_split "$@"
    [ "$status" = 0 ] || { echo "failed: $*"; show; return 1; }
}

fails() {
    local want=$1
    shift
    run_split "$@"
    [ "$status" = "$want" ] || { echo "status $want was expected: $*"; show; return 1; }
    [ "$(wc -l <.stderr)" = 1 ] || { echo "one line on stderr was expected: $*"; show; return 1; }
    [[ $err == vq-*:\ ?* ]] || { echo "a line that begins with the tool's name was expected: $*"; show; return 1; }
}

same() { [ "$1" = "$2" ] || { printf 'got:  %s\nnot:  %s\n' "$1" "$2"; return 1; }; }
has() { [[ $1 == *"$2"* ]] || { printf 'got:     %s\nwithout: %s\n' "$1" "$2"; return 1; }; }
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; if (a == "" || b == "" || !(d <= t)) { print a, "and", b, "differ by more than", t; exit 1 } }'; }
npz() { vq-export --npz -o "$@"; }
# Codes depend neither on threads nor on the batch, and decoded from a stream they give what the model gave in memory, of true size and range.
round_trip() {
    local step
    vq-encode -m run/model.safetensors --threads 1 cells.vqt >codes.vqt
    npz a codes.vqt
    vq-encode -m run/model.safetensors --threads 2 batches.vqt | npz b
    cmp a b || return 1
    vq-decode -m run/model.safetensors codes.vqt >again.vqt
    same "$(vq-info --records again.vqt | grep -o 'f32 \[[0-9,]*')" "$(vq-info --records cells.vqt | grep -o 'f32 \[[0-9,]*')" || return 1
    vq-encode -m run/model.safetensors --only val cells.vqt | vq-decode -m run/model.safetensors >val.vqt
    ok vq-metrics --subset --reference cells.vqt val.vqt || return 1
    step=$(json <(vq-info --json run/model.safetensors) metadata.step)
    grep "\"step\":$step," run/history.jsonl >line
    near "$(json .stdout psnr.mean)" "$(json line val.psnr)" "${1:-0.005}" && near "$(json .stdout ssim.mean)" "$(json line val.ssim)" 0.001
}
long_only() { [ "${VQ_LONG:-}" = 1 ] || skip "long; VQ_LONG=1 runs it"; }

shared() {
    SHARED=${VQ_SHARED:-$ROOT/../shared}
    [ -e "$SHARED/$1" ] || skip "../shared/$1 is not there"
    SHARED=$(cd "$SHARED" && pwd)
}

# Flattens JSON to lines PATH<tab>VALUE; strings keep their escapes but for \" and \\.
json_flat() {
    tr -d '\n\r' <"$1" | awk '
    function fail(why) { print "json: " why > "/dev/stderr"; bad = 1; exit 1 }
    function space() { while (substr(s, p, 1) ~ /[ \t]/) p++ }
    function text(  v, c) {
        v = ""
        for (p++; (c = substr(s, p, 1)) != "\""; p++) {
            if (c == "") fail("a string does not end")
            if (c == "\\") { c = substr(s, ++p, 1); if (c != "\"" && c != "\\" && c != "/") c = "\\" c }
            v = v c
        }
        p++
        return v
    }
    function value(path,  c, n, k, dot) {
        space(); c = substr(s, p, 1); dot = path == "" ? "" : path "."
        if (c == "{" || c == "[") {
            n = 0; p++; space()
            if (substr(s, p, 1) == (c == "{" ? "}" : "]")) p++
            else for (;;) {
                k = n; space()
                if (c == "{") { k = text(); space(); if (substr(s, p++, 1) != ":") fail("no colon after " k) }
                value(dot k); n++; space()
                if (substr(s, p, 1) == ",") { p++; continue }
                if (substr(s, p++, 1) != (c == "{" ? "}" : "]")) fail("bad list at " path)
                break
            }
            print dot "#\t" n
        } else if (c == "\"") print path "\t" text()
        else if (match(substr(s, p), /^[-+.eE0-9a-z]+/)) { print path "\t" substr(s, p, RLENGTH); p += RLENGTH }
        else fail("bad value at " path)
    }
    { s = s $0 } END { if (bad) exit 1; p = 1; value(""); space(); if (p <= length(s)) fail("more after the end") }'
}

json() {
    json_flat "$1" >.json || return 1
    awk -F '\t' -v k="$2" '$1 == k { print substr($0, length(k) + 2); found = 1; exit } END { if (!found) { print "json: no " k > "/dev/stderr"; exit 1 } }' .json
}
