"""Files from the network: whole or not at all, by the pooch library."""

from pathlib import Path

from xkd.errors import Refused


def download(url: str, path: Path, known_hash: str | None = None) -> Path:
    """The path of a downloaded file, which a wrong or broken one never occupies.

    Args:
        known_hash: `md5:...` or `sha256:...`, whole; None takes what comes.
    Raises: Refused when the file cannot be fetched or stored, or is another one.
    """
    import logging

    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel(logging.WARNING)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(url, known_hash, path.name, path.parent)
    except (RequestException, OSError, ValueError) as problem:  # ValueError: another hash
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise Refused(
            f"cannot download {url} into {path.parent}: {reason}; check the network and the disk, "
            "or fetch it by hand"
        ) from None
    return path
