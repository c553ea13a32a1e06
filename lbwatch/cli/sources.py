"""Where settings come from: a flag, else the environment, else a TOML file, else the default."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lbwatch.cli.commandline import nearest
from lbwatch.core.errors import SettingsError
from lbwatch.settings import Settings, all_settings, groups
from lbwatch.system import reading
from lbwatch.values import Setting

_MAX_BYTES = 1 << 20  # of the TOML file: 30 settings are written by hand


class Sources:
    """
    What the user has set anywhere.

    Args:
        flags: What was given for each setting on the command line, by its name.
        environ: The environment.
        config: The TOML file; `None`: there is none.

    Raises:
        SettingsError: The file cannot be read, or holds what is no setting.
    """

    def __init__(self, *, flags: Mapping[str, Sequence[str]], environ: Mapping[str, str], config: Path | None) -> None:
        self._flags = flags
        self._environ = environ
        self._config = config
        self._table = {} if config is None else _table(config)

    def origin(self, name: str) -> str | None:
        """Return where a setting was set, in words; `None`: it has its default, or there is no such setting."""
        setting = all_settings().get(name)
        if setting is None:
            return None
        if name in self._flags:
            return setting.flag
        if setting.variable in self._environ:
            return setting.variable
        return str(self._config) if name in self._table else None

    def settings(self) -> Settings:
        """
        Make the settings.

        Raises:
            SettingsError: A value is not what its setting takes.
        """
        made = {}
        for name, group in groups().items():
            found = {field.name: self._value(all_settings()[field.name]) for field in dataclasses.fields(group)}
            made[name] = group(**found)
        return Settings(**made, stated=frozenset(name for name in all_settings() if self.origin(name) is not None))

    def _value(self, setting: Setting) -> Any:
        name = setting.name
        given: Any = setting.default
        try:
            if name in self._flags:
                given = ",".join(self._flags[name])
                return setting.read(given)
            if setting.variable in self._environ:
                given = self._environ[setting.variable]
                return setting.read(given)
            if name in self._table:
                given = self._table[name]
                return setting.of_toml(given)
        except ValueError as error:
            raise SettingsError(name, value=given, takes=str(error)) from error
        return given


def _table(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds, by the names of settings; raise a SettingsError where it is none."""
    import tomllib  # noqa: PLC0415 - many have no such file

    try:
        table = tomllib.loads(reading.of_user(path, max_bytes=_MAX_BYTES).decode())
        str(table)  # a number of 4,000 hexadecimal digits can be read, and not be shown: a ValueError
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError("config", value=path, takes=f"it takes a TOML file ({why})") from error
    for key, value in table.items():
        if key.replace("-", "_") not in all_settings():
            meant = nearest(key, all_settings())
            hint = f": did you mean {meant}?" if meant else ""
            raise SettingsError(key, value=value, takes=f"there is no such setting in {path}{hint}")
    return {key.replace("-", "_"): value for key, value in table.items()}
