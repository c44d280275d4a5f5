# The report of pipelines/evaluate, and what reads tables and figures for it. Read with `.`; the tools are on PATH.

# For awk programs: header(LINE) sets col[NAME], row(LINE) sets f[1..], of a comma-separated table with quotes.
csv_awk='
function cut(line,   n, i, c, q, text) {
    n = 0; text = ""; q = 0
    if (line !~ /"/) { sub(/\r$/, "", line); return split(line, f, ",") }
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        if (q) { if (c == "\"") { if (substr(line, i + 1, 1) == "\"") { text = text c; i++ } else q = 0 } else text = text c }
        else if (c == "\"") q = 1
        else if (c == ",") { f[++n] = text; text = "" }
        else if (c != "\r") text = text c
    }
    f[++n] = text
    return n
}
function header(line,   n, i) { n = cut(line); for (i = 1; i <= n; i++) { col[f[i]] = i; name[i] = f[i] } return n }
function row(line) { return cut(line) }
'

# values NAME FILE: the figures of a JSON report, a stream or a model as the map NAME, without the long lists.
values() {
    local -n map=$1
    local key value
    declare -gA "$1"
    map=()
    vq-info --values "$2" >"$work/values"
    while IFS=$'\t' read -r key value; do map[$key]=$value; done < <(grep -vE '^(levels|tensors)\.[0-9]+\.[a-z_]+\.[0-9]' "$work/values")
}

# The first usual column of a table with two to 40 values.
group_column() {
    awk "$csv_awk"'
        NR == 1 { header($0); n = split("Metadata_Well Metadata_Plate Metadata_Dataset", want, " "); next }
        { row($0); for (i = 1; i <= n; i++) if (want[i] in col && f[col[want[i]]] != "" && !seen[i, f[col[want[i]]]]++) of[i]++ }
        END { for (i = 1; i <= n; i++) if (of[i] >= 2 && of[i] <= 40) { print want[i]; exit } }' "$1"
}

escape() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g; s/[[:cntrl:]]/ /g'; }
html() { printf '%s\n' "$*" | escape; }
# fixed DIGITS NUMBER: as people write it; a dash for what is not defined.
fixed() {
    if [[ ${2:-} =~ ^-?[0-9.]+(e[-+]?[0-9]+)?$ ]]; then awk -v d="$1" -v x="$2" 'BEGIN { printf "%.*f\n", d, x }' | thousands; else echo '&ndash;'; fi
}
thousands() { sed -E ':a; s/^(-?[0-9]+)([0-9]{3})/\1,\2/; ta'; }
calc() { awk "BEGIN { printf \"%.10g\n\", $1 }"; }

# --- pieces of the page ---------------------------------------------------------------------------------------------------

# figure NAME CAPTION (HTML): a picture that is part of the page; nothing when it was not drawn.
figure() {
    local file=${picture[$1]:-} type=image/png
    if [ -z "$file" ]; then
        [ ! -s "$work/$1.why" ] || echo "<p class=\"note\">Not drawn: $(head -n 1 "$work/$1.why" | sed 's/^[^:]*: //' | escape)</p>"
        return 0
    fi
    [[ $file != *.svg ]] || type=image/svg+xml
    printf '<figure id="%s"><img alt="%s" src="data:%s;base64,' "$1" "$1" $type
    base64 -w 0 "$file"
    printf '"/><figcaption>%s</figcaption></figure>\n' "$2"
}

# interval KEY DIGITS: the bootstrap interval of a mean; nothing where the report has none, or too few groups for one.
interval() {
    [[ ${M[$1.ci.0]:-null} != null ]] || return 0
    echo "$(fixed "$2" "${M[$1.ci.0]}") to $(fixed "$2" "${M[$1.ci.1]}")"
}

# metric_row LABEL KEY DIGITS UNIT [WORST]: WORST is min or max (min)
metric_row() {
    local worst=${5:-min} best=max
    [ -n "${M[$2.mean]:-}" ] || return 0
    [ $worst = min ] || best=min
    printf '<tr><th scope="row">%s</th><td>%s</td><td>%s</td><td>%s</td><td>%s</td>' "$1" "$(fixed "$3" "${M[$2.mean]}")" "$(fixed "$3" "${M[$2.median]}")" \
        "$(fixed "$3" "${M[$2.$worst]}")" "$(fixed "$3" "${M[$2.$best]}")"
    [ -z "$with_interval" ] || printf '<td>%s</td>' "$(interval "$2" "$3")"
    echo "<td class=\"text\">$4</td></tr>"
}

metric_table() { # PREFIX CAPTION
    local p=$1
    with_interval=$(interval "${p}psnr" 1)
    echo "<table><caption>$2</caption><thead><tr><th></th><th>mean</th><th>median</th><th>worst</th><th>best</th>${with_interval:+<th>95 % interval of the mean</th>}<th class=\"text\">unit</th></tr></thead><tbody>"
    metric_row PSNR "${p}psnr" 2 "dB, more is better"
    metric_row SSIM "${p}ssim" 3 "1 is perfect"
    metric_row "multi-scale SSIM" "${p}ms_ssim" 3 "1 is perfect"
    metric_row "correlation (Pearson)" "${p}pearson" 3 "1 is perfect"
    metric_row "error of a pixel" "${p}rmse_grey" 1 "grey levels of the original image (root mean square), less is better" max
    # one figure for all cells: what the quality above costs
    [ -n "$p" ] || echo "<tr><th scope=\"row\">bits a pixel</th><td>$(fixed 3 "${M[bits_per_pixel]}")</td><td></td><td></td><td></td>${with_interval:+<td></td>}<td class=\"text\">by the entropy of the codes, less is smaller; $(fixed 3 "${M[bits_per_pixel_raw]}") without entropy coding</td></tr>"
    echo '</tbody></table>'
}

channel_table() {
    local i name key
    [ "${D[channels.#]}" -gt 1 ] || return 0
    echo '<table><caption>By channel: means over the cells</caption><thead><tr><th>channel</th><th>PSNR (dB)</th><th>PSNR inside the cell (dB)</th><th>SSIM</th><th>correlation</th></tr></thead><tbody>'
    for ((i = 0; i < ${D[channels.#]}; i++)); do
        name=${D[channels.$i]}
        key=per_channel.$name
        echo "<tr><th scope=\"row\">$(html "$name")</th><td>$(fixed 2 "${M[$key.psnr.mean]:-}")</td><td>$(fixed 2 "${M[foreground.$key.psnr.mean]:-}")</td><td>$(fixed 3 "${M[$key.ssim.mean]:-}")</td><td>$(fixed 3 "${M[$key.pearson.mean]:-}")</td></tr>"
    done
    echo '</tbody></table>'
}

# thirds FILE COLUMN UNIT: the cells of cells.csv in three groups as large as each other by a column of FILE; rows of a table.
thirds() {
    awk -v want="$2" "$csv_awk"'
        NR == FNR { if (FNR == 1) header($0); else if (row($0) && (want in col) && f[col[want]] != "") of[f[col["id"]]] = f[col[want]]; next }
        FNR == 1 { for (k in col) delete col[k]; header($0); next }
        { row($0); id = f[col["id"]]; if (id in of && f[col["psnr"]] != "") printf "%.10g\t%s\n", of[id], f[col["psnr"]] }' "$1" "$OUT/cells.csv" |
        sort -g | awk -F '\t' -v unit="$3" '
        { x[NR] = $1; y[NR] = $2 }
        function shown(v) { return v >= 100 ? sprintf("%.0f", v) : sprintf("%.3g", v) }
        END { if (NR < 9) exit
            for (k = 0; k < 3; k++) { a = int(k * NR / 3) + 1; b = int((k + 1) * NR / 3); s = 0
                for (i = a; i <= b; i++) s += y[i]
                printf "<tr><td>%s to %s %s</td><td>%d</td><td>%.1f</td></tr>\n", shown(x[a]), shown(x[b]), unit, b - a + 1, s / (b - a + 1) } }'
}

# Rows: the ten cells with the lowest PSNR.
worst_rows() {
    awk "$csv_awk"'
        NR == 1 { header($0); next }
        { row($0); if (f[col["psnr"]] != "") printf "%s\t%s\t%s x %s\t%s\t%s\n", f[col["psnr"]], f[col["id"]], f[col["height"]], f[col["width"]], f[col["ssim"]], f[col["field"]] }' "$OUT/cells.csv" |
        sort -g | sed -n 1,10p | escape_tabs | awk -F '\t' '{ printf "<tr><td>%s</td><td class=\"text\">%s</td><td>%s</td><td>%.1f</td><td>%s</td></tr>\n", $2, $5, $3, $1, $4 == "" ? "&ndash;" : sprintf("%.3f", $4) }'
}
escape_tabs() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'; }

# Rows: fields by mean PSNR, the worst five and the best one.
field_rows() {
    awk "$csv_awk"'
        NR == 1 { header($0); next }
        { row($0); k = f[col["field"]]; if (f[col["psnr"]] != "") { n[k]++; s[k] += f[col["psnr"]] } }
        END { for (k in n) printf "%.6f\t%d\t%s\n", s[k] / n[k], n[k], k }' "$OUT/cells.csv" |
        sort -t '	' -k 1,1g -k 3,3 | escape_tabs | awk -F '\t' '{ line[NR] = sprintf("<tr><td>%s</td><td>%d</td><td>%.1f</td></tr>", $3, $2, $1) }
            END { for (i = 1; i <= NR; i++) if (i <= 5 || i == NR) print line[i] }'
}

# The commands that made a stream, a line each.
commands() {
    local -n s=$1
    local i k line
    for ((i = 0; i < ${s[chain.#]:-0}; i++)); do
        line=${s[chain.$i.tool]}
        for ((k = 0; k < ${s[chain.$i.args.#]:-0}; k++)); do line+=" ${s[chain.$i.args.$k]}"; done
        html "$line"
    done
}

style() {
    cat <<'CSS'
<style>
:root { --ink: #1b1f23; --soft: #57606a; --line: #d0d7de; --tint: #f2f6fa; --mark: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.35rem; margin: 2.6rem 0 .6rem; padding-top: .6rem; border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p, ul, dl { max-width: 46rem; }
.sub, figcaption, .note { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: .8rem; margin: 1.4rem 0; }
.tile { background: var(--tint); border-left: 4px solid var(--mark); padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.2; font-weight: 600; }
.tile span { color: var(--soft); font-size: .88rem; line-height: 1.35; display: block; }
.warn { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6rem .9rem; }
figure { margin: 1.2rem 0 1.8rem; }
figure img { display: block; max-width: 100%; height: auto; image-rendering: auto; }
figcaption { font-size: .92rem; max-width: 46rem; margin-top: .5rem; }
table { border-collapse: collapse; margin: 1rem 0 1.4rem; font-size: .93rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; min-width: 30rem; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; font-variant-numeric: tabular-nums; }
thead th { font-weight: 600; }
th:first-child, td:first-child, td.text, th.text, th[scope=row] { text-align: left; }
th[scope=row] { font-weight: 400; }
td:last-child, th:last-child { padding-right: 0; }
dt { font-weight: 600; margin-top: .7rem; }
dd { margin: 0; }
code, pre { font-family: "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace; font-size: .85rem; }
pre { background: var(--tint); padding: .8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 44rem) { .tiles { grid-template-columns: repeat(2, 1fr); } .scroll { overflow-x: auto; } }
@media print {
  @page { size: A4; margin: 16mm 15mm; }
  body { font-size: 10.5pt; line-height: 1.4; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; margin-top: 1.6rem; } h3 { break-after: avoid; }
  figure, table, .tiles, .tile, dl > div { break-inside: avoid; }
  figure img { max-height: 225mm; }
  #samples img { max-height: 112mm; } table { font-size: 9pt; } #usage img, #codebook img, #map img { max-height: 92mm; }
  .tile, .warn, pre { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
</style>
CSS
}

# --- the report -----------------------------------------------------------------------------------------------------------

# In words, what a PSNR is like: a rule of thumb.
likeness() {
    local least text
    while read -r least text; do
        awk -v p="$1" -v l="$least" 'BEGIN { exit !(p >= l) }' && { echo "$text"; return; }
    done <<PAGE
35 differences can hardly be seen by eye
30 outline, inner structure and most of the texture are kept, the finest grain is not
25 outline and larger structures are kept, fine texture is smoothed away
20 shape and overall brightness are kept, inner structure is largely lost
-99 only a rough likeness is left
PAGE
}

# Who the cells are, for a sentence that begins with their number.
whose() {
    case $part in
    test) [ "$n_known" = 0 ] && echo "cells that are not among those it was made from" || echo "cells that it had never seen: they neither trained nor chose it" ;;
    val) echo "cells that did not train it, but by which the best moment of its training was chosen" ;;
    train) echo "cells that trained it" ;;
    all) echo "cells, those that trained it among them" ;;
    esac
}

# Whether each position of a cell has a code, or the cell one as a whole.
in_grid() { [ "${D[model.stride]:-0}" -gt 0 ] 2>/dev/null; }

# What a cell became, for a sentence.
grid_words() {
    if [ "$books" -gt 1 ]; then
        echo "codes of $books kinds, numbers from lists of $(fixed 0 "$book_size") entries together"
    elif in_grid; then
        echo "a small grid of codes, numbers from a list of $(fixed 0 "$book_size")"
    else
        echo "a single code, a number from a list of $(fixed 0 "$book_size")"
    fi
}

# Sets books, and of all of them together book_size, book_used and book_codes.
count_codebooks() {
    local i
    books=${C[levels.#]} book_size=0 book_used=0 book_codes=0
    for ((i = 0; i < books; i++)); do
        book_size=$((book_size + ${C[levels.$i.size]})) book_used=$((book_used + ${C[levels.$i.used]})) book_codes=$((book_codes + ${C[levels.$i.codes]}))
    done
}

report_short() {
    local dark light
    dark=$(calc "100 / 10 ^ (${M[psnr.mean]} / 20)")
    light=$(calc "${M[pixels]} / ${M[n]} * ${C[bits_per_pixel]} / 8")
    cat <<PAGE
<h2>In short</h2>
<p>The model was given $(thousands <<<"${M[n]}") $(whose).
It replaced each by $(grid_words) that it had learned, and drew the cell again from $(skips && echo "the codes and from further, uncoded values" || echo "the codes alone").
Of the picture that comes back, $(likeness "${M[psnr.mean]}") (mean PSNR $(fixed 1 "${M[psnr.mean]}") dB: a pixel is off by about $(fixed 1 "$dark") % of the way from black to white).
As codes, a cell of average size takes about $(fixed 0 "$light") bytes, $(fixed 2 "${C[bits_per_pixel]}") bits a pixel.</p>
<div class="tiles">
<div class="tile"><b>$(fixed 1 "${M[psnr.mean]}") dB</b><span>PSNR, mean over cells; $(fixed 1 "${M[foreground.psnr.mean]:-}") dB inside the cell&rsquo;s outline</span></div>
<div class="tile"><b>$(fixed 3 "${M[ssim.mean]}")</b><span>SSIM: likeness of local structure, 1 is perfect</span></div>
<div class="tile"><b>$(fixed 2 "${C[bits_per_pixel]}")</b><span>bits a pixel, counted by the entropy of the codes</span></div>
<div class="tile"><b>$(fixed 0 "$(calc "100 * $book_used / $book_size")") %</b><span>of the codes occur: $(fixed 0 "$book_used") of $(fixed 0 "$book_size")</span></div>
</div>
PAGE
    case $part in
    val) echo '<p class="warn">The model was chosen by these very cells, so the figures are a little too good. The data name no test cells.</p>' ;;
    train | all) echo '<p class="warn">These figures are too good: the model has learned from these cells. Judge a model by cells that it has not seen.</p>' ;;
    esac
    if skips; then
        echo "<p class=\"warn\">This model&rsquo;s decoder is also given values of the encoder that went through no codebook ($(fixed 1 "${C[skip_bits_per_pixel]}") bits a pixel). The pictures say little about what the codes hold.</p>"
    fi
    if [ $((2 * book_used)) -lt $book_size ] && [ "$book_codes" -ge $((4 * book_size)) ]; then
        echo '<p class="warn">More than half of the codes never occur in these cells: the model uses its codebook badly, or these cells are much alike.</p>'
    fi
    [ "${M[n]}" -ge 30 ] || echo "<p class=\"warn\">$(fixed 0 "${M[n]}") cells are few: take the means with care.</p>"
}
skips() { awk -v b="${C[skip_bits_per_pixel]:-0}" 'BEGIN { exit !(b > 0) }'; }

# How many codes a cell has, and of which codebooks.
codes_per_cell() {
    if [ "$books" -gt 1 ]; then
        echo "A cell has about $(fixed 0 "$(calc "$book_codes / ${C[n]}")") codes, from $books codebooks of $(fixed 0 "$book_size") codes together (a table above tells them apart)."
        return
    fi
    if in_grid; then
        echo "It has a code for every ${D[model.stride]} x ${D[model.stride]} pixels, about $(fixed 0 "$(calc "$book_codes / ${C[n]}")") a cell."
    else
        echo "It has one code for a whole cell."
    fi
    echo "The codebook has $(fixed 0 "$book_size") codes, each standing for a list of ${C[levels.0.dim]} numbers."
}

report_done() {
    local i names=
    for ((i = 0; i < ${D[channels.#]}; i++)); do names+="${names:+, }${D[channels.$i]}"; done
    printf '%s\n' "${I[metadata.config]:-"{}"}" >"$work/config.json"
    printf '%s\n' "${I[metadata.normalize]:-"{}"}" >"$work/normalize.json"
    values K "$work/config.json"
    values N "$work/normalize.json"
    local method=${N[method]:-unknown} scope=${N[scope]:-record} scaling
    case $method in
    robust) scaling="stretched so that its ${N[percentiles.0]:-5}th and ${N[percentiles.1]:-95}th percentile become black and white" ;;
    minmax) scaling="stretched so that its darkest and its brightest pixel become black and white" ;;
    zscore) scaling="shifted and scaled to mean 0 and deviation 1" ;;
    *) scaling="scaled as the model asks ($(html "$method"))" ;;
    esac
    case $scope in
    record) scaling="Each channel of each cell was $scaling. That shows structure and throws absolute brightness away; raw intensities are in measured.csv." ;;
    field) scaling="Each channel was $scaling, by the statistics of its whole field." ;;
    *) scaling="Each channel was $scaling, by the statistics of the whole data set, so that brightness can be compared between cells." ;;
    esac
    cat <<PAGE
<h2>What was done</h2>
<dl>
<div><dt>Cells</dt><dd>$(fixed 0 "${M[n]}") of $(fixed 0 "$((n_test + n_val + n_train))") in $(html "$DATA"); channels: $(html "$names"); $(fixed 0 "${M[pixels]}") pixels together, about $(fixed 0 "$(calc "${M[pixels]} / ${M[n]}")") each, the surroundings in the crop included.</dd></div>
<div><dt>Brightness</dt><dd>$scaling</dd></div>
<div><dt>Model</dt><dd>$(html "$MODEL"): a vector-quantised autoencoder with $(fixed 0 "${I[parameters]}") numbers (family &ldquo;$(html "${K[model]:-?}")&rdquo;).
$(codes_per_cell)
$([ -z "${I[metadata.step]:-}" ] || echo "It was trained for $(fixed 0 "${I[metadata.step]}") steps.")</dd></div>
<div><dt>Measuring</dt><dd>Original and reconstruction were compared pixel by pixel, on true pixels only (padding does not count), in each channel of each cell; a cell&rsquo;s figure is the mean of its channels, and the report gives means over cells.</dd></div>
</dl>
PAGE
    if [ -n "${picture[curves]:-}" ]; then
        echo '<h3>Training</h3>'
        figure curves "How the model was trained, epoch by epoch. Broken line: cells that train; solid: cells held back (validation). A loss should fall and then level out; when the validation loss rises while the training loss falls, the model learns its cells by heart. The codebook in use should be near 1."
    fi
}

report_good() {
    echo '<h2>How good it is</h2>'
    figure samples "Cells from the worst (top left) to the best (bottom right), evenly by rank. Each: the original with its outline, what came back from the codes, and the difference: red where the reconstruction is too bright, blue where it is too dark."
    metric_table "" "The whole crop, cell and surroundings: $(fixed 0 "${M[n]}") cells"
    [ "${M[foreground.n]:-0}" = 0 ] || metric_table foreground. "Inside the cell&rsquo;s own outline: $(fixed 0 "${M[foreground.n]}") cells. Empty background is easy; these are the harder and more telling figures"
    [ -z "$(interval psnr 1)" ] || echo "<p>The interval says where the mean would probably lie with other $(html "${M[bootstrap.group_by]:-null}" | sed 's/^null$/wells or fields/') of this kind: $(fixed 0 "${M[bootstrap.groups]}") of them were drawn anew, with all their cells, ${M[bootstrap.resamples]} times. Cells of one well are alike, so many cells of few wells do not make it narrow.</p>"
    channel_table
    cat <<PAGE
<dl>
<div><dt>PSNR, in decibels (dB)</dt><dd>How small the error is beside the range from black to white. 6 dB more is half the error. A rule of thumb for such crops: 20 dB shape only, 25 dB larger structures, 30 dB most texture, 35 dB hardly to be told from the original.</dd></div>
<div><dt>SSIM</dt><dd>Whether brightness, contrast and pattern agree in every small neighbourhood: 1 is perfect, 0 is no likeness.</dd></div>
<div><dt>Correlation</dt><dd>Whether bright pixels are bright and dark ones dark, whatever the scale.</dd></div>
</dl>
PAGE
    figure difference "Differences alone, enlarged, from the worst cell to the best. Lines along the outline mean blurred or shifted edges; an even grain means that noise of the camera, which no code can hold, was left out."
}

third_table() { # CAPTION ROWS
    [ -z "$2" ] || echo "<table><caption>$1</caption><thead><tr><th>a third of the cells</th><th>cells</th><th>mean PSNR (dB)</th></tr></thead><tbody>$2</tbody></table>"
}

report_fails() {
    local channel=${D[channels.0]}
    echo '<h2>Where it fails</h2>'
    figure errors "Left: every cell by its size, with the median line; triangles are outliers. Middle: by channel. Right: by field of view, the worst first (at most 24). A box holds the middle half of the cells, the bar is the median. Below: the worst cells. Look whether they are cells at all: debris, dividing cells and faulty outlines often come first."
    third_table "By size of the crop" "$(thirds "$OUT/cells.csv" pixels pixels)"
    awk -v mean="mean_$channel" -v back="background_$channel" "$csv_awk"'
        NR == 1 { header($0); print "id,contrast"; next }
        { row($0); m = f[col[mean]]; b = f[col[back]]; id = f[col["id"]]; gsub(/"/, "\"\"", id); if (m != "" && b != "") print "\"" id "\"," m - b }' "$OUT/measured.csv" >"$work/contrast.csv"
    third_table "By brightness: $(html "$channel"), mean inside the cell above its background, before normalisation. Where each cell is stretched to the same range, the noise of dim cells is stretched with them" \
        "$(thirds "$work/contrast.csv" contrast "grey levels")"
    cat <<PAGE
<table><caption>The five worst fields of view, and the best one</caption><thead><tr><th>field</th><th>cells</th><th>mean PSNR (dB)</th></tr></thead><tbody>
$(field_rows)
</tbody></table>
<table><caption>The ten worst cells (all of them: cells.csv)</caption><thead><tr><th>cell</th><th class="text">field</th><th>height x width (pixels)</th><th>PSNR (dB)</th><th>SSIM</th></tr></thead><tbody>
$(worst_rows)
</tbody></table>
PAGE
}

neighbour_words() {
    local saved=${C[levels.0.neighbours.left.saved_bits]:-null}
    [[ $saved != null ]] && awk -v s="$saved" 'BEGIN { exit !(s > 0) }' || return 0
    echo " Codes are not scattered at random: who knows the code to the left needs $(fixed 2 "$saved") bits less for the next one."
}

report_codes() {
    local i
    cat <<PAGE
<h2>What the codes are</h2>
<p>A code is the number of an entry in the model&rsquo;s codebook, as a word is an entry in a dictionary. Each stands for a kind of small patch: background, a piece of edge, a bright inside, a texture.
They are not cell types; but how often a cell uses each of them describes the cell, and can be compared between cells (vq-encode --features, vq-export).</p>
<table><caption>Use of the codes in these cells</caption><thead><tr><th>codebook</th><th>codes</th><th>occur</th><th>perplexity</th><th>bits a code, by entropy</th><th>without entropy coding</th></tr></thead><tbody>
PAGE
    for ((i = 0; i < ${C[levels.#]}; i++)); do
        echo "<tr><th scope=\"row\">$(html "${C[levels.$i.name]}")</th><td>$(fixed 0 "${C[levels.$i.size]}")</td><td>$(fixed 0 "${C[levels.$i.used]}")</td><td>$(fixed 1 "${C[levels.$i.perplexity]}")</td><td>$(fixed 2 "${C[levels.$i.entropy_bits]}")</td><td>${C[levels.$i.raw_bits]}</td></tr>"
    done
    cat <<PAGE
</tbody></table>
<p>Perplexity says to how many equally frequent codes the use amounts. Entropy is what a code costs when frequent ones are written shorter.$(neighbour_words)</p>
PAGE
    figure atlas "The codes that the cells use most inside their outlines: how often, what it decodes to when it fills the plane, and places in the cells where it stands (the frame is the code&rsquo;s own place). Where the patches of a row are alike, the code means something definite."
    figure usage "How often each code occurs, the most used first; the shaded part never occurs. A flat curve is a codebook that is used well; a steep one has few words for most of the picture."
    figure codebook "The codebook&rsquo;s entries in the plane where they differ most. Near points stand for like patches; the area of a disc says how often it is used; crosses are codes that never occur."
    figure map "The cells, placed by what their codes say on average (principal axes of the mean latent vector)${group:+, coloured by $(html "$group")}; pictures of some, where there is room. Clusters are kinds of cells that the model tells apart; when they are plates, wells or data sets instead, beware of batch effects."
}

report_files() {
    cat <<PAGE
<h2>Files and commands</h2>
<table><caption>Beside this report</caption><tbody>
<tr><td>cells.csv</td><td class="text">every figure of every cell, with its metadata</td></tr>
<tr><td>measured.csv</td><td class="text">place, size and raw intensities of every cell</td></tr>
<tr><td>metrics.json, codebook.json</td><td class="text">the figures of this report</td></tr>
<tr><td>cells.vqt, codes.vqt, recon.vqt</td><td class="text">the cells, their codes and features, and what came back; vq-export writes them for other programs</td></tr>
<tr><td>*.png, *.svg</td><td class="text">the pictures</td></tr>
</tbody></table>
<p>The commands that made the reconstructions, with vq $(html "${R[chain.0.version]:-}"):</p>
<pre>
$(commands R)
</pre>
PAGE
}

report() {
    local title=${TITLE:-How well codes describe these cells}
    values R "$OUT/recon.vqt"
    count_codebooks
    cat <<PAGE
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>$(html "$title")</title>
PAGE
    style
    cat <<PAGE
</head>
<body>
<main>
<h1>$(html "$title")</h1>
<p class="sub">$(html "$MODEL") on $(html "$DATA")</p>
PAGE
    report_short
    report_good
    report_fails
    report_codes
    report_done
    report_files
    printf '</main>\n</body>\n</html>\n'
}
