"""What some tests need beside Python, from Debian: a browser, a font, a database server, a message broker."""

from __future__ import annotations

import glob
import os
import shutil

from envs import LOGS, ROOT, clean_environment
from processes import run

# Package -> where its program is found once it is installed.
NEEDED = {
    "chromium": "/usr/bin/chromium",
    "fonts-noto-cjk": "/usr/share/fonts/opentype/noto/*CJK*",
    "postgresql": "/usr/lib/postgresql/*/bin/pg_ctl",
    "redis-server": "/usr/bin/redis-server",
}


def missing() -> list[str]:
    """The packages whose programs are not there."""
    return [package for package, program in NEEDED.items() if not glob.glob(program)]


def install_debian_packages() -> None:
    """Installs what is missing where that is possible; elsewhere says which tests will be skipped."""
    wanted = missing()
    if not wanted:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing Debian's packages {', '.join(wanted)} for the tests", flush=True)
        log, env = LOGS / "debian.log", clean_environment() | {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update"], log, cwd=ROOT, env=env)
        run(["apt-get", "install", "-y", "--no-install-recommends", *wanted], log, cwd=ROOT, env=env)
    if left := missing():
        print(f"Without {', '.join(left)}, the tests that need them are skipped (as root on Debian they get installed)")
