# vq-info: what is in a stream or model, and whether it is whole.
load helpers

golden() { cp "$ROOT/tests/golden/$1" .; }

@test "a stream in words" {
    golden v1-samples.vqt
    ok vq-info v1-samples.vqt
    same "$err" ""
    same "$out" "v1-samples.vqt: samples, format 1.0, 5 records
  channels   DNA, ER
  tensors    image f32, mask u8, image u16
  height     3 to 7, median 5
  width      2 to 4, median 3
  data       543 bytes
  chain      vq-test   (1)"
}

@test "a stream as JSON" {
    golden v1-codes.vqt
    ok vq-info --json v1-codes.vqt
    same "$(tr -d '\t\n' <.stdout)" '{"file":"v1-codes.vqt","kind":"codes","version":"1.0","records":6,"channels":["DNA", "ER"],"dtype":"u16","height":{"min":3,"median":4.5,"max":7},"width":{"min":2,"median":3,"max":4},"tensors":[{"name":"codes","dtype":"u16","records":6}],"bytes":166,"chain":[{"tool":"vq-test","version":"1","args":[]}],"complete":true}'
    golden v1-batches.vqt
    ok vq-info --json v1-batches.vqt v1-codes.vqt
    same "$(json .stdout '#')" 2
    same "$(json .stdout 0.kind)" batches
    same "$(json .stdout 0.items)" 2
    same "$(json .stdout 1.kind)" codes
}

@test "records, a line each" {
    golden v1-codes.vqt
    ok vq-info --records v1-codes.vqt
    same "$(head -n 2 .stdout)" $'cell#0\t12\tcodes u16 [3,2]\ncell#1\t24\tcodes u16 [4,3]'
    same "$(wc -l <.stdout)" 13
    ok vq-info --records --json v1-codes.vqt
    same "$(json .stdout 'list.#')" 6
    same "$(json .stdout list.1.id)" 'cell#1'
    same "$(json .stdout list.1.bytes)" 24
    same "$(json .stdout list.1.height)" 4
    same "$(json .stdout list.1.width)" 3
    same "$(json .stdout list.1.tensors.0.shape.1)" 3
}

@test "standard input, compressed or not, and joined streams" {
    golden v1-samples.vqt
    ok bash -c 'vq-info --json < v1-samples.vqt'
    same "$(json .stdout file)" "standard input"
    ok bash -c 'zstd -dcq v1-samples.vqt | vq-info --json -'
    same "$(json .stdout records)" 5
    same "$(json .stdout complete)" true
    golden v1-empty.vqt
    cat v1-samples.vqt v1-empty.vqt >mixed.vqt
    fails 1 vq-info --json mixed.vqt
    has "$err" "streams of different kinds were joined: first samples, then empty"
    same "$(json .stdout records)" 5
}

@test "the chain of commands, through a pipe, cat and zstd" {
    vq-synth -n 3 --max-size 40 --seed 1 --channels 1 >a.vqt
    vq-pad --zero --multiple 8 <a.vqt | vq-pad --remove >b.vqt
    ok vq-info --json b.vqt
    same "$(json .stdout 'chain.#')" 3
    same "$(json .stdout chain.0.tool)" vq-synth
    same "$(json .stdout chain.1.args.0)" --zero
    same "$(vq-info --records a.vqt | cut -f 1 | grep '#')" "$(vq-info --records b.vqt | cut -f 1 | grep '#')"
    zstd -tq a.vqt b.vqt
}

@test "a stream of no records" {
    golden v1-empty.vqt
    ok vq-info --json v1-empty.vqt
    same "$(json .stdout records)" 0
    same "$(json .stdout height.median)" null
    same "$(json .stdout dtype)" null
    same "$(json .stdout complete)" true
}

@test "a truncated stream is described as far as it goes, exit 1" {
    golden v1-truncated.vqt
    fails 1 vq-info --json v1-truncated.vqt
    same "$err" 'vq-info: v1-truncated.vqt: truncated: 5 records were read, the last good one "cell#4"; it stops at byte 1024 without an end record'
    same "$(json .stdout complete)" false
    same "$(json .stdout records)" 5
    has "$(json .stdout error)" "truncated"
    fails 1 vq-info v1-truncated.vqt
    has "$out" "5 records, INCOMPLETE"
}

@test "a damaged, newer or doubled stream: one line, exit 1" {
    golden v1-flipped.vqt
    fails 1 vq-info v1-flipped.vqt
    has "$err" 'vq-info: v1-flipped.vqt: record 4 (after "cell#3"), byte '
    golden v2-newer.vqt
    fails 1 vq-info v2-newer.vqt
    same "$err" "vq-info: v2-newer.vqt: the stream has format version 2.1; this program reads up to 1.x: a newer vq is needed"
    same "$out" ""
    golden v1-duplicate.vqt
    fails 1 vq-info v1-duplicate.vqt
    has "$err" 'the id "cell#0" occurs twice'
    golden v1-index-cut.vqt
    ok vq-info v1-index-cut.vqt
    same "$err" "vq-info: warning: v1-index-cut.vqt: the index is cut; the records are complete"
}

@test "a good file beside a bad one is still described" {
    golden v1-codes.vqt
    golden v2-newer.vqt
    fails 1 vq-info v2-newer.vqt v1-codes.vqt
    has "$out" "v1-codes.vqt: codes"
    fails 1 vq-info --json v2-newer.vqt v1-codes.vqt
    same "$(json .stdout '#')" 1
}

@test "safetensors: tensors and metadata" {
    golden types.safetensors
    ok vq-info types.safetensors
    has "$out" "types.safetensors: tensors, 18 tensors, 93 values, 314 bytes"
    has "$out" "bf16 BF16 [2,3]"
    ok vq-info --json types.safetensors
    same "$(json .stdout kind)" tensors
    same "$(json .stdout 'tensors.#')" 18
    same "$(json .stdout tensors.0.name)" f64
    same "$(json .stdout tensors.0.shape.1)" 3
    same "$(json .stdout 'metadata.#')" 2
    head -c 100 types.safetensors >cut.safetensors
    fails 1 vq-info cut.safetensors
}

@test "what is no stream, is not there, or is a directory" {
    echo "not a stream" >text
    fails 1 vq-info text
    same "$err" "vq-info: text: not a vqt stream"
    fails 1 vq-info nowhere
    same "$err" "vq-info: nowhere: No such file or directory"
    fails 1 vq-info .
    same "$err" "vq-info: .: Is a directory"
    fails 1 bash -c 'vq-info </dev/null'
    same "$err" "vq-info: standard input: empty: not even a stream header (did the command before it fail?)"
    : >empty
    fails 1 vq-info empty
}

@test "JSON of what cannot be opened is nothing, or an empty list" {
    fails 1 vq-info --json nowhere
    same "$out" ""
    run_split vq-info --json nowhere nowhere2
    same "$status" 1
    same "$out" "[]"
    same "$(wc -l <.stderr)" 2
}

@test "words of a file do not steer the terminal" {
    golden v1-escape.vqt
    ok vq-info v1-escape.vqt
    ! grep -q $'\033' .stdout
    has "$out" "?[31mDNA"
}

@test "output that cannot be written is one line, exit 1" {
    golden v1-codes.vqt
    run_split bash -c 'vq-info --records v1-codes.vqt 2>err >/dev/full; echo $?'
    same "$out" 1
    same "$(wc -l <err)" 1
}

@test "values, a line each, of streams, models and reports" {
    golden v1-codes.vqt
    ok vq-info --values v1-codes.vqt
    same "$(head -n 7 .stdout)" $'file\tv1-codes.vqt\nkind\tcodes\nversion\t1.0\nrecords\t6\nchannels.0\tDNA\nchannels.1\tER\nchannels.#\t2'
    has "$out" $'height.median\t4.5\n'
    printf '{"a":{"b":[1,0.1,null,{"c":"x\\ty\\u00e9"}],"e":[],"t":true},"big":12345678901,"s":"two\\nlines"}' >r.json
    ok vq-info --values r.json
    same "$out" $'a.b.0\t1\na.b.1\t0.1\na.b.2\tnull\na.b.3.c\tx y\u00e9\na.b.#\t4\na.e.#\t0\na.t\ttrue\nbig\t12345678901\ns\ttwo lines'
    ok vq-info --values r.json v1-codes.vqt
    has "$out" $'0.a.b.0\t1\n'
    has "$out" $'1.kind\tcodes\n'
    ok vq-info --values --records v1-codes.vqt
    has "$out" $'list.1.id\tcell#1\n'
    printf '{"a":1' >bad.json
    fails 1 vq-info --values bad.json
    has "$err" "vq-info: bad.json: no JSON, from byte "
    same "$out" ""
    fails 1 vq-info --values none.json
    same "$err" "vq-info: none.json: No such file or directory"
    fails 2 vq-info --values --json v1-codes.vqt
    fails 1 vq-info r.json
}
