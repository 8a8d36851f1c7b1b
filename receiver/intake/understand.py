"""What a request means, by its source's adapter: when it comes, and whenever it is read again."""

from collections.abc import Sequence
from typing import NamedTuple

from receiver.intake.http import Whole
from receiver.observe import log
from receiver.sms.compose import Entry, compose
from receiver.sms.drafts import Ignored, Item, Unreadable
from receiver.sms.limits import MAX_WORDS, clean_text, cleaned
from receiver.storage.catalog import Door
from receiver.storage.receipts import Receipt
from receiver.vendors.contract import BadPayload, VendorRequest
from receiver.vendors.polling import understood


class Understood(NamedTuple):
    """`items` are the adapter's, `entries` the events to be; `error` says what of it could not be read."""

    items: Sequence[Item]
    entries: list[Entry]
    error: str | None

    @property
    def ignored(self) -> str | None:
        """What a request without events was about."""
        what = next((item.what for item in self.items if isinstance(item, Ignored)), None)
        return what and clean_text(what[:MAX_WORDS])


def vendor_request(whole: Whole, public_url: str, received_at: int) -> VendorRequest:
    """The request with its URL as the vendor knows it."""
    path, query = whole.path, whole.query
    target = path[path.rfind(b"/in/") :]
    if query:
        target = b"%b?%b" % (target, query)
    return VendorRequest(
        method=whole.method,
        url=public_url + target.decode("latin-1"),
        query=query,
        headers=whole.headers,
        body=whole.body,
        peer=whole.peer,
        received_at=received_at,
    )


def reread(receipt: Receipt, door: Door, public_url: str) -> Understood:
    """What the adapter makes today of a request, or of an answer to a question of ours, that was kept."""
    path, _, query = receipt.target.partition(b"?")
    lines = [line.partition(b": ") for line in receipt.headers.split(b"\r\n") if line]
    headers = tuple((name, value) for name, _, value in lines)
    whole = Whole(receipt.method, path, query, headers, receipt.body, receipt.peer)
    request = vendor_request(whole, public_url, receipt.received_at)
    if receipt.outcome == "handshake":
        return Understood((), [], None)
    return understand(door, request, receipt.id)


def understand(door: Door, request: VendorRequest, receipt_id: str) -> Understood:
    """Raises nothing: what the adapter cannot read, or fails on, is an error."""
    error: str | None = None
    items: Sequence[Item] = ()
    entries: list[Entry] = []
    try:
        items = understood(door.vendor, request, door.source)
        entries = _composed(items, door, request, receipt_id)
        if len(entries) < len(items):
            error = "; ".join(item.error for item in items if isinstance(item, Unreadable)) or None
    except BadPayload as bad:
        error = str(bad)
    except Exception as bug:  # noqa: BLE001 — a bug of one adapter must not lose what its vendor sent
        log("adapter.failed", level="error", exc=bug, vendor=door.vendor.name, receipt_id=receipt_id)
        error = "the adapter failed on this request; see the log by the receipt's id"
    return Understood(items, entries, error)


def _composed(items: Sequence[Item], door: Door, request: VendorRequest, receipt_id: str) -> list[Entry]:
    dirty = _may_hold_nul(request.body) or _may_hold_nul(request.query)
    return [
        compose(cleaned(item) if dirty else item, door.origin, request.received_at, receipt_id)
        for item in items
        if not isinstance(item, (Ignored, Unreadable))
    ]


def _may_hold_nul(data: bytes) -> bool:
    return bool(data) and (b"\x00" in data or b"%00" in data or b"\\u0000" in data)
