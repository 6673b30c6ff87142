#!/usr/bin/env bash
# Exports networks of Debian's torchvision by Debian's PyTorch, one at a time, and writes what became of them into docs/coverage.md.
# Without arguments all classification and segmentation networks; else those named. Files are deleted after use.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
python=/usr/bin/python3
names=("$@")
if ((${#names[@]} == 0)); then
    read -r -d '' -a names < <($python - <<'LIST'
import torchvision.models as m
import torchvision.models.segmentation as s
for module in (m, s):
    for name, value in vars(module).items():
        if callable(value) and name.islower() and value.__module__.startswith("torchvision.models") and name != "get_weight":
            print(name)
LIST
    )
fi
dotnet build coverage -c Release -v q || exit 1
failed=0
for name in "${names[@]}"; do
    folder=$(mktemp -d) || exit 1
    if $python coverage/export.py "$name" "$folder" >"$folder/log" 2>&1; then
        dotnet coverage/bin/Release/net10.0/Espalier.Coverage.dll network "$name" "$folder" docs/coverage.md || failed=$((failed + 1))
    else
        echo "$name: PyTorch could not export it: $(tail -n 1 "$folder/log")"
        failed=$((failed + 1))
    fi
    rm -rf "$folder"
done
echo "${#names[@]} networks, $failed failed"
((failed == 0))
