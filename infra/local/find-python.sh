#!/bin/sh
# Print the newest usable Python (3.11 to 3.13), or say what to install.
# pyenv's versions count as on PATH: its shims exist even where no version is selected.
# With an argument (3.13) only that minor version will do.
for version in ${1:-3.13 3.12 3.11}; do
    for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python3 python3; do
        if "$candidate" -c "import sys, ssl, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            exit 0
        fi
    done
done
echo "No usable Python ${1:-3.11, 3.12 or 3.13} found (with ssl, venv and ensurepip)." >&2
echo "Install one (Debian: apt-get install python3 python3-venv; or pyenv install 3.13)." >&2
exit 1
