# The commands of Proxy GPT.
#
#   make run       serve on http://localhost:8080 in the foreground
#   make check     before each commit: build, formatting, unit tests and a smoke test, two and a half minutes
#   make test      every test there is, some nineteen minutes
#   make soak      a thousand faults under running replies, some twenty minutes (SEED=, FAULTS=, DATABASE=)
#   make faults    what clients see when PostgreSQL, Redis or a clock fails, as a table (ONLY=word)
#   make fuzz      every parser of bytes from outside under sanitizers (SECONDS=60, ONLY=, MINIMIZE=1)
#   make lint      formatting and the rules of who imports whom
#   make bench     measurements, beside nginx's own
#   make growth    a large installation beside one of its thousandth part, hours and 12 GB (SCALE=, DATABASE=)
#   make install   to DESTDIR, PREFIX is /usr; after `make build`, which needs no root
#   make deb       a Debian package in .build, for what runs here; after `make build`
#   make test-systemd   installs that package in a Debian of its own and boots it; with WHOLE=1 all that
#                  is shown there, some ten minutes, with ONLY=words the checks with a word in the name
#
# run, check, test, soak, faults, bench and growth install the Debian packages that are missing, which needs root.
#
# Those times are of a built tree on two quiet cores: `make build unit-tests-built` has been run, and no source
# of Swift has changed since. What has changed is compiled as well, which the first line of the times shows.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: run check test soak faults fuzz format lint bench growth docs picture install deb test-systemd build clean packages \
	unit-tests-built unit-tests smoke-test end-to-end-tests-in-parallel end-to-end-tests-alone \
	test-packages client-packages bench-packages systemd-packages api-tools

# The same flags wherever the release is built, or SwiftPM would build it twice. Swift's own
# library is linked in: the binaries run where there is no toolchain.
RELEASE := -c release --static-swift-stdlib
export BIN_DIRECTORY := $(CURDIR)/.build/release
export PYTHONDONTWRITEBYTECODE := 1

# All at once they hold each other up, and clocks run on; where this is not understood they are.
UNIT_TESTS := SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=32

VENV := .build/venv
API_TOOLS := .build/api-tools
PACKAGES := libfcgi-dev libsqlite3-dev libpq-dev libhiredis-dev libcurl4-openssl-dev libssl-dev \
	pkg-config ca-certificates curl openssl python3 python3-venv

# Said by the programs too: one place has it.
VERSION ?= $(shell sed -n 's/.*let version = "\(.*\)"/\1/p' Sources/ProxyGPT/Domain/Product.swift)

PREFIX ?= /usr
SYSCONFDIR ?= /etc
UNITDIR ?= /lib/systemd/system
LIBEXECDIR = $(PREFIX)/libexec/proxy-gpt
COMPLETIONDIR = $(PREFIX)/share/bash-completion/completions
MANDIR = $(PREFIX)/share/man
DOCDIR = $(PREFIX)/share/doc/proxy-gpt

# A part of `check` and `test` does not look again for what the first part has built.
build: packages
	$(if $(IS_BUILT),@true,swift build $(RELEASE))

run: build
	@exec python3 Tests/EndToEnd/harness/stack.py run

# Each part runs by itself, so that its time is its own; `make TARGET` runs it alone.
TIMES := .build/times
PART = @mkdir -p .build; Tests/timed $(TIMES)
SUBMAKE := $(MAKE) --no-print-directory

check:
	@rm -f $(TIMES)
	$(PART) build $(SUBMAKE) build unit-tests-built
	$(PART) formatting $(SUBMAKE) format
	$(PART) "unit tests" $(SUBMAKE) unit-tests ARE_UNIT_TESTS_BUILT=1
	$(PART) "smoke test" $(SUBMAKE) smoke-test IS_BUILT=1
	@Tests/timed $(TIMES)

# Ends with the runners' own counts; that no test ran at all is a failure too.
test:
	@rm -f $(TIMES)
	$(PART) build $(SUBMAKE) build
	$(PART) "end-to-end tests side by side" $(SUBMAKE) end-to-end-tests-in-parallel IS_BUILT=1
	$(PART) "end-to-end tests alone" $(SUBMAKE) end-to-end-tests-alone IS_BUILT=1
	$(PART) "unit tests" $(SUBMAKE) unit-tests ARE_UNIT_TESTS_BUILT=1
	$(PART) "tests under systemd" $(SUBMAKE) test-systemd IS_BUILT=1
	@Tests/timed $(TIMES)
	@echo
	@echo "unit tests:       $$(grep -E 'Test run with [1-9][0-9]* tests?' .build/unit-tests.log | tail -1)"
	@for log in .build/end-to-end-tests.log .build/end-to-end-tests-alone.log; do \
		echo "end-to-end tests: $$(grep -E '[1-9][0-9]* passed' $$log | tail -1)"; \
	done

unit-tests-built: packages
	$(if $(ARE_UNIT_TESTS_BUILT),@true,swift build --build-tests)

unit-tests: unit-tests-built
	$(UNIT_TESTS) swift test --skip-build 2>&1 | tee .build/unit-tests.log
	@grep -qE 'Test run with [1-9][0-9]* tests?' .build/unit-tests.log

PYTEST = $(VENV)/bin/pytest -p no:cacheprovider
# A module and its stack stay in one process; more processes than cores, since the tests wait for much.
PROCESSES ?= 4

smoke-test: build test-packages $(VENV)/installed
	$(PYTEST) -q Tests/EndToEnd/test_smoke.py

# The unit tests and the Swift client are compiled meanwhile, where they are not.
end-to-end-tests-in-parallel: build test-packages client-packages systemd-packages $(VENV)/installed \
		$(API_TOOLS)/installed
	@{ nice swift build --build-tests && nice swift build --package-path clients/swift --build-tests; } \
		> .build/unit-tests-build.log 2>&1 & building=$$!; \
	trap 'kill $$building 2> /dev/null || true' EXIT; \
	$(PYTEST) -m "not alone" -n $(PROCESSES) Tests/EndToEnd 2>&1 | tee .build/end-to-end-tests.log; \
	wait $$building || { cat .build/unit-tests-build.log; exit 1; }

# Those that measure, and those that load both cores by themselves.
end-to-end-tests-alone: build test-packages client-packages $(VENV)/installed
	$(PYTEST) -m alone Tests/EndToEnd 2>&1 | tee .build/end-to-end-tests-alone.log

# The second package is the same under a later version: it is what the first is upgraded to. Packing
# both tightly would take most of a minute.
test-systemd: build systemd-packages
	$(MAKE) --no-print-directory deb COMPRESSION=none VERSION=$(VERSION)+next > /dev/null
	$(MAKE) --no-print-directory deb COMPRESSION=none > /dev/null
	clang -shared -fPIC -O1 -o .build/clock.so Tests/Systemd/clock.c || rm -f .build/clock.so
	python3 Tests/Systemd/boot.py .build/proxy-gpt_$(VERSION)_*.deb .build/proxy-gpt_$(VERSION)+next_*.deb \
		$(if $(WHOLE),--whole) $(ONLY)

# The same seed has the same faults in the same order; at which moment they meet is chance.
soak: build test-packages $(VENV)/installed
	@$(VENV)/bin/python Tests/EndToEnd/harness/soak.py

faults: build test-packages $(VENV)/installed
	@$(VENV)/bin/python Tests/EndToEnd/harness/faults.py $(if $(ONLY),"$(ONLY)")

fuzz: packages
	@python3 Tests/Fuzz/fuzz.py $(or $(SECONDS),60) --only "$(ONLY)" $(if $(MINIMIZE),--minimize)

format: packages
	swift format lint --strict --parallel --recursive Sources Tests Benchmarks Package.swift

lint: format unit-tests-built
	@mkdir -p .build
	swift test --skip-build --filter ImportRules 2>&1 | tee .build/import-rules.log
	@grep -qE 'Test run with [1-9][0-9]* tests?' .build/import-rules.log

bench: build bench-packages test-packages
	python3 Benchmarks/bench.py

growth: build test-packages
	python3 Benchmarks/bench.py growth

# Writes the table of settings into docs and systemd/environment, the endpoint table into docs/openapi.json,
# docs/api.http, docs/llms.txt and docs/reference.html, and the output of commands into the documents.
docs: build test-packages
	@.build/release/proxy-gpt-admin document-settings .
	@.build/release/proxy-gpt-admin document-api .
	@python3 Tests/EndToEnd/harness/documents.py

# The README's, by the tests' browser: whenever the page looks different.
picture: build test-packages $(VENV)/installed
	@$(VENV)/bin/python Tests/EndToEnd/harness/page_picture.py

clean:
	rm -rf .build .build-fuzz clients/swift/.build

# Programs of others that read the document of the API; their packages and the tests' do not get along.
api-tools: $(API_TOOLS)/installed

$(API_TOOLS)/installed: Tests/EndToEnd/clients/requirements.txt
	python3 -m venv $(API_TOOLS)
	$(API_TOOLS)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/installed: Tests/EndToEnd/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# $(call install_missing,PACKAGES): installs those that are not there, with what they need and no more.
define install_missing
	missing=; \
	for package in $(1); do \
		state=$$(dpkg-query -W -f='$${db:Status-Status}' $$package 2> /dev/null || true); \
		[ "$$state" = installed ] || missing="$$missing $$package"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" != 0 ]; then \
		echo "missing packages: sudo apt-get install$$missing" >&2; exit 1; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq; \
	apt-get install -y -qq --no-install-recommends $$missing
endef

# Any nginx will do, whatever package it came in.
packages:
	@$(call install_missing,$(PACKAGES) \
		$(if $(shell PATH="$$PATH:/usr/sbin" command -v nginx),,nginx-light))

# The page is tested in a browser, where there is one to be had; Debian's architectures have it.
# Of Redis and PgBouncer the programs alone: the tests start them themselves.
test-packages:
	@$(call install_missing,postgresql redis-server pgbouncer)
	@( $(call install_missing,chromium) ) \
		|| echo "Chromium cannot be installed: the tests of the page will be skipped" >&2

# The clients are tested in all languages that there are.
client-packages:
	@( $(call install_missing,nodejs golang-go) ) \
		|| echo "Node.js and Go cannot be installed: the tests of their clients will be skipped" >&2

systemd-packages:
	@( $(call install_missing,systemd-container debootstrap dpkg-dev) ) \
		|| echo "systemd-nspawn cannot be installed: the tests under systemd will be skipped" >&2

bench-packages:
	@$(call install_missing,wrk libnginx-mod-nchan)

# What an administrator may have edited is left alone, and the new version put beside it.
define install_configuration
	@if [ ! -e "$(2)" ] || cmp -s $(1) "$(2)"; then install -D -m $(3) $(1) "$(2)"; \
	else install -D -m $(3) $(1) "$(2).new"; echo "kept $(2), see $(2).new"; fi
endef

# Files of ours name other files of ours, which are elsewhere with another PREFIX.
define correct_paths
	sed -i -e 's|/usr/libexec/proxy-gpt|$(LIBEXECDIR)|g' -e 's|/usr/share/proxy-gpt|$(PREFIX)/share/proxy-gpt|g' \
		-e 's|/usr/sbin/proxy-gpt|$(PREFIX)/sbin/proxy-gpt|g' -e 's|/usr/bin/proxy-gpt|$(PREFIX)/bin/proxy-gpt|g' $(1)
endef

install:
	@for program in worker streamer admin; do \
		[ -x .build/release/proxy-gpt-$$program ] || { echo "run make build first" >&2; exit 1; }; \
	done
	install -D -m 0755 .build/release/proxy-gpt-worker $(DESTDIR)$(LIBEXECDIR)/proxy-gpt-worker
	install -D -m 0755 .build/release/proxy-gpt-streamer $(DESTDIR)$(LIBEXECDIR)/proxy-gpt-streamer
	install -D -m 0755 .build/release/proxy-gpt-admin $(DESTDIR)$(PREFIX)/bin/proxy-gpt-admin
	install -D -m 0755 systemd/proxy-gpt-restart $(DESTDIR)$(PREFIX)/sbin/proxy-gpt-restart
	install -d $(DESTDIR)$(COMPLETIONDIR)
	.build/release/proxy-gpt-admin --generate-completion-script bash \
		> $(DESTDIR)$(COMPLETIONDIR)/proxy-gpt-admin
	chmod 0644 $(DESTDIR)$(COMPLETIONDIR)/proxy-gpt-admin
	install -d $(DESTDIR)$(UNITDIR)
	install -m 0644 systemd/*.target systemd/*.socket systemd/*.service systemd/*.timer \
		$(DESTDIR)$(UNITDIR)
	$(call correct_paths,$(DESTDIR)$(UNITDIR)/proxy-gpt*)
	install -D -m 0644 systemd/proxy-gpt.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/proxy-gpt.conf
	install -D -m 0644 systemd/proxy-gpt.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/proxy-gpt.conf
	for page in docs/man/*; do \
		install -D -m 0644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}; \
	done
	gzip -9nf $(DESTDIR)$(MANDIR)/man?/proxy-gpt*.[1-8]
	install -d $(DESTDIR)$(SYSCONFDIR)/nginx/snippets
	install -m 0644 nginx/proxy-gpt-http.conf nginx/proxy-gpt-locations.conf nginx/proxy-gpt-fastcgi.conf \
		nginx/proxy-gpt-streamer.conf nginx/proxy-gpt-operators.conf \
		$(DESTDIR)$(SYSCONFDIR)/nginx/snippets
	install -d $(DESTDIR)$(DOCDIR)
	find docs -maxdepth 1 -type f -exec install -m 0644 -t $(DESTDIR)$(DOCDIR) {} +
	install -m 0644 *.md $(DESTDIR)$(DOCDIR)
	sed -i -e 's|](docs/|](|g' -e 's|](\.\./|](|g' $(DESTDIR)$(DOCDIR)/*.md
	[ ! -d examples ] || cp -r --no-preserve=ownership examples $(DESTDIR)$(DOCDIR)
	install -d $(DESTDIR)$(PREFIX)/share/proxy-gpt/web $(DESTDIR)$(PREFIX)/share/proxy-gpt/docs
	install -m 0644 web/* $(DESTDIR)$(PREFIX)/share/proxy-gpt/web
	install -m 0644 docs/reference.html docs/reference.css docs/openapi.json docs/llms.txt \
		$(DESTDIR)$(PREFIX)/share/proxy-gpt/docs
	install -m 0644 nginx/proxy-gpt-page.conf nginx/proxy-gpt-docs.conf $(DESTDIR)$(SYSCONFDIR)/nginx/snippets
	$(call correct_paths,$(DESTDIR)$(SYSCONFDIR)/nginx/snippets/proxy-gpt-page.conf \
		$(DESTDIR)$(SYSCONFDIR)/nginx/snippets/proxy-gpt-docs.conf)
	install -m 0644 nginx/balancer.conf nginx/tls.conf $(DESTDIR)$(PREFIX)/share/proxy-gpt
	install -d -m 0750 $(DESTDIR)$(SYSCONFDIR)/proxy-gpt
	$(call install_configuration,nginx/proxy-gpt.conf,$(DESTDIR)$(SYSCONFDIR)/nginx/sites-available/proxy-gpt.conf,0644)
	$(call install_configuration,systemd/environment,$(DESTDIR)$(SYSCONFDIR)/proxy-gpt/environment,0640)
	@! grep -qs '^upstream proxy_gpt {' $(DESTDIR)$(SYSCONFDIR)/nginx/sites-available/proxy-gpt.conf || \
		echo "what stands before the first server block of sites-available/proxy-gpt.conf is in" \
		"snippets/proxy-gpt-http.conf now: remove it there"
	@[ -n "$(DESTDIR)" ] || printf '%s\n' "" "Installed. As root, once:" \
		"  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload" \
		"  install -m 0600 /dev/stdin $(SYSCONFDIR)/proxy-gpt/api_key     # paste the key, Ctrl-D" \
		"  systemctl enable --now proxy-gpt.target" \
		"  sudo proxy-gpt-admin create NAME --admin" \
		"  ln -s ../snippets/proxy-gpt-http.conf $(SYSCONFDIR)/nginx/conf.d/proxy-gpt.conf" \
		"  ln -s ../sites-available/proxy-gpt.conf $(SYSCONFDIR)/nginx/sites-enabled/ && systemctl reload nginx"

# dpkg's own tools alone. What the programs need is read out of them.
DEB = .build/deb
COMPRESSION ?= xz
deb:
	rm -rf $(DEB)
	$(MAKE) --no-print-directory install DESTDIR=$(DEB)/root PREFIX=/usr SYSCONFDIR=/etc \
		UNITDIR=/lib/systemd/system > /dev/null
	strip --strip-unneeded $(DEB)/root/usr/libexec/proxy-gpt/* $(DEB)/root/usr/bin/proxy-gpt-admin
	install -D -m 0644 systemd/debian/copyright $(DEB)/root/usr/share/doc/proxy-gpt/copyright
	mkdir -p $(DEB)/root/DEBIAN $(DEB)/source/debian
	cp systemd/debian/control $(DEB)/source/debian
	cd $(DEB)/source && dpkg-shlibdeps -O ../root/usr/libexec/proxy-gpt/* ../root/usr/bin/proxy-gpt-admin \
		2> /dev/null | sed 's/^shlibs:Depends=//' > ../depends
	grep -q libfcgi $(DEB)/depends
	size=$$(du -sk --exclude=DEBIAN $(DEB)/root | cut -f 1); \
	sed -e '1,/^$$/d' -e "s/\$${shlibs:Depends}/$$(cat $(DEB)/depends)/" \
		-e "s/^Architecture: any/Architecture: $$(dpkg --print-architecture)/" systemd/debian/control \
		| sed -e "1a Version: $(VERSION)" -e "1a Section: web" -e "1a Priority: optional" \
		-e "1a Maintainer: $$(sed -n 's/^Maintainer: //p' systemd/debian/control)" \
		-e "1a Installed-Size: $$size" > $(DEB)/root/DEBIAN/control
	cd $(DEB)/root && find etc -type f -printf '/%p\n' | sort > DEBIAN/conffiles
	cd $(DEB)/root && find * -type f ! -path 'DEBIAN/*' ! -path 'etc/*' -exec md5sum {} + > DEBIAN/md5sums
	install -m 0755 systemd/debian/{preinst,postinst,prerm,postrm} $(DEB)/root/DEBIAN
	dpkg-deb --root-owner-group -Z$(COMPRESSION) --build $(DEB)/root \
		.build/proxy-gpt_$(VERSION)_$$(dpkg --print-architecture).deb
