#!/usr/bin/env bash
# Sees to the programs that the tests run besides Python. Missing ones are installed when we are root on Debian (or a
# child of it); otherwise it says what is missing, and the tests that need it are skipped and listed.
# Always ends well: what could not be had is the tests' business. Starts no daemon and leaves none to start at boot.
set -uo pipefail

# program (or file):package:what is not tested without it
needs="
sshd:openssh-server:OpenSSH through the tunnel
scp:openssh-client:OpenSSH through the tunnel
postgres:postgresql:PostgreSQL through the tunnel
nft:nftables:the firewall
/usr/lib/python3/dist-packages/nftables:python3-nftables:the firewall through the library
ip:iproute2:network namespaces
ps:procps:the process tree
ping:iputils-ping:ping in transparent mode
tcpdump:tcpdump:checksums, as others judge them
curl:curl:curl through SOCKS and in transparent mode
git:git:git over ssh through the tunnel
man:man-db:the manual pages, without a warning of roff
"

# Daemons live outside an ordinary user's PATH, PostgreSQL's in a directory of its version.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for directory in /usr/lib/postgresql/*/bin; do
    PATH=$PATH:$directory
done

missing() {
    while IFS=: read -r program package what; do
        [ -z "$program" ] || [ -e "$program" ] || command -v "$program" >/dev/null 2>&1 || echo "$program:$package:$what"
    done <<<"$needs"
}

policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf
made_policy=no
saved_cluster=

# shellcheck disable=SC2317 # called by the trap
restore() {
    [ "$made_policy" = no ] || rm -f "$policy"
    [ -z "$saved_cluster" ] || mv -f "$saved_cluster" "$cluster"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-confold "$@" </dev/null
}

install_packages() {
    trap restore EXIT
    # Debian asks this file before a package may start its daemon; 101 means no.
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made_policy=yes
    fi
    apt-get update -q -o DPkg::Lock::Timeout=300 </dev/null || true
    case " $* " in
    *" postgresql "*)
        # The tests make their own data directory: the package is not to make one for the machine.
        apt_install postgresql-common || return 1
        saved_cluster=$(mktemp) && cp -p "$cluster" "$saved_cluster" &&
            printf 'create_main_cluster = false\n' >>"$cluster"
        ;;
    esac
    apt_install "$@" || return 1
    case " $* " in
    *" openssh-server "*)
        # It was not there before, so nobody counts on it: it is not to listen after the next boot.
        ! command -v systemctl >/dev/null || systemctl --quiet disable ssh.service ssh.socket >/dev/null 2>&1 || true
        ;;
    esac
}

lines=$(missing)
[ -n "$lines" ] || exit 0
packages=$(cut -d: -f2 <<<"$lines" | sort -u | tr '\n' ' ')

if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing what the tests need: $packages"
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of names
    (install_packages $packages) >"$log" 2>&1 || tail -n 15 "$log" >&2
    rm -f "$log"
    lines=$(missing)
    [ -n "$lines" ] || exit 0
    packages=$(cut -d: -f2 <<<"$lines" | sort -u | tr '\n' ' ')
fi

echo "missing programs; these tests will be skipped, and listed at the end:"
while IFS=: read -r program package what; do
    echo "  $program (Debian package $package): $what"
done <<<"$lines"
echo "hint: as root on Debian: apt-get install $packages"
