#!/bin/sh
# Makes sure of a JDK 17+, Maven, Python's venv and a browser: installs what is missing with apt
# where that is allowed (root, or sudo without a password), and otherwise says the command.
#
#   deploy/setup.sh java          a JDK and Maven
#   deploy/setup.sh browser       Chromium, for tests of pages
#   deploy/setup.sh venv PYTHON   .venv with what running, demo and most tests need
#   deploy/setup.sh extra NAME    and with the packages of an extra; train brings PyTorch (5 GB)
#   deploy/setup.sh rectools      .venv/rectools, for one test
set -eu

java_is_new_enough() {
    command -v javac >/dev/null || return 1
    version=$(javac -version 2>&1 | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    [ "${version:-0}" -ge 17 ]
}

apt_install() {
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=sudo
    else
        as_root=no
    fi
    if [ "$as_root" = no ] || ! command -v apt-get >/dev/null; then
        echo "setup: missing: $*" >&2
        echo "  fix: sudo apt-get install $*" >&2
        exit 1
    fi
    echo "setup: installing $*"
    $as_root apt-get -qq update
    DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq install --no-install-recommends "$@" >/dev/null
}

java() {
    missing=
    java_is_new_enough || missing="openjdk-17-jdk-headless"
    command -v mvn >/dev/null || missing="$missing maven"
    # shellcheck disable=SC2086 - one word for each package
    [ -z "$missing" ] || apt_install $missing
}

browser_path() {
    for name in chromium chromium-browser google-chrome chrome; do
        command -v "$name" && return
    done
    return 1
}

browser() {
    browser_path >/dev/null || apt_install chromium
}

venv() {
    python=${1:-}
    if [ -z "$python" ]; then
        echo "setup: no Python 3.10, 3.11 or 3.12 was found" >&2
        echo "  fix: sudo apt-get install python3 python3-venv, or name one: make setup PYTHON=/path/to/python" >&2
        exit 1
    fi
    name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install "$name-venv"
    [ -x ".venv/bin/$name" ] || "$python" -m venv --clear .venv
    echo "setup: installing Python packages into .venv (some minutes the first time)"
    install .venv -c deploy/constraints.txt -e '.[dev]'
}

extra() {
    echo "setup: installing Python packages for $1 into .venv (some minutes the first time)"
    install .venv -c deploy/constraints.txt -e ".[$1]"
}

rectools() {
    .venv/bin/python -m venv --clear .venv/rectools
    install .venv/rectools -r deploy/rectools.txt
}

# uv takes a fraction of the time; pip goes on where it fails, as uv does not read pip's settings.
install() {
    python=$1/bin/python
    shift
    pip="$python -m pip --disable-pip-version-check install -q"
    $pip -c deploy/constraints.txt uv
    "$python" -m uv pip install -q --system-certs --python "$python" "$@" || $pip --use-pep517 "$@"
}

"$@"
