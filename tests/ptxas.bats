# What nvcc says of the CUDA kernels, which needs no device: no warning, and registers and spills within tests/ptxas-limits.
load helpers

compile() {
    [ -x /usr/local/cuda/bin/nvcc ] || command -v nvcc >/dev/null || skip "no nvcc"
    command -v c++filt >/dev/null || skip "no c++filt"
    run_split env -u MAKEFLAGS -u MAKELEVEL make -s -j2 -C "$ROOT" BUILD="$VQ_BUILD" "$@" ptxas
    [ "$status" = 0 ] || { show; return 1; }
    [[ $out =~ ^[0-9]+\ kernels\ within\ their\ limits$ ]] || { show; return 1; }
    [ "${out%% *}" -ge 100 ]
}

@test "one architecture: no warning, registers and spills within limits" { compile PTXAS_ARCHS=90; }

@test "sm_75, sm_80, sm_90 and sm_100" {
    long_only
    compile
}

@test "a kernel beyond its limits is named" {
    command -v c++filt >/dev/null || skip "no c++filt"
    said() {
        printf 'ptxas info    : Function properties for _Z5otherif\n    0 bytes stack frame, %s bytes spill stores, %s bytes spill loads\nptxas info    : Used %s registers, used 1 barriers\n' "$@" >said.txt
    }
    said 0 0 20
    ok "$ROOT/tests/ptxas-limits" said.txt
    same "$out" "1 kernels within their limits"
    said 0 0 200
    run_split "$ROOT/tests/ptxas-limits" said.txt
    [ "$status" = 1 ]
    same "$out" "said.txt: other: 200 registers, the limit is 64"
    said 0 4 20
    run_split "$ROOT/tests/ptxas-limits" said.txt
    [ "$status" = 1 ]
    same "$out" "said.txt: other: 4 bytes of spills, the limit is 0"
    : >said.txt
    run_split "$ROOT/tests/ptxas-limits" said.txt
    [ "$status" = 1 ]
    same "$out" "no kernel in what ptxas said"
}
