"""Every vendor that this receiver speaks. Adding one is one file, one fixtures folder and one line here."""

from collections.abc import Mapping

from receiver.vendors.contract import Vendor

_ALL: tuple[Vendor, ...] = ()

VENDORS: Mapping[str, Vendor] = {vendor.name: vendor for vendor in _ALL}
