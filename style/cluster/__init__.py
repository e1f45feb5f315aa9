"""One picture on several machines: MPI beneath, the same digits on any number of ranks. docs/cluster.md."""

import os
from collections.abc import Mapping

from minivgg.start import RANKS

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # what launchers say


def launched(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether MPI's launcher has started this process: mpiexec, or srun as one of several."""
    found = [environ[name] for name in SIZES if environ.get(name, "").isdecimal()]
    if not found or not any(name in environ for name in RANKS):
        return False
    return int(found[0]) > 1 or "SLURM_STEP_ID" not in environ
