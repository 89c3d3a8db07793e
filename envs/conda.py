"""Print the conda environment that holds the same pins as `requirements.txt`.

PyPI builds are used inside conda too, so that everyone runs the same binaries.
"""

from pathlib import Path

PINS = Path(__file__).with_name("requirements.txt")


def environment() -> str:
    pins = [line for line in PINS.read_text().splitlines() if line and not line.startswith("#")]
    return "\n".join(
        [
            "# Written by `make envs` from requirements.txt; edit that file instead.",
            "name: xkd",
            "channels: [conda-forge]",
            "dependencies:",
            "  - python =3.12",
            "  - pip",
            "  - pip:",
            *(f"      - {pin}" for pin in pins),
        ]
    )


if __name__ == "__main__":
    print(environment())
