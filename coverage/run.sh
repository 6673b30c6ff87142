#!/usr/bin/env bash
# Exports networks of Debian's torchvision by Debian's PyTorch, one at a time, and writes what became of them into docs/coverage.md.
# Without arguments: all classification and segmentation networks that have no line there yet, so that a run that was stopped goes on;
# else those named, again. A network's files are deleted after use; of the rest of the machine only what is idle is taken.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
python=/usr/bin/python3
page=docs/coverage.md
renice -n 19 -p $$ >/dev/null
names=("$@")
if ((${#names[@]} == 0)); then
    read -r -d '' -a names < <($python - "$page" <<'LIST'
import sys
import torchvision.models as m
import torchvision.models.segmentation as s
done = {line.split("|")[1].strip() for line in open(sys.argv[1]) if line.startswith("| ")}
helpers = {"get_model", "get_model_builder", "get_model_weights", "get_weight", "list_models"}
for module in (m, s):
    for name, value in vars(module).items():
        if callable(value) and name.islower() and value.__module__.startswith("torchvision.models") and name not in helpers | done:
            print(name)
LIST
    )
fi
[ -n "${NO_BUILD:-}" ] || dotnet build coverage -c Release -v q || exit 1
failed=0
for name in "${names[@]}"; do
    folder=$(mktemp -d) || exit 1
    trap 'rm -rf "$folder"' EXIT
    if $python coverage/export.py "$name" "$folder" >"$folder/log" 2>&1; then
        dotnet coverage/bin/Release/net10.0/Espalier.Coverage.dll network "$name" "$folder" "$page" || failed=$((failed + 1))
    else
        echo "$name: PyTorch could not export it: $(tail -n 1 "$folder/log")"
        sed -i "/^| $name |/d" "$page"
        failed=$((failed + 1))
    fi
    rm -rf "$folder"
done
echo "${#names[@]} networks, $failed failed"
((failed == 0))
