#!/usr/bin/env bash
# old-build.sh REV DIR: builds this program as it was at a commit, for `run.sh --other-build DIR`. DIR gets the program and, in
# DIR/models, the models of the comparison as that commit writes them: files of one state of the code need not suit another.
set -euo pipefail
if (($# != 2)); then
    echo "usage: $0 REV DIR" >&2
    exit 2
fi
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_CLI_USE_MSBUILD_SERVER=0 MSBUILDDISABLENODEREUSE=1

source=$(mktemp -d)
trap 'git -C "$repository" worktree remove --force "$source"' EXIT
git -C "$repository" worktree add --quiet --detach "$source" "$1"
git -C "$source" rev-parse --short=10 HEAD >"$folder/commit"
dotnet build -c Release "$source/benchmarks/peers/Espalier.Peers" -o "$folder" -v q -p:UseSharedCompilation=false

# The same weights and images at every commit: they are drawn with fixed seeds.
cd "$folder"
if grep -q '"models"' "$source/benchmarks/peers/Espalier.Peers/Program.cs"; then
    ./Espalier.Peers models models
else
    # Programs before that role existed write models as their trials ask for them. In a work folder without ONNX Runtime a trial
    # ends there, before it measures anything.
    for rows in 'The same answers' 'Low precision: ViT-B/16' 'ResNet-50 pruned, batch 1'; do
        said=$(./Espalier.Peers --work . --scripts "$source/benchmarks/peers" --rows "$rows" 2>&1) || { echo "$said" >&2; exit 1; }
    done
fi
rm -f models/*.onnx
ls models
