#!/usr/bin/env bash
# Builds everything with warnings as errors and runs all tests; then the kernel and op tests again with instruction sets
# switched off, each time in a process of its own. The last line is the sum of what the test runners reported:
# "N passed, N failed" (and "N skipped" where tests were skipped). Exit code 0 only if something ran and nothing failed.
set -uo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1
export DOTNET_CLI_UI_LANGUAGE=en
# Build servers would outlive the script and keep its output open.
export MSBUILDDISABLENODEREUSE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
# Only what this script sets may choose the kernels.
unset ESPALIER_KERNEL ESPALIER_EXPECT_KERNEL ESPALIER_THREADS ESPALIER_ASSEMBLED
unset DOTNET_EnableAVX512 DOTNET_EnableAVX2 DOTNET_EnableHWIntrinsic

results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT
passed=0 failed=0 skipped=0 missing=()

finish() {
    if ((${#missing[@]} > 0)); then echo "nothing was checked of what needs ${missing[*]}"; fi
    local line="$passed passed, $failed failed"
    if ((skipped > 0)); then line="$line, $skipped skipped"; fi
    echo "$line"
    ((failed == 0 && passed > 0))
    exit
}

stop() {
    echo "$1" >&2
    failed=$((failed + 1))
    finish
}

# --- what the tests use besides the SDK ---

has_library() {
    { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | grep -q "$1" || compgen -G "/usr/lib/*/$1" >/dev/null
}

missing_packages() {
    has_library libturbojpeg.so.0 || echo libturbojpeg0
    [[ -x /usr/bin/chromium ]] || echo chromium
    [[ -x /usr/bin/mpirun ]] || echo openmpi-bin
    [[ -d /usr/share/datasets/fashion-mnist ]] || echo dataset-fashion-mnist
    [[ -d /usr/share/libonnx-testdata ]] || echo libonnx-testdata
}

install_packages() {
    local apt=(apt-get -y -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 -o Acquire::http::Timeout=30)
    export DEBIAN_FRONTEND=noninteractive
    echo "installing: $*"
    "${apt[@]}" update >"$results/apt.log" 2>&1
    # One by one: a package that this distribution lacks must not keep the others away.
    local package
    for package in "$@"; do
        "${apt[@]}" install --no-install-recommends "$package" >>"$results/apt.log" 2>&1 ||
            { echo "apt-get could not install $package:"; tail -n 3 "$results/apt.log"; }
    done
}

read -r -d '' -a missing < <(missing_packages)
if ((${#missing[@]} > 0)) && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    install_packages "${missing[@]}"
    read -r -d '' -a missing < <(missing_packages)
fi
if ((${#missing[@]} > 0)); then
    echo "missing packages: ${missing[*]} (the tests that need them say so and check nothing)"
else
    # Whatever a test does not find now is a mistake, and fails it.
    export ESPALIER_EXPECT_ALL=1
fi

# --- build ---

command -v dotnet >/dev/null || stop "dotnet is not on the PATH: install the .NET SDK that global.json names"
dotnet restore Espalier.slnx || stop "the restore failed"
dotnet build Espalier.slnx -c Release --no-restore -warnaserror -p:UseSharedCompilation=false || stop "the build failed"

# --- test ---

# The value of one attribute in the summary of a results file.
counter() {
    local value
    value=$(grep -o '<Counters [^>]*>' "$1" | head -n 1 | grep -o " $2=\"[0-9]*\"" | tr -dc 0-9)
    echo "${value:-0}"
}

# run NAME PROJECT [arguments of dotnet test]
run() {
    local name=$1 project=$2
    shift 2
    local trx="$results/$name.trx" code=0 p=0 f=0 s=0
    echo "--- $name"
    dotnet test "tests/$project/bin/Release/net10.0/$project.dll" "$@" --results-directory "$results" \
        --logger "trx;LogFileName=$name.trx" --logger "console;verbosity=minimal" \
        --blame-hang-timeout 5m --blame-hang-dump-type none || code=$?
    if [[ -f $trx ]]; then
        p=$(counter "$trx" passed)
        f=$(($(counter "$trx" failed) + $(counter "$trx" error) + $(counter "$trx" timeout) + $(counter "$trx" aborted)))
        s=$(($(counter "$trx" total) - $(counter "$trx" executed)))
    fi
    if ((p + f == 0)); then
        echo "$name: no test ran"
        f=1
    elif ((code != 0 && f == 0)); then
        echo "$name: the test run broke off with code $code"
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

for file in tests/*.Tests/*.csproj; do
    project=$(basename "$file" .csproj)
    run "$project" "$project"
done

# The same kernels as other processors see them. One test asserts the path that was taken.
kernels() {
    run "kernels-$1" Espalier.Tensors.Tests -e "$2=0" -e "ESPALIER_EXPECT_KERNEL=$3" \
        --filter "FullyQualifiedName~.Kernels.|FullyQualifiedName~.Ops."
}

without_avx512=portable
if grep -qw avx2 /proc/cpuinfo 2>/dev/null && grep -qw fma /proc/cpuinfo; then without_avx512=avx2; fi
kernels no-avx512 DOTNET_EnableAVX512 "$without_avx512"
kernels no-avx2 DOTNET_EnableAVX2 portable
kernels no-simd DOTNET_EnableHWIntrinsic portable

# Damaged files for every reader, and faults of processes and disks; docs/reliability.md has the long form.
attack() {
    local sums
    echo "--- fuzz $*"
    # Not through tee /dev/stderr: where that is a file, it would be cut to nothing.
    dotnet tests/Espalier.Fuzz/bin/Release/net10.0/Espalier.Fuzz.dll "$@" >"$results/attack.log" 2>&1
    cat "$results/attack.log"
    sums=$(tail -n 1 "$results/attack.log")
    if [[ $sums =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
    else
        failed=$((failed + 1))
    fi
}
attack 300
attack faults 10

finish
