"""The warm runner: `python -m hubblewave_pipelines.definitions.runner`.

Imports nothing heavy before the libraries it will fork are told to start no threads of their own.
"""

import importlib
import os

# Read by C libraries when they are loaded, which is why no setting of ours can say it.
_SINGLE_THREADED = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy's
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's
}


def main() -> None:
    os.environ.update(_SINGLE_THREADED)  # noqa: TID251 - written, not read
    importlib.import_module("hubblewave_pipelines.definitions.zygote").main()


if __name__ == "__main__":
    main()
