"""A receiver that leaves what an earlier one was sending to that one, which will never send it."""

from receiver.app import create_app
from receiver.storage import deliveries
from receiver.storage.database import Transaction
from tests.faults.planted.serving import serve


async def none_voided(transaction: Transaction, now: int, most: int = 0) -> int:
    return 0


if __name__ == "__main__":
    deliveries.void_leases = none_voided
    serve(create_app)
