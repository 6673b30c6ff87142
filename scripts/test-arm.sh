#!/usr/bin/env bash
# For the night: the tests of kernels and ops as a 64-bit Arm processor runs them, and one prediction, under qemu's emulation of a
# single program. Slow, but each instruction is that processor's. The last line is "N passed, N failed".
#   bash scripts/test-arm.sh [PART OF A TEST'S NAME...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v qemu-aarch64 >/dev/null || [[ ! -e /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 ]]; then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "wanted: qemu-aarch64 and Arm's C library (Debian: qemu-user libc6-arm64-cross libstdc++6-arm64-cross)" >&2
        exit 1
    fi
    apt-get update -q >"$work/log"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        qemu-user libc6-arm64-cross libstdc++6-arm64-cross libgcc-s1-arm64-cross >>"$work/log" || { cat "$work/log"; exit 1; }
fi
export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
# The collector reserves more addresses than the emulation has to give; machine code that moves between mappings costs it much time.
export DOTNET_GCHeapHardLimit=0x60000000 DOTNET_EnableWriteXorExecute=0 DOTNET_TieredPGO=0 ESPALIER_THREADS=2

dotnet publish tests/Espalier.Runner -c Release -r linux-arm64 --self-contained -v quiet --nologo -o "$work/runner"
dotnet publish src/Espalier.Cli -c Release -r linux-arm64 --self-contained -v quiet --nologo -o "$work/tool"

arm() { qemu-aarch64 -cpu max "$@"; }
arm "$work/tool/espalier" kernels | tee "$work/kernels"
grep -q '^fp32 *advsimd' "$work/kernels"
grep -q '^int8 *arm-dot' "$work/kernels"
predict=(predict examples/images/*.png --model models/vit-small-28.safetensors)
arm "$work/tool/espalier" "${predict[@]}" --output-dir "$work/arm" | tee "$work/there"

if (($# == 0)); then set -- .Kernels.Gemm .Kernels.Linear .Kernels.Attention .Kernels.Conv .Kernels.Elementwise .Kernels.Simd; fi
arm "$work/runner/Espalier.Runner" "$@"
