#!/bin/sh
# The mirrors of Debian's archive among apt's sources, without those of other archives.
command -v apt-get >/dev/null && [ -x /usr/lib/apt/apt-helper ] || exit 0
# Where no list has been fetched yet, apt knows the releases' names alone.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && printf %s "${VERSION_CODENAME:-}")
apt-get indextargets --format "\$(SITE)|\$(RELEASE)|\$(CODENAME)|\$(ORIGIN)" "Created-By: Packages" |
  awk -F '|' -v code="$codename" '$4 == "Debian" || $4 == "" && ($2 == code || $3 == code) { print ($2 != code && $3 != code) "|" $1 }' |
  sort -u | cut -d '|' -f 2 | awk '!seen[$0]++'
