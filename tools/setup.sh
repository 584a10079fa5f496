#!/bin/sh
# Makes .venv and installs the book into it. The Makefile calls this with PYTHON and PIP_OPTIONS in the environment
# when requirements have changed, or when .venv lies elsewhere than its stamp says.
set -u
venv=.venv
stamp=$venv/installed # written last, so that an interrupted installation is never taken for a finished one
in_venv=$venv/bin/python

stop() {
  echo "error: $1" >&2
  exit 1
}
quiet_pip() { "$in_venv" -m pip install --disable-pip-version-check --quiet "$@"; }

# 1. An interpreter that will do.
versions="Python 3.11 to 3.14"
another="name one: make PYTHON=/path/to/python3"
command -v "$PYTHON" >/dev/null || stop "there is no $PYTHON here; install $versions, or $another"
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' ||
  stop "$PYTHON is $("$PYTHON" -V 2>&1), but the book needs $versions; $another"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
  stop "$PYTHON cannot make virtual environments; install its venv module (on Debian and Ubuntu: apt install python3-venv)"

# 2. An environment. Copied or moved with the folder, it still names its old place: in the first lines of its commands,
# and in the editable installation of lib, whose place would be imported from there.
old=$(cat "$stamp" 2>/dev/null)
changed=$(find requirements.txt requirements.lock pyproject.toml -newer "$stamp" 2>/dev/null)
rm -f "$stamp"
if "$in_venv" -m pip --version >/dev/null 2>&1; then
  place=$(cd "$venv" && pwd -P)
  if [ -n "$old" ] && [ "$old" != "$place" ]; then
    echo "This folder was copied or moved: $venv, made in $old, is set right"
    "$in_venv" - "$old" "$place" <<'COMMANDS'
import sys
from pathlib import Path

old, new = sys.argv[1:]
for command in Path(new, "bin").iterdir():
    content = b"" if command.is_symlink() else command.read_bytes()
    if old.encode() in content and b"\0" not in content:
        first, _, rest = content.decode().partition("\n")
        if first.startswith(f"#!{old}"):  # instead as pip writes it where a path holds spaces
            first = "#!/bin/sh\n'''exec' \"" + first[2:] + "\" \"$0\" \"$@\"\n' '''"
        command.write_text(f"{first}\n{rest}".replace(old, new))
COMMANDS
    # what is installed already builds it: so this works without a network
    quiet_pip --no-deps --no-build-isolation -e . && [ -z "$changed" ] && printf '%s\n' "$place" >"$stamp" && exit
  fi
else
  echo "Setting up $venv: once, a few minutes and about 7 GB (the README says how to get by with less)"
  "$PYTHON" -m venv --clear "$venv" || stop "$venv could not be made; the messages above say why"
fi

# 3. The packages, and what the first figure would otherwise say that it is building.
# shellcheck disable=SC2086  # several options are several words
quiet_pip ${PIP_OPTIONS:-} -r requirements.txt ||
  stop "the packages could not be installed; the messages above say why; the same command carries on from here"
"$in_venv" -c 'import matplotlib.font_manager' || stop "Matplotlib cannot be imported; the messages above say why"
(cd "$venv" && pwd -P) >"$stamp"
