"""`health`: asks the running daemon's /readyz, for a container's HEALTHCHECK."""

import json
import os

import aiohttp

from lbwatch.cli import DONE, FAILED, output
from lbwatch.core.errors import SettingsError
from lbwatch.settings import Settings, listen_address

TIMEOUT_S = 5.0

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens there, it is found here


async def health(settings: Settings) -> int:
    """Print whether it is ready, and else the reasons, a line each."""
    if not settings.status_listen:
        raise SettingsError("status_listen", value="", takes="health needs the status server: set HOST:PORT")
    host, port = listen_address(settings.status_listen)
    host = _EVERYWHERE.get(host, host)
    url = f"http://[{host}]:{port}/readyz" if ":" in host else f"http://{host}:{port}/readyz"
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        headers = {"Host": "localhost"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session, session.get(url) as answer:
            said = json.loads(await answer.read())
            ready, reasons = bool(said["ready"]), [str(reason) for reason in said["reasons"]]
    except TimeoutError:
        ready, reasons = False, [f"lbwatch at {url} does not answer within {TIMEOUT_S:g} s"]
    except (aiohttp.ClientError, OSError) as error:
        number = getattr(error, "errno", None)
        cause = os.strerror(number) if number else str(error)
        ready, reasons = False, [f"no lbwatch answers at {url}: {cause}"]
    except (ValueError, KeyError, TypeError):
        ready, reasons = False, [f"what answers at {url} is no lbwatch"]
    output.show_health(ready=ready, reasons=reasons)
    return DONE if ready else FAILED
