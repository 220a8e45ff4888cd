"""The one thing that pyproject.toml cannot say: a wheel has configs/ inside the package."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["qaclims_ray*"]), "qaclims_ray.configs"],
    package_dir={"qaclims_ray.configs": "configs"},
)
