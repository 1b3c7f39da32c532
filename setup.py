"""Finds every package, in `autocomp/` and in the folders that stand beside it.

`pyproject.toml` holds all the rest; it can name a package's folder, or find packages, not both.
"""

from setuptools import find_packages, setup

BESIDE = ("agents", "envs", "search_spaces")
"""Import names `autocomp.agents`, ..."""

setup(
    packages=[
        *find_packages(include=["autocomp", "autocomp.*"]),
        *(f"autocomp.{name}" for name in find_packages(include=[f"{x}*" for x in BESIDE])),
    ],
    package_dir={f"autocomp.{name}": name for name in BESIDE},
)
