"""A subscription to the event log: woken at once by this process's inserts, and by polling for those of others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from eventsourcing.persistence import ApplicationRecorder, ListenNotifySubscription

POLL_S = 0.2


class EventSubscription(ListenNotifySubscription[ApplicationRecorder]):
    """Notifications in the order of their ids, without end.

    Args:
        tell: registers what is called after every insert of this process; returns what ends that.
        gt: begin after this id.
        topics: leave out all others; empty: leave out none.
    """

    def __init__(
        self,
        recorder: ApplicationRecorder,
        tell: Callable[[Callable[[int, Collection[str]], None]], Callable[[], None]],
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._untell = tell(lambda _newest_id, _topics: self._has_been_notified.set())

    def __exit__(self, *args: object, **kwargs: object) -> None:
        self._untell()
        super().__exit__(*args, **kwargs)

    def _loop_on_pull(self) -> None:
        try:
            while not self._has_been_stopped:
                self._pull()
                self._has_been_notified.wait(POLL_S)
        except BaseException as error:
            # Raised to whoever iterates.
            self._thread_error = error
            self.stop()
