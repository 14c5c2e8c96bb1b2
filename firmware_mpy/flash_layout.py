"""Where everything stands in the flash that must survive a power cut: the partition of readings, and one of records."""

import hal
from records import SECTOR_SIZE, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from access import Access

RING_PARTITION = "ring"
STATE_PARTITION = "state"
STATE_SIZE = 16 * SECTOR_SIZE

# Each record owns two sectors. In the order of their sectors, with the bytes of a slot.
_SLOT_SIZES = (
    ("energy", 24),
    ("relay", 16),
    ("configuration", 1024),
    ("commands", 1365),
    ("calibration", 32),
    ("bases", 128),
    ("access", 4096),
)


def record(name: str) -> Record:
    """Return a record of the socket: `access` is what it was told at set-up, the others are named after their modules.

    Raises OSError if the board has no partition for it.
    """
    for place, (known, slot_size) in enumerate(_SLOT_SIZES):
        if known == name:
            return Record(hal.Flash(STATE_PARTITION), 2 * place * SECTOR_SIZE, slot_size)
    raise ValueError(name)


def forget_owner(access: "Access", feed: "Callable[[], None]") -> None:
    """Erase what belongs to whoever used the socket: its readings, commands, configuration, and at last its access.

    What it is stays: its lifetime counter and its calibration. `feed` is called between two sectors, since an erase may
    take 0.4 s and there are hundreds.
    """
    ring = hal.Flash(RING_PARTITION)
    for at in range(0, ring.size, SECTOR_SIZE):
        ring.erase(at)
        feed()
    for name, _ in _SLOT_SIZES:
        if name not in ("energy", "calibration", "access"):
            record(name).erase()
            feed()
    access.forget()
