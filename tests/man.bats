# Man pages, --help and completion agree with the option tables; the pages render. (Their examples: man-examples.bats.)
load helpers

tools() { for path in "$VQ_BUILD"/bin/vq-*; do [ -x "$path" ] && echo "${path##*/}"; done; }
page() { echo "$ROOT/man/$1.1"; }

# Runs FUNCTION for every tool and fails at the end if it failed for one.
each() {
    local tool bad=
    [ -n "$(tools)" ] || { echo "no tools in $VQ_BUILD"; return 1; }
    for tool in $(tools); do "$1" "$tool" || { echo "-- $tool"; bad=1; }; done
    [ -z "$bad" ]
}

sections() {
    same "$(sed -n 's/^\.SH "\{0,1\}\([A-Z ]*\)"\{0,1\}$/\1/p' "$(page "$1")" | grep -xE 'NAME|SYNOPSIS|DESCRIPTION|OPTIONS|EXAMPLES|EXIT STATUS|SEE ALSO' | tr '\n' ' ')" \
        "NAME SYNOPSIS DESCRIPTION OPTIONS EXAMPLES EXIT STATUS SEE ALSO "
}
@test "every tool has a man page with the sections in order" { each sections; }

options() { "$ROOT/tests/man-options" --check "$VQ_BUILD/bin/$1" "$(page "$1")"; }
@test "OPTIONS are those of the table" { each options; }

renders() {
    local said
    if command -v groff >/dev/null; then
        said=$(LC_ALL=C groff -ww -man -Tutf8 -z "$1" 2>&1)
    else
        said=$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l "$1" 2>&1 >/dev/null)
    fi
    [ -z "$said" ] || { echo "$1: $said"; return 1; }
}
@test "man pages render without a warning" {
    command -v groff >/dev/null || command -v man >/dev/null || skip "neither groff nor man"
    bad=
    for p in "$ROOT"/man/*.[157]; do renders "$p" || bad=1; done
    [ -z "$bad" ]
}

# The operands in a usage text: words in capitals that do not follow an option.
operands() {
    tr -s '[]()|" \n' '\n' | awk '/^-/ { skip = 1; next } /^[A-Z][A-Z0-9_]*(\.\.\.)?$/ && !skip { sub(/\.\.\.$/, ""); print } NF { skip = 0 }' | sort -u | tr '\n' ' '
}
# A macro of two fonts joins its arguments; blanks stay where they are quoted.
synopsis() {
    sed -n '/^\.SH "\{0,1\}SYNOPSIS/,/^\.SH "\{0,1\}DESCRIPTION/p' "$(page "$1")" | awk '
    /^\.(SH|PP|P|br|nf|fi)/ { next }
    /^\.(BR|RB|BI|IB|IR|RI) / { n = split(substr($0, 5), part, "\""); line = ""; for (i = 1; i <= n; i++) { if (i % 2) gsub(/ /, "", part[i]); line = line part[i] } $0 = line }
    { sub(/^\.[A-Z]+ /, ""); gsub(/\\f[BIRP]|\\&/, ""); gsub(/\\-/, "-"); print }'
}
usage() { "$1" --help | sed -n '/^usage: /,/^$/p' | sed 's/^usage: //'; }
same_operands() { same "$(usage "$1" | operands)" "$(synopsis "$1" | operands)"; }
@test "usage and SYNOPSIS name the same operands" { each same_operands; }

help() {
    ok "$1" --help || return 1
    [ -z "$err" ] && has "$out" "$1 - " && has "$out" "usage: $1 " && has "$out" "--version" || { echo "$1 --help: $out$err"; return 1; }
    [ "$(awk 'length($0) > 80' .stdout)" = "" ] || { echo "$1 --help is wider than 80 columns"; return 1; }
    same "$("$1" -h)" "$out"
}
@test "--help: on stdout, 80 columns, status 0" { each help; }

version() { same "$("$1" --version)" "$1 0.1.0" && same "$("$1" -V)" "$1 0.1.0"; }
@test "--version" { each version; }

unknown() {
    local own
    fails 2 "$1" --versoin && same "$err" "$1: unknown option --versoin; did you mean --version?" || return 1
    own=$("$1" --help=complete | sed -n 's/.* options="--\([a-z0-9-]*\) .*/\1/p')
    fails 2 "$1" "--${own}x" && same "$err" "$1: unknown option --${own}x; did you mean --$own?"
}
@test "an unknown option exits 2 and the nearest is named" { each unknown; }

# complete TOOL WORD...: what bash would offer for the last word, sorted, on one line.
complete_words() (
    source <("$1" --help=complete) || exit 1
    f=$(complete -p "$1" | sed 's/.*-F \([^ ]*\) .*/\1/')
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    "$f" "$@"
    printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '
)
completes() {
    same "$(complete_words "$1" --vers)" "--version " || return 1
    has "$(complete_words "$1" -)" "--help " || return 1
    same "$(complete_words "$1" --quiet ./da)" "./data file " || return 1
    if "$1" --help | grep -q -- '--threads N'; then same "$(complete_words "$1" --threads '')" " " || return 1; fi
    if "$1" --help | grep -q -- '--output FILE'; then same "$(complete_words "$1" --output = ./da)" "./data file " || return 1; fi
    if "$1" --help | grep -q -- '--device auto'; then
        same "$(complete_words "$1" --device c)" "cpu cuda " && same "$(complete_words "$1" --device =)" "auto cpu cuda " || return 1
    fi
}
@test "completion: options, choices, file names" {
    touch "data file"
    each completes
}
