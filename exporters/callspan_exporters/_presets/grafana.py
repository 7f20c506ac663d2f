"""Grafana Cloud: https://grafana.com/docs/grafana-cloud/send-data/otlp/send-data-otlp/.

It keeps attributes as they are.
"""

from typing import Final

from callspan_exporters._presets.building import account_of, basic, preset, traces
from callspan_exporters._variables import required, required_url, variable
from callspan_exporters.otlp import OTLPDestination

_ENDPOINT: Final = "GRAFANA_CLOUD_OTLP_ENDPOINT"
_ZONE: Final = "GRAFANA_CLOUD_ZONE"
_KEY: Final = ("GRAFANA_CLOUD_API_KEY", "GRAFANA_CLOUD_API_TOKEN")


def grafana() -> OTLPDestination:
    """Return Grafana Cloud as ``GRAFANA_CLOUD_*`` configure it.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    instance = required(
        "GRAFANA_CLOUD_INSTANCE_ID", what="the number of the stack, which is the user of its OTLP gateway"
    )
    key = required(*_KEY, what="a token of an access policy that may write traces")
    zone = variable(_ZONE)
    gateway = f"https://otlp-gateway-{zone}.grafana.net/otlp" if zone else ""
    what = f"the address of the OTLP gateway, unless {_ZONE} names its zone"
    return preset(
        "grafana",
        traces(required_url(_ENDPOINT, default=gateway, what=what)),
        {"Authorization": basic(instance, key)},
        account=account_of(key, project=instance),
        address_variable=_ENDPOINT,
        key_variable=_KEY[0],
    )
