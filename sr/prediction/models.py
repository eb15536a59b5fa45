"""`python -m sr.predict --models`: list the networks that are used by name, without importing torch."""

from collections.abc import Mapping

from sr.pretrained.networks import Network, list_networks
from sr.runtime.terminal import format_table

HEADER = ("name", "scale", "model/net", "parameters", "MB", "Set5 dB", "license of weights")
SPEED_HEADER = "s/megapixel"
EMPTY = "–"


def print_models(speeds: Mapping[str, float] | None = None, device: str = "") -> None:
    """Print a table of all networks; `speeds` are the seconds for a megapixel of each one's result, measured on `device`."""
    networks = list_networks()
    rows = [list(HEADER), *(_format_row(network) for network in networks)]
    if speeds is not None:
        rows[0].insert(-1, SPEED_HEADER)
        for row in rows[1:]:
            row.insert(-1, f"{speeds[row[0]]:.2f}" if row[0] in speeds else EMPTY)
    print(format_table(rows))
    width = max(len(network.name) for network in networks)
    print("\nGood for:\n")
    print("\n".join(f"{network.name:{width}}  {network.purpose}" for network in networks))
    speed = "--speed measures how long each one takes here"
    if speeds is not None:
        speed = f"Speed: seconds for a megapixel of the result, on {device}"
    print(f"\nSet5: PSNR under the protocol edsr. {speed}.")
    defaults = [network.name for network in networks if network.package is None]
    if defaults:
        print(f"Without checkpoint=, sr.predict takes that of the scale: {', '.join(defaults)}.")
    missing = [network for network in networks if network.find_file() is None]
    for extra in sorted({network.extra for network in missing if network.extra}):
        names = ", ".join(network.name for network in missing if network.extra == extra)
        print(f"Not installed: {names}; type: pip install 'sr[{extra}]'")


def _format_row(network: Network) -> list[str]:
    psnr = network.psnr.get("Set5")
    return [
        network.name, f"×{network.scale}", network.net, f"{network.parameters:,}", f"{network.megabytes:.1f}",
        f"{psnr:.2f}" if psnr else EMPTY, network.license,
    ]  # fmt: skip
