# The rules of the house that a machine can check: which way includes point, what the libraries may do, what the filters link.
load helpers

setup() { cd "$ROOT" || return 1; }

# "FILE INCLUDED" for every include of our own, written from the root.
includes() { grep -HoE '^[ \t]*#[ \t]*include "[^"]+"' $(find tools formats lib -name '*.[ch]' -o -name '*.cu') | sed -E 's/^([^:]+):[^"]*"([^"]+)"/\1 \2/'; }

# Fails and prints the lines of stdin, if there are any.
none() {
    local lines
    lines=$(cat)
    [ -z "$lines" ] || { printf '%s:\n%s\n' "$1" "$lines"; return 1; }
}

@test "includes are written from the root" {
    includes | while read -r file included; do [ -e "$included" ] || echo "$file includes $included"; done | none "no such file"
}

@test "formats include lib/base, lib/tensor, lib/rng and formats" {
    # These two describe what a file holds: plain data, whose functions read and write no file.
    includes | grep '^formats/' | grep -vE ' (formats/[^ ]+|lib/(base|tensor|rng)\.h|lib/train/(config|split)\.h)$' | none "formats point elsewhere" || return 1
    includes | grep -E '^lib/train/(config|split)\.h ' | grep -vE ' lib/(base|tensor|rng)\.h$' | none "no longer plain data"
}

@test "tools include tools, formats and lib; nobody includes tools" {
    includes | grep '^tools/' | grep -vE ' (tools|formats|lib)/' | none "tools point elsewhere" || return 1
    includes | grep -v '^tools/' | grep ' tools/' | none "these point at tools"
}

@test "lib includes only lib" {
    includes | grep '^lib/' | grep -v ' lib/' | none "lib points elsewhere"
}

@test "within lib, layers point down" {
    includes | grep '^lib/' | while read -r file included; do
        case $file in
        lib/base.* | lib/tensor.* | lib/rng.*) down='lib/(base|tensor|rng)\.h' ;;
        lib/image/*)   down='lib/((base|tensor|rng)\.h|image/.*)' ;;
        lib/eval/*)    down='lib/((base|tensor|rng|backend)\.h|(image|eval)/.*)' ;;
        lib/backend.h) down='lib/(base|tensor|rng)\.h' ;;
        lib/backend*.c) down='lib/((base|tensor|rng|backend)\.h|cpu/cpu\.h|model/graph\.h)' ;;
        lib/cpu/*)     down='lib/((base|tensor|rng|backend)\.h|cpu/.*|model/graph\.h)' ;;
        lib/cuda/*)    down='lib/((base|tensor|rng|backend)\.h|cuda/.*|model/graph\.h)' ;;
        lib/model/*)   down='lib/((base|tensor|rng|backend)\.h|(image|model)/.*|train/config\.h)' ;; # the configuration is plain data
        lib/train/*)   down='lib/((base|tensor|rng|backend)\.h|(image|eval|model|train)/.*)' ;;
        *)             down='no such layer' ;;
        esac
        [[ $included =~ ^($down)$ ]] || echo "$file includes $included"
    done | none "these point up or across"
}

@test "the machine is behind the seam: dnnl and cblas only in lib/cpu" {
    grep -rlE '#[ \t]*include [<"](oneapi/dnnl/|dnnl|cblas|openblas|cuda|cudnn|cublas)' tools formats lib | grep -vE '^lib/(cpu|cuda)/' | none "past the seam"
}

@test "libtiff and libpng are used by formats/imagefile only, cJSON and HDF5 not by lib" {
    grep -rlE '#[ \t]*include [<"](tiffio|tiff|png)\.h' tools formats lib | grep -vE '^formats/imagefile(_[a-z]+)?\.[ch]$' | none "image libraries elsewhere" || return 1
    grep -rlE '#[ \t]*include [<"](cjson/|cJSON|hdf5|zstd|tiff|png)' lib | none "file formats in lib"
}

# Undefined symbols of the objects of a folder: what the code calls, whatever comments and macros say.
calls() {
    local source object
    find "$1" -name '*.c' | while read -r source; do
        object=$VQ_BUILD/obj/${source%.c}.o
        [ ! -e "$object" ] || nm -u "$object" | awk -v f="$source" '{ print f, $2 }'
    done
}

@test "lib reads no files, prints nothing and never exits" {
    [ -n "$(calls lib)" ] || skip "no objects in VQ_BUILD"
    calls lib | grep -E ' (fopen|fopen64|freopen|fdopen|open|open64|openat|creat|popen|system|fork|execv.*|rename|unlink|printf|vprintf|puts|putchar|fprintf|vfprintf|fputs|fputc|putc|fwrite|fread|perror|stdin|stdout|stderr|exit|_exit|_Exit|quick_exit|abort|__assert_fail|signal|sigaction|setlocale)$' |
        none "calls that a library does not make"
}

@test "formats print nothing and never exit" {
    [ -n "$(calls formats)" ] || skip "no objects in VQ_BUILD"
    # stdout is where outfile writes a stream to; raise belongs to its clean-up after a signal.
    calls formats | grep -E ' (printf|vprintf|puts|putchar|perror|stderr|exit|_Exit|quick_exit|abort|__assert_fail|setlocale)$' | none "calls that a library does not make"
}

@test "no Python in the product" {
    find tools lib formats pipelines configs -name '*.py' | none "Python files" || return 1
    # C may name it in a message (how to make masks of a _seg.npy), but not run it.
    grep -rliE '^#!.*python|(popen|system|exec[lv]p?e?) *\([^;]*python' tools lib formats pipelines configs | none "they run Python" || return 1
    grep -rliwE 'python3?' pipelines configs | none "they name Python"
}

@test "filters link neither oneDNN nor OpenBLAS" {
    for tool in vq-crop vq-normalize vq-pad vq-batch vq-synth vq-info vq-metrics; do
        [ -x "$VQ_BUILD/bin/$tool" ] || { echo "$tool is not built"; return 1; }
        readelf -d "$VQ_BUILD/bin/$tool" | grep NEEDED | grep -E 'libdnnl|libopenblas|libcud' | none "$tool links"  || return 1
    done
}

@test "all fourteen tools are built" {
    for tool in normalize pad batch train encode decode metrics codebook-stats plot crop synth info export montage; do
        [ -x "$VQ_BUILD/bin/vq-$tool" ] || echo "vq-$tool"
    done | none "missing"
}

@test "every tool has a source, a bats file and a man page" {
    for path in "$VQ_BUILD"/bin/vq-*; do
        [ -x "$path" ] || continue
        tool=${path##*/}
        for file in "tools/$tool.c" "tests/$tool.bats" "man/$tool.1"; do [ -e "$file" ] || echo "$file"; done
    done | none "missing"
}

@test "a tool's help starts in under 50 ms" {
    slow=
    for path in "$VQ_BUILD"/bin/vq-*; do
        best=1000000
        for _ in 1 2 3 4 5 6 7 8; do # the machine may be busy: the best of some
            from=${EPOCHREALTIME/./}
            "$path" -h >/dev/null
            took=$((${EPOCHREALTIME/./} - from))
            [ $took -ge $best ] || best=$took
            [ $best -ge 50000 ] || break
        done
        [ $best -lt 50000 ] || slow+="${path##*/}: $best us"$'\n'
    done
    none "slow" <<<"${slow%$'\n'}"
}

@test "no trailing white space, and files end with a newline" {
    files=$(find Makefile README.md .ci tools lib formats pipelines configs tests man -type f \( -name '*.[ch]' -o -name '*.bats' -o -name '*.bash' -o -name '*.json' \
        -o -name '*.[157]' -o -name '*.md' -o -name Makefile -o -name run -o -name '*.cu' -o -path 'pipelines/*' \) -not -path 'tests/golden/*' 2>/dev/null || true)
    grep -nE '[ 	]+$' $files | cut -c 1-120 | none "trailing white space" || return 1
    for f in $files; do [ -z "$(tail -c 1 "$f")" ] || echo "$f"; done | none "no newline at the end"
}

@test "C is indented with tabs" {
    grep -nE '^ {2,8}[^ *]' $(find tools lib formats tests/unit -name '*.[ch]') | cut -c 1-120 | none "indented with blanks"
}
