"""TLS towards the MQTT broker, whoever runs it."""

from __future__ import annotations

import ssl

from domain.errors import SettingInvalid
from ops.settings import Settings


def mqtt_tls(settings: Settings) -> ssl.SSLContext | None:
    """What takes only the right broker's certificate; None: no TLS.

    Raises:
        SettingInvalid: nobody's certificate is in the file, or the broker has TLS and nobody is trusted.
    """
    if not settings.mqtt_tls_ca:
        if settings.mqtt_tls_certificate:
            raise SettingInvalid("WATTAWAY_MQTT_TLS_CERTIFICATE needs WATTAWAY_MQTT_TLS_CA, which signed it")
        return None
    try:
        return ssl.create_default_context(cafile=settings.mqtt_tls_ca)
    except OSError as error:
        raise SettingInvalid(f"WATTAWAY_MQTT_TLS_CA={settings.mqtt_tls_ca}: {error}") from error
