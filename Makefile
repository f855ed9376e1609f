# The targets that the builds of DuckDB's community extensions call (packaging/community). For everything else there is `cargo xtask`.
.PHONY: configure_ci set_duckdb_version set_duckdb_tag release test_release

release:
	cargo xtask extension
	mkdir -p build/release/extension/stockscan
	cp dist/stockscan.duckdb_extension build/release/extension/stockscan/

# The Linux builds run this in a container without Python's packages, and once more outside of it.
ifeq ($(LINUX_CI_IN_DOCKER),1)
test_release:
else
test_release:
	cargo xtask test-extension
endif

# DuckDB's sources are not needed, and its version stands in extension/duckdb-version.
configure_ci set_duckdb_version set_duckdb_tag:
