#!/usr/bin/env bash
# scripts/run.sh NAME [ARGUMENT...]: runs scripts/NAME.py in the repository's own environment, .venv, made here if missing.
# This part is shell because it has to speak up on a machine without a Python that fits.
set -euo pipefail
cd "$(dirname "$0")/.."

# A shell with a bare environment (cron, CI) has neither of these.
export PYTHONUTF8=1 LANG="${LANG:-C.UTF-8}"
# A Python environment of the caller's must not leak into ours.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

fail() {
    echo "$*" >&2
    exit 1
}

# Told to end, bash would leave its child running. So the child works in the background, as a process group (set -m)
# that is ended as a whole.
watched() {
    set -m
    "$@" </dev/null &
    local child=$! status=0
    set +m
    trap 'end_group $child; exit 130' INT
    trap 'end_group $child; exit 143' TERM HUP
    wait "$child" || status=$?
    trap - INT TERM HUP
    return "$status"
}

end_group() {
    kill -- "-$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }

find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python3.10)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    local found
    found=$("${candidates[0]}" --version 2>&1 | tail -n 1) || found="not to be run"
    fail "This needs Python 3.10 to 3.13, and ${candidates[0]} here is: $found." \
        "Install one of these versions, or name it: PYTHON=/path/to/python3.12 make ..."
}

# .venv is sound if it has our uv, its Python still runs, and it was made here: the commands in a copy of it, or in one
# that was moved along with the repository, lead to the old place. If PYTHON is given, it has to be of that version.
venv_is_sound() {
    [ -x .venv/bin/uv ] && fits .venv/bin/python && grep -qF "$PWD/.venv/bin/python" .venv/bin/pip || return 1
    [ -z "${PYTHON:-}" ] && return 0
    local version='import sys; print(sys.version_info[:2])'
    [ "$(.venv/bin/python -c "$version")" = "$("$PYTHON" -c "$version")" ]
}

make_venv() {
    local python
    python=$(find_python)
    echo "Making the environment .venv with $("$python" --version) (only the first time)"
    mkdir -p build/logs
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "This Python has no venv module. Install it (Debian, Ubuntu: apt install python3-venv) and try again."
    watched "$python" -m venv --clear .venv >build/logs/venv.log 2>&1 ||
        fail "Python could not make an environment in .venv; it said why in build/logs/venv.log."
    watched .venv/bin/python -m pip install --disable-pip-version-check -c constraints/airflow-3.3.2.txt uv \
        >>build/logs/venv.log 2>&1 ||
        fail "pip could not install uv: is there a network, and a package index that pip reaches?" \
            "Try again when there is; pip's own words are in build/logs/venv.log."
}

name=$1
shift
[ -z "${PYTHON:-}" ] || PYTHON=$(find_python)
venv_is_sound || make_venv
exec .venv/bin/python "scripts/$name.py" "$@"
