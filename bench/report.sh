#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run report [--quick | JSON | --check | --documents]: measures beside the peers that there are, and makes one page of the
# results, build/report.html; or of a file that is there; or of those that are kept, which a browser then tries; or writes
# the documents' numbers from them.
source "$(dirname "$0")/../run"

if [[ ${1-} == --check ]]; then
    need python3-matplotlib python3-selenium chromium chromium-driver
    for file in bench/results/*.json; do
        python3 bench/page.py "$file" build/report.html
        job python3 tests/page.py build/report.html build
    done
    # Of what Ctrl-C leaves, there is a page, too: all before the rows, and some of them.
    sed '/"benchmarks"/q' "$file" >build/part.json
    grep -m 20 '^{"name"' "$file" | sed '$ s/,$/]}/' >>build/part.json
    job python3 bench/page.py build/part.json build/part.html
    summary
    exit
fi

need python3-matplotlib
mkdir -p build
json=build/report.json rows=whole rounds=9
case ${1-} in
'') ;;
--documents) exec python3 bench/documents.py ;;
--quick) rows=quick rounds=5 ;;
*) json=$(cd "$called_from" && realpath "$1") rows='' ;;
esac
if [[ $rows ]]; then
    rm -f "$json"
    BNORM_BENCH_ROUNDS=${BNORM_BENCH_ROUNDS-$rounds} bench/run.sh --peers --json "$json" --rows "$rows" | tee -i build/report.md ||
        [[ -s $json ]] # Ctrl-C ends it early, with what was measured
fi
python3 bench/page.py "$json" build/report.html
echo "build/report.html"
