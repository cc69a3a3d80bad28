"""Sets up a machine: system packages, locked environments, jars, the kernel. Fast when there is nothing to do.

In a checkout run as `python3 -m deploy.bootstrap [PART ...]` (see `make setup`), and by an installed Penstock as
`penstock setup`, which leaves out what only developers need. Standard library only, in syntax that an older `python3`
than that of the environments can run.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from penstock.paths import (
    BUILD,
    IS_CHECKOUT,
    JARS,
    JAVA_MAJOR,
    KERNEL_ARCHIVE,
    KERNEL_JAR,
    PACKAGED_KERNEL,
    ROOT,
    SETUP_COMMAND,
    VENVS,
    java_home,
    site_packages,
    venv_python,
)

PYTHON_RANGE = ">=3.11,<3.13"
LOCKS = ROOT / "deploy" / "locks"
TOOLS_LOCK = LOCKS / "tools.txt"
JARS_LOCK = LOCKS / "jars.txt"
POM = ROOT / "deploy" / "java" / "pom.xml"
CHECK_JARS = ROOT / "deploy" / "java" / "check-jars.sh"
KERNEL = ROOT / "streams" / "kernel"

# Environments into which the project itself is installed, editable. Triton's environment does not run its code.
WITH_PROJECT = ("services", "jobs", "mlflow")
# Lock: the extras in it, and the lock that it must agree with. `image` is `services` alone: no plots, no tools.
_LOCKED: dict[str, tuple[tuple[str, ...], str | None]] = {
    "services": (("services", "report", "dev"), None),
    "image": (("services",), "services"),
    "jobs": (("jobs",), None),
    "build": (("build",), "services"),
    "tools": (("tools",), "services"),
    "triton": (("triton",), None),
    "triton-cpu": (("triton-cpu",), "triton"),
    "peers": (("peers",), None),
    "bench-feast": (("bench-feast",), None),
    "bench-polars": (("bench-polars",), None),
    "mlflow": (("services", "mlflow", "mlflow-server"), None),
}
JAR_PROFILES = ("kafka", "cassandra", "flink")
IMAGE_JAR_PROFILES = ("flink-s3",)  # of the image of jobs only
# Set up only when named on the command line.
EXTRA_PARTS = ("peers", "bench-feast", "bench-polars", "mlflow")
# An installed Penstock runs in an environment of the user's.
INSTALLED_PARTS = ("system", "jobs", "triton", "jars", "kernel")


class SetupError(Exception):
    """Set-up cannot continue; the message says what the user must do."""


def main(arguments: list[str] | None = None) -> int:
    """Sets up the parts named on the command line, or all of them."""
    parser = argparse.ArgumentParser(
        prog="python3 -m deploy.bootstrap", description="Set up this machine for Penstock."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_SETUP))
    parser.add_argument("--kernel-test", action="store_true", help="run the tests of the kernel instead")
    parser.add_argument(
        "--lock", action="store_true", help=f"regenerate the locks PART instead: {', '.join(_LOCKED)}, jars"
    )
    options = parser.parse_args(arguments)
    try:
        if options.lock:
            lock(options.parts or [*_LOCKED, "jars"])
        elif options.kernel_test:
            _timed("tests of the kernel", lambda: _run_maven_on_kernel("test"))
        else:
            set_up(options.parts)
    except SetupError as error:
        print(f"setup stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def set_up(parts: Sequence[str] = ()) -> None:
    """Sets up some parts, or all that this Penstock runs with.

    Raises:
        SetupError: a person has to do something first.
    """
    usual = [name for name in _SETUP if name not in EXTRA_PARTS] if IS_CHECKOUT else INSTALLED_PARTS
    VENVS.mkdir(parents=True, exist_ok=True)
    with (VENVS / ".lock").open("w", encoding="utf-8") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # `make lint` and `make test` may run at the same time
        for part in parts or usual:
            _SETUP[part]()


def system() -> None:
    """Installs the system packages: Java 17, Maven, Redis, venv."""
    missing = _missing_packages()
    if missing:
        _apt_install(missing)
        remaining = _missing_packages()
        if remaining:
            raise SetupError(f"still missing after apt-get install: {' '.join(remaining)}")


def environment(name: str) -> None:
    """Installs exactly what the lock of one environment lists."""
    lock_file = LOCKS / f"{name}.txt"
    sources = [lock_file, TOOLS_LOCK]
    with_project = IS_CHECKOUT and name in WITH_PROJECT
    sources += [ROOT / "pyproject.toml", LOCKS / "build.txt"] if with_project else []

    def install() -> None:
        uv = tools()
        python = venv_python(name)
        if not python.exists():
            # The interpreter of an installed Penstock is in the range, and there may be no other.
            version = PYTHON_RANGE if IS_CHECKOUT else sys.executable
            _run([uv, "venv", "--quiet", "--clear", "--python", version, str(VENVS / name)])
        # Compile once here. If bytecode caches are off, every process would else compile all that it imports.
        sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode"]
        _run([*sync, "--python", str(python), str(lock_file)])
        if with_project:
            # uv checks the hashes of the constraints: nothing but the locked hatchling builds the project.
            build = [uv, "pip", "install", "--quiet", "--no-deps", "--build-constraint", str(LOCKS / "build.txt")]
            _run([*build, "--python", str(python), "--editable", str(ROOT)])
        if name == "triton":
            _require_libpython(python)

    _step(f"environment {name}", VENVS / name / ".stamp", _digest(sources, str(VENVS)), install)


def jars() -> None:
    """Fetches every Java artifact of the stack, one folder per class path."""

    def copy() -> None:
        for profile in JAR_PROFILES:
            target = JARS / profile
            shutil.rmtree(target, ignore_errors=True)
            _copy_jars(profile, target)
            _check_jars(profile, target)

    complete = all(any((JARS / profile).glob("*.jar")) for profile in JAR_PROFILES)
    digest = _digest([POM, JARS_LOCK])
    _step("jars", JARS / ".stamp", digest if complete else "incomplete", copy, recorded=digest)


def kernel() -> None:
    """Builds the window kernel from its sources (`make test` runs its tests), and the archive of its classes.

    An installed Penstock has the kernel in its wheel.
    """
    if IS_CHECKOUT:
        _build_kernel()
    elif not PACKAGED_KERNEL.exists():
        raise SetupError("this wheel was built without the kernel\n  next: in a checkout: make wheel; install that one")
    _class_archive()


def _build_kernel() -> None:
    if not (KERNEL / "pom.xml").exists():
        return
    sources = [JARS_LOCK, KERNEL / "pom.xml", *sorted(path for path in (KERNEL / "src").rglob("*") if path.is_file())]

    def build() -> None:
        _run_maven_on_kernel("package", "-DskipTests")
        built = KERNEL / "target" / KERNEL_JAR.name
        if not built.exists():
            raise SetupError(f"the build of the kernel did not create {built}")
        KERNEL_JAR.parent.mkdir(parents=True, exist_ok=True)
        # Replaced by renaming, because a running job may have the old file open.
        partial = KERNEL_JAR.with_suffix(".partial")
        shutil.copyfile(built, partial)
        partial.replace(KERNEL_JAR)

    digest = _digest(sources)
    _step(
        "kernel", KERNEL_JAR.with_suffix(".stamp"), digest if KERNEL_JAR.exists() else "absent", build, recorded=digest
    )


def _class_archive() -> None:
    """Writes the archive from which the kernel starts in half the time; without the environments there is none yet."""
    python = venv_python("services") if IS_CHECKOUT else Path(sys.executable)
    packages = site_packages("jobs")
    flink = sorted((packages / "pyflink" / "lib").glob("flink-dist-*.jar")) if packages else []
    home = java_home()
    if not (python.exists() and flink and home and KERNEL_JAR.exists()):
        return
    # Java takes an archive only for the very files and the version that it was written with.
    files = [KERNEL_JAR, *flink, home / "lib" / "modules"]
    kernel_of = KERNEL_JAR.with_suffix(".stamp") if IS_CHECKOUT else KERNEL_JAR
    digest = _digest([kernel_of], *(f"{file} {file.stat().st_mtime_ns}" for file in files))
    _step(
        "classes of the kernel",
        KERNEL_ARCHIVE.with_suffix(".jsa.stamp"),
        digest if KERNEL_ARCHIVE.exists() else "absent",
        lambda: _run([str(python), "-m", "streams.inprocess.class_archive"]),
        recorded=digest,
    )


def tools() -> str:
    """The path of our pinned uv; installs it with pip into its own environment if it is missing."""
    python, uv = venv_python("tools"), VENVS / "tools" / "bin" / "uv"
    stamp = VENVS / "tools" / ".stamp"
    digest = _digest([TOOLS_LOCK])
    if uv.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return str(uv)
    if not python.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(VENVS / "tools")])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "--requirement", str(TOOLS_LOCK)])
    stamp.write_text(digest, encoding="utf-8")
    return str(uv)


def lock(names: Iterable[str]) -> None:
    """Regenerates locks: from pyproject.toml, for Python 3.11 and 3.12 and every platform at once; or ``jars``."""
    for name in names:
        if name == "jars":
            _lock_jars()
            print("  locked jars", flush=True)
            continue
        if name not in _LOCKED:
            raise SetupError(f"there is no lock {name}\n  next: name some of {', '.join(_LOCKED)}, jars")
        uv = tools()
        extras, constraint = _LOCKED[name]
        command = [uv, "pip", "compile", "--quiet", "--upgrade", "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links"]
        command += ["--custom-compile-command", "make lock"]
        command += [part for extra in extras for part in ("--extra", extra)]
        command += ["--constraint", f"deploy/locks/{constraint}.txt"] if constraint else []
        _run([*command, "pyproject.toml", "--output-file", f"deploy/locks/{name}.txt"])
        print(f"  locked {name}", flush=True)


def _lock_jars() -> None:
    """Writes the SHA-256 of every jar that the poms resolve to, by class path."""
    lines = ["# The SHA-256 of every Java artifact, by class path. To write it anew: make lock ARGS=jars"]
    with tempfile.TemporaryDirectory() as temporary:
        for group in (*JAR_PROFILES, *IMAGE_JAR_PROFILES, "kernel"):
            folder = Path(temporary) / group
            _copy_jars(group, folder)
            jars = sorted(folder.glob("*.jar"))
            lines += [f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {group}/{jar.name}" for jar in jars]
    JARS_LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _copy_jars(group: str, folder: Path) -> None:
    """Copies the jars of one class path from Maven: of a profile of the stack, or all that the kernel is built with."""
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    pom = ["-f", str(KERNEL / "pom.xml")] if group == "kernel" else ["-f", str(POM), "-P", group]
    _run([*_maven(), *pom, *goal, *([] if group == "kernel" else ["-DincludeScope=runtime"])])


def _check_jars(group: str, folder: Path) -> None:
    """Compares the jars of one class path with the lock; those that differ are deleted."""
    check = subprocess.run(["sh", str(CHECK_JARS), group, str(folder)], capture_output=True, text=True, check=False)
    if check.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise SetupError(
            f"the jars of {group} are not those of {JARS_LOCK.relative_to(ROOT)}; they were not installed:\n"
            f"{check.stdout}{check.stderr}"
            f"  next: delete the named files from Maven's repository (~/.m2/repository), then: {SETUP_COMMAND}\n"
            "        after a change of a version in a pom.xml: make lock ARGS=jars, and review the difference"
        )


def _run_maven_on_kernel(*goals: str) -> None:
    """Runs goals of the kernel's build, once its dependencies are known to be those of the lock."""
    folder = KERNEL / "target" / "dependencies"
    shutil.rmtree(folder, ignore_errors=True)
    _copy_jars("kernel", folder)
    _check_jars("kernel", folder)
    _run([*_maven(), "-f", str(KERNEL / "pom.xml"), *goals])


def _missing_packages() -> list[str]:
    missing = []
    home = java_home()
    # The kernel is compiled in a checkout only.
    program, package = ("javac", "jdk") if IS_CHECKOUT else ("java", "jre")
    if home is None or not (home / "bin" / program).exists():
        missing.append(f"openjdk-{JAVA_MAJOR}-{package}-headless")
    if shutil.which("mvn") is None:
        missing.append("maven")
    if shutil.which("redis-server") is None:
        missing.append("redis-server")
    # Debian's python3 lacks ensurepip, without which uv's own environment cannot be created.
    if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
        missing.append("python3-venv")
    return missing


def _require_libpython(python: Path) -> None:
    """Installs libpython, which Triton's Python backend embeds; Debian packages it apart from the interpreter."""
    ask = "import sysconfig as s; print(s.get_config_var('LIBDIR'), s.get_config_var('py_version_short'))"
    folder, version = subprocess.run(
        [str(python), "-c", ask], capture_output=True, text=True, check=True
    ).stdout.split()
    if not any(Path(folder).glob(f"libpython{version}.so*")) and not any(
        Path("/usr/lib").glob(f"*/libpython{version}.so*")
    ):
        _apt_install([f"libpython{version}"])


def _apt_install(packages: list[str]) -> None:
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    by_hand = f"sudo apt-get update && sudo apt-get install -y {' '.join(packages)}"
    prefix: list[str] = []
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        allowed = sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0
        prefix = [sudo, "-n"] if sudo and allowed else []
        if not prefix:
            raise SetupError(f"missing on this machine: {' '.join(packages)}\n  next: {by_hand} && {SETUP_COMMAND}")
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"missing on this machine, which has no apt-get: Java {JAVA_MAJOR}, Maven, Redis or libpython\n"
            f"  next: install the equivalents of the Debian packages {' '.join(packages)}, then: {SETUP_COMMAND}"
        )

    def run() -> None:
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
        try:
            _run([*prefix, *quiet, "apt-get", "update", "-qq"])
            _run([*prefix, *quiet, *install])
        except SetupError as error:
            raise SetupError(f"{error}\n  next: {by_hand} && {SETUP_COMMAND}") from error

    _timed(f"system packages {' '.join(packages)}", run)


def _maven() -> list[str]:
    home = java_home()
    if home is not None:
        os.environ["JAVA_HOME"] = str(home)
    return ["mvn", "--batch-mode", "--quiet"]


def _step(title: str, stamp: Path, digest: str, work: Callable[[], None], *, recorded: str | None = None) -> None:
    """Does the work, unless the stamp file contains the digest of the same inputs."""
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return
    stamp.unlink(missing_ok=True)
    _timed(title, work)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(recorded or digest, encoding="utf-8")


def _timed(title: str, work: Callable[[], None]) -> None:
    print(f"  {title} ...", end="", flush=True)
    started = time.monotonic()
    try:
        work()
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def _run(command: list[str]) -> None:
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NO_PROGRESS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        BUILD.mkdir(exist_ok=True)
        log = BUILD / "setup.log"
        log.write_text(f"$ {' '.join(command)}\n{result.stdout}{result.stderr}", encoding="utf-8")
        tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-15:])
        raise SetupError(f"{command[0]} failed with exit status {result.returncode} (full output in {log})\n{tail}")


def _digest(paths: Iterable[Path], *more: str) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    for text in more:
        total.update(text.encode() + b"\0")
    return total.hexdigest()


_SETUP: dict[str, Callable[[], None]] = {
    "system": system,
    "services": lambda: environment("services"),
    "jobs": lambda: environment("jobs"),
    "triton": lambda: environment("triton"),
    "jars": jars,
    "kernel": kernel,
    "peers": lambda: environment("peers"),
    "bench-feast": lambda: environment("bench-feast"),
    "bench-polars": lambda: environment("bench-polars"),
    "mlflow": lambda: environment("mlflow"),
}

if __name__ == "__main__":
    sys.exit(main())
