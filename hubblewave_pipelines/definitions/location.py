"""The code location: `dagster code-server start -m hubblewave_pipelines.definitions.location`.

Built when the module is imported, so that a warm runner builds it once and its children inherit it.
"""

import warnings
from pathlib import Path

import dagster as dg

from hubblewave_pipelines.definitions import defs as components

for category in (dg.BetaWarning, dg.PreviewWarning):  # Dagster's, about calls of its own
    warnings.filterwarnings("ignore", category=category)

tree = dg.ComponentTree.from_module(defs_module=components, project_root=Path(__file__).parents[2])
defs = tree.build_defs()
