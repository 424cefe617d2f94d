"""The command line's entry point: `hubblewave`, or `python -m hubblewave_pipelines`."""

from hubblewave_pipelines.commands.line import app


def main() -> None:
    app(prog_name="hubblewave")


if __name__ == "__main__":
    main()
