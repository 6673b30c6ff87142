#!/usr/bin/env bash
# Packs the three packages into a folder, installs the tool and the library from there as a user would, into empty folders, and
# runs the tool and the readme's program. The last line is "N passed, N failed".
#   bash scripts/package-test.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
work=$(mktemp -d)
version="0.0.1-test.$(date +%s)"       # a version of its own: NuGet never looks twice at one that it has
cache=$(dotnet nuget locals global-packages --list | sed 's/^[^/]*//')
trap 'rm -rf "$work" "${cache%/}"/espalier{,.tensors,.cli}/"$version"' EXIT
passed=0 failed=0

check() {
    local what=$1
    shift
    if "$@" >"$work/log" 2>&1; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "failed: $what"
        tail -n 20 "$work/log"
    fi
}

# has FILE EXPRESSION...
has() {
    local file=$1 expression
    shift
    for expression in "$@"; do grep -Eq "$expression" "$file" || { echo "$file has no $expression" && cat "$file" && return 1; }; done
}

# --- pack ---
for project in Espalier.Tensors Espalier Espalier.Cli; do
    dotnet pack "src/$project" -c Release -o "$work/feed" -p:PackageVersion="$version" -v quiet --nologo
done
for id in Espalier.Tensors Espalier Espalier.Cli; do
    check "$id is packed" test -s "$work/feed/$id.$version.nupkg"
    check "$id has symbols" test -s "$work/feed/$id.$version.snupkg"
done

# --- the tool, in a folder of its own ---
mkdir "$work/app"
cat >"$work/nuget.config" <<END
<configuration><packageSources><add key="packed" value="$work/feed" /></packageSources></configuration>
END
cd "$work/app"
dotnet tool install Espalier.Cli --tool-path "$work/tool" --version "$version" --verbosity quiet
espalier="$work/tool/espalier"
check "the tool starts" "$espalier" --version
check "the tool predicts" "$espalier" predict "$root"/examples/images/*.png --model "$root/models/vit-small-28.safetensors" --output-dir "$work/out"

# --- the library, in an empty project with the readme's program ---
dotnet new console --no-restore --output . >/dev/null
dotnet add package Espalier --version "$version" >"$work/log" || { cat "$work/log"; exit 1; }
awk '/^```csharp/ { inside = 1; next } /^```/ { inside = 0 } inside' "$root/README.md" >Program.cs
check "the readme's program runs" dotnet run -c Release
cp "$work/log" "$work/printed"
check "it prints its result" has "$work/printed" '^[0-9.]+ ?% with ([0-9.]+, )*[0-9.]+ tokens'
check "its file works in the tool" "$espalier" infer --model apt.safetensors --data fashion-mnist-sample --limit 100

# --- what a user sees of a package ---
for id in espalier.tensors espalier; do
    folder=$(ls -d "${cache%/}/$id/$version")
    check "$id says what it is" has "$folder/$id.nuspec" '<license type="expression">MIT' '<readme>README.md' '<icon>icon.png' '<description>.{20}' '<repository type="git"'
    check "$id has its readme and icon" test -s "$folder/README.md" -a -s "$folder/icon.png"
    check "$id has documentation" compgen -G "$folder/lib/net10.0/*.xml"
done

echo "$passed passed, $failed failed"
((failed == 0))
