# Two commands for newcomers: `make run` and `make test`.

PORT ?= 6379
DATA ?= data

.PHONY: run test

# Builds the server and runs it in the foreground; Ctrl-C stops it.
run:
	@command -v cargo >/dev/null || { echo "Rust is needed: https://rustup.rs" >&2; exit 1; }
	cargo build --release --package redstart
	@echo
	@echo "Redstart will listen on 127.0.0.1:$(PORT), for this machine only, and keep its data in $(DATA)/ (log and snapshots)."
	@echo "Connect with:  redis-cli -p $(PORT)        Another port:  make run PORT=7000 DATA=other        Stop:  Ctrl-C"
	@echo
	@mkdir -p $(DATA)
	@target/release/redstart server --port $(PORT) --bind 127.0.0.1 -::1 --dir $(DATA) --appendonly yes || { echo; \
		echo "Redstart could not start (see above). If port $(PORT) is taken:  make run PORT=7000 DATA=other" >&2; exit 1; }

# Installs what the tests need (redis-server, redis-py, ioredis) and runs all of them.
test:
	@command -v cargo >/dev/null || { echo "Rust is needed: https://rustup.rs" >&2; exit 1; }
	@scripts/install-test-tools
	@cargo run --quiet --package xtask -- test
