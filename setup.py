"""Build script: maps the three top-level folders into the ``jukinet`` namespace and compiles the Cython kernels.

Metadata stands in pyproject.toml; this file holds only what needs code.

Environment variables (all optional):

``JUKINET_SANITIZE=1``
    compile and link with AddressSanitizer and UndefinedBehaviorSanitizer.
``JUKINET_BOUNDS_CHECK=1``
    switch Cython's bounds and wraparound checks back on.
``JUKINET_ANNOTATE=1``
    write Cython's annotated HTML beside the generated C.
"""

from __future__ import annotations

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

FOLDERS = ("core", "server", "clients")
ROOT = Path(__file__).resolve().parent
NAMESPACE = Path("build/namespace")


class ParallelBuild(build_ext):
    """Compiles as many modules at once as there are cores, unless told otherwise."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.parallel is None:
            self.parallel = len(os.sched_getaffinity(0))


def flag(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def link_namespace() -> None:
    """Make ``build/namespace/jukinet/{core,server,clients}``, where ``cimport jukinet.core.x`` finds its .pxd."""
    package = ROOT / NAMESPACE / "jukinet"
    package.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        link = package / folder
        if not link.is_symlink():
            link.symlink_to(Path("../../..") / folder, target_is_directory=True)


def packages() -> tuple[list[str], dict[str, str]]:
    names: list[str] = []
    places: dict[str, str] = {}
    for folder in FOLDERS:
        for name in [folder, *(f"{folder}.{sub}" for sub in find_packages(folder))]:
            names.append(f"jukinet.{name}")
            places[f"jukinet.{name}"] = name.replace(".", "/")
    return names, places


def extensions() -> list[Extension]:
    compile_args = ["-O3", "-fno-strict-aliasing", "-Wno-unused-function"]
    link_args: list[str] = []
    if flag("JUKINET_SANITIZE"):
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
        compile_args = ["-O1", "-fno-strict-aliasing", "-Wno-unused-function", *sanitize]
        link_args = sanitize[:1]
    found = []
    for folder in FOLDERS:
        for source in sorted(Path(folder).rglob("*.pyx")):
            name = "jukinet." + ".".join(source.with_suffix("").parts)
            found.append(
                Extension(
                    name,
                    [str(source)],
                    include_dirs=["core", str(source.parent)],
                    extra_compile_args=compile_args,
                    extra_link_args=link_args,
                )
            )
    return found


link_namespace()
names, places = packages()
checked = flag("JUKINET_BOUNDS_CHECK")
setup(
    cmdclass={"build_ext": ParallelBuild},
    packages=names,
    package_dir=places,
    package_data={name: ["*.pxd", "*.pyi", "py.typed", "*.h", "data/*"] for name in names},
    include_package_data=False,  # MANIFEST.in lists what the sdist needs, which is more than a wheel carries
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        include_path=[str(NAMESPACE)],
        annotate=flag("JUKINET_ANNOTATE"),
        compiler_directives={
            "language_level": 3,
            "boundscheck": checked,
            "wraparound": checked,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
)
