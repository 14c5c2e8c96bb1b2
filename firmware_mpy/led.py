"""What the LED says. One LED, so the most urgent state wins; a press is answered before everything else.

steady on / off            online, load on / off
short gaps / short blinks  not online, load on / off
two flashes a second       tripped, or the relay is welded
five a second              identify; or held long enough for a factory reset
once a second              set-up, or held long enough for it
three flashes, pause       safe mode
"""

# Name: period in ms, and from when to when in it the LED is lit.
_PATTERNS = {
    "on": (1_000, (0, 1_000)),
    "off": (1_000, ()),
    "offline_on": (2_000, (0, 1_900)),
    "offline_off": (2_000, (0, 100)),
    "tripped": (1_000, (0, 100, 200, 300)),
    "fast": (200, (0, 100)),
    "set_up": (1_000, (0, 500)),
    "safe_mode": (2_000, (0, 100, 300, 400, 600, 700)),
}


def is_lit(pattern: str, elapsed_ms: int) -> bool:
    """Say whether the LED is lit `elapsed_ms` after any fixed instant."""
    period_ms, edges = _PATTERNS[pattern]
    at_ms = elapsed_ms % period_ms
    return any(edges[index] <= at_ms < edges[index + 1] for index in range(0, len(edges), 2))


def pattern_of(state: dict, held_ms: int, set_up_ms: int, reset_ms: int) -> str:
    """Return the pattern for a state.

    Args:
        state: `identify`, `set_up`, `safe_mode`, `tripped`, `online`, `closed`: whether it is so.
        held_ms: for how long the button has been down.
        set_up_ms, reset_ms: from when on that means set-up, or a factory reset soon.
    """
    if held_ms >= set_up_ms:
        return "fast" if held_ms >= reset_ms else "set_up"
    if state["identify"]:
        return "fast"
    for name in ("tripped", "safe_mode", "set_up"):
        if state[name]:
            return name
    name = "on" if state["closed"] else "off"
    return name if state["online"] else "offline_" + name
