"""Which OData services a system has: the catalogs of V2 and V4, and the services that a configuration names."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from hubblewave_pipelines.connectors.sap.config import Config
from hubblewave_pipelines.connectors.sap.odata import Clock, Service
from hubblewave_pipelines.core.errors import Invalid, UnknownStream
from hubblewave_pipelines.outbound.session import Session

_V2_ROOT = "/sap/opu/odata/sap"
_V2 = "/sap/opu/odata/IWFND/CATALOGSERVICE;v=2"
_V4 = "/sap/opu/odata4/iwfnd/config/default/iwfnd/catalog/0002"
_MOST = 60  # services whose metadata are read in one discovery
_GONE = (403, 404)


class Services:
    """The services of one connection, each made once."""

    def __init__(self, session: Session, config: Config) -> None:
        self.session = session
        self.config = config
        self.clock = Clock()
        self._made: dict[str, Service] = {}
        self._catalogs: dict[int, Mapping[str, str]] = {}

    def at(self, path: str) -> Service:
        path = "/" + path.strip("/")
        if path not in self._made:
            self._made[path] = Service(self.session, self.config, path, self.clock)
        return self._made[path]

    def named(self) -> dict[str, str]:
        """Services that the configuration names outright: name -> path."""
        found = {}
        for given in self.config.services:
            name, _, path = given.rpartition("=")
            if path.startswith("/"):
                found[name or name_of(path)] = path
        return found

    def chosen(self) -> dict[str, str]:
        """Every service that the configuration names or whose name its patterns fit: name -> path."""
        patterns = [given for given in self.config.services if "/" not in given]
        found = self.named()
        if patterns:
            for name, path in self.listed().items():
                if any(fnmatchcase(name, pattern) for pattern in patterns):
                    found.setdefault(name, path)
        if len(found) > _MOST:
            raise Invalid(
                f"{len(found)} services fit `services`; name fewer than {_MOST} of them, because each"
                " costs a request."
            )
        return found

    def listed(self) -> Mapping[str, str]:
        """What the catalogs list: name -> path. A system may have either, both or none."""
        return {**self._catalog(4), **self._catalog(2)}

    def _catalog(self, version: int) -> Mapping[str, str]:
        if version not in self._catalogs:
            self._catalogs[version] = self._v4() if version == 4 else self._v2()
        return self._catalogs[version]

    def find(self, name: str) -> Service:
        """The service of a stream. Raises UnknownStream."""
        path = self.named().get(name)
        if path is None and not self._catalogs:
            usual = self.at(f"{_V2_ROOT}/{name}")
            if usual.known or usual.present():
                return usual
        path = path or self._catalog(4).get(name) or self._catalog(2).get(name)
        if path is None:
            raise UnknownStream(
                f"The system has no OData service {name!r}, or the user may not see it (transaction"
                " /IWFND/MAINT_SERVICE, authorization object S_SERVICE)."
            )
        return self.at(path)

    def _v2(self) -> dict[str, str]:
        catalog = self.at(_V2)
        options = {"$format": "json", "$select": "TechnicalServiceName,ServiceUrl"}
        answer = catalog.get("ServiceCollection", options, accept=_GONE)
        if answer.status in _GONE:
            return {}
        rows = answer.json().get("d", {}).get("results", [])
        return {
            str(row.get("TechnicalServiceName") or row.get("ID")): urlsplit(row["ServiceUrl"]).path
            for row in rows
            if row.get("ServiceUrl")
        }

    def _v4(self) -> dict[str, str]:
        catalog = self.at(_V4)
        options = {"$expand": "DefaultSystem($expand=Services)"}
        answer = catalog.get("ServiceGroups", options, accept=_GONE)
        if answer.status in _GONE:
            return {}
        services: list[dict[str, Any]] = [
            service
            for group in answer.json().get("value", [])
            for service in (group.get("DefaultSystem") or {}).get("Services", [])
        ]
        return {
            str(service["ServiceId"]): urlsplit(service["ServiceUrl"]).path
            for service in services
            if service.get("ServiceUrl")
        }


def name_of(path: str) -> str:
    """The name of a service that is given by its path: the last part that is no version number."""
    parts = [part for part in path.strip("/").split("/") if not part.isdigit()]
    return parts[-1].split(";")[0]
