"""Settings by the names that users know, which know no groups."""

from dataclasses import fields, replace
from typing import Any

from lbwatch.settings import Settings, groups

_DEFAULT = Settings()
_GROUP_OF = {setting.name: group for group in groups() for setting in fields(getattr(_DEFAULT, group))}


def setting_names() -> tuple[str, ...]:
    """Return the name of each setting, in the order of the code."""
    return tuple(_GROUP_OF)


def settings_with(**given: Any) -> Settings:
    """Return the defaults but for what is given, each by its flag's name with underscores."""
    changed: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        if name == "docker_host" and isinstance(value, str):  # most tests have one engine
            value = (value,) if value else ()  # noqa: PLW2901
        changed.setdefault(_GROUP_OF[name], {})[name] = value
    return replace(
        _DEFAULT, **{group: replace(getattr(_DEFAULT, group), **values) for group, values in changed.items()}
    )
