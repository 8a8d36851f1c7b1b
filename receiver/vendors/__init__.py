"""Every vendor that this receiver speaks. Adding one is one file, one fixtures folder and one line here."""

from collections.abc import Mapping
from types import MappingProxyType

from receiver.vendors.contract import Vendor
from receiver.vendors.generic import GENERIC
from receiver.vendors.isendpro import ISENDPRO
from receiver.vendors.mobtexting import MOBTEXTING
from receiver.vendors.powertextor import POWERTEXTOR
from receiver.vendors.sendsms import SENDSMS
from receiver.vendors.thesmsworks import THESMSWORKS
from receiver.vendors.twilio import TWILIO

_ALL = (
    GENERIC,
    ISENDPRO,
    MOBTEXTING,
    POWERTEXTOR,
    SENDSMS,
    THESMSWORKS,
    TWILIO,
)

VENDORS: Mapping[str, Vendor] = MappingProxyType({vendor.name: vendor for vendor in _ALL})
