#!/usr/bin/env bash
# Kills a training run (kill -9) at random moments, again and again, and checks after each time that every checkpoint
# loads and that the run goes on from where it was.
#   bash scripts/kill-test.sh [TIMES, default 50]
set -euo pipefail
cd "$(dirname "$0")/.."
times=${1:-50}
dotnet build -c Release src/Espalier.Cli -v quiet --nologo
tool="dotnet src/Espalier.Cli/bin/Release/net10.0/espalier.dll"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
train() {
    exec $tool train --data fashion-mnist-sample --model-type vit-tiny-28 --train-batch-size 8 --num-steps 1000000 \
        --checkpoint-every 2 --eval-every 5 --eval-limit 16 --output-dir "$folder" --name run --resume
}
before=0
for ((i = 1; i <= times; i++)); do
    (train) > "$folder/log" 2>&1 &
    child=$!
    sleep "$((RANDOM % 3)).$((RANDOM % 900 + 100))"
    kill -9 "$child" 2>/dev/null || { echo "attempt $i: training ended by itself:"; cat "$folder/log"; exit 1; }
    wait "$child" 2>/dev/null || true
    for file in "$folder"/*.safetensors; do
        [ -e "$file" ] || continue
        $tool infer --model "$file" --limit 8 > "$folder/infer" 2>&1 || { echo "attempt $i: $file does not load:"; cat "$folder/infer"; exit 1; }
    done
    if [ -e "$folder/run.state" ]; then
        step=$(sed -n 's/^Resuming run after step \([0-9]*\)\.$/\1/p' "$folder/log")
        step=${step:-$before}
        [ "$step" -ge "$before" ] || { echo "attempt $i: went back from step $before to $step"; exit 1; }
        before=$step
    fi
    echo "attempt $i: killed; the run had resumed after step $before"
done
[ "$before" -gt 0 ] || { echo "nothing was ever saved"; exit 1; }
echo "$times kills, every checkpoint loaded, the run reached step $before"
