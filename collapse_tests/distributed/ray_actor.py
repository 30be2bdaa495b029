"""What a node of a Ray cluster runs first.

It is sent there by value and imports the package late, so that a node without it, or with another version, can say so.
"""

from __future__ import annotations

from typing import Any

__all__ = ["RayActor"]


class RayActor:
    """One process of a cluster."""

    def hello(self, paths: list[str], directory: str) -> dict[str, str]:
        """Find the code of the driver's, and tell who this is.

        Args:
            paths: where the driver imports from; those that exist here are looked at after all others.
            directory: where the driver runs; this process goes there, too, if there is such a directory here.
        """
        import os
        import socket
        import sys

        if os.path.isdir(directory):  # noqa: PTH112
            os.chdir(directory)
        sys.path += [path for path in paths if path not in sys.path and os.path.exists(path)]  # noqa: PTH110
        facts = {"host": socket.gethostname()}
        try:
            import collapse_tests

            facts["version"] = collapse_tests.__version__
        except Exception as error:
            facts["problem"] = f"{type(error).__name__}: {error}"
        return facts

    def begin(self, brief: bytes, name: str) -> Any:
        """Take what the run is about; returns names of models whose files this node lacks."""
        import pickle

        from collapse_tests.distributed.ray_worker import RayWorker

        self.worker = RayWorker(pickle.loads(brief), name)
        return self.worker.missing_models()

    def call(self, method: str, *arguments: Any) -> Any:
        """Have the worker do something."""
        return getattr(self.worker, method)(*arguments)
