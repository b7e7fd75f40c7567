# Sourced by ./run, ./test and .ci/run with $here set to the checkout: makes $here/.venv, the
# virtual environment they use. It must touch nothing outside the checkout, and do nothing, not
# even ask the network, when everything is there already. POSIX sh.

venv=$here/.venv

fail() {
    echo "snickers: $*" >&2
    exit 1
}

# Prints the first Python that is new enough and complete. On failure says what is missing.
find_python() {
    found=
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        # A name may be there and not run, as a version chooser's placeholders do.
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        if "$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
        found=${found:-$name}
    done
    if [ -n "$found" ]; then
        fail "$found has no venv or ensurepip; install it, for example: apt install ${found##*/}-venv"
    fi
    fail "needs Python 3.11 or newer and found none; install it, for example: apt install python3 python3-venv"
}

# What an installed environment depends on besides where it lies.
wanted() {
    (cd "$here" && cksum setup.cfg pyproject.toml)
}

# prepare EXTRA...: has $venv ready with Snickers and the named extras of setup.cfg.
prepare() {
    # A checkout that was moved and a Python that was replaced leave an environment that is dead.
    if [ "$(cat "$venv/lies-in" 2>/dev/null)" != "$here" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
        [ -w "$here" ] || fail "cannot write to $here, where the virtual environment goes"
        python=$(find_python) || exit 1
        echo "snickers: making .venv with $("$python" --version) ($python)"
        rm -rf "$venv"
        "$python" -m venv "$venv" || fail "could not make $venv"
        echo "$here" >"$venv/lies-in"
    fi
    lacking=
    for extra in core "$@"; do
        [ "$(cat "$venv/installed-$extra" 2>/dev/null)" = "$(wanted)" ] || lacking=1
    done
    [ -n "$lacking" ] || return 0
    extras=$(IFS=, && echo "$*")
    echo "snickers: installing what is needed (once; takes a minute)"
    "$venv/bin/python" -m pip -qq --disable-pip-version-check install \
        --editable "$here${extras:+[$extras]}" ||
        fail "could not install; the lines above say why. The first start needs the network"
    for extra in core "$@"; do
        wanted >"$venv/installed-$extra"
    done
}
