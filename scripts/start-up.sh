#!/usr/bin/env bash
# How long the command takes from its start to its end where it has next to nothing to do: of one build, or of several in turn, so that
# a change to what is loaded at start is seen. Median milliseconds of the clock and of the processor.
#   bash scripts/start-up.sh COMMAND [OTHER COMMAND...]        TIMES=21 is how often
set -euo pipefail
(($#)) || { echo "usage: bash scripts/start-up.sh COMMAND [OTHER COMMAND...]" >&2; exit 2; }
times=$(mktemp)
trap 'rm -f "$times"' EXIT
TIMEFORMAT='%R %U %S'
for ((i = -1; i < ${TIMES:-21}; i++)); do
    for command in "$@"; do
        for verb in --version models; do
            taken=$({ time "$command" "$verb" >/dev/null 2>&1; } 2>&1)
            # The first time, files come from the disk.
            ((i < 0)) || echo "$command|$verb|$taken" >>"$times"
        done
    done
done
sort -u -t '|' -k 1,2 "$times" | while IFS='|' read -r command verb _; do
    median() { grep -F "$command|$verb|" "$times" | cut -d '|' -f 3 | awk "{ print 1000 * ($1) }" | sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
    printf '%s %s: %.0f ms, %.0f ms of the processor\n' "$command" "$verb" "$(median '$1')" "$(median '$2 + $3')"
done
