"""Which of the two ways to nftables this machine has."""

from typing import Literal

from hyperion.firewall.nft import Backend, NftMissingError
from hyperion.firewall.nft_library import NftLibrary
from hyperion.firewall.nft_program import NftProgram


def open_backend(choice: Literal["auto", "library", "program"] = "auto") -> Backend:
    """The library where it is installed, else the program. Raises ``NftMissingError`` with what to install."""
    if choice == "program":
        return NftProgram()
    try:
        return NftLibrary()
    except NftMissingError:
        if choice == "library":
            raise
        return NftProgram()
