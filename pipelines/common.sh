# What the pipelines share; read with `.`, after set -euo pipefail.

say() { printf '== %s\n' "$*"; }

# The number at KEY, or at KEY.SUB, the first of that name in a JSON file.
number() {
    local text
    text=$(tr -d ' \t\n' <"$1" | grep -o "\"$2\":\({[^{}]*}\|[-+.0-9eE]*\)" | sed -n 1p)
    [ $# = 2 ] || text=$(grep -o "\"$3\":[-+.0-9eE]*" <<<"$text")
    echo "${text##*:}"
}

# How many cells of RUN/split.csv are in a part.   in_split RUN PART
in_split() { awk -F, -v part="$2" 'NR > 1 && $NF == part { n++ } END { print n + 0 }' "$1/split.csv"; }

# Raw cells of LoadData tables to OUTPUT; returns 1 when some field could not be read, and ends the pipeline when none could.
# crop OUTPUT TABLE... [-- OPTION...]
crop() {
    local output=$1 loads=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do loads+=(--load-data "$1"); shift; done
    shift || true
    rm -f "$output"
    vq-crop "${loads[@]}" "$@" -o "$output" && return
    [ -e "$output" ] || exit 1
    return 1
}
