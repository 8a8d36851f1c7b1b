"""Rows of a file that a vendor's console exported, as requests of that vendor: each is a receipt of its own."""

from collections.abc import Sequence

from receiver.intake.http import Whole
from receiver.intake.receive import recording_of
from receiver.intake.understand import vendor_request
from receiver.storage.catalog import Door
from receiver.storage.recording import Recording
from receiver.vendors.mapping_options import MappedOptions
from receiver.vendors.sheets import MEDIA_TYPE, written

PEER = "import"
"""Where such a receipt says that it came from."""

_HEADERS = ((b"content-type", MEDIA_TYPE.encode() + b"; charset=utf-8"),)


def takes_files(door: Door) -> bool:
    """Whether the source's vendor is read by names that its options declare, and so can be read by columns."""
    return isinstance(door.source.options, MappedOptions)


def row_as_request(
    door: Door, header: Sequence[str], row: Sequence[str], receipt_id: str, public_url: str, received_at: int
) -> Recording:
    """The row under its header, as if the vendor had posted it; kept like that, so that it can be read again."""
    path = f"/in/{door.vendor.name}/{door.token}".encode()
    whole = Whole("POST", path, b"", _HEADERS, written(header, row), PEER)
    _, recording = recording_of(door, path, vendor_request(whole, public_url, received_at), receipt_id)
    return recording
