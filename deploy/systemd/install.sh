#!/bin/sh
# Installs the relay and its unit from this source tree; run again to upgrade. Settings and secrets that exist are
# kept. DESTDIR=/some/root installs there and leaves systemd alone. --without-python installs the files only.
set -eu

usage() {
  echo "usage: [DESTDIR=/root] [PYTHON=python3.11] install.sh [--without-python]" >&2
  exit 2
}

with_python=yes
for argument in "$@"; do
  case "$argument" in
    --without-python) with_python=no ;;
    *) usage ;;
  esac
done

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source=$(CDPATH='' cd -- "$here/../.." && pwd)
root=${DESTDIR:-}
program=$root/opt/oms-relay
etc=$root/etc/oms-relay
units=$root/etc/systemd/system

if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
  echo "install.sh: nothing was installed: run it as root, or set DESTDIR" >&2
  exit 1
fi

if [ "$with_python" = yes ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  "${PYTHON:-python3.11}" -m venv "$work/build"
  "$work/build/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$source/constraints-build.txt"
  "$work/build/bin/python" -m pip wheel -q --disable-pip-version-check --require-hashes --no-deps --no-build-isolation \
    -w "$work/wheels" -r "$source/constraints-runtime.txt"
  "$work/build/bin/python" -m pip wheel -q --disable-pip-version-check --no-index --no-deps --no-build-isolation \
    -w "$work/wheels" "$source"
  # Beside the old one, so that relays that run keep their files until the move.
  rm -rf "$program.new" "$program.old"
  mkdir -p "$root/opt"
  "${PYTHON:-python3.11}" -m venv --without-pip "$program.new"
  "$work/build/bin/python" -m pip --python "$program.new/bin/python" install -q --disable-pip-version-check \
    --no-index --find-links "$work/wheels" "oms-relay[otel]"
  # Scripts start the Python of the place where they will stand.
  rm -f "$program.new"/bin/[aA]ctivate*
  for script in "$program.new"/bin/*; do
    if [ -f "$script" ] && [ ! -L "$script" ]; then sed -i '1s|^#!.*|#!/opt/oms-relay/bin/python|' "$script"; fi
  done
  case $(readlink -f "$program.new/bin/python") in
    /root/* | /home/*) echo "install.sh: this Python lies in a home directory, which the unit does not see" >&2 ;;
  esac
  if [ -d "$program" ]; then mv "$program" "$program.old"; fi
  mv "$program.new" "$program"
  rm -rf "$program.old"
fi

install -d -m 0755 "$etc" "$units"
install -d -m 0700 "$etc/credentials"
if [ ! -e "$etc/relay.env" ]; then
  install -m 0600 "$here/relay.env" "$etc/relay.env"
fi
chmod 0600 "$etc/relay.env"
for secret in "$etc"/credentials/*; do
  if [ -f "$secret" ]; then chmod 0600 "$secret"; fi
done
install -m 0644 "$here/oms-relay@.service" "$units/oms-relay@.service"

if [ -z "$root" ]; then
  systemctl daemon-reload
fi
cat <<NEXT
Installed. Next:
  edit $etc/relay.env
  put the Huawei keys into $etc/credentials/hw_ak and $etc/credentials/hw_sk (mode 0600)
  systemctl enable --now oms-relay@1      # or oms-relay@{1..4}, one for each core
  systemctl restart 'oms-relay@*'         # after an upgrade or a change
NEXT
