#!/bin/sh
# Puts NVRTC, NVIDIA's run-time compiler, into a folder: for tests on machines that have none (no GPU is needed).
#   scripts/setup_nvrtc.sh build/nvrtc [a wheel that is already here]
# Tests look in <build>/nvrtc by themselves; anything else finds it through BOLIDE_NVRTC=<folder>.
set -eu
version='13.0.*'
folder=${1:?usage: setup_nvrtc.sh folder [wheel]}
wheel=${2:-}
if [ -e "$folder/libnvrtc.so.13" ]; then exit 0; fi
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "$wheel" ]; then
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "nvidia-cuda-nvrtc==$version"
  wheel=$(echo "$work"/*.whl)
fi
python3 -m zipfile -e "$wheel" "$work/unpacked"
# The builtins first: whoever sees the library sees all of it.
for file in "$work"/unpacked/nvidia/cu13/lib/libnvrtc-builtins.so.13.* "$work"/unpacked/nvidia/cu13/lib/libnvrtc.so.13; do
  cp "$file" "$folder/.new" && mv "$folder/.new" "$folder/$(basename "$file")"
done
echo "NVRTC is in $folder"
