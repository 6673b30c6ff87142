#!/usr/bin/env bash
# Publishes the command for every system, with its own runtime beside it, and as machine code for this one; a warning is an error.
# docs/platforms.md says what was tried of the result. Analyzers have had their say in the build.
#   bash scripts/publish-all.sh [FOLDER, default artifacts/publish]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-artifacts/publish}
for system in linux-x64 linux-arm64 win-x64 osx-arm64; do
    dotnet publish src/Espalier.Cli -c Release -r "$system" --self-contained -p:RunAnalyzers=false -warnaserror -v quiet --nologo -o "$folder/$system"
    echo "$system: $(du -sh "$folder/$system" | cut -f 1)"
done
if [[ $(uname -sm) == "Linux x86_64" ]]; then
    # Debian: gcc, or clang.
    dotnet publish src/Espalier.Cli -c Release -r linux-x64 -p:PublishAot=true -p:RunAnalyzers=false -warnaserror -v quiet --nologo -o "$folder/native"
    "$folder/native/espalier" kernels
    echo "native: $(du -h "$folder/native/espalier" | cut -f 1)"
fi
