"""Images of two real applications, made from packages where no public registry can be asked.

Each keeps to what its file in ``etc/applications`` relies on: the same port, user, folder of data,
entry point and path of health as the public image. It holds the application itself, unchanged, and
nothing that was installed on this host: packages of Debian are downloaded with all that they need
and unpacked, those of Python are put beside. Needs ``apt-get`` on Debian 12; no root.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests import docker_setup

WITHIN = 300
"""Seconds for any one program, of which the longest downloads 30 megabytes."""

USERS = "root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\nradicale:x:1000:1000::/:/bin/sh\n"


@functools.cache
def radicale() -> str:
    """Make Radicale from PyPI on Debian's Python; return the image's name."""
    with _root("python3") as root:
        libraries = root / "app" / "lib"
        # The wheels for any processor and any system, which is all that it needs.
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        chosen = ["--only-binary=:all:", "--platform=any", "--python-version=3.11"]
        _run(*pip, *chosen, f"--target={libraries}", "radicale>=3.5,<4")
        binaries = root / "app" / "bin"
        binaries.mkdir()
        (binaries / "python").symlink_to("/usr/bin/python3")
        shutil.move(libraries / "bin" / "radicale", binaries / "radicale")
        return _imported(
            "radicale",
            root,
            "ENV PYTHONPATH=/app/lib",
            'ENTRYPOINT ["/app/bin/python", "/app/bin/radicale"]',
            'CMD ["--hosts", "0.0.0.0:5232,[::]:5232"]',
            "USER radicale",
        )


DOKUWIKI = """#!/bin/sh
set -e
mkdir -p /storage/conf /storage/data
cp -r /core/data/. /storage/data
[ -e /storage/conf/dokuwiki.php ] || cp -r /core/conf/. /storage/conf
exec php -d display_errors=0 -S 0.0.0.0:8080 -t /usr/share/dokuwiki
"""
"""The folders are laid out as the public image does it; the web server is PHP's own, not Apache."""

HEALTH = "<?php require 'inc/init.php'; echo is_writable($conf['datadir']) ? 'fine' : exit(1);\n"


@functools.cache
def dokuwiki() -> str:
    """Make DokuWiki from Debian's package on Debian's PHP; return the image's name."""
    # What dokuwiki needs, but for a web server and Perl.
    alone = (
        "dokuwiki libjs-jquery libjs-jquery-cookie libjs-jquery-ui libphp-simplepie php-geshi "
        "php-phpseclib php-random-compat"
    )
    with _root("php8.2-cli php8.2-sqlite3 php8.2-xml", alone) as root:
        settings = root / "etc" / "php" / "8.2" / "cli" / "conf.d"
        settings.mkdir(parents=True, exist_ok=True)
        for module in root.glob("usr/share/php8.2-*/*/*.ini"):
            text = module.read_text()
            priority = text.partition("; priority=")[2].partition("\n")[0]
            (settings / f"{priority or 20}-{module.name}").write_text(text)
        web = root / "usr" / "share" / "dokuwiki"
        (root / "usr" / "bin" / "php").symlink_to("php8.2")
        (root / "core").mkdir()
        for name, place in ("conf", "etc/dokuwiki"), ("data", "var/lib/dokuwiki/data"):
            shutil.move(root / place, root / "core" / name)
            for link in root / place, web / name:
                link.symlink_to(f"/storage/{name}")
        for name in "users", "acl":  # Files elsewhere, which the package's scripts would make.
            (root / "core" / "conf" / f"{name}.auth.php").unlink()
        (web / "health.php").write_text(HEALTH)
        (root / "entrypoint").write_text(DOKUWIKI)
        (root / "entrypoint").chmod(0o755)
        _run("chmod", "-R", "a+rX", f"{root}/core")
        return _imported("dokuwiki", root, 'ENTRYPOINT ["/entrypoint"]')


@contextmanager
def _root(needed: str, alone: str = "") -> Iterator[Path]:
    """Yield a folder with the packages *needed* and all that those need, and those *alone*.

    No script of a package is run.
    """
    if shutil.which("apt-get") is None:
        raise SkipTest("The applications are made of Debian's packages, and there is no apt-get.")
    with tempfile.TemporaryDirectory(prefix="snickers-application-") as folder:
        archives = Path(folder, "archives")
        _download(archives, needed.split(), alone.split())
        root = Path(folder, "root")
        for package in sorted(archives.glob("*.deb")):
            _run("dpkg-deb", "--extract", str(package), str(root))
        _add_shell(root)
        for rest in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / rest, ignore_errors=True)
        yield root


def _download(archives: Path, needed: Sequence[str], alone: Sequence[str]) -> None:
    """Have the packages for `_root` in *archives*, and nothing changed on this host."""
    (archives / "partial").mkdir(parents=True)
    nothing = archives.with_name("status")
    nothing.touch()
    apt = [
        *("apt-get", "--quiet=2", f"--option=Dir::Cache::Archives={archives}"),
        *("--option=Dir::Cache::pkgcache=", "--option=Dir::Cache::srcpkgcache="),
        *("--option=APT::Sandbox::User=root", "--option=Debug::NoLocking=1"),
        "--option=Acquire::Retries=3",
    ]

    def fetch() -> None:
        # As if nothing were installed here: then it finds all that they need.
        empty = [f"--option=Dir::State::Status={nothing}", "--no-install-recommends"]
        _run(*apt, *empty, "--download-only", "--yes", "install", *needed)
        if alone:
            _run(*apt, "download", *alone, folder=archives)

    try:
        fetch()
    except SkipTest:
        # What this host knows of packages is old, or was removed: those of today, for this once.
        lists = archives.with_name("lists")
        (lists / "partial").mkdir(parents=True)
        apt.append(f"--option=Dir::State::Lists={lists}")
        _run(*apt, "update")
        fetch()


def _add_shell(root: Path) -> None:
    """Add a shell and what is called in scripts: a busybox that needs no libraries."""
    busybox = root / "bin" / "busybox"
    busybox.write_bytes(docker_setup.busybox())
    busybox.chmod(0o755)
    for applet in ["sh", "cp", "cat", "gzip", "ls", "mkdir", "mv", "rm", "tar"]:
        path = busybox.with_name(applet)
        path.unlink(missing_ok=True)
        path.symlink_to("busybox")
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "passwd").write_text(USERS)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _imported(application: str, root: Path, *changes: str) -> str:
    name = f"snickers-test-{application}:{docker_setup.RUN}"
    path = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
    # The archive may not be on Docker's own disk as well: it is as large as the folder.
    packing = ["tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "."]
    with subprocess.Popen(packing, cwd=root, stdout=subprocess.PIPE) as tar:
        docker_setup.imported(name, tar.stdout, path, *changes)
    return name


def _run(*command: str, folder: str | os.PathLike[str] = "/") -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stdout.split()[-40:])
        raise SkipTest(f"No image of an application can be made: {command[0]}: {said}")
