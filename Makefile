# Each target sets itself up in .venv, with the versions of constraints.txt, on the first call.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-caffecompat
PEERS ?= .venv-peers
WORKERS ?= 2
export OMP_NUM_THREADS ?= 1
export PYTHONDONTWRITEBYTECODE ?= 1

.DEFAULT_GOAL := help
.PHONY: help install browser test lint format proto layers demo bench bench-peers attacks wheel wheels clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(PEERS)/.installed: benchmarks/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

bench-peers: $(PEERS)/.installed  ## what the benchmarks compare with, in an environment of its own

install: $(INSTALLED)  ## the virtual environment with everything that development needs

browser:  ## Debian's Chromium, for the tests that look at pages in it; needs root, and tests skip without it
	apt-get update
	apt-get install -y chromium

lint: $(INSTALLED)  ## style, types, and whether the compiled schema is fresh
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python proto/compile.py --check

test: lint  ## lint, then every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

format: $(INSTALLED)  ## mend style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

proto: $(INSTALLED)  ## compile proto/caffe.proto into caffecompat/schema
	$(BIN)/python proto/compile.py

layers: $(INSTALLED)  ## write LAYERS.md: what each layer type takes, and how it is tested
	$(BIN)/python -m tests.layers.layers_page

demo: $(INSTALLED)  ## convert a published face detector, detect on a photograph, leave demo/astronaut_faces.png
	$(BIN)/python examples/face_detection.py demo

bench: $(INSTALLED) bench-peers  ## benchmarks side by side with plain PyTorch, OpenCV and protobuf
	$(BIN)/python benchmarks/load.py --opencv-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/parse.py
	$(BIN)/python benchmarks/multibox.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/ssd.py
	$(BIN)/python benchmarks/ssd_starvation.py
	$(BIN)/python benchmarks/pycaffe.py
	$(BIN)/python benchmarks/inference.py --peers-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/memory.py --opencv-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/deploy.py
	$(BIN)/python benchmarks/matching.py

attacks: $(INSTALLED)  ## hostile input in full: 20,000 mutated files of each kind
	$(BIN)/python -m pytest tests/attacks
	$(BIN)/python -m tests.attacks.mutate --caffemodel 20000 --prototxt 20000 --layers 20000

wheel: $(INSTALLED)  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist

wheels: wheel  ## install the wheel in empty environments, oldest and newest dependencies, and convert a model in each
	$(BIN)/python tests/wheel_matrix.py dist/*.whl

clean:  ## remove what was built; .venv stays
	rm -rf build dist demo .mypy_cache .pytest_cache .ruff_cache
