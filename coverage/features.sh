#!/usr/bin/env bash
# A trained ResNet without classifier (NuGet's Microsoft.ML.DnnImageFeaturizer.ResNet18, written by CNTK) on photographs of Debian's
# scikit-image and scikit-learn, of which nothing is installed: what it gives against ONNX Runtime, and what recovery brings back of
# it; into docs/recovery.md. Needs the SDK, Debian's apt-get and Pillow.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-$(mktemp -d)}
mkdir -p "$folder/package"
if [ ! -e "$folder/ResNet18.onnx" ]; then
    cat >"$folder/package/package.csproj" <<'PROJECT'
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <TargetFramework>net10.0</TargetFramework>
    <RestorePackagesPath>packages</RestorePackagesPath>
  </PropertyGroup>
  <ItemGroup><PackageDownload Include="Microsoft.ML.DnnImageFeaturizer.ResNet18" Version="[0.23.1]" /></ItemGroup>
</Project>
PROJECT
    dotnet restore "$folder/package/package.csproj" -v q
    find "$folder/package/packages" -name ResNet18.onnx -exec cp {} "$folder/ResNet18.onnx" \;
fi
if [ ! -d "$folder/seen" ]; then
    (cd "$folder" && apt-get download -q python3-skimage python3-sklearn && for package in ./*.deb; do dpkg -x "$package" debian; done)
    /usr/bin/python3 coverage/photographs.py "$folder/debian" "$folder"
fi
[ -n "${NO_BUILD:-}" ] || dotnet build coverage -c Release -v q
dotnet coverage/bin/Release/net10.0/Espalier.Coverage.dll features "$folder/ResNet18.onnx" "$folder/seen" "$folder/held" docs/recovery.md
