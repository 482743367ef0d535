"""A city for an address, where the operator supplies a data file (GEO_FILE, the MaxMind-DB format); no network.

City level and no finer: the name, and where it lies to a tenth of a degree (11 km). The address is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from typing import Any

import maxminddb

from node.config import ConfigError

_MAX_NAME = 40  # characters
_EARTH_KM = 6371.0


@dataclass(slots=True, frozen=True)
class Place:
    """A city; `lat` and `lon` in degrees, to one decimal. `located` is false where the file gives no coordinates."""

    name: str
    lat: float = 0.0
    lon: float = 0.0
    located: bool = False


class Places:
    """The data file, opened once a process; without one no address has a place."""

    __slots__ = ("_reader",)

    def __init__(self, reader: maxminddb.Reader | None = None) -> None:
        self._reader = reader

    @classmethod
    def open(cls, path: Path | None) -> Places:
        """ConfigError where the file cannot be read or is of another kind."""
        if path is None:
            return cls()
        try:
            return cls(maxminddb.open_database(path))
        except (OSError, maxminddb.InvalidDatabaseError) as error:
            raise ConfigError(f"GEO_FILE {path} cannot be used: {error}") from None

    @property
    def known(self) -> bool:
        """Whether there is a data file."""
        return self._reader is not None

    def of(self, address: str) -> Place | None:
        """The city of an address, None where the file does not know it."""
        if self._reader is None:
            return None
        try:
            record = self._reader.get(address.partition("%")[0])
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None
        return _place(record) if isinstance(record, Mapping) else None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


def _place(record: Mapping[str, Any]) -> Place | None:
    city, where = record.get("city"), record.get("location")
    names = city.get("names") if isinstance(city, Mapping) else None
    if not isinstance(names, Mapping):
        return None
    name = names.get("zh-CN") or names.get("en")
    if not isinstance(name, str) or not name.isprintable():
        return None
    lat, lon = (where.get("latitude"), where.get("longitude")) if isinstance(where, Mapping) else (None, None)
    if not isinstance(lat, (int, float)) or not isinstance(lon, (int, float)):
        return Place(name[:_MAX_NAME])
    return Place(name[:_MAX_NAME], round(float(lat), 1), round(float(lon), 1), True)


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Distance along the surface between two (lat, lon)."""
    lat_a, lon_a, lat_b, lon_b = map(radians, (*a, *b))
    h = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin((lon_b - lon_a) / 2) ** 2
    return 2 * _EARTH_KM * asin(min(1.0, sqrt(h)))
