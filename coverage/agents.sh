#!/usr/bin/env bash
# A vision transformer as PyTorch exports it takes APT's agents: exports torchvision's network at its own size, says what opening the file
# costs (three times, each a process of its own), trains two steps with agents, evaluates with tokens dropped, exports with the decisions
# inside, and compares with ONNX Runtime, image by image. Needs the SDK and Debian's python3-torchvision.
#   bash coverage/agents.sh [FOLDER [NETWORK [SIZE]]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-$(mktemp -d)} name=${2:-vit_b_16} size=${3:-224} threshold=0.5
mkdir -p "$folder"
if [ -z "${NO_BUILD:-}" ]; then
    dotnet build coverage -c Release -v q
    dotnet build src/Espalier.Cli -c Release -v q
fi
coverage() { dotnet coverage/bin/Release/net10.0/Espalier.Coverage.dll "$@"; }
espalier() { dotnet src/Espalier.Cli/bin/Release/net10.0/espalier.dll "$@"; }
[ -e "$folder/model.onnx" ] || /usr/bin/python3 coverage/export.py "$name" "$folder" "$size"
for _ in 1 2 3; do coverage import "$folder/model.onnx"; done
espalier train --method apt --init "$folder/model.onnx" --data fashion-mnist-sample --num-steps 2 --train-batch-size 8 --eval-limit 20 \
    --output-dir "$folder/run"
espalier infer --model "$folder/run/apt.safetensors" --data fashion-mnist-sample --limit 20 --threshold $threshold
espalier export --model "$folder/run/apt.safetensors" --onnx "$folder/pruned.onnx" --threshold $threshold
coverage agents "$folder/run/apt.safetensors" "$folder/pruned.onnx" $threshold
