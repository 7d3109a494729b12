#!/bin/sh
# Installs oms-relay and its units from this source tree; run again to upgrade. Settings and secrets that exist are kept.
# Whatever this machine lacks is said before anything is changed. DESTDIR=/some/root installs there and leaves systemd alone.
set -eu

usage() {
  cat >&2 <<USAGE
usage: [PYTHON=python3.12] [DESTDIR=/root] install.sh [--without-python]
       [DESTDIR=/root] install.sh --uninstall [--purge]

  --without-python  install the files only
  --uninstall       stop the relays and remove the program and its units; settings and secrets stay
  --purge           remove settings and secrets, too
  PYTHON            the Python to use, 3.11 or newer; else one is looked for
  SYSTEMD_VERSION   the systemd of the machine that will run this; else that of this machine
USAGE
  exit 2
}

with_python=yes act=install purge=no
for argument in "$@"; do
  case "$argument" in
    --without-python) with_python=no ;;
    --uninstall) act=uninstall ;;
    --purge) purge=yes ;;
    *) usage ;;
  esac
done
if [ "$purge" = yes ] && [ "$act" = install ]; then usage; fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source=$(CDPATH='' cd -- "$here/../.." && pwd)
root=${DESTDIR:-}
program=$root/opt/oms-relay
etc=$root/etc/oms-relay
units=$root/etc/systemd/system
local=$root/usr/local
wrapper=$local/bin/oms-relay
manual=$local/share/man/man1/oms-relay.1
completion=$local/share/bash-completion/completions/oms-relay
# systemd reads secrets for a unit (%d) from 250 on.
new_enough=250
oldest=239

find_python() {
  for each in ${PYTHON:-python3.11 python3 python3.13 python3.12 python3.14}; do
    if "$each" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$each"
      return
    fi
  done
}

systemd_version() {
  if [ -n "${SYSTEMD_VERSION:-}" ]; then
    echo "$SYSTEMD_VERSION"
  elif command -v systemctl >/dev/null; then
    systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'
  elif [ -n "$root" ]; then
    echo $new_enough
  fi
}

problems=
lacks() {
  problems="$problems
  - $1"
}

check() {
  if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    lacks "you are not root: run it as root, or set DESTDIR"
  fi
  version=$(systemd_version)
  case $version in
    '' | *[!0-9]*) lacks "there is no systemd here: see deploy/container for machines without it" ;;
    *) if [ "$version" -lt $oldest ]; then
      lacks "systemd $version is too old: $oldest (Alibaba Cloud Linux 3, RHEL 8) is the oldest that works"
    fi ;;
  esac
  if [ "$with_python" = no ]; then return; fi
  python=$(find_python)
  if [ -z "$python" ]; then
    lacks "no Python 3.11 or newer with venv: install one (dnf install python3.11, apt install python3-venv), or name it with PYTHON="
    return
  fi
  case $("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))') in
    /root/* | /home/*)
      said="$python lies in a home directory, which the units do not see: name another with PYTHON="
      if [ -z "$root" ]; then lacks "$said"; else echo "install.sh: $said" >&2; fi
      ;;
  esac
}

build() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  "$python" -m venv "$work/build"
  "$work/build/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$source/constraints-build.txt"
  "$work/build/bin/python" -m pip wheel -q --disable-pip-version-check --require-hashes --no-deps --no-build-isolation \
    -w "$work/wheels" -r "$source/constraints-runtime.txt"
  "$work/build/bin/python" -m pip wheel -q --disable-pip-version-check --no-index --no-deps --no-build-isolation \
    -w "$work/wheels" "$source"
  # Beside the old one, so that relays that run keep their files until the move.
  rm -rf "$program.new" "$program.old"
  mkdir -p "$root/opt"
  "$python" -m venv --without-pip "$program.new"
  "$work/build/bin/python" -m pip --python "$program.new/bin/python" install -q --disable-pip-version-check \
    --no-index --find-links "$work/wheels" "oms-relay[otel]"
  "$program.new/bin/python" "$source/deploy/man/page.py" > "$work/manual"
  _OMS_RELAY_COMPLETE=source_bash "$program.new/bin/oms-relay" > "$work/completion"
  # Scripts start the Python of the place where they will stand.
  rm -f "$program.new"/bin/[aA]ctivate*
  for script in "$program.new"/bin/*; do
    if [ -f "$script" ] && [ ! -L "$script" ]; then sed -i '1s|^#!.*|#!/opt/oms-relay/bin/python|' "$script"; fi
  done
  if [ -d "$program" ]; then mv "$program" "$program.old"; fi
  mv "$program.new" "$program"
  rm -rf "$program.old"
  install -D -m 0644 "$work/manual" "$manual"
  install -D -m 0644 "$work/completion" "$completion"
}

install_files() {
  group=root mode_folder=0700 mode_file=0600
  if [ "$version" -lt $new_enough ]; then
    # The units run as a user of their own, who reads the files.
    mode_folder=0750 mode_file=0640
    if [ -z "$root" ]; then
      group=oms-relay
      id -u oms-relay >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /sbin/nologin oms-relay
    fi
  fi
  install -d -m 0755 "$etc" "$units"
  install -d -m "$mode_folder" "$etc/credentials" "$etc/operator"
  if [ ! -e "$etc/relay.env" ]; then install -m 0600 "$here/relay.env" "$etc/relay.env"; fi
  chmod 0600 "$etc/relay.env"
  if [ ! -e "$etc/credentials/console_token" ]; then
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$etc/credentials/console_token")
  fi
  for folder in "$etc/credentials" "$etc/operator"; do
    chmod "$mode_folder" "$folder"
    for secret in "$folder"/*; do
      if [ -f "$secret" ]; then chmod "$mode_file" "$secret"; fi
    done
    if [ -z "$root" ]; then chgrp -R "$group" "$folder"; fi
  done
  install -D -m 0755 "$here/oms-relay.sh" "$wrapper"
  for unit in oms-relay@.service oms-relay-console.service; do
    install -m 0644 "$here/$unit" "$units/$unit"
    drop_in=$units/$unit.d/10-before-250.conf
    rm -f "$drop_in"
    if [ "$version" -lt $new_enough ]; then
      install -D -m 0644 "$here/before-250.conf" "$drop_in"
      if [ "$unit" = oms-relay-console.service ]; then
        echo 'Environment=RELAY_CONSOLE_TOKEN_FILE=/etc/oms-relay/credentials/console_token' >> "$drop_in"
      fi
    fi
  done
  if [ -z "$root" ]; then systemctl daemon-reload; fi
}

uninstall() {
  if [ -z "$root" ]; then
    systemctl stop 'oms-relay@*' oms-relay-console 2>/dev/null || true
  fi
  rm -f "$units"/multi-user.target.wants/oms-relay@*.service "$units/multi-user.target.wants/oms-relay-console.service"
  for unit in oms-relay@.service oms-relay-console.service; do
    rm -f "$units/$unit" "$units/$unit.d/10-before-250.conf"
    if [ "$purge" = yes ]; then rm -rf "$units/$unit.d"; fi
    rmdir "$units/$unit.d" 2>/dev/null || true
  done
  rm -rf "$program" "$program.new" "$program.old"
  rm -f "$wrapper" "$manual" "$completion"
  if [ "$purge" = yes ]; then
    rm -rf "$etc"
    if [ -z "$root" ] && id -u oms-relay >/dev/null 2>&1; then userdel oms-relay; fi
  fi
  if [ -z "$root" ]; then systemctl daemon-reload; fi
  echo "Removed. Messages wait in the queue as long as its retention lasts."
  if [ -d "$etc" ]; then echo "Settings and secrets are kept in $etc: --purge removes them, too."; fi
}

if [ "$act" = uninstall ]; then
  if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "install.sh: nothing was removed: run it as root, or set DESTDIR" >&2
    exit 1
  fi
  uninstall
  exit
fi

check
if [ -n "$problems" ]; then
  echo "install.sh: nothing was changed:$problems" >&2
  exit 1
fi
if [ "$with_python" = yes ]; then build; fi
install_files
if [ "$version" -lt $new_enough ]; then
  echo "systemd $version hands over no credentials: the units run as the user oms-relay, who may read the secrets."
fi
cat <<NEXT
Installed. Next:
  edit $etc/relay.env
  put the Huawei keys into $etc/credentials/hw_ak and $etc/credentials/hw_sk, and run install.sh again for their modes
  oms-relay doctor                            # as root: with the same settings and secrets
  systemctl enable --now oms-relay@1          # or oms-relay@{1..4}, one for each core
  systemctl enable --now oms-relay-console    # http://127.0.0.1:8090, with the token in $etc/credentials/console_token
  systemctl restart 'oms-relay@*'             # after an upgrade or a change
NEXT
