"""Compiles the modules of the data path with mypyc while a wheel is built, where the environment says GATEWAY_COMPILE=1
(`make wheel`). Without it, a wheel is pure Python, and building it needs no compiler."""

import os
import sys
import sysconfig
from contextlib import chdir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompilingHook(BuildHookInterface[Any]):
    """Adds the compiled modules to the wheel, beside the sources, which stay for whoever reads or debugs them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Does nothing for an editable install: what is edited must not be hidden by what was compiled before."""
        if version == "editable" or os.environ.get("GATEWAY_COMPILE") != "1":
            return
        root, folder = Path(self.root), Path(self.directory).absolute() / "compiled"
        for module in compile_modules(root, folder, self.config["compiled"], self.config["interpreted"]):
            build_data["force_include"][str(folder / module)] = module
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compile_modules(root: Path, folder: Path, compiled: list[str], interpreted: list[str]) -> list[str]:
    """Compiles modules into `folder`.

    Args:
        root: Of the source tree.
        folder: Where C files, objects and the result go.
        compiled: Globs of what is compiled.
        interpreted: Globs of what is left out of that.

    Returns:
        The paths of the extension modules below `folder`.
    """
    try:
        import setuptools  # noqa: F401  before mypyc, which builds for what is there
        from mypyc.build import mypycify
    except ImportError as error:
        sys.exit(f"{error}: compiling needs what is in requirements-compile.txt (make wheel installs it)")
    from setuptools import Distribution
    from setuptools.errors import CompileError

    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        sys.exit("compiling needs Python.h (Debian and Ubuntu: apt install gcc python3-dev); a wheel without does not")
    left_out = {path for pattern in interpreted for path in root.glob(pattern)}
    paths = sorted({path for pattern in compiled for path in root.glob(pattern)} - left_out)
    with chdir(root):
        # One group: a call from one compiled module to another is then a call in C.
        extensions = mypycify(
            [str(path.relative_to(root)) for path in paths],
            opt_level="2",
            debug_level="0",
            group_name="gateway",
            target_dir=str(folder / "c"),
        )
        command = Distribution({"name": "gateway", "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(folder), str(folder / "objects")
        command.ensure_finalized()
        try:
            command.run()
        except CompileError as error:
            sys.exit(f"{error}: compiling needs a C compiler (Debian and Ubuntu: apt install gcc python3-dev)")
        return [str(Path(output).relative_to(folder)) for output in command.get_outputs()]
