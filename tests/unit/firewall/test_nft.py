import pytest

from hyperion.firewall import nft
from hyperion.firewall.nft import FirewallError, NftMissingError, NftTimeoutError, failure


@pytest.mark.parametrize(
    ("complaint", "kind", "message"),
    [
        (
            "/dev/stdin:1:16-21: Error: syntax error, unexpected accept, expecting string\nadd table inet accept\n ^^^",
            FirewallError,
            "nft: syntax error, unexpected accept, expecting string",
        ),
        (
            "Error: No such file or directory\nlist table inet nope\n^^^^",
            nft.NoSuchObjectError,
            "not in the firewall: No such file or directory",
        ),
        (
            "Error: Could not process rule: Operation not permitted\nlist",
            nft.NotPermittedError,
            "no right to change the firewall",
        ),
        (
            "/dev/stdin:3:1-9: Error: Could not process rule: Too many open files in system",
            nft.SetFullError,
            "the firewall's set of admitted sources is full",
        ),
        ("", FirewallError, "nft: failed without a word"),
        ("x" * 5_000, FirewallError, "nft: " + "x" * nft.MAX_COMPLAINT),
    ],
)
def test_nfts_words_become_an_error(complaint: str, kind: type[FirewallError], message: str) -> None:
    error = failure(complaint)
    assert type(error) is kind
    assert str(error) == message


def test_each_kind_has_its_word_and_what_can_be_done_has_a_hint() -> None:
    kinds: list[type[FirewallError]] = [FirewallError, *FirewallError.__subclasses__()]
    assert {kind.reason for kind in kinds} >= {
        *("nft-failed", "nft-missing", "nft-timeout", "not-permitted", "table-missing", "set-full"),
    }
    assert "install nftables" in (NftMissingError().hint or "")
    assert (failure("Operation not permitted").hint, NftTimeoutError.exit_code) == (
        "it takes root, or CAP_NET_ADMIN",
        75,
    )
