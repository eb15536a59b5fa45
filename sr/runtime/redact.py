"""Mask passwords in addresses, so that neither the files of a run nor its messages hold one."""

import re

MASK = "…"
_ENDS_ADDRESS = r"\s\"'<>\\"  # in YAML, JSON and error texts; a tracking address has to percent-encode them
_NAMES = r"password|passwd|pwd|token|secret|(?:api_?|access_?)?key|auth|credentials?|signature|sig|odbc_connect"
_SECRETS = (
    # `://user:password@` and `://token@`
    re.compile(rf"(?P<before>://(?:[^{_ENDS_ADDRESS}/?#:@]*:)?)[^{_ENDS_ADDRESS}/?#]*(?P<after>@)"),
    # `?password=…` and `&sslpassword=…`
    re.compile(
        rf"(?P<before>[?&;](?:[\w.-]*[-_.])?(?:ssl|auth|access)?(?:{_NAMES})=)[^{_ENDS_ADDRESS}&;#]+(?P<after>)",
        re.IGNORECASE,
    ),
)
_REPLACEMENT = rf"\g<before>{MASK}\g<after>"
_MASKED = re.compile(rf"://[^\s/?#]*{MASK}@|[?&;][\w.-]+={MASK}")
_ADDED_LINE = re.compile(rb"^\+.*$", re.MULTILINE)


def mask_passwords(text: str) -> str:
    """Return the text with a mask in place of each password, token and other secret of an address."""
    if "://" in text:
        for pattern in _SECRETS:
            text = pattern.sub(_REPLACEMENT, text)
    return text


def is_masked(text: str) -> bool:
    """Return whether `mask_passwords` has masked something in the text."""
    return _MASKED.search(text) is not None


def mask_patch(patch: bytes, known: str) -> bytes:
    """Mask the secrets that the text `known` holds, and no others, in the added lines of a patch, which still applies."""
    found = [match for pattern in _SECRETS for match in pattern.finditer(known)]
    masks = {match[0].encode(): match.expand(_REPLACEMENT).encode() for match in found}

    def mask_line(line: re.Match[bytes]) -> bytes:
        text = line[0]
        for secret, mask in masks.items():
            text = text.replace(secret, mask)
        return text

    return _ADDED_LINE.sub(mask_line, patch) if masks else patch
